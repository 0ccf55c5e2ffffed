"""Ask the database behind an engine for its tables and rows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, StaticPool, func, inspect, select, table
from sqlalchemy.engine import Inspector
from sqlalchemy.util.concurrency import greenlet_spawn

from querygrowth.counting.engine import WrappedEngine

# They hold the server's tables, never the user's. PostgreSQL's pg_catalog is not among the names
# that the inspector returns.
_SYSTEM_SCHEMAS = frozenset({"information_schema", "mysql", "performance_schema", "sys"})

Answer = TypeVar("Answer")


def ask(engine: Engine, question: Callable[[Connection], Answer]) -> Answer | None:
    """The answer of an engine's database to a question; None where it cannot be asked.

    Args:
        engine: The engine whose database is asked.
        question: Called with a connection, such as `row_counts`.
    """
    # An async driver answers in its event loop only; see `ask_async`.
    if _shares_its_connection(engine) or engine.dialect.is_async:
        return None
    # Pools, drivers and databases refuse with exceptions of different classes. An answer that is
    # missing makes a check weaker; an exception here would replace the result of the test.
    try:
        with engine.connect() as connection:
            return question(connection)
    except Exception:
        return None


async def ask_async(
    engine: WrappedEngine, question: Callable[[Connection], Answer]
) -> Answer | None:
    """`ask` for an async engine. It must run in the event loop of its connections."""
    if _shares_its_connection(engine.sync_engine):
        return None
    try:
        async with engine.connect() as connection:
            answer: Answer = await connection.run_sync(question)
            return answer
    except Exception:
        return None


def tables_of(engine: Engine) -> frozenset[str] | None:
    """The tables and views of an engine's database, with schemas; None where it cannot be asked."""
    if _shares_its_connection(engine) and not engine.dialect.is_async:
        return _tables_on_shared_connection(engine)
    return ask(engine, _qualified_tables)


async def tables_of_async(engine: WrappedEngine) -> frozenset[str] | None:
    """`tables_of` for an async engine. It must run in the event loop of its connections."""
    if _shares_its_connection(engine.sync_engine):
        found: frozenset[str] | None = await greenlet_spawn(
            _tables_on_shared_connection, engine.sync_engine
        )
        return found
    return await ask_async(engine, _qualified_tables)


def _qualified_tables(connection: Connection) -> frozenset[str]:
    """The names of the tables and views of a database, as "schema"."table" with its quotes."""
    inspector = inspect(connection)
    tables: set[str] = set()
    for schema in _user_schemas(inspector):
        names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        with suppress(NotImplementedError):  # most databases have none
            names += inspector.get_materialized_view_names(schema)
        tables.update(f'"{schema}"."{name}"' for name in names)
    return frozenset(tables)


def _tables_on_shared_connection(engine: Engine) -> frozenset[str] | None:
    """The tables of an SQLite database in memory, whose one connection the user may have in use."""
    # A cursor of the driver neither begins nor ends a transaction by reading.
    record = vars(engine.pool).get("connection")
    if engine.dialect.name != "sqlite" or record is None:
        return None
    with suppress(Exception):  # it belongs to another thread, or is closed
        cursor = record.dbapi_connection.cursor()
        schemas = [row[1] for row in cursor.execute("PRAGMA database_list").fetchall()]
        return frozenset(
            f'"{schema}"."{name}"'
            for schema in schemas
            for (name,) in cursor.execute(
                f"SELECT name FROM \"{schema}\".sqlite_master WHERE type IN ('table', 'view')"  # noqa: S608
            ).fetchall()
        )
    return None


def rows_of(engine: Engine) -> Mapping[tuple[str, str], int] | None:
    """`row_counts` of an engine's database; None where it cannot be asked."""
    if _shares_its_connection(engine) and not engine.dialect.is_async:
        return row_counts_of_file(engine)
    return ask(engine, row_counts)


async def rows_of_async(engine: WrappedEngine) -> Mapping[tuple[str, str], int] | None:
    """`rows_of` for an async engine. It must run in the event loop of its connections."""
    if _shares_its_connection(engine.sync_engine):
        found: Mapping[tuple[str, str], int] | None = await greenlet_spawn(
            row_counts_of_file, engine.sync_engine
        )
        return found
    return await ask_async(engine, row_counts)


def row_counts(connection: Connection) -> Mapping[tuple[str, str], int]:
    """The number of rows in every table of a database, by schema and table."""
    inspector = inspect(connection)
    counts: dict[tuple[str, str], int] = {}
    for schema in _user_schemas(inspector):
        for name in inspector.get_table_names(schema):
            counted = select(func.count()).select_from(table(name, schema=schema))
            counts[schema, name] = connection.scalar(counted) or 0
            # A lock that is kept while the next table is waited for can deadlock with other users
            # of the server, such as tests in another process that drop their tables.
            connection.rollback()
    return counts


def row_counts_of_file(engine: Engine) -> Mapping[tuple[str, str], int] | None:
    """`row_counts` of an SQLite database, through a cursor that leaves transactions as they are.

    None for another database, and where the database cannot be asked.
    """
    # A database in memory has one connection for a thread. The rollback at the end of an SQLAlchemy
    # connection would undo what the user has not committed on it.
    if engine.dialect.name != "sqlite":
        return None
    try:
        if _shares_its_connection(engine):
            record = vars(engine.pool).get("connection")
            return None if record is None else _rows_by_table(record.dbapi_connection)
        connection = engine.raw_connection()
        try:
            return _rows_by_table(connection)
        finally:
            connection.close()
    except Exception:  # as in `ask`
        return None


def _rows_by_table(connection: Any) -> Mapping[tuple[str, str], int]:
    """`row_counts` through a cursor of an SQLite driver."""
    counts: dict[tuple[str, str], int] = {}
    cursor = connection.cursor()
    for schema in [row[1] for row in cursor.execute("PRAGMA database_list").fetchall()]:
        listing = f"SELECT name FROM \"{schema}\".sqlite_master WHERE type = 'table'"  # noqa: S608
        for (name,) in cursor.execute(listing).fetchall():
            if not name.startswith("sqlite_"):
                counted = f'SELECT count(*) FROM "{schema}"."{name}"'  # noqa: S608
                counts[schema, name] = cursor.execute(counted).fetchone()[0]
    return counts


def _user_schemas(inspector: Inspector) -> Iterator[str]:
    return (name for name in inspector.get_schema_names() if name not in _SYSTEM_SCHEMAS)


def _shares_its_connection(engine: Engine) -> bool:
    # A StaticPool gives all callers the same connection. A transaction that the user has open is on
    # it, and returning the connection to the pool rolls that transaction back.
    return isinstance(engine.pool, StaticPool)
