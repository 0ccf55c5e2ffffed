"""Reach a database on a connection beside those of the test."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import NullPool, SingletonThreadPool, StaticPool


def is_shared(engine: Engine) -> bool:
    """Whether all connections of an engine are one, as with a database in memory."""
    return isinstance(engine.pool, StaticPool | SingletonThreadPool)


def is_gone(engine: Engine) -> bool:
    """Whether the file of a database has been removed. To connect would make an empty one."""
    name = engine.url.database or ""
    is_file = engine.dialect.name == "sqlite" and not name.startswith((":memory:", "file:"))
    return is_file and bool(name) and not Path(name).exists()


@contextmanager
def beside(connection: Connection) -> Iterator[Connection]:
    """Open another connection to the database of one that is in use.

    The pool of its engine may allow one connection only, so the other one is not taken from it.

    Args:
        connection: The one in use. An async one is in a greenlet of its driver.
    """
    engine = connection.engine
    pool = engine.pool.recreate()
    options = connection.get_execution_options()
    try:
        with Connection(engine, connection=pool.connect()) as other:
            translated = options.get("schema_translate_map")
            yield other.execution_options(schema_translate_map=translated) if translated else other
    finally:
        pool.dispose()


def run_beside(engine: Engine, work: Callable[[Connection], object]) -> None:
    """Do something in a transaction of another connection, while no code of the test runs.

    Args:
        engine: Leads to the database. That of an async engine may have lost its event loop.
        work: Is called with the connection.
    """
    if not engine.dialect.is_async:
        with engine.connect() as connection:
            work(connection)
            connection.commit()
        return
    from sqlalchemy.ext.asyncio import create_async_engine

    options = dict(engine.get_execution_options())

    async def run() -> None:
        other = create_async_engine(engine.url, poolclass=NullPool, execution_options=options)
        async with other.begin() as connection:
            await connection.run_sync(work)
        await other.dispose()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, run()).result()
