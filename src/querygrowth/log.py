"""Count the queries an SQLAlchemy engine sends: `count_queries(engine)` yields a `QueryLog`.

A query is one execution of SELECT, INSERT, UPDATE or DELETE; an `executemany` is one. Session
statements (BEGIN, SET, LOCK, PRAGMA, SAVEPOINT) are told apart by their first keyword and counted
by themselves, as are transactions, commits, rollbacks and pool checkouts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from querygrowth.call_sites import CallSite, Project, Tracker, call_site
from querygrowth.listener import AnyEngine, Execution, Recording, listening, sync_engine
from querygrowth.statements import Shape, StatementKind, kind_of, shape_of


@dataclass(frozen=True)
class Query:
    """One statement as SQLAlchemy sent it.

    `number` counts from 1 in order of sending, over queries and session statements alike.
    `batch_size` is the number of parameter sets, `parameter_count` the number of values sent with
    a single set (the length of an IN list, mostly). `checkout` and `transaction` number the pool
    checkout and the transaction it belongs to; None when that began before counting did.
    `seconds` runs from sending to the last row fetched (or the cursor's closing), the reader's
    own pauses included; None for a cursor never exhausted or closed. `sent_from` is the nearest
    frame outside SQLAlchemy and this package, `project_site` the nearest in the user's project.
    `parameters` is None unless asked for.
    """

    number: int
    sql: str
    shape: Shape
    kind: StatementKind
    batch_size: int
    parameter_count: int
    rows_fetched: int
    failed: bool
    seconds: float | None
    checkout: int | None
    transaction: int | None
    sent_from: CallSite | None
    project_site: CallSite | None
    parameters: object

    @property
    def operation(self) -> str:
        """SELECT, INSERT, UPDATE, DELETE or MERGE; the first keyword of anything else."""
        return self.shape.operation

    @property
    def site(self) -> CallSite | None:
        """The most telling place it was sent from: in the project if there is one."""
        return self.project_site or self.sent_from


class QueryLog:
    """What one engine did while it was counted. Grows until its `count_queries` block ends."""

    def __init__(self, recording: Recording, dialect: str) -> None:
        self._recording = recording
        self._dialect = dialect

    @property
    def statements(self) -> tuple[Query, ...]:
        """Everything sent, of every kind, in order of sending."""
        return tuple(
            self._read(number, execution)
            for number, execution in enumerate(list(self._recording.executions), start=1)
        )

    @property
    def queries(self) -> tuple[Query, ...]:
        """SELECT, INSERT, UPDATE and DELETE only."""
        return tuple(each for each in self.statements if each.kind is StatementKind.QUERY)

    @property
    def total(self) -> int:
        """The number of queries."""
        return self._count(StatementKind.QUERY)

    @property
    def session_statements(self) -> int:
        """Statements that steer the session: BEGIN, SET, LOCK, pragmas, savepoints."""
        return self._count(StatementKind.SESSION)

    @property
    def other_statements(self) -> int:
        """Data definition and maintenance: neither queries nor session statements."""
        return self._count(StatementKind.OTHER)

    @property
    def transactions_begun(self) -> int:
        """Transactions SQLAlchemy began, whether or not anything was sent in them."""
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
        """Rows that left the cursors of queries, whoever fetched them."""
        return sum(each.rows_fetched for each in self._executed_queries())

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries for each table they are about (`Shape.table`)."""
        return self._counted(lambda each: self._shape(each).table)

    @property
    def by_shape(self) -> Mapping[str, int]:
        """Queries for each normalised statement."""
        return self._counted(lambda each: self._shape(each).text)

    @property
    def by_call_site(self) -> Mapping[str, int]:
        """Queries for each place they were sent from, as `file:line in function`."""
        return Counter(str(each.site) for each in self.queries if each.site is not None)

    def _count(self, kind: StatementKind) -> int:
        return sum(kind_of(each.sql) is kind for each in list(self._recording.executions))

    def _counted(self, name: Callable[[Execution], str]) -> Mapping[str, int]:
        return Counter(name(each) for each in self._executed_queries())

    def _executed_queries(self) -> Iterator[Execution]:
        executions = list(self._recording.executions)
        return (each for each in executions if kind_of(each.sql) is StatementKind.QUERY)

    def _shape(self, execution: Execution) -> Shape:
        return shape_of(execution.sql, self._dialect)

    def _read(self, number: int, execution: Execution) -> Query:
        trail = execution.trail
        return Query(
            number=number,
            sql=execution.sql,
            shape=self._shape(execution),
            kind=kind_of(execution.sql),
            batch_size=execution.parameter_count if execution.executemany else 1,
            parameter_count=0 if execution.executemany else execution.parameter_count,
            rows_fetched=execution.rows_fetched,
            failed=execution.failed,
            seconds=execution.seconds,
            checkout=execution.checkout,
            transaction=execution.transaction,
            sent_from=call_site(trail.nearest) if trail else None,
            project_site=call_site(trail.project) if trail else None,
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
    """Count what `engine`, and no other, sends inside the block.

    Works for `Engine` and `AsyncEngine`, from any number of threads, and nested. `call_sites`
    records where each statement came from; `project` (default: the working directory) says
    which files are the user's own. Anything but an engine raises ValueError.
    """
    target = sync_engine(engine)
    tracker = Tracker(project or Project()) if call_sites else None
    recording = Recording(tracker=tracker, keep_parameters=keep_parameters)
    with listening(target, recording.listeners()):
        yield QueryLog(recording, target.dialect.name)
