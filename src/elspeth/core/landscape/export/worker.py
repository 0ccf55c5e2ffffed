"""Worker of a parallel export: its process, the parts it writes and the events it waits for."""

import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

from sqlalchemy import URL, Engine, create_engine

from elspeth.core.landscape.export.queries import Partition
from elspeth.core.landscape.export.record_types import TABLES
from elspeth.core.landscape.export.signed_lines import Block, Signer, read_blocks
from elspeth.core.landscape.export.snapshot import ReadSnapshot, open_snapshot

TAKE_SNAPSHOT = "take-snapshot"
"""Set by the parent, on SQLite: workers may take their snapshots."""
START = "start"
"""Set by the parent, on SQLite: all snapshots show the same state, workers may read."""
STOP = "stop"
"""Set by the parent: the export has ended, workers must stop."""

# Shorter than the parent's interval: the shorter the moment in which all snapshots are taken, the
# less often a commit of another process falls into it.
_SECONDS_BETWEEN_POLLS = 0.002
# Larger reads cost more: the allocator gets memory of that size from the operating system each
# time.
_READ_BYTES = 1 << 16
_IN_MEMORY = (None, "", ":memory:")


def ready_event(number: int) -> str:
    """Return the event of a worker that can take its snapshot."""
    return f"ready-{number}"


def snapshot_taken_event(number: int) -> str:
    """Return the event of a worker that holds its snapshot."""
    return f"snapshot-taken-{number}"


class AbandonedError(RuntimeError):
    """The parent has ended the export, so the result of the worker is not needed."""


@dataclass(frozen=True, slots=True)
class FileEvents:
    """Events between processes, on one machine or several: a set event is a file in a folder.

    Attributes:
        folder: The folder that parent and workers share.
    """

    # Files, because the workers of a given executor have nothing else in common with the parent: no
    # pipe, and perhaps another machine. The parent removes the folder when the export ends, so a
    # missing folder means STOP.
    folder: Path

    def set(self, name: str) -> None:
        """Set an event."""
        (self.folder / name).touch()

    def check_not_set(self, name: str) -> None:
        """Raise AbandonedError if an event is set or the folder is missing."""
        if (self.folder / name).exists() or not self.folder.exists():
            raise AbandonedError("the parent of this worker has given up")

    def wait(self, name: str, *, unless: str) -> None:
        """Wait until an event is set. Raises AbandonedError if `unless` is set before it."""
        while not (self.folder / name).exists():
            self.check_not_set(unless)
            sleep(_SECONDS_BETWEEN_POLLS)

    def wait_for_all(
        self, names: Iterable[str], *, within_seconds: float, poll: Callable[[], None]
    ) -> bool:
        """Wait until all events are set; return False after `within_seconds`.

        Args:
            names: The events.
            within_seconds: How long to wait.
            poll: Called repeatedly while waiting; an error that it raises ends the wait.
        """
        missing = set(names)
        end = monotonic() + within_seconds
        while missing := {name for name in missing if not (self.folder / name).exists()}:
            poll()
            if monotonic() > end:
                return False
            sleep(_SECONDS_BETWEEN_POLLS)
        return True


@dataclass(frozen=True, slots=True)
class Part:
    """One partition of an export in two files, written by a worker, read and removed by the parent.

    Attributes:
        folder: The folder of the two files: lines, and signatures.
        number: The index of the part in the export, from 0.
        partition: The rows in it.
    """

    folder: Path
    number: int
    partition: Partition

    @property
    def is_written(self) -> bool:
        """Whether the part is complete."""
        return self._lines.exists()

    def write(self, blocks: Iterable[Block]) -> None:
        """Write the part. Files that an earlier attempt has left are replaced."""
        # The rename comes last: the parent reads a part as soon as its file of lines is there.
        unfinished = self._lines.with_suffix(".unfinished")
        with unfinished.open("wb") as lines, self._signatures.open("wb") as signatures:
            for block in blocks:
                lines.write(block.lines)
                signatures.write(block.signatures)
        unfinished.rename(self._lines)

    def read(self) -> Iterator[Block]:
        """Read the part in small blocks, lines first, then signatures, and remove its files."""
        # Removed at once, so that an export never needs twice its size on disk.
        for lines in _read_and_remove(self._lines):
            # Canonical JSON escapes newlines, so the newlines count the records.
            yield Block(lines, lines.count(b"\n"))
        for signatures in _read_and_remove(self._signatures):
            yield Block(b"", 0, signatures)

    @property
    def _lines(self) -> Path:
        return self.folder / f"{self.number}.lines"

    @property
    def _signatures(self) -> Path:
        return self.folder / f"{self.number}.signatures"


