"""New databases whose tables are filled, and what a function takes of them."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import CompileError

from querygrowth.counting.engine import AnyEngine
from querygrowth.counting.first_argument import (
    ENGINE,
    first_argument,
    is_async,
    is_async_engine,
    opened,
)
from querygrowth.tables.new_sqlite import async_sqlite_engine, preparation, sqlite_engine

NewDatabase = Callable[[], Any]
"""Makes an empty database that has the tables. Returns an engine, plain or async, or a context
manager that yields one."""
Fill = Callable[[Connection], object]


class SqliteFiles:
    """Makes new SQLite databases that have the tables.

    Args:
        tables: The tables; their metadata is created whole.
        asynchronous: Whether the engines are async ones.
    """

    def __init__(self, tables: Sequence[Table], *, asynchronous: bool) -> None:
        self._metadata = list({id(table.metadata): table.metadata for table in tables}.values())
        every = [table for metadata in self._metadata for table in metadata.tables.values()]
        self._schemas = sorted({table.schema for table in every if table.schema})
        self._asynchronous = asynchronous
        self._empty: dict[str, bytes] = {}

    @contextmanager
    def __call__(self) -> Iterator[AnyEngine]:
        """Yield an engine on a new database."""
        # Files, because every thread that connects has to see the same rows.
        with TemporaryDirectory(prefix="querygrowth-") as directory:

            def path(schema: str) -> Path:
                return Path(directory) / f"{schema}.db"

            main = partial(path, "main")
            prepare = partial(preparation, self._schemas, path)
            engine = sqlite_engine(main, prepare)
            self._create(engine, path)
            yield async_sqlite_engine(main, prepare) if self._asynchronous else engine

    def _create(self, engine: Engine, path: Callable[[str], Path]) -> None:
        """Create the tables. Later databases are copies of the first one."""
        for schema, content in self._empty.items():
            path(schema).write_bytes(content)
        if self._empty:
            return
        try:
            for metadata in self._metadata:
                metadata.create_all(engine)
        except CompileError as error:
            raise ValueError(
                f"SQLite cannot have these tables ({str(error).splitlines()[0]}): give "
                "new_database, a function that returns a context manager with an engine on an "
                "empty database that has them"
            ) from error
        self._empty = {each: path(each).read_bytes() for each in ("main", *self._schemas)}


class DatabasesFor:
    """Makes filled databases for an action.

    Args:
        action: By its first parameter it takes an engine, a connection or a session, plain or
            async. None takes an engine.
        tables: The tables, for databases on SQLite.
        new_database: Makes databases of another kind.
    """

    def __init__(
        self,
        action: Callable[..., object] | None,
        tables: Sequence[Table],
        new_database: NewDatabase | None,
    ) -> None:
        self._asynchronous = is_async(action)
        self._kind = ENGINE if action is None else first_argument(action)
        self._make = new_database or SqliteFiles(tables, asynchronous=self._asynchronous)

    def filled(self, fill: Fill) -> Any:
        """A context manager that yields what the action takes first; async for an async action.

        Args:
            fill: Fills the database.
        """
        return self._filled_async(fill) if self._asynchronous else self._filled(fill)

    @contextmanager
    def _filled(self, fill: Fill) -> Iterator[object]:
        made = _of_generator(self._make())
        with made if isinstance(made, AbstractContextManager) else nullcontext(made) as engine:
            if not isinstance(engine, Engine):
                raise ValueError(
                    f"new_database must give an Engine for a plain function, or an AsyncEngine for "
                    f"an `async def`, got {type(engine).__name__}"
                )
            with engine.begin() as connection:
                fill(connection)
            if self._kind == ENGINE:
                yield engine
                return
            with opened(engine, self._kind) as source:
                yield source

    @asynccontextmanager
    async def _filled_async(self, fill: Fill) -> AsyncIterator[object]:
        async with _entered(self._make()) as engine:
            if not is_async_engine(engine):
                raise ValueError(
                    "new_database must give an AsyncEngine, because the function is async, got "
                    f"{type(engine).__name__}"
                )
            async with engine.begin() as connection:
                await connection.run_sync(fill)
            if self._kind == ENGINE:
                yield engine
                return
            async with opened(engine, self._kind) as source:
                yield source


def _of_generator(made: Any) -> Any:
    """A generator, async or not, as the context manager that its decorator makes of it."""
    if inspect.isasyncgen(made):
        return asynccontextmanager(lambda: made)()
    return contextmanager(lambda: made)() if inspect.isgenerator(made) else made


@asynccontextmanager
async def _entered(made: Any) -> AsyncIterator[Any]:
    """Enter a context manager, async or not; yield anything else."""
    if inspect.isawaitable(made):
        made = await made
    made = _of_generator(made)
    if isinstance(made, AbstractAsyncContextManager):
        async with made as value:
            yield value
    elif isinstance(made, AbstractContextManager):
        with made as value:
            yield value
    else:
        yield made
