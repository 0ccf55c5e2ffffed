"""One consistent read of the audit trail: its transaction, and the rows streamed from it."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import Any, Self, TypeAlias, cast

from sqlalchemy import Connection, CursorResult, Engine, Select, event
from sqlalchemy.exc import DBAPIError

from elspeth.core.landscape.schema import EXPORTED_TABLES

# Cuts the connections of an engine, for when its server has stopped answering.


class OpenConnections:
    """The driver connections that an engine has open."""

    def __init__(self, engine: Engine) -> None:
        self._open: set[Any] = set()
        event.listen(engine, "connect", lambda connection, _: self._open.add(connection))
        for closing in ("close", "close_detached"):
            event.listen(engine, closing, lambda connection, *_: self._open.discard(connection))

    def cut(self) -> None:
        """Shut their sockets down: a driver that waits on one sees it end. SQLite has none."""
        for connection in tuple(self._open):
            fileno = getattr(connection, "fileno", None)
            # Closed meanwhile, or ended by the other side: cut already.
            with suppress(Exception):
                if fileno is not None:
                    _shut_down(fileno())


@contextmanager
def lent(connecting: AbstractContextManager[Connection]) -> Iterator[Connection]:
    """Lend a connection; what giving it back raises does not hide what the block has raised.

    One that was cut cannot be rolled back.
    """
    reasons: list[BaseException] = []
    try:
        with connecting as connection:
            try:
                yield connection
            except BaseException as error:
                reasons.append(error)
                raise
    except DBAPIError as error:
        if reasons and reasons[0] is not error:
            raise reasons[0] from error
        raise


def _shut_down(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


ROWS_PER_FETCH = 1024
"""Rows of the largest chunk, and of one FETCH of a PostgreSQL cursor, whatever the run's size."""
_FIRST_CHUNK_ROWS = 16
"""Small, so that the first record need not wait; each chunk then doubles the one before."""

Chunk: TypeAlias = Sequence[Sequence[Any]]
"""Some rows of a result; none at its end."""
FetchMany: TypeAlias = Callable[[int], Chunk]

_OPEN = "landscape snapshot"


@dataclass(frozen=True)
class ReadSnapshot:
    """A read transaction that sees one state of the database, whoever commits meanwhile."""

    connection: Connection
    _results: ExitStack = field(default_factory=ExitStack, repr=False)
    _reader: "_Reader" = field(default_factory=lambda: _Reader(), repr=False)

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        """Send a query now and stream its rows; memory does not grow with their number.

        Rows are sequences in the order of the selected columns. SQLite gives the driver's own
        tuples, untouched by SQLAlchemy's column types: timestamps are text as stored
        (`YYYY-MM-DD HH:MM:SS.ffffff`), and a wrong type in a column shows as it is. PostgreSQL
        gives SQLAlchemy rows with aware datetimes in the session's time zone.

        Raises sqlalchemy.exc.DBAPIError, also while streaming.
        """
        if self.connection.dialect.name == "sqlite":
            return self._driver_rows(statement, self._execute(statement))
        return chain.from_iterable(self.chunks(statement))

    def export(self) -> str:
        """Name this state of the database, for `open_snapshot` on other connections to import.

        On PostgreSQL; the name is good for as long as this snapshot is held.
        """
        return str(_send(self.connection, "SELECT pg_export_snapshot()", answered=True))

    def chunks(self, statement: Select[Any]) -> Iterator[Chunk]:
        """Send a query now and stream its rows in chunks: small ones first, to begin at once.

        Rows are those of `rows`. Raises what it does.
        """
        if self.connection.dialect.name == "sqlite":
            return self._driver_chunks(statement, self._execute(statement))
        with self._reader.alone:
            result = self._execute(statement, stream_results=True)
        return self._reader.chunks(result.fetchmany)

    def _execute(self, statement: Select[Any], **options: Any) -> CursorResult[Any]:
        result = self.connection.execute(statement, execution_options=options)
        self._results.callback(result.close)
        return result

    def _driver_chunks(self, statement: Select[Any], result: CursorResult[Any]) -> Iterator[Chunk]:
        with driver_errors(self.connection, statement):
            yield from _fetched(cast("Any", result.cursor).fetchmany)

    def _driver_rows(
        self, statement: Select[Any], result: CursorResult[Any]
    ) -> Iterator[Sequence[Any]]:
        # Past SQLAlchemy's row processing: about 15 % faster. A server-side cursor on PostgreSQL
        # would lose its first row this way.
        rows = cast("Iterator[tuple[Any, ...]]", result.cursor)
        with driver_errors(self.connection, statement):
            # Not straight from the cursor: an abandoned generator would close it, too late for
            # a connection that is closed by then.
            yield from chain(rows)


