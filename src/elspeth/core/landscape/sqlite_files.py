"""Opens an SQLite database for reading so that it, the files beside it and the folder stay as is.

A reader of a database with a write-ahead log (WAL) writes to `-shm`, and leaves `-wal` and `-shm`
where there were none. A log or a journal that a crash has left is replayed by the next connection.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote_to_bytes, urlsplit

from sqlalchemy import URL

_LOCKS = Path("/proc/locks")
_COPY_ATTEMPTS = 3


class DatabaseNotFoundError(FileNotFoundError):
    """The SQLite file of a URL does not exist, and was not created."""


@dataclass
class SqliteReader:
    """How a database is opened for reading, and what is cleared away after it is closed.

    Attributes:
        path: The file to open with `mode=ro`: the database, or a private copy of it.
        is_immutable: Whether to open it with `immutable=1`, which takes no lock and ignores a log.
    """

    path: Path
    is_immutable: bool = False
    _leaves_log: bool = False
    _folder: "TemporaryDirectory[str] | None" = field(default=None, repr=False)

    def close(self) -> None:
        """Clear away what reading has left. Call it when all connections are closed."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        # Only SQLite may remove the files, since it knows whether another connection uses them. It
        # does so when the last connection closes, if that one may write. There was no log before,
        # so anything in it now is of a writer that came later.
        if self._leaves_log and _beside(self.path, "-wal").exists():
            with suppress(sqlite3.Error), closing(_connect(self.path, "mode=rw")) as connection:
                connection.execute("PRAGMA schema_version").fetchone()


def open_for_reading(path: Path) -> SqliteReader:
    """Decide how to read a database without changing anything.

    Where a crash has left a log or a journal, database and log are copied to a private folder, and
    the copy is read. A database that another process uses is read in place.

    Args:
        path: The database, which exists.

    Raises:
        OSError: It must be copied, and the copy fails or is overtaken by a writer.
    """
    for _ in range(_COPY_ATTEMPTS):
        if not _leftovers(path):
            return _without_leftovers(path)
        if _is_in_use(path) or _has_empty_log(path):
            return SqliteReader(path)
        if (copied := _copied(path)) is not None:
            return copied
    raise OSError(errno.EBUSY, f"changes while it is copied: {_advice(path)}", str(path))


def _without_leftovers(path: Path) -> SqliteReader:
    if _is_writable(path):
        return SqliteReader(path, _leaves_log=True)
    # Locks protect from a writer with more rights, but with a write-ahead log they need files.
    if _is_in_use(path) or not _is_wal(path):
        return SqliteReader(path)
    # There is neither a log nor a journal, and none can be made here.
    return SqliteReader(path, is_immutable=True)


def unchanging_url(url: URL) -> tuple[URL, SqliteReader | None]:
    """Return the URL by which a database is read without changing anything, and its reader.

    Raises:
        DatabaseNotFoundError: There is no such file.
        OSError: As `open_for_reading`, or the URL asks to ignore a log or a journal that is there.
    """
    read = existing_file(url, mode="ro")
    parts = urlsplit(str(read.database))
    # A path is bytes, and need not be UTF-8.
    path = Path(os.fsdecode(unquote_to_bytes(parts.path.encode("utf-8", "surrogateescape"))))
    if parts.scheme != "file" or not path.is_file():
        return read, None
    if "immutable" in read.query:
        _refuse_to_ignore(path)
        return read, None
    reader = open_for_reading(path)
    read = read.set(database=reader.path.absolute().as_uri())
    if reader.is_immutable:
        read = read.update_query_dict({"immutable": "1"})
    return read, reader


def _refuse_to_ignore(path: Path) -> None:
    """Refuse to ignore a log that holds rows, or a journal that would be replayed."""
    if any(file.stat().st_size for file in _leftovers(path)):
        raise OSError(
            errno.EBUSY,
            "has a log or a journal, which immutable=1 ignores: committed rows would be missing; "
            "take immutable out of the URL",
            str(path),
        )


