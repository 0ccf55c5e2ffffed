"""Record the statements of one SQLAlchemy engine, through SQLAlchemy's public events.

`Recording` holds the listeners. `CountingCursor` counts the rows that leave a DBAPI cursor.
`querygrowth.log` interprets what they record.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from itertools import islice
from time import perf_counter
from typing import Any, Protocol
from weakref import ref

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from querygrowth.call_sites import Callers
from querygrowth.orm_loads import Load, RawLoad, raw_load
from querygrowth.stack import StackWalker
from querygrowth.statements import (
    DriverReport,
    StatementKind,
    first_keyword,
    kind_of,
    needs_report,
    statements_in,
)

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
    """One statement while it runs. `querygrowth.log.Query` is its readable form."""

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

    __slots__ = ("_cursor", "_execution")

    _cursor: RowCursor
    _execution: Execution

    def __init__(self, cursor: RowCursor, execution: Execution) -> None:
        _set_cursor(self, cursor)
        _set_execution(self, execution)

    @property
    def description(self) -> object:
        """The columns of the result."""
        # A property, because SQLAlchemy reads it for every result and __getattr__ is slower.
        return self._cursor.description

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
        execution.end()
        return rows

    def close(self) -> None:
        """Close the cursor, which ends an execution that was read in part."""
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


# The setters of the two slots. Plain assignment would go through __setattr__ to the cursor.
_set_cursor = CountingCursor.__dict__["_cursor"].__set__
_set_execution = CountingCursor.__dict__["_execution"].__set__


# Frame 0 is the listener itself, and frames 1 and 2 are always SQLAlchemy's.
_FIRST_CALLER = 3
_TWO_PHASE = frozenset(("begin_twophase", "commit_twophase", "rollback_twophase"))


@contextmanager
def listening(engine: Engine, listeners: dict[str, Callable[..., object]]) -> Iterator[None]:
    """Attach listeners by event name inside the block, and detach all of them on exit."""
    # Each is registered for removal at once, so that a failure half way leaves none attached.
    # Attaching is most of the cost of a short block, and some dialects have no two-phase
    # transactions, such as SQLite's. A class of engines has no dialect.
    dialect = getattr(engine, "dialect", None)
    begin = getattr(getattr(dialect, "do_begin_twophase", None), "__func__", None)
    needless = _TWO_PHASE if begin is Dialect.do_begin_twophase else ()
    with ExitStack() as attached:
        for name, listener in listeners.items():
            if name in needless:
                continue
            event.listen(engine, name, listener)
            attached.callback(event.remove, engine, name, listener)
        yield


class Recording:
    """The statements, transactions and checkouts of one engine, in order.

    Args:
        walker: Finds the callers of a statement; None leaves them out.
        keep_parameters: Whether to keep the values that were sent.
    """

    def __init__(self, *, walker: StackWalker | None, keep_parameters: bool) -> None:
        # Several threads write here without a lock. Appending to a list and setting a key are
        # atomic in CPython, and the keys belong to one connection, which one thread uses at a time.
        # With its GIL, CPython 3.10 and later switch threads at calls and jumps, so not in `+= 1`.
        self.executions: list[Execution] = []
        self.transactions_begun = 0
        self.commits = 0
        self.rollbacks = 0
        self.checkouts = 0
        # The callers of transactions and checkouts in which no statement was sent. Those of others
        # are the callers of their first statement.
        self.empty_transactions: list[Callers] = []
        self.empty_checkouts: list[Callers] = []
        self._steps: Callable[[], int] | None = None
        self._walker = walker
        self._keep_parameters = keep_parameters
        # Keyed by id(), because a reference would keep contexts and connections alive. If an id is
        # used again, its new owner overwrites the entry when it begins.
        self._running: dict[int, Execution] = {}
        self._transaction_of: dict[int, int] = {}
        self._batch_of: dict[int, ref[ExecutionContext]] = {}
        self._checkout_of: dict[int, int] = {}
        # For a transaction or checkout: its number, and the number of statements sent before it.
        self._begun_after: dict[int, int] = {}
        self._checked_out_after: dict[int, tuple[int, int]] = {}

    @property
    def walker(self) -> StackWalker | None:
        """Finds the callers of a statement."""
        return self._walker

    def count_steps_with(self, steps: Callable[[], int]) -> None:
        """Note for every statement how far `steps` counts until its last row was fetched."""
        self._steps = steps

    def listeners(self) -> dict[str, Callable[..., object]]:
        """The listeners to attach, by the name of their event."""
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
            "checkin": self._checked_in,
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
        # This runs inside every statement of the user: facts are stored, nothing is interpreted.
        walker = self._walker
        # A bulk INSERT that SQLAlchemy splits into statements (insertmanyvalues) says that it is an
        # executemany, but each statement has one set of values, and all have the same context.
        batch = executemany and not isinstance(parameters, list)
        execution = Execution(
            statement,
            len(parameters) if parameters else 0,
            executemany and not batch,
            # The proxy of this checkout. The DBAPI connection behind it outlives the checkout.
            self._checkout_of.get(id(connection.connection)),
            self._transaction_of.get(id(connection)),
            walker.callers(sys._getframe(_FIRST_CALLER)) if walker else None,
            parameters if self._keep_parameters else None,
            raw_load(context) if walker else None,
            batch and self._continues(connection, context),
        )
        if self._steps is not None:
            execution.count_steps_with(self._steps)
        self._running[id(context)] = execution
        self.executions.append(execution)

    def _continues(self, connection: Connection, context: ExecutionContext | None) -> bool:
        """Whether the batch before this one belonged to the same INSERT."""
        # Weak, so that the context is not kept alive, and its address is not taken for another's.
        before = self._batch_of.get(id(connection))
        if context is None or (before is not None and before() is context):
            return context is not None
        self._batch_of[id(connection)] = ref(context)
        return False

    def _after(
        self,
        connection: Connection,
        cursor: Any,  # a DBAPICursor, to which drivers add attributes
        statement: str,
        parameters: Any,
        context: Any,  # an ExecutionContext or None; Any, as its cursor is replaced
        executemany: bool,
    ) -> None:
        execution = self._running.pop(id(context), None)
        if execution is None:
            return  # it began before this recording did
        execution.failed = False
        if needs_report(statement):
            execution.report = DriverReport(
                cursor.description is not None,
                cursor.rowcount,
                getattr(cursor, "statusmessage", None),
            )
        # psycopg2's named cursors have no description before the first FETCH.
        has_rows = cursor.description is not None or getattr(cursor, "name", None) is not None
        # A batched INSERT reads its returned rows from the bare cursor between its batches.
        if context is None or executemany or not has_rows:
            execution.end()
            return
        context.cursor = CountingCursor(context.cursor, execution)

    def _begun(self, connection: Connection, *_twophase: object) -> None:
        self.transactions_begun += 1
        self._transaction_of[id(connection)] = self.transactions_begun
        self._begun_after[id(connection)] = len(self.executions)

    def _committed(self, connection: Connection, *_twophase: object) -> None:
        self.commits += 1
        self._transaction_ended(connection)

    def _rolled_back(self, connection: Connection, *_twophase: object) -> None:
        self.rollbacks += 1
        self._transaction_ended(connection)

    def _transaction_ended(self, connection: Connection) -> None:
        number = self._transaction_of.pop(id(connection), None)
        before = self._begun_after.pop(id(connection), 0)
        if number is None or self._walker is None:
            return
        # Mostly the first statement in question is of this transaction.
        if not any(sent.transaction == number for sent in islice(self.executions, before, None)):
            self.empty_transactions.append(self._walker.callers(sys._getframe(_FIRST_CALLER)))

    def _checked_out(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        self.checkouts += 1
        self._checkout_of[id(proxy)] = self.checkouts
        self._checked_out_after[id(record)] = (self.checkouts, len(self.executions))

    def _checked_in(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        number, before = self._checked_out_after.pop(id(record), (None, 0))
        if number is None or self._walker is None:
            return
        if not any(sent.checkout == number for sent in islice(self.executions, before, None)):
            self.empty_checkouts.append(self._walker.callers(sys._getframe(_FIRST_CALLER)))
