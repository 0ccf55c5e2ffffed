"""Verifies a JSON Lines export in several processes, to which its lines are handed in parts.

A part begins with a record directly inside the run, so that everything below such a record is in
one part. Workers check all of their parts but the order of those records among each other, and this
process checks that, the hash and both ends of the export. Only an export without a defect gets its
result here: any doubt leaves it to one process, which alone words the defects.
"""

import errno
import gc
import io
import os
import re
import signal
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pipe, get_context, resource_tracker
from multiprocessing.connection import Connection
from threading import Thread

from elspeth.core.landscape.keys import SigningKeyError
from elspeth.core.landscape.verification.defects import Verification
from elspeth.core.landscape.verification.record_order import OrderInsideRun, Place, rules_inside
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, SignatureVerifier
from elspeth.core.landscape.verification.verifier import Verifier, check_jsonl

# About 18,000 records, a fifth of a second: large enough for the cost of a task, and small enough
# for the parent to keep the results that wait for their turn.
PART_BYTES = 2**23
"""The size of a part; it ends at the next record directly inside the run."""

_WAITING_PARTS_PER_JOB = 2
_SEARCHED_BYTES = 2**16
_INSIDE_RUN = "|".join(rule.record_type for rule in rules_inside("run"))
# Which line a part begins with is only a guess: a worker refuses a part that begins otherwise.
_OUTER_LINE = re.compile(rf'\n(?=\{{[^\n]*"record_type":"(?:{_INSIDE_RUN})")'.encode())


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an export, and what is known of the export."""

    path: str | bytes
    identity: tuple[int, int]
    """The device and the number of the file, which another export in its place does not have."""
    first: int
    end: int
    """The offset after its last byte."""
    run_id: str
    is_signed: bool
    accepted: AcceptedSignatures
    max_line_bytes: int


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """What a part without a defect holds."""

    counts: Mapping[str, int]
    """The number of records by type."""
    signatures: bytes
    """The signatures of the records, joined; empty in an unsigned export."""
    outer: Sequence[Place]
    """The places of the records directly inside the run."""


def verify_in_parts(
    file: io.BufferedReader,
    accepted: AcceptedSignatures,
    run_id: str | None,
    jobs: int,
    max_line_bytes: int,
) -> Verification | None:
    """Verify an export in processes that share its lines.

    Args:
        file: the export, in canonical form. Its position afterwards is the start.
        accepted: the signatures that it may have.
        run_id: the run that it must be of; None takes the run of the first record.
        jobs: the number of processes besides this one.
        max_line_bytes: the length of the longest line that is read.

    Returns:
        The result, which has no defect; None if one process has to verify the export.

    Raises:
        OSError: the file cannot be read, or a process has ended.
        SigningKeyError: the export is signed and the key is missing.
    """
    # A pipe can be read once, and the processes could not read it from different places.
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return None
    try:
        return _verify_in_parts(file, status, accepted, run_id, jobs, max_line_bytes)
    finally:
        file.seek(0)


def _verify_in_parts(
    file: io.BufferedReader,
    status: os.stat_result,
    accepted: AcceptedSignatures,
    run_id: str | None,
    jobs: int,
    max_line_bytes: int,
) -> Verification | None:
    borders = _borders(file, status.st_size, max_line_bytes)
    first = next(borders, None)
    if first is None:
        return None
    signatures = SignatureVerifier(accepted)
    verifier = Verifier(signatures, expected_run=run_id)
    check_jsonl(FilePart(file, 0, first), verifier, max_line_bytes)
    if not (verifier.is_open_and_valid and verifier.run_id and signatures.takes_blocks):
        return None
    part_between = partial(
        Part,
        path=os.path.abspath(file.name),  # noqa: PTH100 - a path of bytes has to stay one
        identity=(status.st_dev, status.st_ino),
        run_id=verifier.run_id,
        is_signed=signatures.is_signed is True,
        # Of several keys, the one that fits the first record is that of the whole export.
        accepted=accepted if signatures.key is None else replace(accepted, keys=(signatures.key,)),
        max_line_bytes=max_line_bytes,
    )
    last = first
    with worker_pool(jobs) as pool:
        waiting: deque[Future[CheckedPart | None]] = deque()

        def add_checked() -> bool:
            checked = _result(waiting.popleft())
            if checked is None:
                return False
            signatures.add_checked(checked.signatures, sum(checked.counts.values()))
            verifier.add_checked(checked.counts, checked.outer)
            return verifier.is_open_and_valid

        for border in borders:
            waiting.append(pool.submit(check_part, part_between(first=last, end=border)))
            last = border
            if len(waiting) > _WAITING_PARTS_PER_JOB * jobs and not add_checked():
                return None
        while waiting:
            if not add_checked():
                return None
    check_jsonl(FilePart(file, last, status.st_size), verifier, max_line_bytes)
    result = verifier.result()
    # Another process may have written to the file.
    is_as_before = os.fstat(file.fileno()).st_size == status.st_size
    return result if result.ok and is_as_before else None


def _result(checked: "Future[CheckedPart | None]") -> CheckedPart | None:
    try:
        return checked.result()
    except BrokenExecutor:
        raise ChildProcessError(
            errno.ECHILD, "a process that shared the verification has ended; use --jobs 1"
        ) from None


def check_part(part: Part) -> CheckedPart | None:
    """Check one part; return what it holds, or None if anything may be wrong with it."""
    try:
        file = open(part.path, "rb")  # noqa: PTH123, SIM115
    except OSError:
        return None
    with file:
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != part.identity:
            return None
        collected = _CollectedSignatures()
        signatures = SignatureVerifier(part.accepted, collected)
        order = OrderInsideRun()
        verifier = Verifier(signatures, expected_run=part.run_id, order=order)
        try:
            check_jsonl(FilePart(file, part.first, part.end), verifier, part.max_line_bytes)
        except SigningKeyError:
            # The export begins unsigned, so that no key was asked for.
            return None
    if not verifier.is_open_and_valid or signatures.is_signed is not part.is_signed:
        return None
    return CheckedPart(verifier.counts, collected.joined(), order.outer)


class _CollectedSignatures:
    """Keeps the signatures, which are hashed with those of the parts before."""

    def __init__(self) -> None:
        self._signatures: list[bytes] = []

    def update(self, content: bytes, /) -> None:
        """Take the next signatures."""
        self._signatures.append(content)

    def joined(self) -> bytes:
        """Return all of them."""
        return b"".join(self._signatures)

    def hexdigest(self) -> str:
        """Return no hash: a part has no manifest that states one."""
        return ""


class FilePart:
    """The bytes of a file between two offsets, as a file that is read once."""

    def __init__(self, file: io.BufferedReader, first: int, end: int) -> None:
        self._file = file
        self._left = end - first
        file.seek(first)

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes; none at the end."""
        return self._taken(self._file.read(min(size, self._left)))

    def readline(self, size: int, /) -> bytes:
        """Read to the end of a line, but at most so many bytes."""
        return self._taken(self._file.readline(min(size, self._left)))

    def _taken(self, content: bytes) -> bytes:
        self._left -= len(content)
        return content


