"""Activity: the exact counts of what one action did to its engine.

`activity_of` builds an `Activity` from a `QueryLog`, `activity_of_record` from a record that may
come from another process. `querygrowth.contracts` and `querygrowth.growth` judge it.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from querygrowth.counting.action_result import (
    ResultKind,
    characters_in,
    figures_in,
    records_in,
    result_kind,
)
from querygrowth.counting.causes import (
    Cause,
    CountCause,
    CountCauses,
    Origin,
    causes_by_shape,
    causes_of_blocks,
    causes_of_bypasses,
    causes_of_session_statements,
    largest_rise,
    origins_by_shape,
)
from querygrowth.counting.driver import DriverTrace
from querygrowth.counting.query import Query
from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.record import Record, TraceCounts
from querygrowth.counting.statements import READING_OPERATIONS, Shape, StatementKind, first_keyword
from querygrowth.counting.work import VM_STEPS
from querygrowth.places.call_sites import CallSite

TRANSACTIONS = "transactions"
CHECKOUTS = "checkouts"
SESSION_STATEMENTS = "session statements"
BYPASSES = "bypasses"
FETCHED_ROWS = "fetched rows"
OTHER_STATEMENTS = "other statements"


@dataclass(frozen=True)
class ShapeActivity:
    """All queries of one shape.

    Args:
        shape: The normalised statement.
        count: How often it was sent.
        values: The larger of the parameters sent and the rows fetched; a declared chunk or page is
            checked against it.
        rows_fetched: Rows that its queries fetched.
        site: The line that sent most of them; see `Cause.site`.
        most_parameters: The most parameters of one of its queries.
        longest_sql: The most characters of one of its queries.
        cause: Why and from where most of them were sent.
        steps: Steps of SQLite's machine that its queries took, if they were counted.
        rows_sent: The rows that its INSERT statements carried.
        continued: How many of its queries SQLAlchemy sent because it split a bulk INSERT or an
            eager load.
        empty: How many of its queries fetched no row.
        origins: Its queries by the lines that sent them.
    """

    shape: Shape
    count: int
    values: int = 0
    rows_fetched: int = 0
    site: CallSite | None = None
    most_parameters: int = 0
    longest_sql: int = 0
    cause: Cause = field(default_factory=Cause)
    steps: int = 0
    rows_sent: int = 0
    continued: int = 0
    empty: int = 0
    origins: tuple[Origin, ...] = ()

    @classmethod
    def named(
        cls, table: str, text: str, count: int, site: CallSite | None = None
    ) -> "ShapeActivity":
        """Build one from a statement that is normalised already, without parsing it.

        Args:
            table: The table that the shape is about.
            text: The normalised statement.
            count: How often it was sent.
            site: The line that sent most of them.
        """
        return cls(Shape(text, first_keyword(text), table, (), ()), count, site=site)


@dataclass(frozen=True)
class Activity:
    """The counts of one action. A count is None where it could not be taken.

    Args:
        shapes: The queries, grouped by shape.
        session_statements: BEGIN, SET, PRAGMA, SAVEPOINT and the like, as SQLAlchemy sent them.
        transactions: Transactions begun.
        checkouts: Connections taken from the pool.
        rows_fetched: Rows that left the cursors of queries.
        records: Records that the action emitted, counted in its result (`records_in`).
        unconsumed: Whether it returned an iterator. Its work is then not done yet.
        bypassed: Queries that the driver saw and SQLAlchemy did not.
        cursor_fetches: Calls of a cursor's fetch methods.
        work: Deterministic counts that were requested, by name (`VM_STEPS`, `BRANCHES`).
        sites: The line that caused most of the `TRANSACTIONS`, `CHECKOUTS`, `SESSION_STATEMENTS`
            and `OTHER_STATEMENTS`, of the bypasses (`BYPASSES`) and of the work, by that name,
            where it is known.
        concerns: The table and the statement at these lines in words, by the same names.
        causes: All causes of these counts, and the number of each.
        other_shapes: The statements that define or maintain (CREATE, EXPLAIN, COPY), by shape.
        characters: Characters of all texts in a result that is a collection.
        figures: The sum of all numbers in such a result, also of those in its texts.
        result: What the result can show. `records` that are set from elsewhere, for a result that
            shows none, are declared as such.
    """

    shapes: tuple[ShapeActivity, ...] = ()
    session_statements: int = 0
    transactions: int = 0
    checkouts: int | None = None
    rows_fetched: int | None = None
    records: int | None = None
    unconsumed: bool = False
    bypassed: tuple[str, ...] | None = None
    cursor_fetches: int = 0
    work: Mapping[str, int] = field(default_factory=dict)
    sites: Mapping[str, CallSite] = field(default_factory=dict)
    concerns: Mapping[str, str] = field(default_factory=dict)
    causes: Mapping[str, CountCauses] = field(default_factory=dict)
    other_shapes: tuple[ShapeActivity, ...] = ()
    result: ResultKind = ResultKind.RECORDS
    characters: int = 0
    figures: float = 0.0

    @property
    def other_statements(self) -> int:
        """The number of statements that define or maintain."""
        return sum(sent.count for sent in self.other_shapes)

    @property
    def shows_records(self) -> bool:
        """Whether `records` are those that were asked for, and no sum or structure made of rows."""
        return self.records is not None and self.result in {
            ResultKind.RECORDS,
            ResultKind.OPAQUE,
        }

    @property
    def queries(self) -> int:
        """The number of queries."""
        return sum(sent.count for sent in self.shapes)

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries by the table that they are about."""
        counts: Counter[str] = Counter()
        for sent in self.shapes:
            counts[sent.shape.table] += sent.count
        return counts

    @property
    def tables(self) -> frozenset[str]:
        """All tables that the queries read or wrote."""
        return frozenset().union(*(sent.shape.tables for sent in self.shapes))

    @property
    def written(self) -> tuple[str, ...]:
        """The tables that the queries changed, sorted."""
        return tuple(sorted({name for sent in self.shapes for name in sent.shape.tables_written}))

    @property
    def may_write(self) -> bool:
        """Whether it changed tables, or sent a command that may have, such as CALL."""
        commands = {sent.shape.operation for sent in (*self.shapes, *self.other_shapes)}
        return bool(self.written) or not commands <= READING_OPERATIONS

    @property
    def most_sent(self) -> tuple[ShapeActivity, ...]:
        """The shapes, the one sent most often first."""
        return tuple(sorted(self.shapes, key=lambda sent: -sent.count))

    def count_of(self, text: str) -> int:
        """How often the shape with this text was sent."""
        return sum(sent.count for sent in self.shapes if sent.shape.text == text)


