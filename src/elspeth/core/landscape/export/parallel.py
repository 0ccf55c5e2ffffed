"""Parallel export: workers write the parts of a run, and the parent joins them in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeAlias

from sqlalchemy import Connection, func, select

from elspeth.contracts.enums import RunStatus
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.integrity import refuse_orphans
from elspeth.core.landscape.export.queries import split_rows
from elspeth.core.landscape.export.signed_lines import Block
from elspeth.core.landscape.export.snapshot import ReadSnapshot, data_version
from elspeth.core.landscape.export.worker import (
    GO,
    PIN,
    STOP,
    Assignment,
    Part,
    Rendezvous,
    own_processes,
    pinned,
    ready,
    work,
)
from elspeth.core.landscape.output.atomic import workshop_beside
from elspeth.core.landscape.schema import rows_table, runs_table

Working: TypeAlias = Sequence["Future[None]"]
"""What becomes of each worker, in the order of their numbers."""

PARTS_PER_JOB = 16
"""So that the parent can join what is written while the rest is read, and no worker is done long
before another."""

_SECONDS_BETWEEN_LOOKS = 0.01
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 60


class ParallelExportError(ValueError):
    """An export that workers cannot share, or not now; nothing was published."""


class WorkerDiedError(ChildProcessError):
    """A worker's process ended before its work was done; nothing was published."""


@dataclass(frozen=True)
class ParallelExport:
    """The export of one run, shared by `jobs` workers.

    An executor's workers must see the database and the folder of the file that is written. Without
    an executor each worker is a new process.
    """

    db: LandscapeDB
    run_id: str
    jobs: int
    signing_key: bytes | None = field(default=None, repr=False)
    executor: Executor | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ParallelExportError(f"{self.jobs} jobs: at least one is needed")

    def blocks(self, target: Path) -> Iterator[Block]:
        """Yield the blocks of the whole export in order, without a manifest.

        Workers write them beside `target` first. Raises ParallelExportError for what cannot be
        shared, WorkerDiedError naming the rows that a lost worker was at, and what a worker
        raised: of several, the one whose rows come first.
        """
        with (
            self.db.read_snapshot() as snapshot,
            workshop_beside(target) as folder,
            self._executors() as executors,
        ):
            self._refuse_what_cannot_be_shared(snapshot.connection)
            parts = self._parts(snapshot.connection, folder)
            with self._at_work(self._assignments(snapshot, parts, folder), executors) as working:
                if self._is_sqlite:
                    _pin_together(self.db, Rendezvous(folder), working, parts)
                refuse_orphans(snapshot.connection)
                for part in parts:
                    future = working[part.number % self.jobs]
                    _wait_for(part, future)
                    yield from part.read()

    @property
    def _is_sqlite(self) -> bool:
        return self.db.engine.dialect.name == "sqlite"

    def _executors(self) -> AbstractContextManager[Sequence[Executor]]:
        if self.executor is None:
            return own_processes(self.jobs)
        return nullcontext([self.executor] * self.jobs)

    def _refuse_what_cannot_be_shared(self, connection: Connection) -> None:
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
        return [Part(folder, number, each) for number, each in enumerate(partitions)]

    def _assignments(
        self, snapshot: ReadSnapshot, parts: Sequence[Part], folder: Path
    ) -> Sequence[Assignment]:
        exported = None if self._is_sqlite else snapshot.export()
        return [
            Assignment(
                number=number,
                run_id=self.run_id,
                parts=parts[number :: self.jobs],
                folder=folder,
                database_url=self.db.absolute_url,
                signing_key=self.signing_key,
                snapshot=exported,
            )
            for number in range(self.jobs)
        ]

    @contextmanager
    def _at_work(
        self, assignments: Sequence[Assignment], executors: Sequence[Executor]
    ) -> Iterator[Working]:
        """Have every assignment worked on; when left early, have everyone stop."""
        working = [
            executor.submit(work, assignment)
            for executor, assignment in zip(executors, assignments, strict=True)
        ]
        try:
            yield working
        except BaseException:
            Rendezvous(assignments[0].folder).reach(STOP)
            if self.executor is not None:  # own processes end with their executors
                running = [future for future in working if not future.cancel()]
                wait(running, timeout=_SECONDS_TO_STOP)
            raise


def _pin_together(
    db: LandscapeDB, meeting: Rendezvous, working: Working, parts: Sequence[Part]
) -> None:
    """Let every worker on SQLite take its snapshot, and none read before all are seen to be one.

    SQLite cannot hand a snapshot to another connection, but tells whether anyone has committed
    between two moments.
    """

    def raise_if_one_failed() -> None:
        for number, future in enumerate(working):
            if future.done():
                _raise_failure(parts[min(number, len(parts) - 1)], future)

    def all_have(reached: Callable[[int], str]) -> None:
        names = map(reached, range(len(working)))
        if not meeting.have_all_reached(
            names, within_seconds=_SECONDS_TO_START, meanwhile=raise_if_one_failed
        ):
            raise ParallelExportError(
                f"Not all of {len(working)} workers started within {_SECONDS_TO_START} seconds: "
                "on SQLite they have to run at the same time; use fewer jobs, or more workers"
            )

    with db.engine.connect() as connection:
        all_have(ready)
        before = data_version(connection)
        meeting.reach(PIN)
        all_have(pinned)
        if data_version(connection) != before:
            raise ParallelExportError(
                "The database was written to just when the workers began to read it, and on "
                "SQLite they would not see the same of it: try again, or use one job"
            )
    meeting.reach(GO)


def _wait_for(part: Part, future: "Future[None]") -> None:
    """Wait until a part is written; raise what became of its worker otherwise."""
    while not part.is_written:
        done, _ = wait([future], timeout=_SECONDS_BETWEEN_LOOKS)
        if done and not part.is_written:
            _raise_failure(part, future)


def _raise_failure(part: Part, future: "Future[None]") -> NoReturn:
    try:
        future.result()
    except BrokenExecutor as error:
        raise WorkerDiedError(
            f"The process that exported {part.partition} died; was it killed, or out of memory? "
            "Try again, with fewer jobs if memory is short"
        ) from error
    except Exception as error:
        error.add_note(f"while a worker exported {part.partition}")
        raise
    raise RuntimeError(f"The worker of {part.partition} ended and left nothing")
