"""Recognise SQLAlchemy engines, plain and async, and ask their databases for tables and rows."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar

from sqlalchemy import Connection, Engine, StaticPool, func, inspect, select, table
from sqlalchemy.engine import Inspector

# They hold the server's tables, never the user's. PostgreSQL's pg_catalog is not among the names
# that the inspector returns.
_SYSTEM_SCHEMAS = frozenset({"information_schema", "mysql", "performance_schema", "sys"})


class WrappedEngine(Protocol):
    """The part of SQLAlchemy's AsyncEngine that is used here: an engine around an Engine."""

    @property
    def sync_engine(self) -> Engine:
        """The engine inside, which fires the events."""

    def connect(self) -> Any:
        """An async context manager that yields an AsyncConnection."""


AnyEngine: TypeAlias = Engine | WrappedEngine
Answer = TypeVar("Answer")


def is_engine(value: object) -> TypeGuard[AnyEngine]:
    """Whether `value` is an Engine or an AsyncEngine."""
    # SQLAlchemy's asyncio part needs greenlet, which a project without async engines may lack.
    # A project that has an AsyncEngine has imported that part.
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    return isinstance(value, Engine) or (
        asyncio is not None and isinstance(value, asyncio.AsyncEngine)
    )


def sync_engine(engine: AnyEngine) -> Engine:
    """The engine that fires events: `engine` itself, or the one inside an AsyncEngine.

    Raises:
        ValueError: `engine` is something else.
    """
    if is_engine(engine):
        return engine if isinstance(engine, Engine) else engine.sync_engine
    raise ValueError(
        f"expected an SQLAlchemy Engine or AsyncEngine, got {type(engine).__name__}: "
        "pass the engine itself, not a connection, session or URL"
    )


def engine_of(value: object) -> AnyEngine:
    """The engine in a fixture's value: the value itself, or its attribute `engine` or `bind`.

    Raises:
        ValueError: The value holds no engine.
    """
    for candidate in (value, getattr(value, "engine", None), getattr(value, "bind", None)):
        if is_engine(candidate):
            return candidate
    raise ValueError(
        f"no SQLAlchemy engine in a value of type {type(value).__name__}: "
        "name a fixture that gives an engine, or something with an attribute `engine`"
    )


def ask(engine: Engine, question: Callable[[Connection], Answer]) -> Answer | None:
    """The answer of an engine's database to a question; None where it cannot be asked.

    Args:
        engine: The engine whose database is asked.
        question: Called with a connection: `existing_tables` or `row_counts`.
    """
    if _shares_its_connection(engine):
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


def existing_tables(connection: Connection) -> frozenset[str]:
    """The names of the tables and views of a database."""
    inspector = inspect(connection)
    tables: set[str] = set()
    for schema in _user_schemas(inspector):
        tables.update(inspector.get_table_names(schema), inspector.get_view_names(schema))
    return frozenset(tables)


def row_counts(connection: Connection) -> Mapping[tuple[str, str], int]:
    """The number of rows in every table of a database, by schema and table."""
    inspector = inspect(connection)
    return {
        (schema, name): connection.scalar(
            select(func.count()).select_from(table(name, schema=schema))
        )
        or 0
        for schema in _user_schemas(inspector)
        for name in inspector.get_table_names(schema)
    }


def _user_schemas(inspector: Inspector) -> Iterator[str]:
    return (name for name in inspector.get_schema_names() if name not in _SYSTEM_SCHEMAS)


def _shares_its_connection(engine: Engine) -> bool:
    # A StaticPool gives all callers the same connection. A transaction that the user has open is on
    # it, and returning the connection to the pool rolls that transaction back.
    return isinstance(engine.pool, StaticPool)
