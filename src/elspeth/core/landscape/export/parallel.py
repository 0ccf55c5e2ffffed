"""Parallel export: start workers that write parts of a run, and join the parts in order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NoReturn, TypeAlias

from sqlalchemy import Connection, Engine, func, select

from elspeth.contracts.enums import RunStatus
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape.export.database_check import check_database
from elspeth.core.landscape.export.orphans import AcceptOrphan, refuse_orphans
from elspeth.core.landscape.export.parts import Part, WrittenPart, fenced_folder
from elspeth.core.landscape.export.queries import split_rows
from elspeth.core.landscape.export.record_types import TABLES
from elspeth.core.landscape.export.signed_lines import Block
from elspeth.core.landscape.export.snapshot import ReadSnapshot, data_version, open_snapshot
from elspeth.core.landscape.export.worker import (
    ALIVE,
    START,
    STOP,
    TAKE_SNAPSHOT,
    AbandonedError,
    Assignment,
    FileEvents,
    ready_event,
    snapshot_taken_event,
    work,
    worker_processes,
)
from elspeth.core.landscape.export.worker_secrets import (
    KeyProof,
    Secrets,
    public_url,
    worker_url,
)
from elspeth.core.landscape.schema import rows_table, runs_table

Futures: TypeAlias = Sequence["Future[None]"]
"""The workers' futures, by worker number."""

# Several parts for a worker: the parent joins the first ones while later ones are written, and all
# workers finish at nearly the same time. A part costs six queries, so there are not more of them.
PARTS_PER_JOB = 16
"""How many parts a worker writes."""

_SECONDS_BETWEEN_POLLS = 0.01
# Starting a process takes about half a second. A given executor may first have to find a free
# worker.
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 60
# Network file systems may show a file's new size a minute late.
_SECONDS_WITHOUT_WORKER = 120


class ParallelExportError(ValueError):
    """Workers cannot share this export, or not at this moment. Nothing was published."""


class WorkerDiedError(ChildProcessError):
    """A worker's process ended before its parts were complete. Nothing was published."""


@dataclass(frozen=True)
class ParallelExport:
    """The export of one run by several workers.

    Attributes:
        engine: The database.
        run_id: The run.
        jobs: How many workers.
        signing_key: Signs the records; None leaves them unsigned.
        executor: Runs the workers, which must see the database and the folder of the parts, and
            find key and password in their environment; PostgreSQL only. None starts a new process
            for each worker.
        leave_out: As in `check_completeness`.
        accept_orphan: As in `refuse_orphans`.
        for_csv: As in `read_blocks`.
    """

    engine: Engine
    run_id: str
    jobs: int
    signing_key: bytes | None = field(default=None, repr=False)
    executor: Executor | None = None
    leave_out: Sequence[str] = ()
    accept_orphan: AcceptOrphan | None = None
    for_csv: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ParallelExportError(f"{self.jobs} jobs: at least one is needed")
        if self.executor is not None and self._is_sqlite:
            # An executor may run a task again, and SQLite cannot give that task the old snapshot.
            raise ParallelExportError(
                "An executor cannot share an export from SQLite: a task that it runs again would "
                "see a later state of the database; leave the executor out, or use PostgreSQL"
            )

    def blocks(self, parts_folder: AbstractContextManager[Path]) -> Iterator[Block]:
        """Yield the blocks of the export in order, without the manifest.

        Args:
            parts_folder: Opens an empty folder for the parts, which the workers can see too.

        Raises:
            RunNotFoundError: There is no such run.
            ParallelExportError: Workers cannot share this export, or not at this moment.
            WorkerDiedError: A worker's process has died; the error names the rows it exported.
            SchemaMismatchError: The database holds more than an export reads.
            Exception: The error of a worker; of several errors the one of the earliest rows.
        """
        # The order of the context managers matters on exit: first the workers end, then their
        # folder is removed, and last the snapshot that they share is released.
        with ExitStack() as stack:
            snapshot = stack.enter_context(open_snapshot(self.engine, TABLES))
            left_out = check_database(snapshot.connection, self.run_id, self.leave_out)
            # Before anything is made for each of the jobs, whose number may be mistyped.
            self._refuse_unshareable(snapshot.connection)
            folder = stack.enter_context(fenced_folder(stack.enter_context(parts_folder)))
            executors = stack.enter_context(self._executors())
            parts = self._parts(snapshot.connection, folder)
            assignments = self._assignments(snapshot, parts, folder)
            with self._submitted(assignments, executors) as futures:
                # On PostgreSQL the workers import the snapshot of this process.
                if self._is_sqlite:
                    _take_same_snapshot(self.engine, FileEvents(folder), futures, parts)
                # While the workers read, so that the check adds little time; before the first
                # block, so that nothing is written for a run that would lack records.
                refuse_orphans(snapshot.connection, self.run_id, left_out, self.accept_orphan)
                signs = None if self.executor is None else _SignsOfLife(folder)
                for part in parts:
                    yield from _wait_for(part, futures[part.number % self.jobs], signs).read()

    @property
    def _is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def _executors(self) -> AbstractContextManager[Sequence[Executor]]:
        if self.executor is None:
            secrets = Secrets(
                worker_url(self.engine.url).render_as_string(hide_password=False), self.signing_key
            )
            return worker_processes(self.jobs, secrets)
        return nullcontext([self.executor] * self.jobs)

    def _refuse_unshareable(self, connection: Connection) -> None:
        rows = select(func.count()).where(rows_table.c.run_id == self.run_id).scalar_subquery()
        run = connection.execute(
            select(runs_table.c.status, rows).where(runs_table.c.run_id == self.run_id)
        ).one_or_none()
        if run is None:
            raise RunNotFoundError(self.run_id)
        status, row_count = run
        if self.jobs > max(row_count, 1):
            raise ParallelExportError(
                f"{self.jobs} jobs cannot share a run of {row_count:,} rows: "
                f"use at most {max(row_count, 1)}"
            )
        if self._is_sqlite and status == RunStatus.RUNNING.value:
            raise ParallelExportError(
                f"The run {self.run_id} is still being written, and on SQLite no two workers "
                "could be sure to see the same of it: use one job, or wait until it has ended"
            )

    def _parts(self, connection: Connection, folder: Path) -> Sequence[Part]:
        partitions = split_rows(connection, self.run_id, self.jobs * PARTS_PER_JOB)
        return [Part(folder, number, rows) for number, rows in enumerate(partitions)]

    def _assignments(
        self, snapshot: ReadSnapshot, parts: Sequence[Part], folder: Path
    ) -> Sequence[Assignment]:
        """Assign the parts to the workers."""
        # In turn, so that all workers write the earliest parts first and the parent waits little.
        url = public_url(worker_url(self.engine.url))
        proof = None if self.signing_key is None else KeyProof.of(self.signing_key)
        exported = None if self._is_sqlite else snapshot.export()
        return [
            Assignment(
                number=number,
                run_id=self.run_id,
                parts=parts[number :: self.jobs],
                folder=folder,
                database_url=url,
                key_proof=proof,
                snapshot=exported,
                for_csv=self.for_csv,
            )
            for number in range(self.jobs)
        ]

    @contextmanager
    def _submitted(
        self, assignments: Sequence[Assignment], executors: Sequence[Executor]
    ) -> Iterator[Futures]:
        """Run all assignments; stop them when the block raises."""
        futures = [
            executor.submit(work, assignment)
            for executor, assignment in zip(executors, assignments, strict=True)
        ]
        try:
            yield futures
        except BaseException:
            FileEvents(assignments[0].folder).set(STOP)
            # New processes end with their executors. Workers of a given executor must be out of
            # the folder before it is removed.
            if self.executor is not None:
                running = [future for future in futures if not future.cancel()]
                wait(running, timeout=_SECONDS_TO_STOP)
            raise