def _read_and_remove(path: Path) -> Iterator[bytes]:
    # Unbuffered: a buffer would copy pieces that have the right size already.
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            yield piece
    path.unlink()


@contextmanager
def worker_processes(count: int) -> Iterator[Sequence[Executor]]:
    """Start executors that have one new process, and end the processes on exit.

    Args:
        count: How many executors.
    """
    # An executor for each process: if a process dies, its executor breaks and no other one, and the
    # error can name the rows. The processes are spawned: a fork of a process with threads can
    # deadlock.
    child_end, parent_end = Pipe(duplex=False)
    pools = [
        ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_start_process, initargs=(child_end,)
        )
        for _ in range(count)
    ]
    try:
        yield pools
    finally:
        # Closing this end ends the processes, so that shutdown does not wait for running tasks.
        parent_end.close()
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        child_end.close()


def _start_process(parent: Connection) -> None:
    """Prepare a worker's process, which ends when the parent's end of the pipe is closed."""
    # Encoding rows creates no reference cycles, and the search for cycles takes a tenth of an
    # export's time.
    gc.disable()
    # Ctrl-C reaches every process of a terminal. Only the parent handles it, and ends this process
    # through the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def exit_with_parent() -> None:
        # The kernel closes the parent's end when the parent is killed, even by SIGKILL.
        parent.poll(None)
        os._exit(1)

    Thread(target=exit_with_parent, daemon=True).start()


def worker_url(url: URL) -> str:
    """Return the URL, passwords included, with which a worker opens the database for reading.

    Raises:
        ValueError: The database is in memory, so another process cannot open it.
    """
    # An absolute path, for a worker with another working directory. Read-only, so that a file that
    # has been removed is an error and is not created again.
    if url.get_backend_name() == "sqlite":
        if url.database in _IN_MEMORY:
            raise ValueError("A database in memory is seen by one process: use a file")
        if "uri" not in url.query:
            url = url.set(database=Path(str(url.database)).absolute().as_uri())
        url = url.update_query_dict({"mode": "ro", "uri": "true"})
    return url.render_as_string(hide_password=False)


@dataclass(frozen=True)
class Assignment:
    """The task of a worker, which may run on another machine than the parent.

    Attributes:
        number: The worker's number, from 0.
        run_id: The exported run.
        parts: The parts that it writes, in this order.
        folder: The folder that workers and parent share.
        database_url: The result of `worker_url`.
        signing_key: Signs the records; None leaves them unsigned.
        snapshot: The name of PostgreSQL's exported snapshot; None on SQLite.
    """

    # repr=False: tracebacks and logs of executors show their tasks, with password and key.
    number: int
    run_id: str
    parts: Sequence[Part]
    folder: Path
    database_url: str = field(repr=False)
    signing_key: bytes | None = field(repr=False)
    snapshot: str | None


def work(assignment: Assignment) -> None:
    """Write the assigned parts.

    Raises:
        AbandonedError: The parent has ended the export.
        CorruptAuditDataError: A stored value must not be exported.
        sqlalchemy.exc.DBAPIError: The database fails.
        OSError: Writing fails.
    """
    key = assignment.signing_key
    signer = None if key is None else Signer(key)
    events = FileEvents(assignment.folder)
    # An executor may start a task long after the parent has given up.
    events.check_not_set(STOP)
    engine = create_engine(assignment.database_url)
    try:
        with _same_snapshot(engine, assignment) as snapshot:
            for part in assignment.parts:
                blocks = read_blocks(snapshot, assignment.run_id, signer, part.partition)
                part.write(_until_stopped(blocks, events))
    finally:
        engine.dispose()


def _until_stopped(blocks: Iterable[Block], events: FileEvents) -> Iterator[Block]:
    for block in blocks:
        events.check_not_set(STOP)
        yield block


@contextmanager
def _same_snapshot(engine: Engine, assignment: Assignment) -> Iterator[ReadSnapshot]:
    """Hold a snapshot of the same state of the database as the other workers."""
    if assignment.snapshot is not None:
        with open_snapshot(engine, TABLES, assignment.snapshot) as snapshot:
            yield snapshot
        return
    # SQLite cannot share a snapshot. All workers take one between two readings of the database's
    # commit counter by the parent, and read rows only after the second reading shows no change.
    events = FileEvents(assignment.folder)
    events.set(ready_event(assignment.number))
    events.wait(TAKE_SNAPSHOT, unless=STOP)
    with open_snapshot(engine, TABLES) as snapshot:
        events.set(snapshot_taken_event(assignment.number))
        events.wait(START, unless=STOP)
        yield snapshot
