"""Listening to one SQLAlchemy engine: the events of a stretch of work, written down as they come.

Only public events are used, and as little as possible is done inside them; reading sense into
what was recorded is left to `querygrowth.log`.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any, Protocol, TypeAlias, TypeGuard

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from querygrowth.call_sites import Tracker, Trail

# Counting rows as they leave a DBAPI cursor, whoever fetches them.
#
# A database that steps rows while they are fetched (SQLite) has done almost nothing when
# `after_cursor_execute` fires, so both the number of rows and the end of the work are seen only
# here.


DBAPIRow = Sequence[object]


class RowCursor(Protocol):
    """The part of PEP 249's cursor that rows leave through."""

    def fetchone(self) -> DBAPIRow | None:
        """The next row."""

    def fetchmany(self, size: int = ...) -> Sequence[DBAPIRow]:
        """At most `size` further rows."""

    def fetchall(self) -> Sequence[DBAPIRow]:
        """All remaining rows."""

    def close(self) -> None:
        """Release the cursor."""

    @property
    def description(self) -> object:
        """The columns of the result."""


class Execution:
    """One statement while it runs: what the listener writes down, cheaply, for `Query` to tell."""

    __slots__ = (
        "checkout",
        "ended",
        "executemany",
        "failed",
        "parameter_count",
        "parameters",
        "rows_fetched",
        "sql",
        "started",
        "trail",
        "transaction",
    )

    def __init__(
        self,
        sql: str,
        parameter_count: int,
        executemany: bool,
        checkout: int | None,
        transaction: int | None,
        trail: Trail | None,
        parameters: object,
    ) -> None:
        self.sql = sql
        self.parameter_count = parameter_count
        self.executemany = executemany
        self.checkout = checkout
        self.transaction = transaction
        self.trail = trail
        self.parameters = parameters
        self.rows_fetched = 0
        self.failed = True  # until SQLAlchemy reports that it returned
        self.ended: float | None = None
        self.started = perf_counter()

    @property
    def seconds(self) -> float | None:
        """From sending to the last row; None while there may be more."""
        return None if self.ended is None else self.ended - self.started

    def end(self) -> None:
        """The cursor has no more rows to give, or was closed."""
        if self.ended is None:
            self.ended = perf_counter()


class CountingCursor:
    """A DBAPI cursor that notes on its execution every row that leaves it.

    Everything else, reading and setting, goes to the cursor behind it.
    """

    __slots__ = ("_cursor", "_execution")

    _cursor: RowCursor
    _execution: Execution

    def __init__(self, cursor: RowCursor, execution: Execution) -> None:
        _set_cursor(self, cursor)
        _set_execution(self, execution)

    @property
    def description(self) -> object:
        """The columns of the result. Spelled out because SQLAlchemy asks for it every time."""
        return self._cursor.description

    def fetchone(self) -> DBAPIRow | None:
        """The next row, counted; None ends the execution."""
        row = self._cursor.fetchone()
        if row is None:
            self._execution.end()
        else:
            self._execution.rows_fetched += 1
        return row

    def fetchmany(self, size: int | None = None) -> Sequence[DBAPIRow]:
        """The next rows, counted; none ends the execution."""
        rows = self._cursor.fetchmany() if size is None else self._cursor.fetchmany(size)
        self._execution.rows_fetched += len(rows)
        if not rows:
            self._execution.end()
        return rows

    def fetchall(self) -> Sequence[DBAPIRow]:
        """All remaining rows, counted."""
        rows = self._cursor.fetchall()
        execution = self._execution
        execution.rows_fetched += len(rows)
        execution.end()
        return rows

    def close(self) -> None:
        """Close the cursor; an execution left half read ends here."""
        self._cursor.close()
        self._execution.end()

    def __iter__(self) -> Iterator[DBAPIRow]:
        execution = self._execution
        for row in self._cursor:  # type: ignore[attr-defined]  # optional in PEP 249
            execution.rows_fetched += 1
            yield row
        execution.end()

    def __next__(self) -> DBAPIRow:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __getattr__(self, name: str) -> object:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._cursor, name, value)


