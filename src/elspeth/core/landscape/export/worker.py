"""Worker of a parallel export: its process, its task and the events it waits for."""

import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe, get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread
from time import monotonic, sleep

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError

from elspeth.core.landscape.export.parts import Part
from elspeth.core.landscape.export.record_types import TABLES
from elspeth.core.landscape.export.signed_lines import Block, Signer, read_blocks
from elspeth.core.landscape.export.snapshot import ReadSnapshot, open_snapshot
from elspeth.core.landscape.export.worker_secrets import (
    KeyProof,
    Secrets,
    give_secrets,
    has_given_secrets,
    secrets_of_worker,
)

TAKE_SNAPSHOT = "take-snapshot"
"""Set by the parent, on SQLite: workers may take their snapshots."""
START = "start"
"""Set by the parent, on SQLite: all snapshots show the same state, workers may read."""
STOP = "stop"
"""Set by the parent: the export has ended, workers must stop."""

# Shorter than the parent's interval: the shorter the moment in which all snapshots are taken, the
# less often a commit of another process falls into it.
_SECONDS_BETWEEN_POLLS = 0.002
_NAME_BYTES = 8
_SECONDS_BETWEEN_SIGNS = 1.0

ALIVE = "alive-"
"""Begins the name of a file that grows while a task runs."""


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


@contextmanager
def worker_processes(count: int, secrets: Secrets) -> Iterator[Sequence[Executor]]:
    """Start executors that have one new process, and end the processes on exit.

    Args:
        count: How many executors.
        secrets: What the processes need besides their tasks. Passed to them when they start.
    """
    _start_tracker()
    # An executor for each process: if a process dies, its executor breaks and no other one, and the
    # error can name the rows. The processes are spawned: a fork of a process with threads can
    # deadlock.
    child_end, parent_end = Pipe(duplex=False)
    pools = [
        ProcessPoolExecutor(
            1,
            mp_context=get_context("spawn"),
            initializer=_start_process,
            initargs=(child_end, secrets),
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


def _start_tracker() -> None:
    """Start Python's tracker of semaphores so that a closed terminal does not end it."""
    # It lets Ctrl-C and SIGTERM pass. Without it this process would print tracebacks. A process
    # inherits which signals are blocked.
    ending = (signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_process(parent: Connection, secrets: Secrets) -> None:
    """Prepare a worker's process, which ends when the parent's end of the pipe is closed."""
    give_secrets(secrets)
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


@dataclass(frozen=True)
class Assignment:
    """The task of a worker, which may run on another machine than the parent.

    It passes through the scheduler of an executor, its logs and its files, so it carries no key and
    no password.

    Attributes:
        number: The worker's number, from 0.
        run_id: The exported run.
        parts: The parts that it writes, in this order.
        folder: The folder that workers and parent share.
        database_url: The result of `public_url`.
        key_proof: Of the key that signs the records; None leaves them unsigned.
        snapshot: The name of PostgreSQL's exported snapshot; None on SQLite.
        for_csv: As in `read_blocks`.
    """

    number: int
    run_id: str
    parts: Sequence[Part]
    folder: Path
    database_url: str
    key_proof: KeyProof | None
    snapshot: str | None
    for_csv: bool = False


def work(assignment: Assignment) -> None:
    """Write the assigned parts.

    Raises:
        AbandonedError: The parent has ended the export.
        WorkerSecretError: The worker lacks the signing key.
        CorruptAuditDataError: A stored value must not be exported.
        sqlalchemy.exc.DBAPIError: The database fails.
        OSError: Writing fails.
    """
    events = FileEvents(assignment.folder)
    # An executor may start a task long after the parent has given up.
    events.check_not_set(STOP)
    secrets = secrets_of_worker(assignment.database_url, assignment.key_proof)
    key = secrets.signing_key
    signer = None if key is None else Signer(key)
    engine = create_engine(secrets.database_url)
    try:
        with _alive(assignment.folder), _same_snapshot(engine, assignment) as snapshot:
            for part in assignment.parts:
                blocks = read_blocks(
                    snapshot,
                    assignment.run_id,
                    signer,
                    part.partition,
                    for_csv=assignment.for_csv,
                )
                part.write(_until_stopped(blocks, events))
    except OperationalError as error:
        # The reason why a password that the parent has does not help here.
        if not has_given_secrets() and not {"PGPASSWORD", "PGPASSFILE"} & os.environ.keys():
            error.add_note("no password travels with a task; workers read PGPASSWORD or PGPASSFILE")
        raise
    finally:
        engine.dispose()


@contextmanager
def _alive(folder: Path) -> Iterator[None]:
    """Show the parent that this task runs, by a file that grows."""
    ended = Event()
    path = folder / f"{ALIVE}{token_hex(_NAME_BYTES)}"

    def show() -> None:
        # The folder is gone when the export has ended.
        with suppress(OSError), path.open("xb", buffering=0) as file:
            while file.write(b".") and not ended.wait(_SECONDS_BETWEEN_SIGNS):
                pass

    thread = Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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
