"""Counting rows as they leave a DBAPI cursor, whoever fetches them.

A database that steps rows while they are fetched (SQLite) has done almost nothing when
`after_cursor_execute` fires, so both the number of rows and the end of the work are seen only
here.
"""

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Protocol

from harness.counting.callsites import Trail

DBAPIRow = Sequence[object]


class DBAPICursor(Protocol):
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

    _cursor: DBAPICursor
    _execution: Execution

    def __init__(self, cursor: DBAPICursor, execution: Execution) -> None:
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
