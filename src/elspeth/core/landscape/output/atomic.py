"""A file or directory put in place whole or not at all: write beside, flush, rename, flush.

What is being written lies beside its target under a name that follows from the target's, locked by
the process that writes it. So a second process at the same target is turned away, and what a killed
one left behind is known by its missing lock and removed by the next.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LONGEST_NAME_BYTES = 255
_SQLITE_HEADER = b"SQLite format 3\0"
_TRIES = 100
"""More than two processes that clear the same leftovers can take from each other."""


class ExportTargetError(ValueError):
    """The place an export was to be written to cannot take it; nothing was changed there."""


class ExportInProgressError(OSError):
    """Another process is writing to the same target; nothing was changed there."""


class UnconfirmedExportError(RuntimeError):
    """What was asked for is in place and complete, but not known to be recorded or durable."""


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that becomes `path` when the block succeeds.

    Until then `path` keeps what it held; a block that raises leaves no trace. A symbolic link at
    `path` is replaced, what it points to is left alone. Raises ExportTargetError when `path`
    cannot be a file, ExportInProgressError when another process is writing it, OSError when
    writing fails, and UnconfirmedExportError when the file is in place and may not outlive a
    power cut.
    """
    refuse_unusable(path)
    _refuse_irregular(path)
    unfinished = _unfinished_beside(path)
    with (
        _deferred_signals() as admit_signals,
        os.fdopen(_claim(unfinished, path, _create_file), "wb") as file,
    ):
        try:
            admit_signals()
            yield file
            flush_to_disk(file)
            unfinished.chmod(_mode_of(path, 0o666))
            unfinished.replace(path)
        except BaseException:
            _discard(unfinished, file)
            raise
    _confirm(path)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Make a directory to fill that becomes `path` when the block succeeds.

    A directory already at `path` is renamed aside, replaced and removed. What a process killed in
    between left behind is settled first: see `settle_directory`. Raises what `new_file` raises.
    """
    refuse_unusable(path)
    unfinished = _unfinished_beside(path)
    with _deferred_signals() as admit_signals:
        descriptor = _claim(unfinished, path, _create_directory)
        try:
            with _spare_descriptor(descriptor):
                admit_signals()
                settle_directory(path)
                yield unfinished
                sync_directory(unfinished)
                for file in unfinished.iterdir():
                    file.chmod(_default_mode(0o666))
                unfinished.chmod(_mode_of(path, 0o777))
                if path.exists():
                    path.rename(_aside(path))
                unfinished.rename(path)
        except BaseException:
            _discard_directory(unfinished)
            settle_directory(path)
            raise
        finally:
            os.close(descriptor)
    _confirm(path)
    _clear_away(path)


@contextmanager
def workshop_beside(path: Path) -> Iterator[Path]:
    """Hold a folder for the parts of what is being written to `path`, removed at the end.

    For whoever is inside `new_file(path)`, which removes what a killed process left of one.
    """
    folder = _workshop(_unfinished_beside(path))
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_being_written(path: Path) -> bool:
    """Whether a living process is writing to `path` now."""
    try:
        descriptor = os.open(_unfinished_beside(path), _LOOK)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def settle_directory(path: Path) -> None:
    """Finish or undo a replacement of `path` that was cut off between its two renames."""
    aside = _aside(path)
    if not aside.is_dir():
        return
    if path.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(path)
    sync_directory(path.parent)


def create_owner_only(path: Path) -> IO[bytes]:
    """Create a new file that nobody else can read, for writing."""
    return os.fdopen(_create_file(path), "wb")


def flush_to_disk(file: IO[bytes]) -> None:
    """Make sure that what was written outlives a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory outlive a power cut, where the platform can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_unusable(path: Path) -> None:
    """Refuse names that no file can have, and folders that are not there, before any work."""
    if "\0" in str(path):
        raise ExportTargetError("The output path holds a NUL character; choose another name")
    if path.name in ("", ".."):
        raise ExportTargetError(f"{path} names no file or directory to write")
    if len(os.fsencode(path.name)) > _LONGEST_NAME_BYTES:
        raise ExportTargetError(
            f"The output name is longer than {_LONGEST_NAME_BYTES} bytes; choose a shorter one"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "No such directory; create it first", str(path.parent)
        )


