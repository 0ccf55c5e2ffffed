"""Atomic writing: new files and directories that appear at their path complete or not at all."""

# The steps: write beside the target, flush, rename, flush the directory. The unfinished file has a
# name derived from the target's, and the process that writes it holds a lock on it. A second
# process that writes to the same target finds the lock and is refused. The kernel releases the lock
# of a killed process, and the next process removes the file. `tests/faults/test_signals.py` kills
# an export at every write, flush, rename and unlink.

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
# Processes that remove the same leftovers can remove a file that the other has just created, so one
# attempt is not always enough. The limit prevents an endless loop.
_CLAIM_ATTEMPTS = 100


class ExportTargetError(ValueError):
    """The target of an export cannot be written; nothing was changed there."""


class ExportInProgressError(OSError):
    """Another process is writing to the same target; nothing was changed there."""


class UnconfirmedExportError(RuntimeError):
    """The export is complete and in place, but may not be recorded or survive a power cut."""


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that becomes `path` when the block succeeds.

    Until then `path` is unchanged, and a block that raises leaves no file. A symbolic link at
    `path` is replaced; its target is unchanged.

    Raises:
        ExportTargetError: `path` cannot be a file.
        ExportInProgressError: Another process is writing to `path`.
        OSError: Writing fails.
        UnconfirmedExportError: The file is in place, but may not survive a power cut.
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
            # The content reaches the disk before the name: after a power cut `path` is the complete
            # new file or the old one.
            flush_to_disk(file)
            unfinished.chmod(_mode_of(path, 0o666))
            unfinished.replace(path)
        except BaseException:
            _discard(unfinished, file)
            raise
    _confirm(path)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Create a directory for the block to fill, which becomes `path` when the block succeeds.

    Raises:
        ExportTargetError: `path` cannot be a directory.
        ExportInProgressError: Another process is writing to `path`.
        OSError: Writing fails.
        UnconfirmedExportError: The directory is in place, but may not survive a power cut, or the
            one that it replaced could not be removed.
    """
    refuse_unusable(path)
    unfinished = _unfinished_beside(path)
    with _deferred_signals() as admit_signals:
        descriptor = _claim(unfinished, path, _create_directory)
        try:
            with _spare_descriptor(descriptor):
                admit_signals()
                recover_directory(path)
                yield unfinished
                sync_directory(unfinished)
                for file in unfinished.iterdir():
                    file.chmod(_default_mode(0o666))
                unfinished.chmod(_mode_of(path, 0o777))
                # rename(2) does not replace a directory that is not empty. An old directory is
                # renamed aside and later removed; `recover_directory` handles a kill in between.
                if path.exists():
                    path.rename(_replaced(path))
                unfinished.rename(path)
        except BaseException:
            _discard_directory(unfinished)
            recover_directory(path)
            raise
        finally:
            os.close(descriptor)
    # The old directory is removed only after the name of the new one is safe on disk.
    _confirm(path)
    _remove_replaced(path)


@contextmanager
def parts_folder_beside(path: Path) -> Iterator[Path]:
    """Create a folder for the parts of a file that is written to `path`, and remove it on exit.

    Use it inside `new_file(path)`, whose lock protects the folder too and which removes the folder
    of a killed process.
    """
    folder = _parts_folder(_unfinished_beside(path))
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_being_written(path: Path) -> bool:
    """Whether another process is writing to `path` now."""
    try:
        descriptor = os.open(_unfinished_beside(path), _OPEN)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def recover_directory(path: Path) -> None:
    """Finish or undo a replacement of `path` by `new_directory` that a kill interrupted."""
    replaced = _replaced(path)
    if not replaced.is_dir():
        return
    if path.exists():
        shutil.rmtree(replaced)  # the new directory was in place already
    else:
        replaced.rename(path)
    sync_directory(path.parent)


def create_owner_only(path: Path) -> IO[bytes]:
    """Create a new file for writing, which only its owner can read."""
    return os.fdopen(_create_file(path), "wb")


def flush_to_disk(file: IO[bytes]) -> None:
    """Flush the content of a file to disk, so that it survives a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to disk, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_unusable(path: Path) -> None:
    """Refuse a path to which an export cannot be written, before any work.

    Raises:
        ExportTargetError: The name is empty, too long, or holds a NUL character.
        FileNotFoundError: The parent directory does not exist.
    """
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
    """Refuse to replace a directory, a device, a pipe or a database.

    A symbolic link may be replaced, unless it leads to a device or a pipe such as /dev/stdout.
    """
    if not path.exists():
        return
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        if not path.is_symlink():
            raise ExportTargetError(f"{path} is a directory; a file name is needed")
    elif not stat.S_ISREG(kind):
        raise ExportTargetError(f"{path} is a device or a pipe; a regular file is needed")
    elif not path.is_symlink() and _is_database(path):
        raise ExportTargetError(f"{path} is a database, which an export must not replace")


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
"""The signals that end a command with an exception."""


