"""Read snapshots: a transaction that sees one state of the database and streams rows from it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import Any, Self, TypeAlias, cast

from sqlalchemy import Connection, CursorResult, Engine, Select, Table
from sqlalchemy.exc import DBAPIError

ROWS_PER_FETCH = 1024
"""Rows in the largest chunk, and in one FETCH of a PostgreSQL cursor."""
# Chunks start small, so that the first record comes at once (2.1 ms at 2.3 million records), and
# double up to the largest, so that the cost of a call is shared by many rows.
_FIRST_CHUNK_ROWS = 16

# Fewer float digits would round stored numbers, psycopg cannot read other date styles, and other
# encodings cannot hold every text. With row security a policy would hide rows without an error;
# without it the query of such a table is an error.
READ_SETTINGS = (
    "client_encoding TO 'UTF8'",
    "DateStyle TO 'ISO'",
    "extra_float_digits TO 3",
    "row_security TO off",
)
"""PostgreSQL settings that change what is read, so a server, database or role must not choose
them."""

# As pg_dump does. A role's limit would end an export at a moment that nobody chose; `--timeout` is
# the limit of an export.
_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_TRANSACTION_TIMEOUT_SINCE = (17,)

SNAPSHOT_OPTION = "landscape_snapshot"
"""The execution option of a connection whose transaction is a snapshot, which has its settings."""

# The key in a connection's `info` that marks an open snapshot. `info` belongs to the driver's
# connection, so a second transaction on the same one finds it.
_SNAPSHOT_OPEN = "landscape snapshot open"

Chunk: TypeAlias = Sequence[Sequence[Any]]
"""Consecutive rows of a result; an empty chunk ends it."""
FetchMany: TypeAlias = Callable[[int], Chunk]


@dataclass(frozen=True)
class ReadSnapshot:
    """A read transaction on one connection, in which later commits of others are invisible."""

    connection: Connection
    _results: ExitStack = field(default_factory=ExitStack, repr=False)
    _prefetcher: "_Prefetcher" = field(default_factory=lambda: _Prefetcher(), repr=False)

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        """Send a query now and stream its rows; memory does not grow with the number of rows.

        Args:
            statement: The SELECT to send.

        Returns:
            One sequence a row, in the order of the selected columns. On SQLite these are the
            driver's tuples without SQLAlchemy's type processing: timestamps are text as stored
            (`YYYY-MM-DD HH:MM:SS.ffffff`), and a value of a wrong type comes as stored. On
            PostgreSQL they are SQLAlchemy rows with aware datetimes in the session's time zone.

        Raises:
            sqlalchemy.exc.DBAPIError: The database fails, now or while rows are streamed.
        """
        if self.connection.dialect.name == "sqlite":
            return self._driver_rows(statement, self._execute(statement))
        return chain.from_iterable(self.chunks(statement))

    def chunks(self, statement: Select[Any]) -> Iterator[Chunk]:
        """Send a query now and stream the rows of `rows` in chunks of 16 to 1,024.

        Args:
            statement: The SELECT to send.

        Raises:
            sqlalchemy.exc.DBAPIError: The database fails, now or while rows are streamed.
        """
        if self.connection.dialect.name == "sqlite":
            return self._driver_chunks(statement, self._execute(statement))
        with self._prefetcher.connection_lock:
            result = self._execute(statement, stream_results=True)
        return self._prefetcher.chunks(result.fetchmany)

    def export(self) -> str:
        """Return PostgreSQL's name for this state, for `open_snapshot` on other connections.

        The name is valid while this snapshot is open.
        """
        return str(_send(self.connection, "SELECT pg_export_snapshot()", fetch=True))

    def _execute(self, statement: Select[Any], **options: Any) -> CursorResult[Any]:
        result = self.connection.execute(statement, execution_options=options)
        # A consumer may stop early. An open cursor would keep the transaction from ending.
        self._results.callback(result.close)
        return result

    def _driver_chunks(self, statement: Select[Any], result: CursorResult[Any]) -> Iterator[Chunk]:
        with driver_errors(self.connection, statement):
            yield from _fetch_chunks(cast("Any", result.cursor).fetchmany)

    def _driver_rows(
        self, statement: Select[Any], result: CursorResult[Any]
    ) -> Iterator[Sequence[Any]]:
        # The sqlite3 cursor is read directly: about 15 % faster than SQLAlchemy's rows. On
        # PostgreSQL the same would lose the first row of a server-side cursor.
        rows = cast("Iterator[tuple[Any, ...]]", result.cursor)
        with driver_errors(self.connection, statement):
            # An abandoned generator calls close() on what it delegates to. On the cursor that would
            # fail when the connection is closed already; `chain` has no close().
            yield from chain(rows)


@contextmanager
def open_snapshot(
    engine: Engine, tables: Sequence[Table], imported: str | None = None
) -> Iterator[ReadSnapshot]:
    """Open a snapshot on a new connection, and roll back on exit.

    SQLite takes the snapshot on entry. PostgreSQL takes it with the first query, unless it is
    imported; no table can be truncated after entry. Results that are still open are closed on exit.

    Args:
        engine: The database.
        tables: What will be read. PostgreSQL locks these against TRUNCATE.
        imported: The name that `ReadSnapshot.export` returned on another connection, to see the
            same state. PostgreSQL only.

    Raises:
        RuntimeError: The database is in memory, and its one connection has an open transaction.
        sqlalchemy.exc.DBAPIError: The database fails, or lacks one of the tables.
    """
    with (
        preserve_error(engine.connect()) as connection,
        ExitStack() as results,
        _Prefetcher() as prefetcher,
    ):
        if connection.dialect.name == "sqlite":
            _begin_on_sqlite(connection)
        else:
            results.enter_context(_nothing_prepared(connection))
            _begin_on_postgresql(connection, tables, imported)
        # Marked after BEGIN succeeded: `_begin_on_sqlite` looks for the mark of another snapshot.
        connection.info[_SNAPSHOT_OPEN] = True
        results.callback(connection.info.pop, _SNAPSHOT_OPEN, None)
        yield ReadSnapshot(connection, results, prefetcher)


class _Prefetcher:
    """A thread that fetches the next chunk from a server while the current one is processed."""

    # Without it client and server would wait for each other in turn: it gave 1.07 to 1.38 times the
    # rate on two cores. The twelve streams of an export share one connection, and psycopg
    # connections take one call at a time: every use of the connection holds the lock.

    def __init__(self) -> None:
        self.connection_lock = Lock()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="landscape-prefetch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Waits for a running fetch, so that the results can then be closed on this thread.
        self._threads.shutdown(cancel_futures=True)

    def chunks(self, fetchmany: FetchMany) -> Iterator[Chunk]:
        """Stream chunks. The error of a fetch is raised where its chunk is due."""

        def fetch(rows: int) -> Chunk:
            with self.connection_lock:
                return fetchmany(rows)

        sizes = _chunk_sizes()
        ahead = self._threads.submit(fetch, next(sizes))
        while chunk := ahead.result():
            ahead = self._threads.submit(fetch, next(sizes))
            yield chunk


def _fetch_chunks(fetchmany: FetchMany) -> Iterator[Chunk]:
    sizes = _chunk_sizes()
    while chunk := fetchmany(next(sizes)):
        yield chunk


def _chunk_sizes() -> Iterator[int]:
    size = _FIRST_CHUNK_ROWS
    while True:
        yield size
        size = min(2 * size, ROWS_PER_FETCH)


def refuse_beside_snapshot(connection: Connection) -> None:
    """Refuse a transaction on a driver connection that holds a snapshot.

    Raises:
        RuntimeError: A snapshot is open on the connection.
    """
    # Only an in-memory database shares one connection between transactions. The commit of a second
    # transaction would end the snapshot without an error.
    if connection.info.get(_SNAPSHOT_OPEN):
        raise RuntimeError(
            "An in-memory database has one connection, and an export is still reading from it: "
            "finish or close that export first, or use a database file."
        )


@contextmanager
def preserve_error(context: AbstractContextManager[Connection]) -> Iterator[Connection]:
    """Use a connection; an error of the rollback on exit does not replace the block's error."""
    # A connection that was cut cannot be rolled back. The reason for the cut is the useful error.
    reasons: list[BaseException] = []
    try:
        with context as connection:
            try:
                yield connection
            except BaseException as error:
                reasons.append(error)
                raise
    except DBAPIError as error:
        if reasons and reasons[0] is not error:
            raise reasons[0] from error
        raise


