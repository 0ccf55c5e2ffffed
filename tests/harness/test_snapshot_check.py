"""A second process writes during an export, and the export shows the state at its start."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LegacyLandscapeExporter
from elspeth.core.landscape.schema import EXPORTED_TABLES, runs_table
from harness.checks.concurrent_writer import (
    ConcurrentWriter,
    ConcurrentWriterError,
    add_records_of_every_type,
)
from harness.checks.environments import judge_snapshot
from harness.compare.capture import Spool
from harness.compare.exports import first_difference
from harness.exporters.measured import InThisProcess, in_own_process, measured
from harness.exporters.probe.exports import RECORDS
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, Subject, load_subject
from harness.generate.generator import generate_run
from harness.generate.presets import preset

READS_FIRST = "harness.fixtures.correct_exporters.unusual:InAForkedProcess"
NOT_A_SNAPSHOT = "harness.fixtures.faulty_exporters.resources:NotASnapshot"


def judged(reference: str, url: str, directory: Path) -> str:
    return judged_subject(load_subject(reference), url, directory)


def judged_subject(subject: Subject, url: str, directory: Path) -> str:
    control = measured(CONTROL)
    verdict = judge_snapshot(InThisProcess(subject), control, lambda: url, directory)
    return f"{verdict.outcome}: {verdict.seen}"


def test_the_batched_exporter_shows_one_state_on_every_backend(
    landscape_url: str, tmp_path: Path
) -> None:
    seen = judged(DEFAULT_CANDIDATE, landscape_url, tmp_path)
    assert seen == "passed: a snapshot, while a second process wrote"


def test_an_exporter_that_reads_query_by_query_is_torn_on_every_backend(
    landscape_url: str, tmp_path: Path
) -> None:
    seen = judged(CONTROL, landscape_url, tmp_path)
    assert seen.startswith("failed: not a snapshot: ")


def test_an_exporter_that_reads_everything_first_holds_a_snapshot(
    sqlite_url: str, tmp_path: Path
) -> None:
    seen = judged(READS_FIRST, sqlite_url, tmp_path)
    assert seen == (
        "passed: a snapshot: no query after the first record, so all was read from one state"
    )


def test_a_torn_export_is_shown_with_its_first_difference(sqlite_url: str, tmp_path: Path) -> None:
    candidate = InThisProcess(load_subject(NOT_A_SNAPSHOT))
    verdict = judge_snapshot(candidate, measured(CONTROL), lambda: sqlite_url, tmp_path)
    assert verdict.subject == candidate.name
    assert verdict.expected == (
        "the state at the start of the export, while a second process writes"
    )
    control, torn = (Spool(tmp_path / side / RECORDS) for side in ("before", "during"))
    difference = first_difference(control, torn)
    assert difference is not None
    assert verdict.seen == f"not a snapshot: {difference.headline}"
    assert verdict.evidence == tuple(difference.evidence) != ()
    assert verdict.next_step.startswith("one read transaction around all queries")


def test_an_exporter_without_a_second_query_is_vacuous(sqlite_url: str, tmp_path: Path) -> None:
    nothing = "harness.fixtures.faulty_exporters.output:ExportsNothing"
    assert judged(nothing, sqlite_url, tmp_path).startswith("failed: vacuous")


def rows_by_table(db: LandscapeDB) -> dict[str, int]:
    with db.connection() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in EXPORTED_TABLES
        }


def test_the_concurrent_writer_adds_to_every_table_except_runs(db: LandscapeDB) -> None:
    generate_run(db, preset("tiny", run_id="run"))
    before = rows_by_table(db)
    add_records_of_every_type(db, "run")
    unchanged = {name for name, count in rows_by_table(db).items() if count == before[name]}
    assert unchanged == {"runs"}


def test_the_concurrent_writer_writes_once_from_another_process(sqlite_url: str) -> None:
    with LandscapeDB(sqlite_url) as db:
        generate_run(db, preset("tiny", run_id="run"))
        before = rows_by_table(db)
        with ConcurrentWriter(sqlite_url, "run") as writer:
            assert rows_by_table(db) == before
            writer.write()
            writer.write()
        after = rows_by_table(db)
    assert after["rows"] == before["rows"] + 1


def test_a_folder_named_harness_in_the_working_directory_is_not_imported(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("raise SystemExit('the stranger')\n")
    monkeypatch.chdir(tmp_path)
    # A user's environment may put the same folder on the path as well.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seen = judged(DEFAULT_CANDIDATE, sqlite_url, tmp_path)
    assert seen == "passed: a snapshot, while a second process wrote"


def test_a_concurrent_writer_that_cannot_write_gives_the_reason(sqlite_url: str) -> None:
    with (
        LandscapeDB(sqlite_url),
        ConcurrentWriter(sqlite_url, "nowhere") as writer,
        pytest.raises(ConcurrentWriterError, match="could not write: IntegrityError"),
    ):
        writer.write()


def test_an_exporter_without_a_clock_can_hold_a_snapshot_too(
    sqlite_url: str, tmp_path: Path
) -> None:
    batched = load_subject(DEFAULT_CANDIDATE)
    clockless = Subject("clockless", lambda db, signing_key=None: batched.factory(db, signing_key))
    seen = judged_subject(clockless, sqlite_url, tmp_path)
    assert seen == "passed: a snapshot, while a second process wrote"


@pytest.mark.usefixtures("forked_exporters")
@pytest.mark.parametrize(
    ("reference", "seen"),
    [
        (DEFAULT_CANDIDATE, "passed: a snapshot, while a second process wrote"),
        (NOT_A_SNAPSHOT, "failed: not a snapshot: "),
    ],
)
def test_the_export_of_another_process_waits_for_the_writer(
    reference: str, seen: str, sqlite_url: str, tmp_path: Path
) -> None:
    with in_own_process(reference) as candidate:
        verdict = judge_snapshot(candidate, measured(CONTROL), lambda: sqlite_url, tmp_path)
    assert f"{verdict.outcome}: {verdict.seen}".startswith(seen)


class ReadsRunFirst(LandscapeExporter):
    """Reads the run before it begins its snapshot, and exports what it has read."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        with self._db.connection() as connection:
            status = connection.execute(
                select(runs_table.c.status).where(runs_table.c.run_id == run_id)
            ).scalar_one()
        for record in super()._iter_records(run_id):
            yield {**record, "status": status} if record["record_type"] == "run" else record


