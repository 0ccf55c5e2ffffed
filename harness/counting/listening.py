"""Listening to one SQLAlchemy engine: the events of a stretch of work, written down as they come.

Only public events are used, and as little as possible is done inside them; reading sense into
what was recorded is left to `harness.queries`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeAlias, TypeGuard

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from harness.counting.callsites import Tracker
from harness.counting.fetching import CountingCursor, Execution


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
