"""Engines on SQLite files that nobody else uses, plain and async."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from sqlite3 import connect
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine

from querygrowth.engine import AnyEngine

Prepare = Callable[[], Iterator[str]]
"""Gives the statements that every new connection runs first."""


def sqlite_engine(path: Callable[[], Path], prepare: Prepare) -> Engine:
    """An engine whose connections are made when they are needed, each to the present file.

    Args:
        path: Gives the file.
        prepare: Gives the statements that a new connection runs first.
    """

    def made() -> SQLiteConnection:
        connection = connect(path(), check_same_thread=False)
        for statement in prepare():
            connection.execute(statement)
        return connection

    return create_engine("sqlite://", creator=made, poolclass=NullPool)


def async_sqlite_engine(path: Callable[[], Path], prepare: Prepare) -> AnyEngine:
    """An AsyncEngine that is otherwise as `sqlite_engine` makes it.

    Raises:
        ValueError: aiosqlite is not installed.
    """
    try:
        import aiosqlite
    except ImportError:
        raise ValueError(
            "an asynchronous function needs aiosqlite for its database: pip install aiosqlite, "
            "or give an AsyncEngine on an empty database"
        ) from None
    from sqlalchemy.ext.asyncio import create_async_engine

    async def made() -> Any:
        connection = await aiosqlite.connect(path())
        for statement in prepare():
            await connection.execute(statement)
        return connection

    return create_async_engine("sqlite+aiosqlite://", async_creator=made, poolclass=NullPool)


def preparation(schemas: Sequence[str], path: Callable[[str], Path]) -> Iterator[str]:
    """What a connection to a throw-away database runs first.

    Args:
        schemas: The schemas beside the main one. Each is a file that is attached.
        path: Gives the file of a schema.
    """
    # Nothing has to survive a crash. Foreign keys hold, as in other databases.
    yield "PRAGMA synchronous = OFF"
    yield "PRAGMA foreign_keys = ON"
    for schema in schemas:
        yield f"ATTACH '{path(schema)}' AS \"{schema}\""
