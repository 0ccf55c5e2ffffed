"""The lock of an export's target: one process at a time writes, renames or removes there."""

# The lock is a separate file beside the target, not the unfinished export: that is renamed to the
# target while there is still something to remove, and its lock would then exclude nobody.

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

# O_NONBLOCK, because opening a pipe would wait for a writer.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR)
"""The errors of opening a link, a socket, a device without a driver, and a directory."""
# A process removes its lock file before it releases the lock. Another one may have opened the file
# before that, and has to open the next one. The limit prevents an endless loop.
_MOST_ATTEMPTS = 100
# `is_being_written` and `remove_left_lock` hold the lock for some microseconds.
_TRIES, _SECONDS_BETWEEN_TRIES = 5, 0.01


class ExportTargetError(ValueError):
    """The target of an export cannot be written; nothing was changed there."""


class ExportInProgressError(OSError):
    """Another process is writing to the same target; nothing was changed there."""


@contextmanager
def target_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a target. The kernel releases the lock of a killed process.

    Raises:
        ExportInProgressError: Another process holds it.
        ExportTargetError: Something other than a file stands at the name of the lock.
        OSError: The folder cannot be written to.
    """
    lock = hidden_beside(path, "lock")
    descriptor = _acquire(lock, path)
    try:
        yield
    finally:
        # Before the release: who opens the file later would lock one that is removed here.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def is_being_written(path: Path) -> bool:
    """Whether another process is writing to `path` now."""
    try:
        descriptor = os.open(hidden_beside(path, "lock"), _OPEN)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def remove_left_lock(path: Path) -> None:
    """Remove the lock file that a killed export to `path` has left. One that is held stays.

    A new export to `path` does so too. This is for a command that finds the export complete.
    """
    lock = hidden_beside(path, "lock")
    # What cannot be removed, as on read-only media, harms nobody.
    with suppress(OSError):
        descriptor = os.open(lock, _OPEN)
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            if is_file and _lock(descriptor, fcntl.LOCK_EX) and _is_at(lock, descriptor):
                lock.unlink()
        finally:
            os.close(descriptor)


def hidden_beside(path: Path, suffix: str) -> Path:
    """Return a hidden name beside a target, derived from the target's name."""
    # A digest, since the name with a prefix could be longer than a file name can be.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
    return path.parent / f".export-{digest}.{suffix}"


def refuse_irregular_leftover(path: Path) -> None:
    """Refuse what no export has left at one of its hidden names: a link, a pipe, a device.

    Raises:
        ExportTargetError: There is such a thing. It is not opened and stays.
    """
    with suppress(FileNotFoundError):
        kind = path.lstat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise _obstructed(path)


def _acquire(lock: Path, target: Path) -> int:
    """Open the lock file, lock it, and return its descriptor."""
    for _ in range(_MOST_ATTEMPTS):
        descriptor = _open(lock)
        if not _lock_soon(descriptor):
            os.close(descriptor)
            raise _in_progress(target)
        if _is_at(lock, descriptor):
            return descriptor
        os.close(descriptor)
    raise _in_progress(target)


def _open(lock: Path) -> int:
    try:
        descriptor = os.open(lock, _OPEN | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise _obstructed(lock) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _obstructed(lock)


def _lock_soon(descriptor: int) -> bool:
    for _ in range(_TRIES):
        if _lock(descriptor, fcntl.LOCK_EX):
            return True
        sleep(_SECONDS_BETWEEN_TRIES)
    return False


def _lock(descriptor: int, kind: int) -> bool:
    """Lock an open file until it is closed; return False when another process holds the lock."""
    # flock and not fcntl's record locks: those belong to a process, so two exports of one process
    # would not exclude one another, and closing any descriptor of the file would release them.
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False


def _in_progress(target: Path) -> ExportInProgressError:
    return ExportInProgressError(
        errno.EBUSY,
        "another process is writing an export to it; wait for that, or choose another place",
        str(target),
    )


def _obstructed(path: Path) -> ExportTargetError:
    return ExportTargetError(
        f"{path} is neither a file nor a directory, and an export needs that name; remove it"
    )