@contextmanager
def open_snapshot(engine: Engine, imported: str | None = None) -> Iterator[ReadSnapshot]:
    """Hold one snapshot on one connection, then roll back and return it as it was.

    SQLite's snapshot is taken on entry, PostgreSQL's by the first query (no exported table can
    be truncated from entry on) unless it is `imported` from another connection. Results still
    open at exit are closed, consumed or not.
    """
    with lent(engine.connect()) as connection, ExitStack() as results, _Reader() as reader:
        if connection.dialect.name == "sqlite":
            _begin_on_sqlite(connection)
        else:
            _begin_on_postgresql(connection, imported)
        connection.info[_OPEN] = True
        results.callback(connection.info.pop, _OPEN, None)
        yield ReadSnapshot(connection, results, reader)


class _Reader:
    """A thread that fetches from a server one chunk ahead, while the one before is worked on.

    Without it server and client would wait for each other in turn. Whoever uses the connection
    has to be `alone` with it.
    """

    def __init__(self) -> None:
        self.alone = Lock()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="landscape-reader")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def chunks(self, fetchmany: FetchMany) -> Iterator[Chunk]:
        """Stream chunks; what a fetch raises is raised when its chunk is due."""

        def fetch(rows: int) -> Chunk:
            with self.alone:
                return fetchmany(rows)

        sizes = _chunk_sizes()
        ahead = self._threads.submit(fetch, next(sizes))
        while chunk := ahead.result():
            ahead = self._threads.submit(fetch, next(sizes))
            yield chunk


def _fetched(fetchmany: FetchMany) -> Iterator[Chunk]:
    sizes = _chunk_sizes()
    while chunk := fetchmany(next(sizes)):
        yield chunk


def _chunk_sizes() -> Iterator[int]:
    size = _FIRST_CHUNK_ROWS
    while True:
        yield size
        size = min(2 * size, ROWS_PER_FETCH)


def refuse_beside_a_snapshot(connection: Connection) -> None:
    """Refuse a transaction on a driver connection that holds a snapshot.

    Only an in-memory database shares one connection between transactions: the second one's
    commit would end the snapshot unseen.
    """
    if connection.info.get(_OPEN):
        raise RuntimeError(
            "An in-memory database has one connection, and an export is still reading from it: "
            "finish or close that export first, or use a database file."
        )


@contextmanager
def driver_errors(connection: Connection, statement: Select[Any] | str) -> Iterator[None]:
    """Raise what the driver itself raises as SQLAlchemy would have: as a DBAPIError."""
    driver = connection.dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        raise DBAPIError.instance(
            str(statement), None, error, driver.Error, dialect=connection.dialect
        ) from error


def _begin_on_sqlite(connection: Connection) -> None:
    # sqlite3 opens no transaction for SELECTs: without BEGIN each query has its own snapshot.
    # BEGIN alone takes none before the first read, and a PRAGMA is the read that is no query.
    driver_connection = connection.connection.driver_connection
    if driver_connection is None or driver_connection.in_transaction:
        refuse_beside_a_snapshot(connection)
        raise RuntimeError(
            "An in-memory database has one connection, and a transaction is open on it: "
            "commit it before reading a snapshot, or use a database file."
        )
    connection.begin()
    _send(connection, "BEGIN")
    _send(connection, "PRAGMA schema_version")


def _begin_on_postgresql(connection: Connection, imported: str | None) -> None:
    # SET TRANSACTION leaves nothing behind on the connection. The lock comes before the first
    # query, which takes the snapshot: a TRUNCATE in between would show a table as empty.
    quoted = connection.dialect.identifier_preparer.format_table
    tables = ", ".join(quoted(table) for table in EXPORTED_TABLES)
    connection.begin()
    _send(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    if imported is not None:
        _send(connection, f"SET TRANSACTION SNAPSHOT {_quoted(imported)}")
    _send(connection, f"LOCK TABLE {tables} IN ACCESS SHARE MODE")


def data_version(connection: Connection) -> int:
    """A number that changes when any other connection commits to the SQLite database."""
    return int(str(_send(connection, "PRAGMA data_version", answered=True)))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _send(connection: Connection, session_statement: str, *, answered: bool = False) -> object:
    # On the driver's cursor, so that SQLAlchemy's events report queries only.
    cursor = connection.connection.cursor()
    try:
        with driver_errors(connection, session_statement):
            cursor.execute(session_statement)
            row = cursor.fetchone() if answered else None
            return row[0] if row else None
    finally:
        cursor.close()
