"""The database of an audit trail: its engine, transactions and read snapshots."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from elspeth.core.landscape.export.snapshot import (
    OpenConnections,
    ReadSnapshot,
    lent,
    open_snapshot,
    refuse_beside_a_snapshot,
)
from elspeth.core.landscape.schema import EXPORTED_TABLES, metadata

_IN_MEMORY = (None, "", ":memory:")
_SECRETS_IN_QUERY = ("password", "sslpassword")
_SECONDS_TO_CONNECT = "10"
"""To a server that does not answer, unless the URL says otherwise."""

_SESSION = "SET client_encoding TO 'UTF8'; SET DateStyle TO 'ISO'; SET extra_float_digits TO 3"
"""What a server, database or role may have set otherwise: rounded floats would be exported as
stored and signed, other dates the driver cannot read, and other encodings cannot hold every text.
"""


class DatabaseNotFoundError(FileNotFoundError):
    """There is no SQLite file where the URL points, and none was created."""


class NotALandscapeDatabaseError(ValueError):
    """The database lacks tables or columns that an audit trail has."""


class LandscapeDB:
    """An audit trail on SQLite or PostgreSQL; closing it, or leaving it as a context, frees it."""

    def __init__(
        self, connection_string: str, *, create_tables: bool = True, read_only: bool = False
    ) -> None:
        """Open the database of an SQLAlchemy URL, and create the tables it lacks.

        With `read_only` nothing is created or written, and the database itself refuses to;
        without `create_tables` too, a missing SQLite file stays missing.

        Raises ValueError for a URL that is no SQLite or PostgreSQL database, and
        DatabaseNotFoundError when a file that must exist does not.
        """
        self.connection_string = connection_string
        url = _parse(connection_string)
        if url.get_backend_name() == "sqlite":
            self._engine: Engine | None = _sqlite_engine(
                url, must_exist=read_only or not create_tables, read_only=read_only
            )
        else:
            self._engine = _postgresql_engine(url, read_only=read_only)
        self._open_connections = OpenConnections(self._engine)
        if create_tables and not read_only:
            metadata.create_all(self._engine)

    @classmethod
    def in_memory(cls) -> Self:
        """Open a new database in memory: one connection, seen by this thread alone."""
        return cls("sqlite:///:memory:")

    @classmethod
    def from_url(cls, url: str, *, create_tables: bool = True, read_only: bool = False) -> Self:
        """Open the database of a URL, like the constructor."""
        return cls(url, create_tables=create_tables, read_only=read_only)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine; RuntimeError after close."""
        if self._engine is None:
            raise RuntimeError("Database not initialized: it was closed")
        return self._engine

    @property
    def is_in_memory(self) -> bool:
        """Whether it is seen by this process alone, and gone when it is closed."""
        url = make_url(self.connection_string)
        return url.get_backend_name() == "sqlite" and url.database in _IN_MEMORY

    @property
    def masked_url(self) -> str:
        """The URL it was opened with, fit for printing."""
        return masked_url(self.connection_string)

    @property
    def absolute_url(self) -> str:
        """The URL, passwords included, for a process that may run in another directory.

        Raises ValueError for a database in memory, which no other process can open.
        """
        if self.is_in_memory:
            raise ValueError("A database in memory is seen by one process: use a file")
        url = make_url(self.connection_string)
        if url.get_backend_name() == "sqlite" and "uri" not in url.query:
            url = url.set(database=str(Path(str(url.database)).absolute()))
        return url.render_as_string(hide_password=False)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Run one transaction: committed when the block succeeds, rolled back when it raises."""
        with lent(self.engine.begin()) as connection:
            yield connection

    def read_snapshot(self, imported: str | None = None) -> AbstractContextManager[ReadSnapshot]:
        """Hold one state of the database for any number of queries, and write nothing.

        On PostgreSQL it may be `imported` from a snapshot that another connection exports. On an
        in-memory database no other transaction can begin meanwhile (RuntimeError).
        """
        return open_snapshot(self.engine, imported)

    def check_schema(self) -> None:
        """Raise NotALandscapeDatabaseError unless the exported tables and columns are there."""
        with self.connection() as connection:
            found = {
                name: {column["name"] for column in columns}
                for (_, name), columns in inspect(connection).get_multi_columns().items()
            }
        missing = [f"table {table.name}" for table in EXPORTED_TABLES if table.name not in found]
        missing += [
            f"column {column}"
            for table in EXPORTED_TABLES
            for column in table.columns
            if table.name in found and column.name not in found[table.name]
        ]
        if missing:
            raise NotALandscapeDatabaseError(
                f"{self.masked_url} is not a Landscape database: no {', no '.join(missing)}"
            )

    def cut(self) -> None:
        """Cut every connection to a server, so that nothing goes on waiting for its answer.

        Whoever waits, or asks next, gets a sqlalchemy.exc.DBAPIError at once.
        """
        self._open_connections.cut()

    def close(self) -> None:
        """Close every connection; closing twice is fine."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def masked_url(url: str) -> str:
    """Show a database URL without its passwords, also one that does not parse."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "(not a database URL)"
    return parsed.difference_update_query(_SECRETS_IN_QUERY).render_as_string(hide_password=True)


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # SQLAlchemy's own message repeats the text, and with it any password.
        raise ValueError(
            "Not a database URL: expected one like sqlite:///path/to/audit.db "
            "or postgresql://user@host/database"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(
            f"A Landscape database is SQLite or PostgreSQL, not {url.get_backend_name()}"
        )
    return url


def _sqlite_engine(url: URL, *, must_exist: bool, read_only: bool) -> Engine:
    in_memory = url.database in _IN_MEMORY
    if in_memory and read_only:
        raise ValueError("An in-memory database starts empty: it cannot be opened read-only")
    if must_exist and not in_memory:
        url = _existing_file(url, mode="ro" if read_only else "rw")
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def set_pragmas(driver_connection: Any, _: ConnectionPoolEntry) -> None:
        cursor = driver_connection.cursor()
        if not read_only:
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    if in_memory:
        event.listen(engine, "begin", refuse_beside_a_snapshot)
    return engine


def _existing_file(url: URL, *, mode: str) -> URL:
    """Turn the path into a file URI, which SQLite can open without creating the file."""
    if "uri" in url.query:
        return url.update_query_dict({"mode": mode})
    path = Path(url.database or "").absolute()
    if not path.is_file():
        raise DatabaseNotFoundError(f"No database file at {path}; nothing was created there")
    return url.set(database=path.as_uri()).update_query_dict({"mode": mode, "uri": "true"})


def _postgresql_engine(url: URL, *, read_only: bool) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": _SECONDS_TO_CONNECT})
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def settle_session(driver_connection: Any, _: ConnectionPoolEntry) -> None:
        with driver_connection.cursor() as cursor:
            cursor.execute(_SESSION)
            if read_only:
                cursor.execute("SET default_transaction_read_only TO on")
        driver_connection.commit()

    return engine