# The slots' own setters, past the __setattr__ that writes through to the cursor.
_set_cursor = CountingCursor.__dict__["_cursor"].__set__
_set_execution = CountingCursor.__dict__["_execution"].__set__


class WrappedEngine(Protocol):
    """What SQLAlchemy's AsyncEngine is: a synchronous engine inside another interface."""

    @property
    def sync_engine(self) -> Engine:
        """The engine inside."""


AnyEngine: TypeAlias = Engine | WrappedEngine

# The two frames that call a listener are SQLAlchemy's own, whichever way a statement takes.
_CALLER = 3


def is_engine(value: object) -> TypeGuard[AnyEngine]:
    """Whether something is an Engine or an AsyncEngine.

    SQLAlchemy's asyncio part needs greenlet, which a project without async engines may lack; who
    has one of those has imported it.
    """
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    return isinstance(value, Engine) or (
        asyncio is not None and isinstance(value, asyncio.AsyncEngine)
    )


def sync_engine(engine: AnyEngine) -> Engine:
    """The engine that fires events: an async engine's is the synchronous one inside it."""
    if is_engine(engine):
        return engine if isinstance(engine, Engine) else engine.sync_engine
    raise ValueError(
        f"expected an SQLAlchemy Engine or AsyncEngine, got {type(engine).__name__}: "
        "pass the engine itself, not a connection, session or URL"
    )


@contextmanager
def listening(engine: Engine, listeners: dict[str, Callable[..., object]]) -> Iterator[None]:
    """Attach listeners by event name, and detach every one of them on any exit."""
    with ExitStack() as attached:
        for name, listener in listeners.items():
            event.listen(engine, name, listener)
            attached.callback(event.remove, engine, name, listener)
        yield


class Recording:
    """What an engine did, in the order it did it. Safe to write from any number of threads."""

    def __init__(self, *, tracker: Tracker | None, keep_parameters: bool) -> None:
        self.executions: list[Execution] = []
        self.transactions_begun = 0
        self.commits = 0
        self.rollbacks = 0
        self.checkouts = 0
        self._tracker = tracker
        self._keep_parameters = keep_parameters
        self._running: dict[int, Execution] = {}
        self._transaction_of: dict[int, int] = {}
        self._checkout_of: dict[int, int] = {}

    def listeners(self) -> dict[str, Callable[..., object]]:
        """The events to attach, by name."""
        return {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "begin": self._begun,
            "commit": self._committed,
            "rollback": self._rolled_back,
            "begin_twophase": self._begun,
            "commit_twophase": self._committed,
            "rollback_twophase": self._rolled_back,
            "checkout": self._checked_out,
        }

    def _before(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,  # a mapping, a sequence, or a list of either: the driver decides
        context: ExecutionContext | None,
        executemany: bool,
    ) -> None:
        tracker = self._tracker
        execution = Execution(
            statement,
            len(parameters) if parameters else 0,
            executemany,
            self._checkout_of.get(id(connection.connection)),
            self._transaction_of.get(id(connection)),
            tracker.trail(sys._getframe(_CALLER)) if tracker else None,
            parameters if self._keep_parameters else None,
        )
        self._running[id(context)] = execution
        self.executions.append(execution)

    def _after(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: Any,  # an ExecutionContext or None; its cursor is to be a stand-in
        executemany: bool,
    ) -> None:
        execution = self._running.pop(id(context), None)
        if execution is None:
            return  # it began before this recording did
        execution.failed = False
        # A batched INSERT reads its returned rows from the bare cursor between its batches.
        if context is None or executemany or cursor.description is None:
            execution.end()
            return
        context.cursor = CountingCursor(context.cursor, execution)

    def _begun(self, connection: Connection, *_twophase: object) -> None:
        self.transactions_begun += 1
        self._transaction_of[id(connection)] = self.transactions_begun

    def _committed(self, connection: Connection, *_twophase: object) -> None:
        self.commits += 1
        self._transaction_of.pop(id(connection), None)

    def _rolled_back(self, connection: Connection, *_twophase: object) -> None:
        self.rollbacks += 1
        self._transaction_of.pop(id(connection), None)

    def _checked_out(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        self.checkouts += 1
        self._checkout_of[id(proxy)] = self.checkouts
