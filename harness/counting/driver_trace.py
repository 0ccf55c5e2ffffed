"""What the driver itself saw: statements that went past SQLAlchemy's events, and cursor fetches.

A statement is SQLAlchemy's when the driver sees it between `before_cursor_execute` and
`after_cursor_execute` on its connection; any other went past. No texts need to be matched.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.engine import ExceptionContext

from harness.counting.connections import (
    SQLITE_DRIVERS,
    DriverConnection,
    HookedConnections,
    hooked_connections,
)
from harness.counting.listening import AnyEngine, listening, sync_engine
from harness.counting.psycopg_trace import PsycopgHook
from harness.counting.shapes import StatementKind, kind_of, skeleton

_DRIVERS = SQLITE_DRIVERS | {"psycopg"}


class DriverTrace:
    """What was seen on the engine's connections that SQLAlchemy's events did not tell of.

    Connections made outside the engine (`sqlite3.connect` by hand) are not seen. A raw statement
    that fires triggers is seen once more for each of their steps, as SQLite reports it so.
    """

    def __init__(self, connections: HookedConnections["_Wiretap"]) -> None:
        self._connections = connections

    @property
    def bypassed(self) -> tuple[str, ...]:
        """Statements other than session statements that went past, without their values."""
        return tuple(
            sql
            for tap in self._connections.hooks
            for sql in tap.unannounced
            if kind_of(sql) is not StatementKind.SESSION
        )

    @property
    def session_statements(self) -> int:
        """Session statements sent past SQLAlchemy: by the driver itself, or on its cursors."""
        kinds = Counter(kind_of(sql) for tap in self._connections.hooks for sql in tap.unannounced)
        return kinds[StatementKind.SESSION]

    @property
    def cursor_fetches(self) -> int:
        """FETCHes of server-side cursors."""
        return sum(tap.fetches for tap in self._connections.hooks)


def traceable(engine: AnyEngine) -> bool:
    """Whether the engine's driver can be asked: sqlite3, aiosqlite, and psycopg without asyncio."""
    dialect = sync_engine(engine).dialect
    return dialect.driver in _DRIVERS and not (dialect.driver == "psycopg" and dialect.is_async)


@contextmanager
def trace_driver(engine: AnyEngine) -> Iterator[DriverTrace]:
    """Ask the driver what it sees inside the block; an unsupported driver raises ValueError."""
    target = sync_engine(engine)
    if not traceable(engine):
        raise ValueError(
            f"no cross-check for the driver {target.dialect.driver}: "
            "sqlite3, aiosqlite and psycopg (not async) can be asked"
        )
    make_hook = _PsycopgTap if target.dialect.driver == "psycopg" else _SQLiteTap
    with (
        hooked_connections(target, make_hook) as connections,
        listening(target, _announcing(connections)),
    ):
        yield DriverTrace(connections)


def _announcing(connections: HookedConnections["_Wiretap"]) -> dict[str, Callable[..., object]]:
    """Listeners that tell a connection's tap when SQLAlchemy is sending."""

    def tap_of(connection: Connection) -> _Wiretap:
        return connections.hook(connection.connection.dbapi_connection)

    def before(connection: Connection, *_statement: object) -> None:
        tap_of(connection).announced = True

    def after(connection: Connection, *_statement: object) -> None:
        tap_of(connection).announced = False

    def failed(context: ExceptionContext) -> None:
        if context.connection is not None and not context.connection.invalidated:
            tap_of(context.connection).announced = False

    return {
        "before_cursor_execute": before,
        "after_cursor_execute": after,
        "handle_error": failed,
    }


class _Wiretap:
    """What one connection's driver saw."""

    def __init__(self) -> None:
        self.announced = False
        self.unannounced: list[str] = []
        self.fetches = 0

    def saw_statement(self, sql: str) -> None:
        if not self.announced:
            self.unannounced.append(skeleton(sql))

    def saw_fetch(self) -> None:
        self.fetches += 1

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        raise NotImplementedError

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        raise NotImplementedError


class _SQLiteTap(_Wiretap):
    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        installed: Awaitable[object] | None = connection.set_trace_callback(self.saw_statement)
        return installed

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        removed: Awaitable[object] | None = connection.set_trace_callback(None)
        return removed


class _PsycopgTap(_Wiretap):
    def __init__(self) -> None:
        super().__init__()
        self._hook = PsycopgHook(self)

    def install(self, connection: DriverConnection) -> None:
        self._hook.install(connection)

    def remove(self, connection: DriverConnection) -> None:
        self._hook.remove(connection)