def activity_of(
    log: QueryLog,
    *,
    trace: DriverTrace | TraceCounts | None = None,
    result: object = None,
    work: Mapping[str, int] | None = None,
    work_sites: Mapping[str, CallSite] | None = None,
) -> Activity:
    """Build the activity that a finished log shows.

    Args:
        log: The statements that SQLAlchemy sent.
        trace: The statements that the driver saw, if it was traced.
        result: The return value of the action; a number is the number of records emitted.
        work: Deterministic counts that were taken.
        work_sites: The line at which most of a kind of work was done, by the names in `work`.
    """
    statements = log.statements
    queries = [sent for sent in statements if sent.kind is StatementKind.QUERY]
    shapes = _by_shape(queries)
    causes = _causes_of_counts(log, statements, shapes, trace)
    sites = {sent.shape.text: sent.site for sent in shapes}
    # The first one is often allowed, such as one transaction. Of equal counts, the last line is
    # named.
    commonest = {
        name: largest_rise({}, dict(reversed([*each.items()])), sites)
        for name, each in causes.items()
    }
    counts = {name: cause for name, cause in commonest.items() if cause is not None}
    others = [sent for sent in statements if sent.kind is StatementKind.OTHER]
    return Activity(
        shapes=shapes,
        session_statements=log.session_statements,
        transactions=log.transactions_begun,
        checkouts=log.checkouts,
        rows_fetched=log.rows_fetched,
        records=records_in(result),
        unconsumed=isinstance(result, Iterator | AsyncIterator),
        bypassed=trace.bypassed if trace else None,
        cursor_fetches=trace.cursor_fetches if trace else 0,
        work=work or {},
        sites={
            **{name: cause.site for name, cause in counts.items() if cause.site is not None},
            **(work_sites or {}),
        },
        concerns={name: cause.words for name, cause in counts.items() if cause.text},
        causes=causes,
        other_shapes=_by_shape(others),
        result=result_kind(result),
        characters=characters_in(result),
        figures=figures_in(result),
    )


