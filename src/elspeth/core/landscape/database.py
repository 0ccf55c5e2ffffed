"""The database of an audit trail: its engine, transactions and read snapshots."""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from elspeth.core.landscape.database_url import masked_url, parse_database_url
from elspeth.core.landscape.export.completeness import (
    LeaveOutError,
    SchemaMismatchError,
    check_completeness,
)
from elspeth.core.landscape.export.snapshot import (
    READ_SETTINGS,
    SNAPSHOT_OPTION,
    ReadSnapshot,
    driver_errors,
    local_settings,
    no_timeouts,
    open_snapshot,
    preserve_error,
    refuse_beside_snapshot,
)
from elspeth.core.landscape.export.stored_schema import StoredSchema, read_schema
from elspeth.core.landscape.schema import EXPORTED_TABLES, create_tables_in, metadata
from elspeth.core.landscape.sqlite_files import (
    DatabaseNotFoundError,
    SqliteReader,
    existing_file,
    unchanging_url,
)

__all__ = [
    "DatabaseNotFoundError",
    "LandscapeDB",
    "LeaveOutError",
    "NotALandscapeDatabaseError",
    "OpenConnections",
    "SchemaMismatchError",
    "masked_url",
]

_IN_MEMORY = (None, "", ":memory:")
# Without a limit psycopg waits for about two minutes. A URL can set another limit.
_SECONDS_TO_CONNECT = "10"


class NotALandscapeDatabaseError(ValueError):
    """The database lacks tables or columns that an audit trail has."""


class OpenConnections:
    """The open driver connections of an engine, so that a signal handler can cut them."""

    def __init__(self, engine: Engine) -> None:
        self._open: set[Any] = set()
        event.listen(engine, "connect", lambda connection, _: self._open.add(connection))
        for closing in ("close", "close_detached"):
            event.listen(engine, closing, lambda connection, *_: self._open.discard(connection))

    def cut(self) -> None:
        """Shut down the sockets of all connections. SQLite has none.

        A driver that waits for an answer gets an error at once.
        """
        for connection in tuple(self._open):
            fileno = getattr(connection, "fileno", None)
            # Any error means that the connection was closed meanwhile, by this side or the other.
            with suppress(Exception):
                if fileno is not None:
                    # A duplicate: closing the socket object must not close the driver's descriptor.
                    with socket.socket(fileno=os.dup(fileno())) as duplicate:
                        duplicate.shutdown(socket.SHUT_RDWR)