@contextmanager
def driver_errors(connection: Connection, statement: Select[Any] | str) -> Iterator[None]:
    """Turn the errors of direct driver calls into the DBAPIError that SQLAlchemy would raise."""
    driver = connection.dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        raise DBAPIError.instance(
            str(statement), None, error, driver.Error, dialect=connection.dialect
        ) from error


def _begin_on_sqlite(connection: Connection) -> None:
    # sqlite3 opens no transaction for a SELECT: without BEGIN every query has its own snapshot.
    # BEGIN alone takes no snapshot before the first read. PRAGMA schema_version is a read, and
    # listeners that count queries do not count it.
    driver_connection = connection.connection.driver_connection
    if driver_connection is None or driver_connection.in_transaction:
        refuse_beside_snapshot(connection)
        raise RuntimeError(
            "An in-memory database has one connection, and a transaction is open on it: "
            "commit it before reading a snapshot, or use a database file."
        )
    connection.begin()
    _send(connection, "BEGIN")
    _send(connection, "PRAGMA schema_version")


def _begin_on_postgresql(
    connection: Connection, tables: Sequence[Table], imported: str | None
) -> None:
    # The order matters. PostgreSQL accepts SET TRANSACTION only before the first query, and takes
    # the snapshot with that query. The lock comes before it: TRUNCATE is not MVCC-safe ("Caveats"
    # in the chapter on concurrency control), so a TRUNCATE that commits after the snapshot would
    # make the table look empty.
    quoted = connection.dialect.identifier_preparer.format_table
    connection.execution_options(**{SNAPSHOT_OPTION: True})
    connection.begin()
    _send(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    if imported is not None:
        name = imported.replace("'", "''")
        _send(connection, f"SET TRANSACTION SNAPSHOT '{name}'")
    settings = (*READ_SETTINGS, *no_timeouts(connection))
    _send(connection, local_settings(settings))
    _send(connection, f"LOCK TABLE {', '.join(map(quoted, tables))} IN ACCESS SHARE MODE")


def local_settings(settings: Iterable[str]) -> str:
    """Return the statement that sets something for one transaction."""
    # SET LOCAL ends with the transaction. Behind a pooler another client gets the session then, and
    # a setting of the session would be that client's setting too.
    return "; ".join(f"SET LOCAL {setting}" for setting in settings)


def no_timeouts(connection: Connection) -> Sequence[str]:
    """Return the settings with which PostgreSQL does not limit the time of a transaction."""
    version = getattr(connection.dialect, "server_version_info", None) or ()
    names: Sequence[str] = _TIMEOUTS
    # An older server refuses a setting that it does not know.
    if version >= _TRANSACTION_TIMEOUT_SINCE:
        names = (*_TIMEOUTS, "transaction_timeout")
    return [f"{name} TO 0" for name in names]


@contextmanager
def _nothing_prepared(connection: Connection) -> Iterator[None]:
    """Keep psycopg from preparing statements on the server while the block runs."""
    # psycopg prepares a statement that it sends for the sixth time. A prepared statement belongs to
    # the session, and behind a pooler the next transaction may run in another one.
    driver_connection: Any = connection.connection.driver_connection
    if not hasattr(driver_connection, "prepare_threshold"):
        yield
        return
    before = driver_connection.prepare_threshold
    driver_connection.prepare_threshold = None
    try:
        yield
    finally:
        driver_connection.prepare_threshold = before


def database_state(connection: Connection) -> tuple[int, ...] | None:
    """Return numbers that change with every change of the database that the connection sees.

    They hold for one driver connection. None on PostgreSQL, which has no such numbers.
    """
    if connection.dialect.name != "sqlite":
        return None
    driver_connection: Any = connection.connection.driver_connection
    # Commits of others; definitions of tables; rows that this connection has changed.
    schema_version = int(str(_send(connection, "PRAGMA schema_version", fetch=True)))
    return data_version(connection), schema_version, int(driver_connection.total_changes)


def data_version(connection: Connection) -> int:
    """Return SQLite's counter of commits by other connections to the database."""
    return int(str(_send(connection, "PRAGMA data_version", fetch=True)))


def _send(connection: Connection, session_statement: str, *, fetch: bool = False) -> object:
    # On the driver's cursor, so that SQLAlchemy's events report the twelve queries only.
    cursor = connection.connection.cursor()
    try:
        with driver_errors(connection, session_statement):
            cursor.execute(session_statement)
            row = cursor.fetchone() if fetch else None
            return row[0] if row else None
    finally:
        cursor.close()
