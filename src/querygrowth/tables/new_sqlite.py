"""Engines on SQLite files that nobody else uses, plain and async."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event

from querygrowth.counting.engine import AnyEngine

Prepare = Callable[[], Iterator[str]]
"""Gives the statements that every new connection runs first."""


def sqlite_engine(path: Callable[[], Path], prepare: Prepare) -> Engine:
    """An engine whose connections are made when they are needed, each to the present file.

    Args:
        path: Gives the file.
        prepare: Gives the statements that a new connection runs first.
    """
    engine = create_engine("sqlite://", poolclass=NullPool)
    _connect_to(engine, path, prepare)
    return engine


def async_sqlite_engine(path: Callable[[], Path], prepare: Prepare) -> AnyEngine:
    """An AsyncEngine that is otherwise as `sqlite_engine` makes it.

    Raises:
        ValueError: aiosqlite is not installed.
    """
    from sqlalchemy.ext.asyncio import create_async_engine

    try:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=NullPool)
    except ImportError:
        raise ValueError(
            "an asynchronous function needs aiosqlite for its database: pip install aiosqlite, "
            "or give an AsyncEngine on an empty database"
        ) from None
    _connect_to(engine.sync_engine, path, prepare)
    return engine


def _connect_to(engine: Engine, path: Callable[[], Path], prepare: Prepare) -> None:
    def choose(_dialect: object, _record: object, arguments: list[Any], options: Any) -> None:
        arguments[:] = [str(path())]
        options["check_same_thread"] = False

    def run_first(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for statement in prepare():
            cursor.execute(statement)
        cursor.close()

    event.listen(engine, "do_connect", choose)
    event.listen(engine, "connect", run_first)


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