def activity_of_record(record: Record) -> Activity:
    """Build the activity that a record of this process or of another one shows."""
    return activity_of(
        QueryLog(record.recording, record.dialect),
        trace=record.trace,
        result=record.result,
        work=record.work,
        work_sites=record.work_sites,
    )


def _by_shape(queries: Sequence[Query]) -> tuple[ShapeActivity, ...]:
    origins = origins_by_shape(queries)
    causes = causes_by_shape(origins)
    groups: defaultdict[Shape, list[Query]] = defaultdict(list)
    for query in queries:
        groups[query.shape].append(query)
    return tuple(
        ShapeActivity(
            shape=shape,
            count=len(group),
            # The values of a chunk are sent as parameters, those of a page come back as rows.
            values=max(
                sum(query.parameter_count for query in group),
                sum(query.rows_fetched for query in group),
            ),
            rows_fetched=sum(query.rows_fetched for query in group),
            site=causes[shape].site,
            most_parameters=max(query.parameter_count for query in group),
            longest_sql=max(len(query.sql) for query in group),
            cause=causes[shape],
            steps=sum(query.steps for query in group),
            rows_sent=sum(map(_rows_sent, group)),
            continued=sum(query.continued for query in group),
            empty=sum(not query.rows_fetched for query in group),
            origins=tuple(origins[shape]),
        )
        for shape, group in groups.items()
    )


def _causes_of_counts(
    log: QueryLog,
    statements: Sequence[Query],
    shapes: Sequence[ShapeActivity],
    trace: DriverTrace | TraceCounts | None,
) -> Mapping[str, CountCauses]:
    """What caused the counts other than queries, by their names."""
    others = [sent for sent in statements if sent.kind is StatementKind.OTHER]
    transactions: defaultdict[int, list[Query]] = defaultdict(list)
    checkouts: defaultdict[int, list[Query]] = defaultdict(list)
    for statement in statements:
        # A transaction or checkout that began before counting did has the number None.
        if statement.transaction is not None:
            transactions[statement.transaction].append(statement)
        if statement.checkout is not None:
            checkouts[statement.checkout].append(statement)
    busiest = max(shapes, key=lambda sent: sent.steps, default=None)
    return {
        TRANSACTIONS: causes_of_blocks(transactions.values(), log.empty_transactions),
        CHECKOUTS: causes_of_blocks(checkouts.values(), log.empty_checkouts),
        SESSION_STATEMENTS: causes_of_session_statements(statements),
        OTHER_STATEMENTS: causes_of_blocks([[sent] for sent in others], ()),
        BYPASSES: causes_of_bypasses(trace.bypass_causes if trace else (), log.dialect),
        VM_STEPS: {CountCause(busiest.site, busiest.shape.table, busiest.shape.text): busiest.steps}
        if busiest is not None and busiest.steps
        else {},
    }


def _rows_sent(query: Query) -> int:
    """The rows that an INSERT carries; 0 for other statements."""
    if query.operation != "INSERT":
        return 0
    # SQLAlchemy puts many rows into one statement. The shape shows the values of a single row.
    values = query.shape.text.count("?")
    return (
        query.batch_size if not values else max(query.batch_size, query.parameter_count // values)
    )
