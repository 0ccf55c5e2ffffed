"""Record the statements of one SQLAlchemy engine, through SQLAlchemy's public events.

`Recording` holds the listeners. `CountingCursor` counts the rows that leave a DBAPI cursor.
`querygrowth.log` interprets what they record.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any, Protocol
from weakref import ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from querygrowth.call_sites import Callers, CallSite, Project, StackWalker
from querygrowth.engine import AnyEngine, sync_engine

DBAPIRow = Sequence[object]


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
        "parameter_count",
        "parameters",
        "rows_fetched",
        "sql",
        "started",
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
        continued: bool = False,
    ) -> None:
        self.sql = sql
        self.parameter_count = parameter_count
        self.executemany = executemany
        self.checkout = checkout
        self.transaction = transaction
        self.callers = callers
        self.parameters = parameters
        self.continued = continued
        self.rows_fetched = 0
        self.failed = True  # until SQLAlchemy reports that it returned
        self.ended: float | None = None
        self.started = perf_counter()

    @property
    def seconds(self) -> float | None:
        """From sending to the last row; None while there may be more rows."""
        return None if self.ended is None else self.ended - self.started

    def end(self) -> None:
        """Note that the cursor is exhausted or closed; only the first call counts."""
        if self.ended is None:
            self.ended = perf_counter()


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


@contextmanager
def listening(engine: Engine, listeners: dict[str, Callable[..., object]]) -> Iterator[None]:
    """Attach listeners by event name inside the block, and detach all of them on exit."""
    # Each is registered for removal at once, so that a failure half way leaves none attached.
    with ExitStack() as attached:
        for name, listener in listeners.items():
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
        self._walker = walker
        self._keep_parameters = keep_parameters
        # Keyed by id(), because a reference would keep contexts and connections alive. If an id is
        # used again, its new owner overwrites the entry when it begins.
        self._running: dict[int, Execution] = {}
        self._transaction_of: dict[int, int] = {}
        self._batch_of: dict[int, ref[ExecutionContext]] = {}
        self._checkout_of: dict[int, int] = {}

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
            batch and self._continues(connection, context),
        )
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
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: Any,  # an ExecutionContext or None; Any, as its cursor is replaced
        executemany: bool,
    ) -> None:
        execution = self._running.pop(id(context), None)
        if execution is None:
            return  # it began before this recording did
        execution.failed = False
        # A batched INSERT reads its returned rows from the bare cursor between its batches. A
        # statement without a description returns no rows.
        if context is None or executemany or cursor.description is None:
            execution.end()
            return
        context.cursor = CountingCursor(context.cursor, execution)

    def _begun(self, connection: Connection, *_twophase: object) -> None:
        self.transactions_begun += 1
        self._transaction_of[id(connection)] = self.transactions_begun

    def _committed(self, connection: Connection, *_twophase: object) -> None:
        self.commits += 1
        self._transaction_of.pop(id(connection), None)

    def _rolled_back(self, connection: Connection, *_twophase: object) -> None:
        self.rollbacks += 1
        self._transaction_of.pop(id(connection), None)

    def _checked_out(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        self.checkouts += 1
        self._checkout_of[id(proxy)] = self.checkouts


@contextmanager
def record_stacks(
    engine: AnyEngine, project: Project | None = None
) -> Iterator[dict[str, tuple[CallSite, ...]]]:
    """Record the stack of every statement text inside the block, when it is first sent.

    Args:
        engine: An `Engine` or an `AsyncEngine`.
        project: Decides which files are the user's own. Default: those below the working directory.

    Yields:
        The project's lines on the stack, the innermost first, by statement text.

    Raises:
        ValueError: `engine` is not an engine.
    """
    walker = StackWalker(project or Project())
    stacks: dict[str, tuple[CallSite, ...]] = {}

    def before(*arguments: object) -> None:
        statement = str(arguments[2])
        # A full stack costs more than a call site, so it is taken once for a text.
        if statement not in stacks:
            stacks[statement] = walker.project_stack(sys._getframe(1))

    with listening(sync_engine(engine), {"before_cursor_execute": before}):
        yield stacks
