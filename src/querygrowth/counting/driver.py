"""Trace the database driver for statements that go past SQLAlchemy.

A statement on a raw cursor fires no event of SQLAlchemy, so that `count_queries` does not see it.
The driver sees it: sqlite3 through a trace callback, psycopg through its cursor classes. A
statement that the driver sees between `before_cursor_execute` and `after_cursor_execute` of its
connection is SQLAlchemy's. All others went past SQLAlchemy. No texts are compared. The connections
that the engine did not make are traced on request.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.util import concurrency

from querygrowth.counting.connection_trace import (
    ConnectionTrace,
    DriverConnection,
    PsycopgTrace,
    SQLiteTrace,
)
from querygrowth.counting.engine import AnyEngine, sync_engine
from querygrowth.counting.listener import attached
from querygrowth.counting.other_connections import observe_other_connections
from querygrowth.counting.statements import StatementKind, kind_of
from querygrowth.places.call_sites import CallSite, Project, default_project
from querygrowth.places.stack import StackWalker

SQLITE_DRIVERS = frozenset({"pysqlite", "aiosqlite"})
_DRIVERS = SQLITE_DRIVERS | {"psycopg"}


class Hook(Protocol):
    """A callback that the driver calls for one connection.

    Both methods may return an awaitable if the connection belongs to an async driver.
    """

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Make the driver call this hook."""

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Make the driver stop calling it."""

    def is_replaced(self, connection: DriverConnection) -> bool:
        """Whether the driver calls something else instead; false where the driver does not say."""


H = TypeVar("H", bound=Hook)


class HookedConnections(Generic[H]):
    """One hook for a connection, made and installed when the connection is first seen."""

    def __init__(self, make_hook: Callable[[], H]) -> None:
        self._make_hook = make_hook
        # Keyed by id(), because the connections of some drivers cannot be hashed. The connection is
        # kept as well, so that its id is not used again meanwhile.
        self._hooked: dict[int, tuple[DriverConnection, H]] = {}
        self._retired: list[H] = []
        self._known: set[int] = set()
        self._are_replaced = False

    @property
    def hooks(self) -> list[H]:
        """All hooks, including those of connections that were returned to the pool."""
        # A copy, because other threads may hook their connections while this one reads.
        return [*self._retired, *(hook for _, hook in list(self._hooked.values()))]

    @property
    def installed(self) -> list[H]:
        """The hooks of connections that are checked out."""
        return [hook for _, hook in list(self._hooked.values())]

    @property
    def are_replaced(self) -> bool:
        """Whether something took the place of a hook, which then counts too little.

        A connection is asked when its hook is removed.
        """
        return self._are_replaced

    def hook(self, connection: DriverConnection) -> H:
        """The hook of a connection. It is installed if the connection has none."""
        known = self._hooked.get(id(connection))
        if known is None:
            known = (connection, self._make_hook())
            _on_driver(connection, known[1].install)
            self._hooked[id(connection)] = known
            self._known.add(id(connection))
        return known[1]

    def was_hooked(self, connection: DriverConnection) -> bool:
        """Whether a connection has had a hook. The caller must have kept it all the time."""
        return id(connection) in self._known

    def unhook(self, connection: DriverConnection) -> None:
        """Remove the hook of a connection, if it has one."""
        _, hook = self._hooked.pop(id(connection), (None, None))
        if hook is None:
            return
        self._retired.append(hook)
        self._are_replaced |= hook.is_replaced(_bare(connection))
        # Connections that are closed or belong to another thread refuse. Drivers use different
        # exceptions for that.
        with suppress(Exception):
            _on_driver(connection, hook.remove)

    def unhook_all(self) -> None:
        """Remove all hooks."""
        for connection, _ in list(self._hooked.values()):
            self.unhook(connection)


@contextmanager
def hooked_connections(
    engine: Engine, make_hook: Callable[[], H]
) -> Iterator[HookedConnections[H]]:
    """Hook every connection that an engine uses inside the block, while it is checked out.

    Args:
        engine: The engine whose connections are hooked.
        make_hook: Makes the hook of one connection.
    """
    connections = HookedConnections(make_hook)

    def checked_out(connection: DriverConnection, *_record_and_proxy: object) -> None:
        connections.hook(connection)

    # A connection that was checked out before the block fires no checkout in it. It is hooked at
    # its first statement.
    def about_to_execute(
        connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> tuple[str, Any]:
        connections.hook(connection.connection.dbapi_connection)
        return statement, parameters

    def checked_in(connection: DriverConnection | None, _record: object) -> None:
        if connection is not None:
            connections.unhook(connection)

    listeners: dict[str, Callable[..., object]] = {
        "checkout": checked_out,
        "before_cursor_execute": about_to_execute,
        "checkin": checked_in,
    }
    with attached(engine, listeners):
        try:
            yield connections
        finally:
            # An async connection that is still checked out keeps its hook: removing it must be
            # awaited, and this code may run outside SQLAlchemy's greenlet.
            connections.unhook_all()


def _bare(connection: DriverConnection) -> DriverConnection:
    """Return the driver's connection behind SQLAlchemy's adapter of an async one."""
    return connection.driver_connection if isinstance(connection, AdaptedConnection) else connection


def _on_driver(
    connection: DriverConnection, visit: Callable[[DriverConnection], Awaitable[object] | None]
) -> None:
    """Call `visit` with the driver's connection; an async one is behind SQLAlchemy's adapter."""
    if not isinstance(connection, AdaptedConnection):
        visit(connection)
    elif _may_await():
        connection.run_async(lambda bare: _awaitable(visit(bare)))


def _may_await() -> bool:
    """Whether this code runs in one of SQLAlchemy's greenlets, where its adapters may await."""
    in_greenlet = getattr(concurrency, "in_greenlet", None)
    if in_greenlet is not None:
        return bool(in_greenlet())
    # Early releases of SQLAlchemy 2.0 have no such function, and only one class of greenlets.
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and type(greenlet.getcurrent()).__name__ == "_AsyncIoGreenlet"