class LandscapeDB:
    """An audit trail on SQLite or PostgreSQL. Close it, or use it as a context manager."""

    def __init__(
        self, connection_string: str, *, create_tables: bool = True, read_only: bool = False
    ) -> None:
        """Open the database of an SQLAlchemy URL.

        Args:
            connection_string: The URL of an SQLite or PostgreSQL database.
            create_tables: Create missing tables, and a missing SQLite file.
            read_only: Create and write nothing; the database itself refuses writes.

        Raises:
            ValueError: The URL is not of an SQLite or PostgreSQL database.
            DatabaseNotFoundError: An SQLite file that must exist does not.
            NotALandscapeDatabaseError: The database is to be written to and is that of another
                program: a table lacks columns, or a table is missing and `create_tables` is False.
                On PostgreSQL without `create_tables`, `check_schema` finds that.
        """
        self.connection_string = connection_string
        url = parse_database_url(connection_string)
        self._reader: SqliteReader | None = None
        if url.get_backend_name() == "sqlite":
            if read_only and url.database not in _IN_MEMORY:
                url, self._reader = unchanging_url(url)
            self._engine: Engine | None = _sqlite_engine(
                url, must_exist=not create_tables, read_only=read_only
            )
        else:
            self._engine = _postgresql_engine(url, read_only=read_only)
        self._open_connections = OpenConnections(self._engine)
        # A reader calls `check_schema`, which asks for more. A server may not answer, so it is not
        # asked before the caller can cut the connection, unless tables are to be created in it.
        on_server = url.get_backend_name() != "sqlite"
        is_new = self.is_in_memory or not (
            on_server or "uri" in url.query or Path(str(url.database)).exists()
        )
        is_complete = False
        if not read_only and not self.is_in_memory and (create_tables or not on_server):
            is_complete = self._refuse_other_database(tables_may_miss=create_tables)
        if create_tables and not read_only and not is_complete:
            create_tables_in(self._engine, is_new=is_new)

    @classmethod
    def in_memory(cls) -> Self:
        """Open a new database in memory, with one connection that only this thread can use."""
        return cls("sqlite:///:memory:")

    @classmethod
    def from_url(cls, url: str, *, create_tables: bool = True, read_only: bool = False) -> Self:
        """Open the database of a URL, with the arguments and errors of the constructor."""
        return cls(url, create_tables=create_tables, read_only=read_only)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine. Raises RuntimeError after `close`."""
        if self._engine is None:
            raise RuntimeError("Database not initialized: it was closed")
        return self._engine

    @property
    def is_in_memory(self) -> bool:
        """Whether the database is in memory: only this process can read it, closing deletes it."""
        url = make_url(self.connection_string)
        return url.get_backend_name() == "sqlite" and url.database in _IN_MEMORY

    @property
    def masked_url(self) -> str:
        """The URL of the database without passwords."""
        return masked_url(self.connection_string)

    @property
    def absolute_url(self) -> str:
        """The URL, passwords included, with which any directory can open the database again.

        Raises:
            ValueError: The database is in memory, where it cannot be opened a second time.
        """
        if self.is_in_memory:
            raise ValueError("A database in memory is seen by one process: use a file")
        url = make_url(self.connection_string)
        if url.get_backend_name() == "sqlite" and "uri" not in url.query:
            # SQLite resolves a relative path against the working directory of the process.
            url = url.set(database=str(Path(str(url.database)).absolute()))
        return url.render_as_string(hide_password=False)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Run one transaction: commit when the block succeeds, roll back when it raises."""
        with preserve_error(self.engine.begin()) as connection:
            yield connection

    def read_snapshot(self, imported: str | None = None) -> AbstractContextManager[ReadSnapshot]:
        """Open a read transaction in which every query sees the same state of the database.

        Args:
            imported: The name of a PostgreSQL snapshot that another connection exported.

        Raises:
            RuntimeError: The database is in memory and a transaction is open. While the snapshot
                is open, an in-memory database refuses other transactions with the same error.
        """
        return open_snapshot(self.engine, EXPORTED_TABLES, imported)

    def check_tables(self) -> StoredSchema:
        """Return the schema of the database, which has all exported tables and their columns.

        Raises:
            NotALandscapeDatabaseError: A table or column is missing.
            sqlalchemy.exc.DBAPIError: The database fails.
        """
        with self.connection() as connection:
            return self._tables_of(connection)

    def _refuse_other_database(self, *, tables_may_miss: bool) -> bool:
        """Refuse a database of another program, before anything is created or written in it.

        Returns:
            Whether the database has all tables.
        """
        # Another program may have a table `runs` too: `create_all` leaves such a table as it is.
        url = make_url(self.connection_string)
        with ExitStack() as resources:
            engine = self.engine
            if url.get_backend_name() == "sqlite" and "uri" not in url.query:
                if not Path(str(url.database)).is_file():
                    return False
                # A connection of `engine` would turn another program's file to WAL, and one that
                # is read-only could not remove the files beside one that is.
                engine = create_engine(existing_file(url, mode="rw"))
                resources.callback(engine.dispose)
            with engine.connect() as connection:
                stored = read_schema(connection)
        missing = list(_missing(stored))
        refused = [each for each in missing if not (tables_may_miss and each.startswith("table "))]
        if refused:
            self.close()
            raise NotALandscapeDatabaseError(
                f"{self.masked_url} is not a Landscape database: no {', no '.join(refused)}"
            )
        return metadata.tables.keys() <= stored.tables.keys()

    def _tables_of(self, connection: Connection) -> StoredSchema:
        stored = read_schema(connection)
        missing = list(_missing(stored))
        if missing:
            raise NotALandscapeDatabaseError(
                f"{self.masked_url} is not a Landscape database: no {', no '.join(missing)}"
            )
        return stored

    def check_schema(self, leave_out: Iterable[str] = ()) -> None:
        """Refuse a database that lacks something that an export reads, or holds more than that.

        Args:
            leave_out: Names of unknown tables, `table.column` and `user_version=N` that an export
                leaves out.

        Raises:
            NotALandscapeDatabaseError: An exported table or column is missing.
            SchemaMismatchError: The database holds something unknown that `leave_out` does not
                name, or a column has a type that changes its values.
            LeaveOutError: A name of `leave_out` is not that of anything unknown.
            sqlalchemy.exc.DBAPIError: The database fails.
        """
        with self.connection() as connection:
            self._check_schema_of(connection, leave_out)

    @contextmanager
    def schema_checked(self, leave_out: Iterable[str] = ()) -> Iterator[None]:
        """Check the schema, as `check_schema` does, in the first transaction inside the block.

        For an exporter whose every transaction is counted: the check takes none of its own.

        Args:
            leave_out: As in `check_schema`, which says what is raised.
        """
        engine, is_checked = self.engine, Event()

        def check(connection: Connection) -> None:
            if not is_checked.is_set():
                is_checked.set()
                self._check_schema_of(connection, leave_out)

        event.listen(engine, "begin", check)
        try:
            yield
        finally:
            event.remove(engine, "begin", check)

    def _check_schema_of(self, connection: Connection, leave_out: Iterable[str]) -> None:
        stored = self._tables_of(connection)
        try:
            check_completeness(stored, leave_out)
        except SchemaMismatchError as error:
            raise SchemaMismatchError(f"{self.masked_url}: {error}", error.unknown) from None
        except LeaveOutError as error:
            raise LeaveOutError(f"{self.masked_url}: {error}") from None

    def cut(self) -> None:
        """Cut every connection to a server that has stopped answering.

        Code that waits for an answer, or sends the next query, gets a sqlalchemy.exc.DBAPIError.
        """
        self._open_connections.cut()

    def close(self) -> None:
        """Close every connection. Closing twice has no effect."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _missing(stored: StoredSchema) -> Iterator[str]:
    """Yield the exported tables that a database lacks, and the columns that its tables lack."""
    found = {
        table.name: {stored.fold(column.name) for column in stored.tables[table.name].columns}
        for table in EXPORTED_TABLES
        if table.name in stored.tables
    }
    if not found:
        yield f"table {EXPORTED_TABLES[0].name}, and no other table of an audit trail"
        return
    yield from (f"table {table.name}" for table in EXPORTED_TABLES if table.name not in found)
    for table in EXPORTED_TABLES:
        for column in table.columns if table.name in found else ():
            if column.name not in found[table.name]:
                yield f"column {column}"


def _sqlite_engine(url: URL, *, must_exist: bool, read_only: bool) -> Engine:
    in_memory = url.database in _IN_MEMORY
    if in_memory and read_only:
        raise ValueError("An in-memory database starts empty: it cannot be opened read-only")
    # sqlite3 creates a missing file when it connects. Only a URI with a mode prevents that.
    if must_exist and not in_memory and not read_only:
        url = existing_file(url, mode="rw")
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def set_pragmas(driver_connection: Any, _: ConnectionPoolEntry) -> None:
        # On the driver's cursor: listeners that count queries do not see it.
        cursor = driver_connection.cursor()
        # Only where tables may be created: a command that records a status leaves the mode.
        if not read_only and not must_exist:
            # With a write-ahead log an export reads its snapshot while a pipeline keeps writing.
            # The mode is stored in the file, and a read-only connection could not change it.
            cursor.execute("PRAGMA journal_mode=WAL")
        # SQLite checks foreign keys only on connections that turn the check on.
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    # Its one connection serves every transaction of the thread.
    if in_memory:
        event.listen(engine, "begin", refuse_beside_snapshot)
    return engine


def _postgresql_engine(url: URL, *, read_only: bool) -> Engine:
    # SQLAlchemy's default driver is psycopg2, which is not a dependency.
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": _SECONDS_TO_CONNECT})
    # A pooler gives a session to another client after a transaction. So nothing belongs to the
    # session: neither a setting nor a prepared statement.
    is_psycopg = url.get_driver_name() == "psycopg"
    engine = create_engine(url, connect_args={"prepare_threshold": None} if is_psycopg else {})

    @event.listens_for(engine, "begin")
    def set_transaction(connection: Connection) -> None:
        if connection.get_execution_options().get(SNAPSHOT_OPTION):
            return
        settings = local_settings(READ_SETTINGS)
        if read_only:
            settings = f"{local_settings(no_timeouts(connection))}; {settings}"
            settings += "; SET TRANSACTION READ ONLY"
        # On the driver's cursor: listeners that count queries do not see it.
        with driver_errors(connection, settings):
            cursor = connection.connection.cursor()
            try:
                cursor.execute(settings)
            finally:
                cursor.close()

    return engine
