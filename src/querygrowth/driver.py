"""What the driver itself saw: statements that went past SQLAlchemy's events, and cursor fetches.

A statement is SQLAlchemy's when the driver sees it between `before_cursor_execute` and
`after_cursor_execute` on its connection; any other went past. No texts need to be matched.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.util.concurrency import in_greenlet

from querygrowth.listener import AnyEngine, listening, sync_engine
from querygrowth.statements import StatementKind, kind_of, skeleton

# Reach every DBAPI connection an engine uses, to put a hook of the driver's own on it.


SQLITE_DRIVERS = frozenset({"pysqlite", "aiosqlite"})

# Drivers share no base class; which hooks a connection has follows from the dialect's driver.
DriverConnection = Any


class Hook(Protocol):
    """Something of the driver's own that is put on a connection and taken off again.

    Both may return an awaitable when the connection is an async driver's.
    """

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Put it on."""

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Take it off."""


H = TypeVar("H", bound=Hook)


class HookedConnections(Generic[H]):
    """The hook of each connection, made and installed when the connection is first seen."""

    def __init__(self, make_hook: Callable[[], H]) -> None:
        self._make_hook = make_hook
        self._hooked: dict[int, tuple[DriverConnection, H]] = {}
        self._retired: list[H] = []

    @property
    def hooks(self) -> list[H]:
        """All hooks ever made."""
        return [*self._retired, *(hook for _, hook in list(self._hooked.values()))]

    def hook(self, connection: DriverConnection) -> H:
        """The hook on this connection, installed now if there is none."""
        known = self._hooked.get(id(connection))
        if known is None:
            known = (connection, self._make_hook())
            _on_driver(connection, known[1].install)
            self._hooked[id(connection)] = known
        return known[1]

    def unhook(self, connection: DriverConnection) -> None:
        """Take the hook off again, if this connection has one."""
        _, hook = self._hooked.pop(id(connection), (None, None))
        if hook is None:
            return
        self._retired.append(hook)
        # Closed connections and those of other threads refuse, each driver in its own words.
        with suppress(Exception):
            _on_driver(connection, hook.remove)

    def unhook_all(self) -> None:
        """Take off every hook."""
        for connection, _ in list(self._hooked.values()):
            self.unhook(connection)


@contextmanager
def hooked_connections(
    engine: Engine, make_hook: Callable[[], H]
) -> Iterator[HookedConnections[H]]:
    """Hook every connection that `engine` uses inside the block, while it is checked out.

    A connection checked out before the block is hooked at its first statement. An async
    connection still checked out at the end keeps its hook, as nothing can be awaited there.
    """
    connections = HookedConnections(make_hook)

    def checked_out(connection: DriverConnection, *_record_and_proxy: object) -> None:
        connections.hook(connection)

    def about_to_execute(connection: Connection, *_statement: object) -> None:
        connections.hook(connection.connection.dbapi_connection)

    def checked_in(connection: DriverConnection | None, _record: object) -> None:
        if connection is not None:
            connections.unhook(connection)

    listeners: dict[str, Callable[..., object]] = {
        "checkout": checked_out,
        "before_cursor_execute": about_to_execute,
        "checkin": checked_in,
    }
    with listening(engine, listeners):
        try:
            yield connections
        finally:
            connections.unhook_all()


def _on_driver(
    connection: DriverConnection, visit: Callable[[DriverConnection], Awaitable[object] | None]
) -> None:
    """Visit the driver's own connection, behind SQLAlchemy's adapter if it is async."""
    if not isinstance(connection, AdaptedConnection):
        visit(connection)
    elif in_greenlet():
        connection.run_async(lambda bare: _awaitable(visit(bare)))


async def _awaitable(result: Awaitable[object] | None) -> None:
    if result is not None:
        await result


# Seeing what psycopg 3 sends: cursor classes that report each statement and each FETCH.
#
# psycopg has no statement counters, but a connection makes its cursors from two replaceable
# factories. The classes here report and then behave as the ones they extend.


class Witness(Protocol):
    """Who is told what a driver does."""

    def saw_statement(self, sql: str) -> None:
        """A statement was sent."""

    def saw_fetch(self) -> None:
        """A server-side cursor asked for rows."""


class PsycopgHook:
    """Replaces the cursor factories of one synchronous psycopg connection."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._factories: tuple[Any, Any] | None = None

    def install(self, connection: DriverConnection) -> None:
        """Extend both factories, whatever they are."""
        self._factories = (connection.cursor_factory, connection.server_cursor_factory)
        plain, server_side = self._factories
        connection.cursor_factory = self._extended(plain, _ReportsStatements)
        connection.server_cursor_factory = self._extended(server_side, _ReportsFetches)

    def remove(self, connection: DriverConnection) -> None:
        """Put the original factories back."""
        if self._factories is not None:
            connection.cursor_factory, connection.server_cursor_factory = self._factories

    def _extended(self, factory: type, reporting: type) -> type:
        name = f"Traced{factory.__name__}"
        return type(name, (reporting, factory), {"witness": self._witness})


class _ReportsStatements:
    """Mixed in before a psycopg cursor class, which has the methods that are called on."""

    witness: Witness
    # What psycopg.Cursor brings; its parameters differ between releases and are passed through.
    connection: Any

    def execute(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.witness.saw_statement(self._text(query))
        return self._inherited("execute")(query, *args, **kwargs)

    def executemany(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.witness.saw_statement(self._text(query))
        return self._inherited("executemany")(query, *args, **kwargs)

    def stream(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.witness.saw_statement(self._text(query))
        return self._inherited("stream")(query, *args, **kwargs)

    def copy(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.witness.saw_statement(self._text(query))
        return self._inherited("copy")(query, *args, **kwargs)

    def _inherited(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(super(), name)
        return method

    def _text(self, query: object) -> str:
        if isinstance(query, bytes):
            return query.decode(errors="replace")
        as_string = getattr(query, "as_string", None)
        return str(query) if as_string is None else str(as_string(self.connection))


class _ReportsFetches(_ReportsStatements):
    itersize: int

    def fetchone(self) -> Any:
        self.witness.saw_fetch()
        return self._inherited("fetchone")()

    def fetchmany(self, size: int = 0) -> Any:
        self.witness.saw_fetch()
        return self._inherited("fetchmany")(size)

    def fetchall(self) -> Any:
        self.witness.saw_fetch()
        return self._inherited("fetchall")()

    def __iter__(self) -> Iterator[Any]:
        while rows := self.fetchmany(self.itersize):
            yield from rows
            if len(rows) < self.itersize:
                return


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
