"""Reach every DBAPI connection an engine uses, to put a hook of the driver's own on it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine.interfaces import AdaptedConnection
from sqlalchemy.util.concurrency import in_greenlet

from harness.counting.listening import listening

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