@contextmanager
def _deferred_signals() -> Iterator[Callable[[], None]]:
    """Block the signals that end a command until the block calls the function that it gets."""
    # A signal between the creation of a file and the `try` that removes it would leave the file.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)

    def admit() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield admit
    finally:
        admit()


def _claim(unfinished: Path, target: Path, create: Callable[[Path], int]) -> int:
    """Create the unfinished file or directory, lock it, and return its descriptor.

    Leftovers without a lock are removed.

    Raises:
        ExportInProgressError: Another process holds the lock.
    """
    for _ in range(_CLAIM_ATTEMPTS):
        try:
            descriptor = create(unfinished)
        except FileExistsError:
            _remove_leftovers(unfinished, target)
            continue
        # Between creation and lock another process can take the file for a leftover and remove it.
        # Then the descriptor is locked but the path names another file, or none: create it again.
        if _lock(descriptor) and _is_at(unfinished, descriptor):
            shutil.rmtree(_parts_folder(unfinished), ignore_errors=True)
            return descriptor
        os.close(descriptor)
    raise _in_progress(target)


def _remove_leftovers(unfinished: Path, target: Path) -> None:
    try:
        descriptor = os.open(unfinished, _OPEN)
    except FileNotFoundError:
        return
    try:
        if not _lock(descriptor):
            raise _in_progress(target)
        # The lock proves that the owner has ended, but by now the path can name a newer file.
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
        return os.open(path, _OPEN | os.O_DIRECTORY)
    except BaseException:
        path.rmdir()
        raise


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False when another process holds the lock."""
    # flock and not fcntl's record locks: those belong to a process, so two exports of one process
    # would not exclude one another, and closing any descriptor of the file would release them.
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
    """Remove an unfinished file."""
    unfinished.unlink(missing_ok=True)
    # Closing writes the buffer, which may fail for the same reason as before: a full disk.
    with suppress(OSError):
        file.close()


@contextmanager
def _spare_descriptor(descriptor: int) -> Iterator[None]:
    """Reserve a descriptor for the removal of the directory after an error in the block."""
    # Reading a directory takes a descriptor, and the error can be that none is left.
    spare = os.dup(descriptor)
    try:
        yield
    finally:
        os.close(spare)


def _discard_directory(unfinished: Path) -> None:
    """Remove an unfinished directory of files, with one descriptor at most."""
    with suppress(OSError):
        for name in os.listdir(unfinished):  # noqa: PTH208 - iterdir keeps a descriptor open
            (unfinished / name).unlink()
    with suppress(OSError):
        unfinished.rmdir()


def _confirm(path: Path) -> None:
    """Flush the new name to disk, so that it survives a power cut."""
    try:
        sync_directory(path.parent)
    except OSError as error:
        raise UnconfirmedExportError(
            f"{path} is complete and in place, but {path.parent} could not be flushed to disk "
            f"({error.strerror}): after a power cut it may be gone"
        ) from error


def _remove_replaced(path: Path) -> None:
    """Remove the directory that the new one has replaced."""
    try:
        recover_directory(path)
    except OSError as error:
        raise UnconfirmedExportError(
            f"{path} is complete and in place, but what it replaced, {_replaced(path)}, could not "
            f"be removed ({error.strerror})"
        ) from error


def _unfinished_beside(path: Path) -> Path:
    return path.parent / f".export-{_name_digest(path)}.tmp"


def _parts_folder(unfinished: Path) -> Path:
    return unfinished.with_suffix(".parts")


def _replaced(path: Path) -> Path:
    return path.parent / f".export-{_name_digest(path)}.old"


def _name_digest(path: Path) -> str:
    # A digest, since the name with a prefix could be longer than a file name can be.
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]


def _mode_of(path: Path, default: int) -> int:
    """Return the permissions of the file that is replaced, or else those of a new file."""
    if path.is_symlink() or not path.exists():
        return _default_mode(default)
    return stat.S_IMODE(path.lstat().st_mode)


def _default_mode(mode: int) -> int:
    # The umask can only be read by setting it. A strict one in between: another thread can create a
    # file at that moment.
    mask = os.umask(0o077)
    os.umask(mask)
    return mode & ~mask