async def _awaitable(result: Awaitable[object] | None) -> None:
    if result is not None:
        await result


class DriverTrace:
    """The statements that the driver saw and the engine did not report.

    SQLite reports a raw statement that fires triggers once more for every step of a trigger.
    """

    def __init__(
        self, connections: HookedConnections[ConnectionTrace], uncounted: Sequence[str] = ()
    ) -> None:
        self._connections = connections
        self._uncounted = uncounted

    @property
    def bypassed(self) -> tuple[str, ...]:
        """The queries and other statements that went past SQLAlchemy, without their values.

        After them comes a line for each way in which data was read without a statement.
        """
        statements = (
            sql
            for trace in self._connections.hooks
            for sql in trace.unannounced
            if kind_of(sql) is not StatementKind.SESSION
        )
        return (*statements, *self._uncounted)

    @property
    def bypass_causes(self) -> tuple[tuple[CallSite | None, str], ...]:
        """The lines that sent the statements in `bypassed`, and their texts."""
        return tuple(
            (callers.site, sql)
            for trace in self._connections.hooks
            for sql, callers in zip(trace.unannounced, trace.callers, strict=False)
            if kind_of(sql) is not StatementKind.SESSION
        )

    @property
    def session_statements(self) -> int:
        """Session statements that went past SQLAlchemy. Drivers send some themselves."""
        return sum(
            kind_of(sql) is StatementKind.SESSION
            for trace in self._connections.hooks
            for sql in trace.unannounced
        )

    @property
    def is_replaced(self) -> bool:
        """Whether something took the place of the trace; complete after the block."""
        return self._connections.are_replaced

    @property
    def cursor_fetches(self) -> int:
        """The number of FETCHes of server-side cursors."""
        return sum(trace.fetches for trace in self._connections.hooks)


def traceable(engine: AnyEngine) -> bool:
    """Whether the driver can be traced: sqlite3, aiosqlite, and psycopg without asyncio."""
    # The cursors of psycopg's async connections have coroutines in place of the methods that
    # `_StatementReports` replaces.
    dialect = sync_engine(engine).dialect
    return dialect.driver in _DRIVERS and not (dialect.driver == "psycopg" and dialect.is_async)


@contextmanager
def trace_driver(
    engine: AnyEngine, *, all_connections: bool = False, project: Project | None = None
) -> Iterator[DriverTrace]:
    """Trace the statements that the engine's driver sees inside the block.

    Args:
        engine: The engine. Its statements are not reported, unless they go past SQLAlchemy.
        all_connections: Whether to trace also the connections of this process that the engine did
            not make. All statements on them are reported.
        project: The user's own files; default: those below the working directory.

    Raises:
        ValueError: The driver cannot be traced.
    """
    target = sync_engine(engine)
    if not traceable(engine):
        raise ValueError(
            f"the driver {target.dialect.driver} cannot be traced: "
            "sqlite3, aiosqlite and psycopg (not async) can"
        )
    hook = PsycopgTrace if target.dialect.driver == "psycopg" else SQLiteTrace
    make_hook = partial(hook, StackWalker(project or default_project()))
    with (
        hooked_connections(target, make_hook) as connections,
        attached(target, _announcements(connections)),
        ExitStack() as others,
    ):
        uncounted: Sequence[str] = ()
        if all_connections:
            uncounted = others.enter_context(observe_other_connections(target, connections))
        yield DriverTrace(connections, uncounted)


def _announcements(
    connections: HookedConnections[ConnectionTrace],
) -> dict[str, Callable[..., object]]:
    """Listeners that mark on a connection's trace when SQLAlchemy is sending."""

    def trace_of(connection: Connection) -> ConnectionTrace:
        return connections.hook(connection.connection.dbapi_connection)

    def before(
        connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> tuple[str, Any]:
        trace_of(connection).announced = True
        return statement, parameters

    def after(connection: Connection, *_statement: object) -> None:
        trace_of(connection).announced = False

    def failed(context: ExceptionContext) -> None:
        # after_cursor_execute does not fire for a statement that raises.
        if context.connection is not None and not context.connection.invalidated:
            trace_of(context.connection).announced = False

    return {
        "before_cursor_execute": before,
        "after_cursor_execute": after,
        "handle_error": failed,
    }