def existing_file(url: URL, *, mode: str) -> URL:
    """Return the URL of an existing file as a file URI with a mode, `ro` or `rw`.

    Raises:
        DatabaseNotFoundError: There is no such file.
    """
    if "uri" in url.query:
        return url.update_query_dict({"mode": mode})
    path = Path(url.database or "").absolute()
    if not path.is_file():
        raise DatabaseNotFoundError(f"No database file at {path}; nothing was created there")
    return url.set(database=path.as_uri()).update_query_dict({"mode": mode, "uri": "true"})


def _beside(path: Path, suffix: str) -> Path:
    # SQLite follows links, and the other files lie beside the database itself.
    real = path.resolve()
    return real.with_name(real.name + suffix)


def _connect(path: Path, query: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?{query}", uri=True)


def _leftovers(path: Path) -> Sequence[Path]:
    """Return the log or the journal that a connection would read, or replay."""
    log, journal = _beside(path, "-wal"), _beside(path, "-journal")
    if log.exists():
        return [log]
    with suppress(FileNotFoundError), journal.open("rb") as file:
        # As SQLite judges it: any other first byte than zero has to be looked at, and a reader may
        # not do that in place.
        if file.read(1) not in (b"", b"\0"):
            return [journal]
    return []


def _has_empty_log(path: Path) -> bool:
    """Whether the log holds nothing, and reading in place makes no file.

    A reader that could not clear away its log has left it.
    """
    with suppress(FileNotFoundError):
        log, index = _beside(path, "-wal"), _beside(path, "-shm")
        return log.stat().st_size == 0 and index.exists() and _is_writable(path)
    return False


def _is_wal(path: Path) -> bool:
    """Whether a database that is not in use has a write-ahead log, by its header."""
    # SQLite tells the mode only after it has made the files of the log.
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2"


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


def _is_in_use(path: Path) -> bool:
    """Whether a process has the database open, by the locks that the kernel lists."""
    # Not by a lock of our own: closing a file that this process has open in SQLite would release
    # SQLite's locks on it. Only inodes are compared, because a file system of
    # layers reports another device.
    inodes = set()
    for each in (path.resolve(), _beside(path, "-shm")):
        with suppress(FileNotFoundError):
            inodes.add(str(each.stat().st_ino))
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        # Unknown, so it is read in place, unless nothing can be written there.
        return _is_writable(path)
    return any(inode in inodes for inode in _locked_inodes(lines))


def _locked_inodes(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        # 1: POSIX  ADVISORY  READ 1234 08:01:131074 1073741826 1073742335
        for word in line.split():
            if word.count(":") == 2:
                yield word.rpartition(":")[2]


def _copied(path: Path) -> SqliteReader | None:
    """Copy a database and its log to a private folder; return None if it changed during that."""
    folder = TemporaryDirectory(prefix="landscape-read-")
    copy = None
    try:
        copy = _copy_into(Path(folder.name), path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"has a log that was left behind, and no private copy can be made of it "
            f"({error.strerror or error}): {_advice(path)}",
            str(path),
        ) from error
    finally:
        if copy is None:
            folder.cleanup()
    return None if copy is None else SqliteReader(copy, _folder=folder)


def _copy_into(folder: Path, path: Path) -> Path | None:
    """Return the copy of a database; None if it was written to during that."""
    leftovers = _leftovers(path)
    before = _states(path)
    copy = folder / path.resolve().name
    try:
        for file in (path.resolve(), *leftovers):
            shutil.copyfile(file, folder / file.name)
    except FileNotFoundError:
        # The last connection of another process has closed, and removed the log.
        if _states(path) == before and _leftovers(path) == leftovers:
            raise
        return None
    if _states(path) != before or _leftovers(path) != leftovers:
        return None
    if any(file.name.endswith("-journal") for file in leftovers):
        # A reader may not replay it.
        with suppress(sqlite3.Error), closing(_connect(copy, "mode=rw")) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    return copy


def _states(path: Path) -> list[tuple[int, int, int] | None]:
    states: list[tuple[int, int, int] | None] = []
    for file in (path.resolve(), _beside(path, "-wal"), _beside(path, "-journal")):
        try:
            status = file.stat()
        except FileNotFoundError:
            states.append(None)
        else:
            states.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return states


def _advice(path: Path) -> str:
    return f"copy it with its log, as in `cp {path}* FOLDER`, and name the copy"
