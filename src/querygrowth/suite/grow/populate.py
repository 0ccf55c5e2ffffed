"""Let `query_growth` grow the rows that a test has made: `copied_rows`."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import Connection

from querygrowth.counting.engine import is_engine, single_engine
from querygrowth.suite.grow.grower import Grower
from querygrowth.suite.grow.row_sets import EVERYTHING, below_of

Populate = Callable[[int], Any]


def copied_rows(source: Any, *, below: str | None = None) -> Populate:
    """Make a `populate` for `query_growth` that copies the rows that a test has made.

    Give `axes={"copies": 1}` and scales that begin with 1, in rising order: at scale 4 each row is
    there four times. The rows are copied as `pytest --queries=grow` copies them. In an open
    transaction of the source, the copies stay until it is rolled back. Otherwise they are
    committed, and deleted after each action.

    Args:
        source: The session, connection or engine that the action reads with, plain or async. A
            session or connection in a transaction is written to inside of it.
        below: A table whose rows stay, while what refers to them is copied; so each of its rows has
            more children. Default: every row is copied.

    Returns:
        The function to pass to `query_growth`. It takes `copies`, and returns a context manager
        that yields the source, async for an async source.

    Raises:
        ValueError: The source leads to no engine, or `below` is not a text.
    """
    given: object = below
    if given is not None and (not isinstance(given, str) or not given.strip()):
        raise ValueError(f"copied_rows: below must be the name of a table, got {below!r}")
    name = EVERYTHING if below is None else below_of(below)
    rows = _CopiedRows(source, name)
    return rows.populate_async if rows.is_async else rows.populate


class _CopiedRows:
    def __init__(self, source: Any, name: str) -> None:
        self._source = source
        self._engine: Any = single_engine(source)
        self.is_async = hasattr(self._engine, "sync_engine")
        self._name = name
        self._grower = Grower()
        self._grower.begin(name, 0)

    @contextmanager
    def populate(self, copies: int) -> Iterator[Any]:
        """Copy the rows of the source for one action."""
        source = self._source
        if not is_engine(source) and getattr(source, "in_transaction", bool)():
            is_connection = isinstance(source, Connection)
            self._grow(source if is_connection else source.connection(), copies)
        else:
            with self._engine.connect() as connection:
                self._grow(connection, copies)
                connection.commit()
        yield source
        self._grower.end_body()

    @asynccontextmanager
    async def populate_async(self, copies: int) -> AsyncIterator[Any]:
        """The same for an async source."""
        source = self._source
        if not is_engine(source) and getattr(source, "in_transaction", bool)():
            is_session = hasattr(source, "scalars") and hasattr(source, "add")
            connection = await source.connection() if is_session else source
            await connection.run_sync(self._grow, copies)
        else:
            async with self._engine.connect() as connection:
                await connection.run_sync(self._grow, copies)
                await connection.commit()
        yield source
        self._grower.end_body()

    def _grow(self, connection: Connection, copies: int) -> None:
        self._grower.grow_now(connection, copies - 1)
        if self._grower.grown.stopped:
            raise ValueError(f"rows could not be copied: {self._grower.grown.stopped}")
        names = self._grower.names
        if not names:
            raise ValueError("copied_rows: there are no rows to copy")
        if self._name not in names:
            known = ", ".join(name for name in names if name != EVERYTHING)
            raise ValueError(f"copied_rows: there are no {self._name}; there are {known or 'none'}")
