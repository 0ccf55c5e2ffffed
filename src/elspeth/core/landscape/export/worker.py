"""A worker of a parallel export: writes the parts that it is assigned, from one snapshot."""

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

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.queries import Partition
from elspeth.core.landscape.export.signed_lines import Block, Signer, read_blocks
from elspeth.core.landscape.export.snapshot import ReadSnapshot

# A place where workers and their parent wait for each other, in whichever processes they run.
#
# It is a folder: whoever gets somewhere leaves a file there.


_SECONDS_BETWEEN_LOOKS = 0.002


class AbandonedError(RuntimeError):
    """The parent has given up; nobody waits for the worker's result any more."""


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """The folder that all meet in, which exists as long as the parent is there."""

    folder: Path

    def reach(self, name: str) -> None:
        """Tell whoever waits for it, or looks whether it is reached."""
        (self.folder / name).touch()

    def check_not_reached(self, name: str) -> None:
        """Raise AbandonedError when it is reached, or the folder is gone."""
        if (self.folder / name).exists() or not self.folder.exists():
            raise AbandonedError("nobody waits for this worker any more")

    def wait_for(self, name: str, *, unless: str) -> None:
        """Wait until it is reached. Raises AbandonedError when `unless` is reached before."""
        while not (self.folder / name).exists():
            self.check_not_reached(unless)
            sleep(_SECONDS_BETWEEN_LOOKS)

    def have_all_reached(
        self, names: Iterable[str], *, within_seconds: float, meanwhile: Callable[[], None]
    ) -> bool:
        """Wait until every name is reached; False when that takes too long.

        `meanwhile` is called again and again, and may raise.
        """
        missing = set(names)
        end = monotonic() + within_seconds
        while missing := {name for name in missing if not (self.folder / name).exists()}:
            meanwhile()
            if monotonic() > end:
                return False
            sleep(_SECONDS_BETWEEN_LOOKS)
        return True


# The parts of an export on disk: written by workers, read and removed by their parent in order.


_READ_BYTES = 1 << 16
"""Larger pieces cost more: each is memory that the process has to ask for anew."""


@dataclass(frozen=True, slots=True)
class Part:
    """One partition's place in the folder of an export: its lines, and its signatures apart."""

    folder: Path
    number: int
    partition: Partition

    @property
    def is_written(self) -> bool:
        """Whether all of it is there to be read."""
        return self._lines.exists()

    def write(self, blocks: Iterable[Block]) -> None:
        """Write all of it. What an earlier worker may have left of it is written anew."""
        unfinished = self._lines.with_suffix(".unfinished")
        with unfinished.open("wb") as lines, self._signatures.open("wb") as signatures:
            for block in blocks:
                lines.write(block.lines)
                signatures.write(block.signatures)
        unfinished.rename(self._lines)

    def read(self) -> Iterator[Block]:
        """Read it, lines first, in small blocks; then remove it."""
        for lines in _pieces(self._lines):
            # Canonical JSON holds no newline, so that there is one for each record.
            yield Block(lines, lines.count(b"\n"))
        for signatures in _pieces(self._signatures):
            yield Block(b"", 0, signatures)

    @property
    def _lines(self) -> Path:
        return self.folder / f"{self.number}.lines"

    @property
    def _signatures(self) -> Path:
        return self.folder / f"{self.number}.signatures"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            yield piece
    path.unlink()


# Processes of an export's own: one for each worker, gone when the export is.


@contextmanager
def own_processes(count: int) -> Iterator[Sequence[Executor]]:
    """Hold so many executors of one new process each, and end the processes when left.

    One each, so that a process which dies takes nobody's work with it and can be named. They are
    spawned: a fork of a process that has threads may never run.
    """
    lifeline, parent_end = Pipe(duplex=False)
    pools = [
        ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_settle_in, initargs=(lifeline,)
        )
        for _ in range(count)
    ]
    try:
        yield pools
    finally:
        parent_end.close()
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        lifeline.close()


def _settle_in(lifeline: Connection) -> None:
    """End this process as soon as the parent's end is closed, which a killed parent's is too."""
    # Rows become lines without any reference cycle: to look for some takes a tenth of the time.
    gc.disable()
    # Ctrl-C reaches every process of a terminal; what is to be done then is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        lifeline.poll(None)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


PIN = "pin"
"""What workers on SQLite wait for, before they take their snapshots."""
GO = "go"
"""What they wait for then, before they read."""
STOP = "stop"
"""What the parent reaches when it wants no more."""


def ready(number: int) -> str:
    """What a worker reaches when it could take its snapshot."""
    return f"ready-{number}"


def pinned(number: int) -> str:
    """What it reaches when it holds it."""
    return f"pinned-{number}"


@dataclass(frozen=True)
class Assignment:
    """All that a worker needs to know, in whichever process or on whichever machine it runs."""

    number: int
    run_id: str
    parts: Sequence[Part]
    folder: Path
    """Of the export, which worker and parent share."""
    database_url: str = field(repr=False)
    signing_key: bytes | None = field(repr=False)
    snapshot: str | None
    """PostgreSQL's, by its exported name."""


def work(assignment: Assignment) -> None:
    """Write every part assigned, in order.

    Raises what reading and writing raise, and AbandonedError when the parent has given up.
    """
    key = assignment.signing_key
    signer = None if key is None else Signer(key)
    Rendezvous(assignment.folder).check_not_reached(STOP)
    with (
        LandscapeDB(assignment.database_url, create_tables=False, read_only=True) as db,
        _shared_snapshot(db, assignment) as snapshot,
    ):
        for part in assignment.parts:
            blocks = read_blocks(snapshot, assignment.run_id, signer, part.partition)
            part.write(_until_stopped(blocks, Rendezvous(assignment.folder)))


def _until_stopped(blocks: Iterable[Block], meeting: Rendezvous) -> Iterator[Block]:
    for block in blocks:
        meeting.check_not_reached(STOP)
        yield block


@contextmanager
def _shared_snapshot(db: LandscapeDB, assignment: Assignment) -> Iterator[ReadSnapshot]:
    """Hold the state of the database that the other workers see."""
    if assignment.snapshot is not None:
        with db.read_snapshot(assignment.snapshot) as snapshot:
            yield snapshot
        return
    meeting = Rendezvous(assignment.folder)
    meeting.reach(ready(assignment.number))
    meeting.wait_for(PIN, unless=STOP)
    with db.read_snapshot() as snapshot:
        meeting.reach(pinned(assignment.number))
        meeting.wait_for(GO, unless=STOP)
        yield snapshot
