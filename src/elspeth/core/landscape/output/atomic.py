"""Atomic writing: new files and directories that appear at their path complete or not at all."""

# The steps: lock the target, remove what a killed process has left, write beside the target, flush,
# rename, flush the directory, remove what was replaced, unlock. Nothing at any of these names
# changes before the lock is held or after it is released. `tests/faults/test_signals.py` kills an
# export at every write, flush, rename and unlink, and `tests/elspeth/landscape/test_lock.py` runs a
# second process at each of these moments.

import errno
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from elspeth.core.landscape.output.lock import (
    ExportInProgressError,
    ExportTargetError,
    hidden_beside,
    is_being_written,
    refuse_irregular_leftover,
    remove_left_lock,
    target_lock,
)

__all__ = [
    "ExportInProgressError",
    "ExportTargetError",
    "UnconfirmedExportError",
    "create_owner_only",
    "flush_to_disk",
    "is_being_written",
    "new_directory",
    "new_file",
    "parts_folder_beside",
    "recover_directory",
    "refuse_unusable",
    "remove_left_lock",
    "sync_directory",
]

_LONGEST_NAME_BYTES = 255
_SQLITE_HEADER = b"SQLite format 3\0"
_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


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
    unfinished = hidden_beside(path, "tmp")
    with _deferred_signals() as admit_signals, target_lock(path):
        _remove_leftovers(path)
        with os.fdopen(_create_file(unfinished), "wb") as file:
            try:
                admit_signals()
                yield file
                # The content reaches the disk before the name: after a power cut `path` is the
                # complete new file or the old one.
                flush_to_disk(file)
                # Again, because the block may have taken hours.
                _refuse_irregular(path)
                unfinished.chmod(_mode_of(path, 0o666))
                unfinished.replace(path)
            except BaseException as error:
                _name_target(error, path)
                _discard(unfinished, file)
                raise
        _confirm(path)


@contextmanager
def new_directory(path: Path, *, refuse: Callable[[Path], None] = lambda _: None) -> Iterator[Path]:
    """Create a directory for the block to fill, which becomes `path` when the block succeeds.

    Args:
        path: The directory, replaced when it exists.
        refuse: Called with `path` under the lock of the target, before the block. It raises if
            what is there must not be replaced.

    Raises:
        ExportTargetError: `path` cannot be a directory.
        ExportInProgressError: Another process is writing to `path`.
        OSError: Writing fails.
        UnconfirmedExportError: The directory is in place, but may not survive a power cut, or the
            one that it replaced could not be removed.
    """
    refuse_unusable(path)
    unfinished = hidden_beside(path, "tmp")
    with _deferred_signals() as admit_signals, target_lock(path):
        # First, because a kill can have left the export under its other name.
        _recover(path)
        refuse(path)
        _remove_leftovers(path)
        descriptor = _create_directory(unfinished)
        try:
            with _spare_descriptor(descriptor):
                admit_signals()
                yield unfinished
                sync_directory(unfinished)
                for file in unfinished.iterdir():
                    file.chmod(_default_mode(0o666))
                unfinished.chmod(_mode_of(path, 0o777))
                # Again, because the block may have taken hours.
                refuse(path)
                # rename(2) does not replace a directory that is not empty. An old directory is
                # renamed aside and later removed; `_recover` handles a kill in between.
                if path.exists():
                    path.rename(_replaced(path))
                unfinished.rename(path)
        except BaseException as error:
            _name_target(error, path)
            _discard_directory(unfinished)
            _recover(path)
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
    folder = hidden_beside(path, "parts")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def recover_directory(path: Path) -> None:
    """Finish or undo a replacement of `path` by `new_directory` that a kill interrupted.

    Raises:
        ExportInProgressError: Another process is writing to `path`, and will finish it.
        OSError: Renaming or removing fails.
    """
    # Without a leftover the folder may be one that cannot be written to.
    if _replaced(path).is_dir():
        with target_lock(path):
            _recover(path)


def _recover(path: Path) -> None:
    """Do the work of `recover_directory` under the lock of the target."""
    replaced = _replaced(path)
    refuse_irregular_leftover(replaced)
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
        ExportTargetError: The name is empty, too long, holds a NUL character, or belongs to an
            SQLite database.
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
    for suffix in _SQLITE_SUFFIXES:
        name = path.name.removesuffix(suffix)
        database = path.with_name(name or path.name)
        if name != path.name and database.is_file() and _is_database(database):
            raise ExportTargetError(
                f"{path} is the name of a file that SQLite writes beside {database}, and would "
                "replace or remove; choose another name"
            )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "No such directory; create it first", str(path.parent)
        )
    # A file system that ignores case or accents finds another file under this name. Two spellings
    # would have two locks, and would replace each other's export.
    if os.path.lexists(path) and path.name not in os.listdir(path.parent):  # noqa: PTH208
        raise ExportTargetError(
            f"{path} is there under another spelling of its name; use that one, or another name"
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
_ERRORS_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The system calls that give these know a descriptor, and no name."""
_STOP_SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP),
    *(signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2),
)
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


def _remove_leftovers(path: Path) -> None:
    """Remove what a killed process has left of an unfinished export, under the target's lock."""
    for leftover in (hidden_beside(path, "tmp"), hidden_beside(path, "parts")):
        refuse_irregular_leftover(leftover)
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _create_file(path: Path) -> int:
    return os.open(path, _CREATE, 0o600)


def _create_directory(path: Path) -> int:
    path.mkdir(mode=0o700)
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except BaseException:
        path.rmdir()
        raise


def _name_target(error: BaseException, path: Path) -> None:
    """Let an error of writing or renaming name the target, and not nothing or a hidden file."""
    if isinstance(error, OSError):
        is_unnamed = error.filename is None and error.errno in _ERRORS_OF_WRITING
        # Only a rename has two names.
        if is_unnamed or error.filename2 is not None:
            error.filename = str(path)


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
        _recover(path)
    except OSError as error:
        raise UnconfirmedExportError(
            f"{path} is complete and in place, but what it replaced, {_replaced(path)}, could not "
            f"be removed ({error.strerror})"
        ) from error


def _replaced(path: Path) -> Path:
    return hidden_beside(path, "old")


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