def _borders(file: io.BufferedReader, size: int, max_line_bytes: int) -> Iterator[int]:
    """Yield where parts begin, without the first one."""
    at = PART_BYTES
    while at < size:
        file.seek(at)
        held = b""
        while True:
            # As much again as is held, so that the time to find a border behind a long line is in
            # proportion to it.
            content = file.read(max(_SEARCHED_BYTES, len(held)))
            held += content
            # Only whole lines are searched, each with the newline before it.
            end = held.rfind(b"\n")
            found = _OUTER_LINE.search(held, 0, max(end, 0))
            if found is not None:
                break
            if end > 0:
                at += end
                held = held[end:]
            if not content or len(held) > max_line_bytes:
                return
        yield at + found.end()
        at += found.end() + PART_BYTES


@contextmanager
def worker_pool(jobs: int) -> Iterator[Executor]:
    """Start processes, which end when the block does, or with this process."""
    # Spawned, because the fork of a process with threads can deadlock.
    _start_tracker()
    child_end, parent_end = Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(child_end,)
    )
    try:
        yield pool
    finally:
        # Ends the processes, so that shutdown does not wait for the parts that they check.
        parent_end.close()
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


def _start_worker(parent: Connection) -> None:
    """Prepare a worker's process, which ends when the parent's end of the pipe is closed."""
    gc.disable()
    # Ctrl-C reaches every process of a terminal. Only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def exit_with_parent() -> None:
        # The kernel closes the parent's end when the parent is killed, even by SIGKILL.
        parent.poll(None)
        os._exit(1)

    Thread(target=exit_with_parent, daemon=True).start()
