"""Tests of parallel exports: the bytes of one process, or no file."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import fewer_examples
from sample_run import KEY, SampleRun, fixed_clock
from sqlalchemy import update
from thread_workers import workers_in

from elspeth.contracts.errors import CorruptAuditDataError, RunNotFoundError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.export import parallel
from elspeth.core.landscape.export.parallel import ParallelExportError, WorkerDiedError
from elspeth.core.landscape.export.worker import (
    TAKE_SNAPSHOT,
    Assignment,
    FileEvents,
    ready_event,
)
from elspeth.core.landscape.schema import node_states_table, rows_table, runs_table
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    """Workers that start at once; what they do is the same as in a process."""
    with ThreadPoolExecutor(4) as executor, workers_in(executor):
        yield executor


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A file to write, in a folder in which nothing else may be left."""
    folder = tmp_path / "exports"
    folder.mkdir()
    yield folder / "run.jsonl"
    assert [entry.name for entry in folder.iterdir() if entry.name != "run.jsonl"] == []


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("jobs", [1, 2, 3, 4])
def test_any_number_of_jobs_writes_the_same_bytes(
    candidate: LandscapeExporter,
    sample: SampleRun,
    threads: Executor,
    target: Path,
    tmp_path: Path,
    jobs: int,
    sign: bool,
) -> None:
    alone = candidate.write_jsonl(sample.run_id, tmp_path / "alone.jsonl", sign=sign)
    shared = candidate.write_jsonl(sample.run_id, target, sign=sign, jobs=jobs)
    assert target.read_bytes() == alone.path.read_bytes()
    assert (shared.record_count, shared.sha256) == (alone.record_count, alone.sha256)


def test_new_processes_write_the_same_bytes(
    candidate: LandscapeExporter, sample: SampleRun, target: Path, tmp_path: Path
) -> None:
    candidate.write_jsonl(sample.run_id, tmp_path / "alone.jsonl", sign=True)
    reported: list[int] = []
    candidate.write_jsonl(sample.run_id, target, sign=True, jobs=2, progress=reported.append)
    assert target.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert reported == sorted(reported)
    assert reported[-1] == sample.records + 1