def _refuse_irregular(path: Path) -> None:
    """Refuse what a new file would put an end to: a directory, a device, a pipe, a database.

    A symbolic link may be replaced, unless it leads to a device or a pipe such as /dev/stdout.
    """
    if not path.exists():
        return
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        if not path.is_symlink():
            raise ExportTargetError(f"{path} is a directory; a file name is needed")
    elif not stat.S_ISREG(kind):
        raise ExportTargetError(f"{path} is a device or a pipe; a file of its own is needed")
    elif not path.is_symlink() and _is_database(path):
        raise ExportTargetError(f"{path} is a database, which an export must not replace")


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


@contextmanager
def _deferred_signals() -> Iterator[Callable[[], None]]:
    """Keep the signals that end a command from coming between a claim and what would undo it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def admit() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield admit
    finally:
        admit()


def _claim(unfinished: Path, target: Path, create: Callable[[Path], int]) -> int:
    """Create what is going to be `target` and lock it; return its descriptor.

    Leftovers without a lock are removed. Raises ExportInProgressError when there is a lock.
    """
    for _ in range(_TRIES):
        try:
            descriptor = create(unfinished)
        except FileExistsError:
            _remove_leftovers(unfinished, target)
            continue
        # Until it is locked, another process may take it for leftovers and remove it.
        if _lock(descriptor) and _is_at(unfinished, descriptor):
            shutil.rmtree(_workshop(unfinished), ignore_errors=True)
            return descriptor
        os.close(descriptor)
    raise _in_progress(target)


def _remove_leftovers(unfinished: Path, target: Path) -> None:
    try:
        descriptor = os.open(unfinished, _LOOK)
    except FileNotFoundError:
        return
    try:
        if not _lock(descriptor):
            raise _in_progress(target)
        if _is_at(unfinished, descriptor):
            _remove(unfinished)
    finally:
        os.close(descriptor)


def _in_progress(target: Path) -> ExportInProgressError:
    return ExportInProgressError(
        errno.EBUSY,
        "another process is writing an export to it; wait for that, or choose another place",
        str(target),
    )


def _create_file(path: Path) -> int:
    return os.open(path, _CREATE, 0o600)


def _create_directory(path: Path) -> int:
    path.mkdir(mode=0o700)
    try:
        return os.open(path, _LOOK | os.O_DIRECTORY)
    except BaseException:
        path.rmdir()
        raise


def _lock(descriptor: int) -> bool:
    """Lock what is open for this process, until it is closed; False when another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _discard(unfinished: Path, file: IO[bytes]) -> None:
    """Remove a file that will not be finished, and forget what it has not been given yet."""
    unfinished.unlink(missing_ok=True)
    # Closing writes what is buffered, which may fail for the reason that brought us here.
    with suppress(OSError):
        file.close()


@contextmanager
def _spare_descriptor(descriptor: int) -> Iterator[None]:
    """Keep one descriptor for removing what is not finished: when all are used up, it takes one."""
    spare = os.dup(descriptor)
    try:
        yield
    finally:
        os.close(spare)


def _discard_directory(unfinished: Path) -> None:
    """Remove a directory of files that will not be finished; rmtree would take more descriptors."""
    with suppress(OSError):
        for name in os.listdir(unfinished):  # noqa: PTH208 - iterdir has a descriptor open longer
            (unfinished / name).unlink()
    with suppress(OSError):
        unfinished.rmdir()


def _confirm(path: Path) -> None:
    """Make the new name outlive a power cut."""
    try:
        sync_directory(path.parent)
    except OSError as error:
        raise UnconfirmedExportError(
            f"{path} is complete and in place, but {path.parent} could not be flushed to disk "
            f"({error.strerror}): after a power cut it may be gone"
        ) from error


def _clear_away(path: Path) -> None:
    """Remove what a directory in place has replaced."""
    try:
        settle_directory(path)
    except OSError as error:
        raise UnconfirmedExportError(
            f"{path} is complete and in place, but what it replaced, {_aside(path)}, could not "
            f"be removed ({error.strerror})"
        ) from error


def _unfinished_beside(path: Path) -> Path:
    return path.parent / f".export-{_name_digest(path)}.tmp"


def _workshop(unfinished: Path) -> Path:
    return unfinished.with_suffix(".parts")


def _aside(path: Path) -> Path:
    return path.parent / f".export-{_name_digest(path)}.old"


def _name_digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]


def _mode_of(path: Path, most: int) -> int:
    """The permissions of what is replaced, or those that something new would get."""
    if path.is_symlink() or not path.exists():
        return _default_mode(most)
    return stat.S_IMODE(path.lstat().st_mode)


def _default_mode(most: int) -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return most & ~mask
