"""A database error at one query or row of an export, and the count of the queries before it.

On SQLite the driver is traced as well, to count the queries that go past SQLAlchemy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_QUERY_KEYWORDS = frozenset(("SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE"))


class DatabaseFault:
    """Counts the queries of an engine, and raises the driver's OperationalError at one of them."""

    def __init__(self, engine: Any, query: int | None, row: int | None) -> None:
        from sqlalchemy import event

        self.queries: list[dict[str, Any]] = []
        self.transactions = 0
        self.raised = False
        self._query, self._row = query, row
        self._seen_by_driver = 0
        self._error = engine.dialect.dbapi.OperationalError
        # `do_execute` stands in the place of the driver: SQLAlchemy wraps the error like a real
        # one, and rolls back alike.
        listeners: tuple[tuple[str, Any], ...] = (
            ("do_execute", self._execute),
            ("do_execute_no_params", self._execute),
            ("after_cursor_execute", self._executed),
            ("begin", self._begun),
        )
        if engine.dialect.driver == "pysqlite":
            listeners += (("checkout", self._checked_out), ("checkin", self._checked_in))
        for name, listener in listeners:
            event.listen(engine, name, listener)
        self._remove = [(engine, name, listener) for name, listener in listeners]

    def detach(self) -> None:
        """Remove the listeners."""
        from sqlalchemy import event

        for registration in self._remove:
            event.remove(*registration)
        self._remove = []

    @property
    def past(self) -> int:
        """The number of queries that the driver of SQLite saw and SQLAlchemy did not."""
        return max(0, self._seen_by_driver - len(self.queries))

    def _checked_out(self, connection: Any, *_: Any) -> None:
        connection.set_trace_callback(self._traced)

    def _checked_in(self, connection: Any, _record: Any) -> None:
        with suppress(Exception):  # It may be closed.
            connection.set_trace_callback(None)

    def _traced(self, statement: str) -> None:
        self._seen_by_driver += _first_word(statement) in _QUERY_KEYWORDS

    def fetched(self, query: int, rows: int, *, more: bool) -> None:
        """Count rows that leave the cursor of a query, and fail instead if the row is among them.

        Args:
            query: The query, counted from 1.
            rows: The number of rows.
            more: Whether the fetch found a row, so that it was not the end of the result.
        """
        seen = self.queries[query - 1]
        reached = seen["rows"] + (rows if more else 1)
        if query == self._query and self._row is not None and seen["rows"] < self._row <= reached:
            self._raise()
        seen["rows"] += rows

    def _execute(self, _cursor: Any, statement: str, *_: Any) -> None:
        if _first_word(statement) not in _QUERY_KEYWORDS:
            return
        table = re.search(r"\bFROM\s+\"?(\w+)", statement, re.IGNORECASE)
        self.queries.append({"table": table[1] if table else "", "rows": 0})
        if len(self.queries) == self._query and self._row is None:
            self._raise()

    def _begun(self, _connection: Any) -> None:
        self.transactions += 1

    def _executed(
        self, _connection: Any, cursor: Any, statement: str, _parameters: Any, context: Any, _: bool
    ) -> None:
        is_query = _first_word(statement) in _QUERY_KEYWORDS and self.queries
        if is_query and context is not None and cursor.description is not None:
            context.cursor = _FailingCursor(context.cursor, self, len(self.queries))

    def _raise(self) -> None:
        if not self.raised:
            self.raised = True
            raise self._error("disk I/O error (raised by the harness)")


class _FailingCursor:
    """A DBAPI cursor whose rows pass through a `DatabaseFault`."""

    __slots__ = ("_cursor", "_fault", "_query")

    def __init__(self, cursor: Any, fault: DatabaseFault, query: int) -> None:
        for name, value in (("_cursor", cursor), ("_fault", fault), ("_query", query)):
            object.__setattr__(self, name, value)

    def fetchone(self) -> Any:
        row = self._cursor.fetchone()
        self._fault.fetched(self._query, int(row is not None), more=row is not None)
        return row

    def fetchmany(self, *size: int) -> Any:
        rows = self._cursor.fetchmany(*size)
        self._fault.fetched(self._query, len(rows), more=bool(rows))
        return rows

    def fetchall(self) -> Any:
        rows = self._cursor.fetchall()
        self._fault.fetched(self._query, len(rows), more=bool(rows))
        self._fault.fetched(self._query, 0, more=False)
        return rows

    def __iter__(self) -> Iterator[Any]:
        for row in self._cursor:
            self._fault.fetched(self._query, 1, more=True)
            yield row
        self._fault.fetched(self._query, 0, more=False)

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)


def _first_word(statement: str) -> str:
    return statement.lstrip(" \t\r\n(").partition(" ")[0].partition("\n")[0].upper()
