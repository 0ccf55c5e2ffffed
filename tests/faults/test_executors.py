"""Faults 29, 30 and 42: an executor that runs tasks again, stalls, leaks, or has no workers."""

import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from audit_trail import Trail
from fault_injection import PREVIOUS, Outcome, inject_fault
from landscape_command import KEY, Ended
from postgres_server import url_text
from sqlalchemy import make_url
from thread_workers import workers_in

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, keys
from elspeth.core.landscape.export import parallel, worker, worker_secrets
from elspeth.core.landscape.export.parallel import ParallelExportError
from elspeth.core.landscape.export.parts import DamagedPartError, Part
from elspeth.core.landscape.export.worker import AbandonedError, Assignment
from elspeth.core.landscape.export.worker_secrets import KeyProof, WorkerSecretError, public_url

PASSWORD = "the password of the database"
SIGNED = {"sign": True, "jobs": 2}
Work = Callable[[Assignment], None]


@pytest.fixture
def export_format() -> str:
    """Only JSON Lines are written by several workers."""
    return "json"


@pytest.fixture
def backend() -> str:
    return "postgresql"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(6) as executor:
        yield executor


@pytest.fixture
def key_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.KEY_VARIABLE, KEY)


def write(trail: Trail, executor: Executor | None, **more: Any) -> None:
    with LandscapeDB(trail.url, create_tables=False, read_only=True) as db:
        exporter = LandscapeExporter(db, KEY.encode())
        arguments = {**SIGNED, "executor": executor, **more}
        exporter.write_jsonl(trail.run_id, trail.target, **arguments)


def assert_fails(
    trail: Trail, executor: Executor, kind: type[Exception], message: str, *, jobs: int = 2
) -> None:
    """Assert that an export with an executor fails, and that the trail survives that."""
    with inject_fault(trail) as injection:
        with pytest.raises(kind, match=message) as caught:
            write(trail, executor, jobs=jobs)
        shown = "; ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
        injection.assert_survived(Ended(3, "", f"error: {shown}\n"), Outcome(3, PREVIOUS, None))


class Doing(Executor):
    """Runs a function of the test with each task, in threads."""

    def __init__(self, threads: Executor, action: Callable[[Work, Assignment], Any]) -> None:
        self._threads = threads
        self._action = action

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._action, fn, *args)


@pytest.mark.fault(29)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_executor_of_the_caller_is_refused_on_sqlite(
    trail: Trail, threads: Executor, key_in_environment: None
) -> None:
    assert_fails(trail, threads, ParallelExportError, "a task that it runs again would see a later")


@pytest.mark.fault(29)
@pytest.mark.parametrize("own_processes", [False, True])
def test_no_key_and_no_password_travels_in_a_task(
    trail: Trail, threads: Executor, key_in_environment: None, own_processes: bool
) -> None:
    url = make_url(trail.url).set(password=PASSWORD)
    guarded = replace(trail, url=url_text(url), secrets=(PASSWORD,))
    pickled: list[bytes] = []

    def run_pickled(work: Work, assignment: Assignment) -> None:
        pickled.append(pickle.dumps((work, assignment)) + repr(assignment).encode())
        work(pickle.loads(pickled[-1])[1])

    executor = Doing(threads, run_pickled)
    with inject_fault(trail) as injection:
        if own_processes:
            with workers_in(executor):
                write(guarded, None)
        else:
            write(guarded, executor)
        assert len(pickled) == 2
        for task in pickled:
            assert KEY.encode() not in task
            assert PASSWORD.encode() not in task
        assert trail.is_complete()
        injection.is_judged = True