def require_run(db: LandscapeDB, run_id: str) -> None:
    """Ask, in a transaction for itself, whether a run exists."""
    with db.connection() as connection:
        connection.execute(select(runs_table.c.run_id).where(runs_table.c.run_id == run_id)).one()


class AsksFirst(LandscapeExporter):
    """Asks whether the run exists before it begins its snapshot."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        require_run(self._db, run_id)
        yield from super()._iter_records(run_id)


class AsksAndHasNoSnapshot(LegacyLandscapeExporter):
    """Asks whether the run exists, and then reads query by query."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        require_run(self._db, run_id)
        yield from super()._iter_records(run_id)


@pytest.mark.parametrize(
    ("exporter", "seen"),
    [
        (ReadsRunFirst, "failed: not a snapshot: "),
        (AsksFirst, "passed: a snapshot, while a second process wrote"),
        (AsksAndHasNoSnapshot, "failed: not a snapshot: "),
    ],
)
def test_a_snapshot_may_begin_late_but_not_between_two_that_are_exported(
    exporter: type[Any], seen: str, tmp_path: Path
) -> None:
    numbers = count()
    verdict = judge_snapshot(
        InThisProcess(Subject(exporter.__name__, exporter)),
        measured(CONTROL),
        lambda: f"sqlite:///{tmp_path / str(next(numbers))}.db",
        tmp_path,
    )
    assert f"{verdict.outcome}: {verdict.seen}".startswith(seen)
    # A second commit for those that show the state after the first.
    assert next(numbers) == (1 if exporter is ReadsRunFirst else 2)
