"""What the driver of one connection saw: its trace callback, or cursors that report."""

import gc
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from querygrowth.counting.statements import skeleton, statements_in
from querygrowth.places.call_sites import Callers
from querygrowth.places.stack import StackWalker

# Drivers share no base class. The dialect's driver says which hooks a connection has.
DriverConnection = Any


def is_callback(method: Any, connection: DriverConnection) -> bool:
    """Whether a connection of sqlite3 or aiosqlite calls a bound method of a hook.

    sqlite3 says nowhere which callbacks are set, but the garbage collector knows them. A closed
    connection calls none and has forgotten them, so that the answer is true for it.

    Args:
        method: The method.
        connection: The connection.
    """
    bare = getattr(connection, "_connection", connection)  # of aiosqlite
    if not isinstance(bare, sqlite3.Connection):
        return True
    # By its object: a comparison with a foreign object could raise an error.
    if any(getattr(each, "__self__", None) is method.__self__ for each in gc.get_referents(bare)):
        return True
    try:
        bare.total_changes  # noqa: B018 - it raises an error after `close`
    except sqlite3.ProgrammingError:
        return True
    return False


class ConnectionTrace:
    """The statements and fetches that the driver saw on one connection."""

    def __init__(self, walker: StackWalker) -> None:
        self.announced = False
        self.unannounced: list[str] = []
        self.callers: list[Callers] = []  # of the unannounced statements
        self.fetches = 0
        self._walker = walker

    def saw_statement(self, sql: str) -> None:
        """Note a statement that SQLAlchemy did not announce."""
        # The values of a raw statement may be secret, so only the skeleton is kept.
        if not self.announced:
            callers = self._walker.callers(sys._getframe(1))
            for statement in statements_in(sql):
                self.unannounced.append(skeleton(statement))
                self.callers.append(callers)

    def saw_fetch(self) -> None:
        """Note a FETCH of a server-side cursor."""
        self.fetches += 1

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Make the driver call this trace."""
        raise NotImplementedError

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Make the driver stop calling it."""
        raise NotImplementedError

    def is_replaced(self, connection: DriverConnection) -> bool:
        """Whether the driver reports to something else instead."""
        raise NotImplementedError


class SQLiteTrace(ConnectionTrace):
    """The trace callback of one connection of sqlite3 or aiosqlite."""

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Make the driver call this trace."""
        installed: Awaitable[object] | None = connection.set_trace_callback(self.saw_statement)
        return installed

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        """Make the driver stop calling it."""
        removed: Awaitable[object] | None = connection.set_trace_callback(None)
        return removed

    def is_replaced(self, connection: DriverConnection) -> bool:
        """Whether another trace callback is set, or none."""
        return not is_callback(self.saw_statement, connection)


class PsycopgTrace(ConnectionTrace):
    """Replaces the cursor classes of one synchronous psycopg connection by reporting subclasses."""

    # psycopg 3 has no trace callback, but a connection makes its cursors with two factories that
    # can be replaced. The user may have set them already, hence subclasses of the present classes.

    def __init__(self, walker: StackWalker) -> None:
        super().__init__(walker)
        self._factories: tuple[Any, Any] | None = None

    def install(self, connection: DriverConnection) -> None:
        """Make the driver call this trace."""
        self._factories = (connection.cursor_factory, connection.server_cursor_factory)
        plain, server_side = self._factories
        connection.cursor_factory = self._extended(plain, _StatementReports)
        connection.server_cursor_factory = self._extended(server_side, _FetchReports)

    def remove(self, connection: DriverConnection) -> None:
        """Make the driver stop calling it."""
        if self._factories is not None:
            connection.cursor_factory, connection.server_cursor_factory = self._factories

    def is_replaced(self, connection: DriverConnection) -> bool:
        """Whether the connection makes other cursors."""
        factories = (connection.cursor_factory, connection.server_cursor_factory)
        return any(getattr(each, "reported_to", None) is not self for each in factories)

    def _extended(self, factory: type, reports: type) -> type:
        return type(f"Traced{factory.__name__}", (reports, factory), {"reported_to": self})


class _StatementReports:
    """Reports the statements of a cursor. It is a base class in front of a psycopg cursor class."""

    reported_to: ConnectionTrace
    connection: Any  # of psycopg.Cursor

    # The parameters of these methods differ between releases of psycopg, so they are passed on
    # without being read.

    def execute(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.reported_to.saw_statement(self._text(query))
        return self._inherited("execute")(query, *args, **kwargs)

    def executemany(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.reported_to.saw_statement(self._text(query))
        return self._inherited("executemany")(query, *args, **kwargs)

    def stream(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.reported_to.saw_statement(self._text(query))
        return self._inherited("stream")(query, *args, **kwargs)

    def copy(self, query: object, *args: Any, **kwargs: Any) -> Any:
        self.reported_to.saw_statement(self._text(query))
        return self._inherited("copy")(query, *args, **kwargs)

    def _inherited(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(super(), name)
        return method

    def _text(self, query: object) -> str:
        if isinstance(query, bytes):
            return query.decode(errors="replace")
        # psycopg.sql.SQL and Composed need the connection to quote identifiers.
        as_string = getattr(query, "as_string", None)
        return str(query) if as_string is None else str(as_string(self.connection))


class _FetchReports(_StatementReports):
    """Reports the FETCHes of a server-side cursor too."""

    itersize: int  # of psycopg.ServerCursor

    def fetchone(self) -> Any:
        self.reported_to.saw_fetch()
        return self._inherited("fetchone")()

    def fetchmany(self, size: int = 0) -> Any:
        self.reported_to.saw_fetch()
        return self._inherited("fetchmany")(size)

    def fetchall(self) -> Any:
        self.reported_to.saw_fetch()
        return self._inherited("fetchall")()

    def __iter__(self) -> Iterator[Any]:
        # psycopg's own iteration fetches without calling fetchmany, which would go unreported.
        while rows := self.fetchmany(self.itersize):
            yield from rows
            if len(rows) < self.itersize:
                return
