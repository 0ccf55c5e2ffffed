"""Seeing what psycopg 3 sends: cursor classes that report each statement and each FETCH.

psycopg has no statement counters, but a connection makes its cursors from two replaceable
factories. The classes here report and then behave as the ones they extend.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from harness.counting.connections import DriverConnection


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
