"""Count the queries that an SQLAlchemy engine sends.

`count_queries(engine)` yields a `QueryLog`. A query is one execution of SELECT, INSERT, UPDATE or
DELETE; an `executemany` is one query. Session statements (BEGIN, SET, LOCK, PRAGMA, SAVEPOINT) are
recognised by their first keyword and counted separately. So are transactions, commits, rollbacks
and pool checkouts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from querygrowth.call_sites import CallSite, Project, StackWalker, call_site
from querygrowth.engine import AnyEngine, sync_engine
from querygrowth.listener import Execution, Recording, listening
from querygrowth.statements import Shape, StatementKind, kind_of, shape_of


@dataclass(frozen=True)
class Query:
    """One statement as SQLAlchemy sent it.

    Attributes:
        number: Counts from 1 in order of sending, over statements of every kind.
        sql: The text that was sent.
        shape: The text without its values, and the tables that it reads or writes.
        kind: Query, session statement or other statement.
        batch_size: The number of parameter sets; 1 unless it is an `executemany`.
        parameter_count: The number of values in its parameter set, mostly those of an IN list;
            0 for an `executemany`.
        rows_fetched: The rows that left its cursor so far.
        failed: Whether the database refused it.
        continued: Whether SQLAlchemy sent it for further rows of the bulk INSERT before it.
        seconds: From sending to the last row fetched or the closing of the cursor, including the
            reader's pauses. None while rows are left and the cursor is open.
        checkout: The number of the pool checkout it belongs to, from 1; None if that began before
            counting did.
        transaction: The number of the transaction it belongs to, likewise.
        sent_from: The nearest caller outside SQLAlchemy and this package.
        project_site: The nearest caller in the user's project.
        parameters: The values sent; None unless `keep_parameters` was set.
    """

    number: int
    sql: str
    shape: Shape
    kind: StatementKind
    batch_size: int
    parameter_count: int
    rows_fetched: int
    failed: bool
    continued: bool
    seconds: float | None
    checkout: int | None
    transaction: int | None
    sent_from: CallSite | None
    project_site: CallSite | None
    parameters: object

    @property
    def operation(self) -> str:
        """SELECT, INSERT, UPDATE, DELETE or MERGE; the first keyword of any other statement."""
        return self.shape.operation

    @property
    def site(self) -> CallSite | None:
        """The caller in the project if there is one, else the nearest caller."""
        return self.project_site or self.sent_from


class QueryLog:
    """The statements, transactions and checkouts of one engine while it was counted.

    A log may be read at any time. It grows until its `count_queries` block ends.
    """

    # Everything is computed on reading, so that the counted code pays for the recording only.
    # `kind_of` and `shape_of` are cached by text, which makes repeated reading cheap.

    def __init__(self, recording: Recording, dialect: str) -> None:
        self._recording = recording
        self._dialect = dialect

    @property
    def statements(self) -> tuple[Query, ...]:
        """All statements of every kind, in order of sending."""
        return tuple(
            self._read(number, execution)
            for number, execution in enumerate(self._executions(), start=1)
        )

    @property
    def queries(self) -> tuple[Query, ...]:
        """SELECT, INSERT, UPDATE and DELETE only."""
        return tuple(sent for sent in self.statements if sent.kind is StatementKind.QUERY)

    @property
    def total(self) -> int:
        """The number of queries."""
        return self._count(StatementKind.QUERY)

    @property
    def session_statements(self) -> int:
        """The number of session statements: BEGIN, SET, LOCK, pragmas, savepoints."""
        return self._count(StatementKind.SESSION)

    @property
    def other_statements(self) -> int:
        """The number of statements that define or maintain: CREATE, VACUUM, ANALYZE."""
        return self._count(StatementKind.OTHER)

    @property
    def transactions_begun(self) -> int:
        """Transactions that SQLAlchemy began, empty ones included."""
        return self._recording.transactions_begun

    @property
    def commits(self) -> int:
        """Transactions committed."""
        return self._recording.commits

    @property
    def rollbacks(self) -> int:
        """Transactions rolled back."""
        return self._recording.rollbacks

    @property
    def checkouts(self) -> int:
        """Connections taken from the engine's pool."""
        return self._recording.checkouts

    @property
    def rows_fetched(self) -> int:
        """Rows that left the cursors of queries."""
        return sum(sent.rows_fetched for sent in self._executed_queries())

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries by the table that they are about (`Shape.table`)."""
        return Counter(self._shape(sent).table for sent in self._executed_queries())

    @property
    def by_shape(self) -> Mapping[str, int]:
        """Queries by normalised statement."""
        return Counter(self._shape(sent).text for sent in self._executed_queries())

    @property
    def by_call_site(self) -> Mapping[str, int]:
        """Queries by the line that sent them, as `file:line in function`."""
        return Counter(str(sent.site) for sent in self.queries if sent.site is not None)

    @property
    def tables(self) -> frozenset[str]:
        """All tables that a query read or wrote."""
        # A shape is mostly sent many times, so equal shapes are dropped first.
        shapes = {self._shape(sent) for sent in self._executed_queries()}
        return frozenset().union(*(shape.tables for shape in shapes))

    def _executions(self) -> list[Execution]:
        # A copy, because other threads may append while this one reads.
        return list(self._recording.executions)

    def _count(self, kind: StatementKind) -> int:
        return sum(kind_of(sent.sql) is kind for sent in self._executions())

    def _executed_queries(self) -> Iterator[Execution]:
        return (sent for sent in self._executions() if kind_of(sent.sql) is StatementKind.QUERY)

    def _shape(self, execution: Execution) -> Shape:
        return shape_of(execution.sql, self._dialect)

    def _read(self, number: int, execution: Execution) -> Query:
        callers = execution.callers
        return Query(
            number=number,
            sql=execution.sql,
            shape=self._shape(execution),
            kind=kind_of(execution.sql),
            batch_size=execution.parameter_count if execution.executemany else 1,
            parameter_count=0 if execution.executemany else execution.parameter_count,
            rows_fetched=execution.rows_fetched,
            failed=execution.failed,
            continued=execution.continued,
            seconds=execution.seconds,
            checkout=execution.checkout,
            transaction=execution.transaction,
            sent_from=call_site(callers.nearest) if callers else None,
            project_site=call_site(callers.project) if callers else None,
            parameters=execution.parameters,
        )


@contextmanager
def count_queries(
    engine: AnyEngine,
    *,
    call_sites: bool = True,
    keep_parameters: bool = False,
    project: Project | None = None,
) -> Iterator[QueryLog]:
    """Count what one engine sends inside the block.

    Other engines are not counted. Blocks may be nested, and statements of any thread count.

    Args:
        engine: An `Engine` or an `AsyncEngine`.
        call_sites: Whether to record the line that sent a statement. It is about half of the cost
            of counting.
        keep_parameters: Whether to keep the values that were sent.
        project: Decides which files are the user's own. Default: those below the working directory.

    Raises:
        ValueError: `engine` is not an engine.
    """
    target = sync_engine(engine)
    walker = StackWalker(project or Project()) if call_sites else None
    recording = Recording(walker=walker, keep_parameters=keep_parameters)
    with listening(target, recording.listeners()):
        yield QueryLog(recording, target.dialect.name)