def _take_same_snapshot(
    engine: Engine, events: FileEvents, futures: Futures, parts: Sequence[Part]
) -> None:
    """Make the workers on SQLite take snapshots of the same state, and start them."""
    # SQLite cannot pass a snapshot to another connection. It has a counter of commits instead: if
    # the counter is the same before and after, there was no commit while the snapshots were taken.
    # The counter is read on a connection without a transaction, where it is current.

    def raise_failures() -> None:
        for number, future in enumerate(futures):
            if future.done():
                _raise_failure(parts[min(number, len(parts) - 1)], future)

    def wait_for_workers(event: Callable[[int], str]) -> None:
        names = map(event, range(len(futures)))
        if not events.wait_for_all(names, within_seconds=_SECONDS_TO_START, poll=raise_failures):
            raise ParallelExportError(
                f"Not all of {len(futures)} workers started within {_SECONDS_TO_START} seconds: "
                "on SQLite they have to run at the same time; use fewer jobs, or more workers"
            )

    with engine.connect() as connection:
        wait_for_workers(ready_event)
        before = data_version(connection)
        events.set(TAKE_SNAPSHOT)
        wait_for_workers(snapshot_taken_event)
        if data_version(connection) != before:
            raise ParallelExportError(
                "The database was written to just when the workers began to read it, and on "
                "SQLite they would not see the same of it: try again, or use one job"
            )
    events.set(START)


class _SignsOfLife:
    """Notices that no task of a given executor runs: it has no workers, or has lost them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: Mapping[str, int] = {}
        self._last = monotonic()

    def check(self) -> None:
        """Raise ParallelExportError if no task has run for `_SECONDS_WITHOUT_WORKER`."""
        found = {
            path.name: path.stat().st_size
            for path in self._folder.iterdir()
            if path.name.startswith(ALIVE)
        }
        if found != self._seen:
            self._seen, self._last = found, monotonic()
        elif monotonic() - self._last > _SECONDS_WITHOUT_WORKER:
            raise ParallelExportError(
                f"No worker of the executor has run for {_SECONDS_WITHOUT_WORKER} seconds: does it "
                f"have workers that run, and do they see the folder {self._folder.parent}?"
            )


def _wait_for(part: Part, future: "Future[None]", signs: _SignsOfLife | None) -> WrittenPart:
    while True:
        # Before the part is looked for: the worker may write it and end between the two checks.
        has_ended = future.done()
        if (written := part.take()) is not None:
            return written
        if has_ended:
            _raise_failure(part, future)
        if signs is not None:
            signs.check()
        wait([future], timeout=_SECONDS_BETWEEN_POLLS)


def _raise_failure(part: Part, future: "Future[None]") -> NoReturn:
    try:
        future.result()
    except BrokenExecutor as error:
        raise WorkerDiedError(
            f"The process that exported {part.partition} died; was it killed, or out of memory? "
            "Try again, with fewer jobs if memory is short"
        ) from error
    except AbandonedError as error:
        # This process has not given up, so it is another folder that the worker sees, or none.
        raise ParallelExportError(
            f"A worker does not see the folder {part.folder.parent}: the executor's workers have "
            "to share it with this process"
        ) from error
    except Exception as error:
        error.add_note(f"while a worker exported {part.partition}")
        raise
    raise RuntimeError(f"The worker of {part.partition} ended and left nothing")
