"""A worker of a parallel export: the parts it writes, the events it waits for, its process."""

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
"""Set by the parent: the export has ended, workers have to give up."""

_SECONDS_BETWEEN_POLLS = 0.002
_READ_BYTES = 1 << 16
"""Larger reads cost more: the process has to ask for the memory of each anew."""
_IN_MEMORY = (None, "", ":memory:")


def ready(number: int) -> str:
    """Return the event of a worker that can take its snapshot."""
    return f"ready-{number}"


def snapshot_taken(number: int) -> str:
    """Return the event of a worker that holds its snapshot."""
    return f"snapshot-taken-{number}"


class AbandonedError(RuntimeError):
    """The parent has given up, and nothing waits for the worker's result any more."""


@dataclass(frozen=True, slots=True)
class FileEvents:
    """Events between processes, on one machine or several: a set event is a file in a folder.

    Attributes:
        folder: The folder that parent and workers share. The parent removes it when the export
            ends, so a missing folder means that the parent has given up.
    """

    folder: Path

    def set(self, name: str) -> None:
        """Set an event."""
        (self.folder / name).touch()

    def check_not_set(self, name: str) -> None:
        """Raise AbandonedError when an event is set, or the folder is gone."""
        if (self.folder / name).exists() or not self.folder.exists():
            raise AbandonedError("the parent of this worker has given up")

    def wait(self, name: str, *, unless: str) -> None:
        """Wait until an event is set. Raises AbandonedError when `unless` is set before it."""
        while not (self.folder / name).exists():
            self.check_not_set(unless)
            sleep(_SECONDS_BETWEEN_POLLS)

    def wait_for_all(
        self, names: Iterable[str], *, within_seconds: float, poll: Callable[[], None]
    ) -> bool:
        """Wait until all events are set; return False when that takes too long.

        Args:
            names: The events.
            within_seconds: How long to wait.
            poll: Called again and again while waiting; what it raises ends the wait.
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
    """One partition of an export on disk, written by a worker, read and removed by the parent.

    Attributes:
        folder: Where its two files are: lines, and signatures apart.
        number: Its place among the parts, from 0.
        partition: The rows it holds.
    """

    folder: Path
    number: int
    partition: Partition

    @property
    def is_written(self) -> bool:
        """Whether it is complete."""
        return self._lines.exists()

    def write(self, blocks: Iterable[Block]) -> None:
        """Write the part, over what an earlier worker has left of it."""
        # The rename comes last: the parent reads a part as soon as its file of lines is there.
        unfinished = self._lines.with_suffix(".unfinished")
        with unfinished.open("wb") as lines, self._signatures.open("wb") as signatures:
            for block in blocks:
                lines.write(block.lines)
                signatures.write(block.signatures)
        unfinished.rename(self._lines)

    def read(self) -> Iterator[Block]:
        """Read the part in small blocks, lines first, then signatures; remove it meanwhile."""
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
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            yield piece
    path.unlink()


@contextmanager
def worker_processes(count: int) -> Iterator[Sequence[Executor]]:
    """Start executors with one new process each, and end the processes on exit.

    One process each, so that one that dies takes no other worker's task with it and can be named.
    The processes are spawned: a fork of a process with threads may deadlock.

    Args:
        count: How many executors.
    """
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
        parent_end.close()
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        child_end.close()


def _start_process(parent: Connection) -> None:
    """Prepare a worker's process, which ends as soon as the parent's end of the pipe is closed."""
    # Turning rows into lines makes no reference cycles; searching for some takes a tenth of the
    # time of an export.
    gc.disable()
    # Ctrl-C reaches every process of a terminal. The parent decides what follows, and ends this
    # process through the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def exit_with_parent() -> None:
        # The kernel closes the parent's end when the parent is killed, even by SIGKILL.
        parent.poll(None)
        os._exit(1)

    Thread(target=exit_with_parent, daemon=True).start()


def worker_url(url: URL) -> str:
    """Return the URL, passwords included, with which a worker opens the database for reading.

    On SQLite the path becomes absolute, for a worker with another working directory, and read-only,
    so that a file that has gone is an error and not created anew.

    Raises:
        ValueError: The database is in memory, where no other process can open it.
    """
    if url.get_backend_name() == "sqlite":
        if url.database in _IN_MEMORY:
            raise ValueError("A database in memory is seen by one process: use a file")
        if "uri" not in url.query:
            url = url.set(database=Path(str(url.database)).absolute().as_uri())
        url = url.update_query_dict({"mode": "ro", "uri": "true"})
    return url.render_as_string(hide_password=False)


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know, on the parent's machine or another.

    Attributes:
        number: The worker's number, from 0.
        run_id: The exported run.
        parts: The parts that it writes, in this order.
        folder: The folder that workers and parent share.
        database_url: What `worker_url` returned.
        signing_key: Signs the records; None leaves them unsigned.
        snapshot: The name of PostgreSQL's exported snapshot; None on SQLite.
    """

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
        AbandonedError: The parent has given up.
        CorruptAuditDataError: A stored value may not be exported.
        sqlalchemy.exc.DBAPIError: The database fails.
        OSError: Writing fails.
    """
    key = assignment.signing_key
    signer = None if key is None else Signer(key)
    events = FileEvents(assignment.folder)
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
    """Hold the state of the database that the other workers see."""
    if assignment.snapshot is not None:
        with open_snapshot(engine, TABLES, assignment.snapshot) as snapshot:
            yield snapshot
        return
    # SQLite cannot share a snapshot. All workers take one between two looks of the parent at the
    # database's commit counter, and read only after the second look has found no change.
    events = FileEvents(assignment.folder)
    events.set(ready(assignment.number))
    events.wait(TAKE_SNAPSHOT, unless=STOP)
    with open_snapshot(engine, TABLES) as snapshot:
        events.set(snapshot_taken(assignment.number))
        events.wait(START, unless=STOP)
        yield snapshot
