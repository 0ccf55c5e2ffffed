"""A file or directory put in place whole or not at all: write beside, flush, rename, flush."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

_LONGEST_NAME_BYTES = 255
_SQLITE_HEADER = b"SQLite format 3\0"


class ExportTargetError(ValueError):
    """The place an export was to be written to cannot take it; nothing was changed there."""


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that becomes `path` when the block succeeds.

    Until then `path` keeps what it held; a block that raises leaves no trace. A symbolic link at
    `path` is replaced, what it points to is left alone. Raises ExportTargetError when `path`
    cannot be a file, OSError when writing fails.
    """
    refuse_unusable(path)
    _refuse_irregular(path)
    unfinished = _unfinished_beside(path)
    try:
        with create_owner_only(unfinished) as file:
            yield file
            flush_to_disk(file)
        unfinished.chmod(_mode_of(path, 0o666))
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Make a directory to fill that becomes `path` when the block succeeds.

    A directory already at `path` is renamed aside, replaced and removed. What a process killed in
    between left behind is settled first: see `settle_directory`.
    """
    refuse_unusable(path)
    settle_directory(path)
    unfinished = _unfinished_beside(path)
    try:
        unfinished.mkdir(mode=0o700)
        yield unfinished
        sync_directory(unfinished)
        for file in unfinished.iterdir():
            file.chmod(_default_mode(0o666))
        unfinished.chmod(_mode_of(path, 0o777))
        if path.exists():
            path.rename(_aside(path))
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        settle_directory(path)
        raise
    sync_directory(path.parent)
    settle_directory(path)


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
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")


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


def _unfinished_beside(path: Path) -> Path:
    return path.parent / f".export-{uuid4().hex}.tmp"


def _aside(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    return path.parent / f".export-{digest[:32]}.old"


def _mode_of(path: Path, most: int) -> int:
    """The permissions of what is replaced, or those that something new would get."""
    if path.is_symlink() or not path.exists():
        return _default_mode(most)
    return stat.S_IMODE(path.lstat().st_mode)


def _default_mode(most: int) -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return most & ~mask