@fewer_examples(1 / 16)
@given(spec=run_specs(min_rows=3), jobs=st.integers(2, 3), parts_per_job=st.integers(1, 4))
def test_the_joined_parts_of_any_run_are_the_whole(
    threads: Executor, spec: RunSpec, jobs: int, parts_per_job: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        LandscapeDB(f"sqlite:///{name}/audit.db") as db,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(parallel, "PARTS_PER_JOB", parts_per_job)
        run = generate_run(db, spec)
        # Some features leave a run without rows, which more jobs than one refuse.
        assume(run.cardinalities.rows >= jobs)
        run_id = run.run_id
        ended = update(runs_table).where(runs_table.c.status == "running")
        with db.connection() as connection:
            connection.execute(ended.values(status="failed"))
        exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
        alone = exporter.write_jsonl(run_id, Path(name) / "alone.jsonl", sign=True)
        shared = exporter.write_jsonl(run_id, Path(name) / "shared.jsonl", sign=True, jobs=jobs)
        assert shared.path.read_bytes() == alone.path.read_bytes()


@pytest.mark.parametrize(
    ("jobs", "problem"), [(0, "at least one is needed"), (5, "use at most 4"), (-1, "-1 jobs")]
)
def test_a_number_of_jobs_that_the_run_has_no_work_for_is_refused(
    candidate: LandscapeExporter, sample: SampleRun, target: Path, jobs: int, problem: str
) -> None:
    target.write_bytes(b"before")
    with pytest.raises(ParallelExportError, match=problem):
        candidate.write_jsonl(sample.run_id, target, jobs=jobs)
    assert target.read_bytes() == b"before"


def test_a_run_that_is_not_there_is_not_found(
    candidate: LandscapeExporter, sample: SampleRun, threads: Executor, target: Path
) -> None:
    with pytest.raises(RunNotFoundError):
        candidate.write_jsonl("no such run", target, jobs=2)


def test_a_database_in_memory_cannot_be_shared(target: Path) -> None:
    with LandscapeDB.in_memory() as db:
        run_id = generate_run(db, RunSpec.typical(10)).run_id
        with pytest.raises(ValueError, match="in memory"):
            LandscapeExporter(db).write_jsonl(run_id, target, jobs=2)


def test_a_changed_exporter_is_not_shared(
    candidate: LandscapeExporter, sample: SampleRun, target: Path
) -> None:
    candidate._iter_records = lambda run_id: iter([])  # type: ignore[method-assign]
    with pytest.raises(ParallelExportError, match="use one job"):
        candidate.write_jsonl(sample.run_id, target, jobs=2)


def test_a_run_still_being_written_is_shared_on_postgresql_only(
    candidate: LandscapeExporter,
    db: LandscapeDB,
    sample: SampleRun,
    threads: Executor,
    target: Path,
) -> None:
    with db.connection() as connection:
        connection.execute(update(runs_table).values(status="running"))
    if db.engine.dialect.name == "postgresql":
        assert candidate.write_jsonl(sample.run_id, target, jobs=2).path.exists()
        return
    with pytest.raises(ParallelExportError, match="still being written"):
        candidate.write_jsonl(sample.run_id, target, jobs=2)


def test_a_value_that_no_export_may_carry_is_named_as_by_one_process(
    candidate: LandscapeExporter,
    db: LandscapeDB,
    sample: SampleRun,
    target: Path,
) -> None:
    with db.connection() as connection:
        connection.execute(update(node_states_table).values(status="no status"))
    errors = []
    for jobs in (1, 2):
        with pytest.raises(CorruptAuditDataError) as caught:
            candidate.write_jsonl(sample.run_id, target, jobs=jobs)
        errors.append((str(caught.value), caught.value.table, caught.value.column))
    assert errors[0] == errors[1]
    assert errors[0][1:] == ("node_states", "status")


@pytest.mark.parametrize("landscape_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("index", ["no number", 1.5])
def test_a_row_without_an_integer_index_is_refused_as_by_one_process(
    candidate: LandscapeExporter,
    db: LandscapeDB,
    sample: SampleRun,
    threads: Executor,
    target: Path,
    index: object,
) -> None:
    with db.connection() as connection:
        statement = "UPDATE rows SET row_index = ? WHERE row_index = 1"
        connection.exec_driver_sql(statement, (index,))
    errors = []
    for jobs in (1, 2):
        with pytest.raises(CorruptAuditDataError, match="row_index") as caught:
            candidate.write_jsonl(sample.run_id, target, jobs=jobs)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


class Interfering(Executor):
    """Runs workers in threads, but worker 1 with a function of the test."""

    def __init__(self, threads: Executor, instead: Callable[[Any, Assignment], Any]) -> None:
        self._threads = threads
        self._instead = instead

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if args[0].number == 1:
            return self._threads.submit(self._instead, fn, *args)
        return self._threads.submit(fn, *args, **kwargs)


@pytest.mark.parametrize("landscape_url", ["sqlite"], indirect=True)
def test_a_commit_while_workers_take_their_snapshots_is_noticed_on_sqlite(
    candidate: LandscapeExporter,
    db: LandscapeDB,
    sample: SampleRun,
    threads: Executor,
    target: Path,
) -> None:
    def commit_first(work: Callable[[Assignment], None], assignment: Assignment) -> None:
        events = FileEvents(assignment.folder)
        events.set(ready_event(1))
        events.wait(TAKE_SNAPSHOT, unless="never")
        with LandscapeDB(str(db.engine.url)) as other, other.connection() as connection:
            connection.execute(update(rows_table).values(source_data_hash="later"))
        work(assignment)

    with (
        workers_in(Interfering(threads, commit_first)),
        pytest.raises(ParallelExportError, match="written to"),
    ):
        candidate.write_jsonl(sample.run_id, target, jobs=2)
    assert not target.exists()


@pytest.mark.parametrize("landscape_url", ["postgresql"], indirect=True)
def test_workers_see_what_their_parent_saw_on_postgresql(
    candidate: LandscapeExporter,
    db: LandscapeDB,
    sample: SampleRun,
    threads: Executor,
    target: Path,
    tmp_path: Path,
) -> None:
    def commit_first(work: Callable[[Assignment], None], assignment: Assignment) -> None:
        with db.connection() as connection:
            connection.execute(update(rows_table).values(source_data_hash="later"))
        work(assignment)

    before = candidate.write_jsonl(sample.run_id, tmp_path / "before.jsonl")
    with workers_in(Interfering(threads, commit_first)):
        shared = candidate.write_jsonl(sample.run_id, target, jobs=2)
    assert shared.sha256 == before.sha256
    later = candidate.write_jsonl(sample.run_id, tmp_path / "later.jsonl")
    assert later.sha256 != before.sha256


@pytest.mark.parametrize("landscape_url", ["sqlite"], indirect=True)
def test_too_few_workers_for_sqlite_are_an_error_and_no_deadlock(
    candidate: LandscapeExporter,
    sample: SampleRun,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "_SECONDS_TO_START", 0.2)
    with (
        ThreadPoolExecutor(1) as one,
        workers_in(one),
        pytest.raises(ParallelExportError, match="at the same time"),
    ):
        candidate.write_jsonl(sample.run_id, target, jobs=2)


def test_a_lost_worker_is_named_by_its_rows(
    candidate: LandscapeExporter, sample: SampleRun, threads: Executor, target: Path
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:

        class Dying(Interfering):
            def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
                if args[0].number == 1:
                    return process.submit(os._exit, 9)
                return self._threads.submit(fn, *args, **kwargs)

        with (
            workers_in(Dying(threads, lambda *_: None)),
            pytest.raises(WorkerDiedError, match="row 1 to before row 2 died"),
        ):
            candidate.write_jsonl(sample.run_id, target, jobs=2)
    assert not target.exists()


def test_what_a_worker_raises_says_which_rows_it_was_at(
    candidate: LandscapeExporter, sample: SampleRun, threads: Executor, target: Path
) -> None:
    def fail(work: Callable[[Assignment], None], assignment: Assignment) -> None:
        raise OSError(28, "No space left on device")

    with (
        workers_in(Interfering(threads, fail)),
        pytest.raises(OSError, match="No space left") as caught,
    ):
        candidate.write_jsonl(sample.run_id, target, jobs=2)
    assert caught.value.__notes__ == ["while a worker exported row 1 to before row 2"]