@pytest.mark.parametrize(
    "query", ["", "?password=the+password", "?sslpassword=the+password&sslmode=prefer"]
)
def test_a_public_url_has_no_password(query: str) -> None:
    url = make_url(f"postgresql+psycopg://me:the+password@host:5/name{query}")
    shown = public_url(url)
    assert "password" not in shown.replace("sslpassword", "password")
    assert make_url(shown).username == "me"
    assert make_url(shown).port == 5


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "set ELSPETH_SIGNING_KEY in the environment of the workers"),
        (f"{KEY}!", "is not the signing key of this export"),
    ],
    ids=["missing", "another"],
)
def test_a_worker_without_the_key_fails_the_export(
    trail: Trail,
    threads: Executor,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    message: str,
) -> None:
    monkeypatch.delenv(keys.KEY_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(keys.KEY_VARIABLE, value)
    assert_fails(trail, threads, WorkerSecretError, message)


def test_the_workers_read_the_variable_that_commands_read() -> None:
    assert worker_secrets.KEY_VARIABLE == keys.KEY_VARIABLE
    assert KEY not in repr(KeyProof.of(KEY.encode()))


class Stalled:
    """Lets the first attempt at part 0 stall after a block, until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stalls, self.goes_on = Event(), Event()
        self._first = [True]
        self._read = worker.read_blocks
        monkeypatch.setattr(worker, "read_blocks", self._blocks)

    def _blocks(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        is_first = bool(self._first) and self._first.pop()
        for block in self._read(*arguments, **options):
            yield block
            if is_first:
                self.stalls.set()
                assert self.goes_on.wait(60)


MOMENTS = ("during the retry", "while parts are joined", "after the export")


@pytest.mark.fault(30, short=3)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stalled_worker_that_goes_on_beside_its_retry_changes_nothing(
    trail_of_many_rows: Trail,
    threads: ThreadPoolExecutor,
    key_in_environment: None,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    trail = trail_of_many_rows
    stalled = Stalled(monkeypatch)
    first: list[Future[None]] = []

    def run_twice(work: Work, assignment: Assignment) -> None:
        first.append(threads.submit(work, assignment))
        assert stalled.stalls.wait(60)
        if moment == MOMENTS[0]:
            stalled.goes_on.set()
        work(assignment)

    taken = Part.take

    def take(part: Part) -> Any:
        written = taken(part)
        if written is not None and moment == MOMENTS[1] and not stalled.goes_on.is_set():
            stalled.goes_on.set()
            first[0].result()
        return written

    monkeypatch.setattr(Part, "take", take)
    with inject_fault(trail) as injection:
        write(trail, Doing(threads, run_twice), jobs=1)
        assert trail.is_complete()
        if moment == MOMENTS[2]:
            # The next export writes beside it, and to the same target.
            write(trail, None)
            stalled.goes_on.set()
            with pytest.raises((AbandonedError, FileNotFoundError)):
                first[0].result()
        assert trail.is_complete()
        assert trail.unfinished() == []
        injection.is_judged = True


DAMAGES = {
    "NULs": lambda content: bytes(len(content)),
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + content[-100:],
    "one bit": lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:],
}


@pytest.mark.fault(30)
@pytest.mark.parametrize("kind", ["lines", "signatures"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_part_that_changed_after_it_was_written_is_not_published(
    trail: Trail,
    threads: Executor,
    key_in_environment: None,
    damage: Callable[[bytes], bytes],
    kind: str,
) -> None:
    def damage_part(work: Work, assignment: Assignment) -> None:
        work(assignment)
        files = (path for path in assignment.folder.glob(f"*.{kind}") if path.stat().st_size > 50)
        path = next(files)
        path.write_bytes(damage(path.read_bytes()))

    # The parent waits for the only task: nothing is joined before the damage is done.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_wait_for", _after_the_end(parallel._wait_for))
        damaging = Doing(threads, damage_part)
        assert_fails(trail, damaging, DamagedPartError, "does not hold the", jobs=1)


def _after_the_end(wait_for: Callable[..., Any]) -> Callable[..., Any]:
    def wait(part: Part, future: "Future[None]", signs: object) -> Any:
        future.result()
        return wait_for(part, future, signs)

    return wait


class Idle(Executor):
    """Takes tasks and runs none, as a cluster without workers does."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


@pytest.mark.fault(42)
def test_an_executor_without_workers_is_waited_for_with_a_limit(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_SECONDS_WITHOUT_WORKER", 0.05)
    assert_fails(trail, Idle(), ParallelExportError, "No worker of the executor has run for")


@pytest.mark.fault(42)
def test_an_executor_that_loses_its_workers_is_waited_for_with_a_limit(
    trail: Trail, threads: Executor, key_in_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_SECONDS_WITHOUT_WORKER", 0.05)

    class Losing(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if args[0].number == 0:
                return threads.submit(fn, *args)
            return Future()

    assert_fails(trail, Losing(), ParallelExportError, "have workers that run")


@pytest.mark.fault(42)
def test_workers_that_see_another_folder_are_named(
    trail: Trail, threads: Executor, key_in_environment: None, tmp_path: Path
) -> None:
    elsewhere = Doing(threads, lambda work, task: work(replace(task, folder=tmp_path / "none")))
    assert_fails(trail, elsewhere, ParallelExportError, "A worker does not see the folder")


def test_a_worker_that_works_for_long_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(parallel, "monotonic", lambda: now[0])
    signs = parallel._SignsOfLife(tmp_path)
    file = tmp_path / f"{worker.ALIVE}x"
    for size in range(1, 20):
        now[0] += parallel._SECONDS_WITHOUT_WORKER
        file.write_bytes(bytes(size))
        signs.check()
    now[0] += parallel._SECONDS_WITHOUT_WORKER
    signs.check()
    now[0] += 1
    with pytest.raises(ParallelExportError, match=re.escape(str(tmp_path.parent))):
        signs.check()
