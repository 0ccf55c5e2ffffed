"""What was done to a database: to its file, and to its contents."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from elspeth.core.landscape import LandscapeDB
from querygrowth.counting import other_connections

WROTE = "wrote to the database"
"""A harm to a file of a database. What was written can then be found."""


class DatabaseFileWatch:
    """Tells whether the file of an SQLite database was written to, deleted or locked.

    Other databases are not watched.
    """

    def __init__(self, db: LandscapeDB) -> None:
        """Remember the state of the file."""
        url = db.engine.url
        named = url.database if db.engine.dialect.name == "sqlite" else None
        self._path = Path(named) if named else None
        self._connection: sqlite3.Connection | None = None
        self.is_changed = False
        if self._path is not None:
            # Without a wait: a lock that is still held after an export is what is looked for.
            self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            # Otherwise every count of an exporter in this process would look for who has it open.
            other_connections.KNOWN[str(self._path.resolve())] += 1
            # Nothing is left in the log that a later checkpoint would move into the file.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._version = self._data_version()
            self._file, self._content = self._file_id(), self._content_id()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None and self._path is not None:
            self._connection.close()
            other_connections.KNOWN[str(self._path.resolve())] -= 1

    def harm(self) -> str:
        """Return what was done to the file, in words; empty if nothing was."""
        if self._connection is None:
            return ""
        if self._file_id() != self._file:
            self.is_changed = True
            return "deleted or replaced the database file"
        try:
            if self._content_id() != self._content or self._data_version() != self._version:
                self.is_changed = True
                return WROTE
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return "holds a lock on the database"
        return ""

    def _content_id(self) -> tuple[int, ...]:
        # An exporter may also write to the files past SQLite. Reading changes none of them: this
        # connection is open all the time, so that no other one is the last, which would remove the
        # log.
        states = (
            path.stat()
            for path in (self._path, Path(f"{self._path}-wal"))
            if path is not None and path.exists()
        )
        return tuple(number for each in states for number in (each.st_size, each.st_mtime_ns))

    def _file_id(self) -> tuple[int, int] | None:
        if self._path is None or not self._path.exists():
            return None
        state = self._path.stat()
        return state.st_dev, state.st_ino

    def _data_version(self) -> int | None:
        # SQLite changes the number when another connection has committed a change.
        if self._connection is None:
            return None
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def contents(db: LandscapeDB) -> dict[str, str]:
    """Return a hash of every table of a database by its name, and of its schema and settings."""
    on_sqlite = db.engine.dialect.name == "sqlite"
    with db.engine.connect() as connection, _any_text(connection, on_sqlite=on_sqlite):
        described = _on_sqlite if on_sqlite else _on_postgresql
        found = described(connection)
        quote = db.engine.dialect.identifier_preparer.quote
        for name in list(found.pop("tables")):
            rows = connection.exec_driver_sql(f"SELECT * FROM {quote(name)}").fetchall()  # noqa: S608
            found[f"table {name}"] = sorted(map(repr, rows))
    return {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in found.items()}


@contextmanager
def _any_text(connection: Connection, *, on_sqlite: bool) -> Iterator[None]:
    """Read texts of SQLite that are not UTF-8 as well. Some runs hold such a text."""
    driver: Any = connection.connection.driver_connection
    if not on_sqlite:
        yield
        return
    usual, driver.text_factory = (
        driver.text_factory,
        partial(str, encoding="utf-8", errors="surrogateescape"),
    )
    try:
        yield
    finally:
        driver.text_factory = usual


_SQLITE_SETTINGS = ("user_version", "application_id", "journal_mode", "auto_vacuum", "encoding")


def _on_sqlite(connection: Connection) -> dict[str, Any]:
    schema = connection.exec_driver_sql(
        "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
    ).fetchall()
    settings = [
        connection.exec_driver_sql(f"PRAGMA {name}").fetchone() for name in _SQLITE_SETTINGS
    ]
    tables = [name for kind, name, _ in schema if kind == "table"]
    return {"tables": tables, "its schema": schema, "its settings": settings}


def _on_postgresql(connection: Connection) -> dict[str, Any]:
    columns = connection.execute(
        text(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
        )
    ).fetchall()
    indexes = connection.execute(
        text("SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1")
    ).fetchall()
    tables = dict.fromkeys(name for name, *_ in columns)
    return {"tables": tables, "its schema": [columns, indexes]}


def changed_contents(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names of what differs between two results of `contents`."""
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def with_what_was_written(
    harm: str,
    db: LandscapeDB,
    new_url: Callable[[], str],
    store: Callable[[LandscapeDB], object],
) -> str:
    """Return a harm in words, and if something was written, the tables that differ.

    Args:
        harm: From `DatabaseFileWatch.harm`.
        db: The database with the harm.
        new_url: Makes a database without runs.
        store: Stores the same runs in an empty database. They are compared then: a copy of every
            database would take longer, and few exporters write.
    """
    if harm != WROTE:
        return harm
    try:
        with LandscapeDB(new_url()) as again:
            store(again)
            changed = changed_contents(contents(again), contents(db))
    except SQLAlchemyError:
        return harm  # The exporter may have left it unreadable.
    return f"{harm}: {', '.join(changed[:3])}" if changed else f"{harm}, and took it back"
