"""One statement while it runs (`Execution`), and the cursor that counts its rows.

`listener` makes both inside of the statement; `query_log` reads them later.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from time import perf_counter
from typing import Protocol

from querygrowth.counting.statements import (
    DriverReport,
    StatementKind,
    first_keyword,
    kind_of,
    statements_in,
)
from querygrowth.places.call_sites import Callers
from querygrowth.places.orm_loads import Load, RawLoad

DBAPIRow = Sequence[object]
_READING = frozenset({"SELECT", "TABLE", "VALUES", "WITH"})


class RowCursor(Protocol):
    """The methods of a PEP 249 cursor that are used here."""

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
    """One statement while it runs. `querygrowth.counting.query.Query` is its readable form."""

    # Slots and a written-out __init__, because one is created inside every statement.
    __slots__ = (
        "callers",
        "checkout",
        "continued",
        "ended",
        "executemany",
        "failed",
        "load",
        "parameter_count",
        "parameters",
        "read_steps",
        "report",
        "rows_fetched",
        "sql",
        "started",
        "steps",
        "transaction",
    )

    def __init__(
        self,
        sql: str,
        parameter_count: int,
        executemany: bool,
        checkout: int | None,
        transaction: int | None,
        callers: Callers | None,
        parameters: object,
        load: RawLoad | Load | None,
        continued: bool = False,
    ) -> None:
        self.sql = sql
        self.parameter_count = parameter_count
        self.executemany = executemany
        self.checkout = checkout
        self.transaction = transaction
        self.callers = callers
        self.parameters = parameters
        self.load = load
        self.steps = 0  # of SQLite's machine, from sending to the last row
        self.read_steps: Callable[[], int] | None = None
        self.continued = continued
        self.rows_fetched = 0
        self.failed = True  # until SQLAlchemy reports that it returned
        self.report: DriverReport | None = None  # only where the text does not tell the kind
        self.ended: float | None = None
        self.started = perf_counter()

    @property
    def seconds(self) -> float | None:
        """From sending to the last row; None while there may be more rows."""
        return None if self.ended is None else self.ended - self.started

    @property
    def kind(self) -> StatementKind:
        """The kind of the statement, by its text and by what the driver reported."""
        return kind_of(self.sql, self.report)

    def parts(self, dialect: str) -> "tuple[Execution, ...]":
        """The statements that were sent in one text, as executions; mostly this one alone.

        The first one has the values. The rows belong to the first one that can return rows.

        Args:
            dialect: SQLAlchemy's name of the dialect.
        """
        texts = statements_in(self.sql, dialect)
        if len(texts) == 1:
            return (self,)
        parts = tuple(copy(self) for _ in texts)
        for number, (part, sql) in enumerate(zip(parts, texts, strict=True)):
            part.sql, part.rows_fetched = sql, 0
            if number:
                part.parameter_count, part.parameters, part.executemany = 0, None, False
        reading = (part for part in parts if first_keyword(part.sql) in _READING)
        next(reading, parts[0]).rows_fetched = self.rows_fetched
        return parts

    def end(self) -> None:
        """Note that the cursor is exhausted or closed; only the first call counts."""
        if self.ended is None:
            self.ended = perf_counter()
            if self.read_steps is not None:
                self.steps += self.read_steps()

    def count_steps_with(self, steps: Callable[[], int]) -> None:
        """Count the steps from now to the end. Those of statements in between count as well."""
        self.steps = -steps()
        self.read_steps = steps


class CountingCursor:
    """A DBAPI cursor that counts the rows that leave it.

    All other attributes are read from and written to the cursor behind it.
    """

    # An event cannot count rows: SQLite steps through them while they are fetched, and has done
    # almost nothing when after_cursor_execute fires.

    # SQLAlchemy reads `description` several times for a result. Where it is known, it is kept here,
    # and read without a call.
    __slots__ = ("_cursor", "_execution", "description")

    _cursor: RowCursor
    _execution: Execution
    description: object

    def nextset(self) -> object:
        """Go to the next result of the statement, which has other columns."""
        with suppress(AttributeError):
            _forget_description(self)
        return self._cursor.nextset()  # type: ignore[attr-defined]  # optional in PEP 249

    def fetchone(self) -> DBAPIRow | None:
        """Fetch and count the next row; None ends the execution."""
        row = self._cursor.fetchone()
        if row is None:
            self._execution.end()
        else:
            self._execution.rows_fetched += 1
        return row

    def fetchmany(self, size: int | None = None) -> Sequence[DBAPIRow]:
        """Fetch and count the next rows; an empty result ends the execution."""
        # Without a size, the driver takes the cursor's arraysize.
        rows = self._cursor.fetchmany() if size is None else self._cursor.fetchmany(size)
        self._execution.rows_fetched += len(rows)
        if not rows:
            self._execution.end()
        return rows

    def fetchall(self) -> Sequence[DBAPIRow]:
        """Fetch and count all remaining rows."""
        rows = self._cursor.fetchall()
        execution = self._execution
        execution.rows_fetched += len(rows)
        if execution.ended is None:
            execution.end()
        return rows

    def close(self) -> None:
        """Close the cursor, which ends an execution that was read in part."""
        self._cursor.close()
        execution = self._execution
        if execution.ended is None:
            execution.end()

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


# The setters of the slots. Plain assignment would go through __setattr__ to the cursor.
_set_cursor = CountingCursor.__dict__["_cursor"].__set__
_set_execution = CountingCursor.__dict__["_execution"].__set__
_set_description = CountingCursor.__dict__["description"].__set__
_forget_description = CountingCursor.__dict__["description"].__delete__
_new = CountingCursor.__new__


def counting(cursor: RowCursor, execution: Execution) -> CountingCursor:
    """A cursor around another one that counts its rows for an execution."""
    # Not CountingCursor(...), which takes longer, and one is made inside every statement.
    counted = _new(CountingCursor)
    _set_cursor(counted, cursor)
    _set_execution(counted, execution)
    columns = cursor.description
    if columns is not None:  # the slot stays empty otherwise, and __getattr__ asks the cursor
        _set_description(counted, columns)
    return counted
