"""What one action did to its engine, in exact numbers that repeat.

`activity_of` makes an `Activity` from a `QueryLog`, `activity_of_counts` from statements that
another process counted. Nothing is judged here: see `querygrowth.contract` and
`querygrowth.growth_verdicts`.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Row

from querygrowth.call_sites import CallSite
from querygrowth.driver import DriverTrace
from querygrowth.log import Query, QueryLog
from querygrowth.statements import Shape, StatementKind, first_keyword, kind_of, shape_of

TRANSACTIONS = "transactions"
CHECKOUTS = "checkouts"
SESSION_STATEMENTS = "session statements"


@dataclass(frozen=True)
class ShapeActivity:
    """All queries of one shape.

    Args:
        shape: The normalised statement.
        count: How often it was sent.
        values: The larger of the parameters sent and the rows fetched; a declared chunk or page is
            checked against it.
        rows_fetched: Rows that its queries fetched.
        site: The line that sent most of them. If several shapes share that line, as they do in a
            wrapper, the nearest line outward that tells them apart.
    """

    shape: Shape
    count: int
    values: int = 0
    rows_fetched: int = 0
    site: CallSite | None = None

    @classmethod
    def named(
        cls, table: str, text: str, count: int, site: CallSite | None = None
    ) -> "ShapeActivity":
        """Build one from stored text that is normalised already; no SQL is parsed.

        Args:
            table: The table that the shape is about.
            text: The normalised statement.
            count: How often it was sent.
            site: The line that sent most of them.
        """
        return cls(Shape(text, first_keyword(text), table, (), ()), count, site=site)


@dataclass(frozen=True)
class Activity:
    """What one action did. A count is None where it could not be taken.

    Args:
        shapes: The queries, grouped by shape.
        session_statements: BEGIN, SET, PRAGMA, SAVEPOINT and the like, as SQLAlchemy sent them.
        transactions: Transactions begun.
        checkouts: Connections taken from the pool.
        rows_fetched: Rows that left the cursors of queries.
        records: What the action emitted, by what it returned (`records_in`).
        unconsumed: Whether it returned an iterator, whose work is not done yet.
        bypassed: Queries that the driver saw and SQLAlchemy did not.
        cursor_fetches: Calls of a cursor's fetch methods.
        work: Deterministic counts that were asked for, by name (`VM_STEPS`, `BRANCHES`).
        sites: The line behind most `TRANSACTIONS`, `CHECKOUTS` and `SESSION_STATEMENTS`, by that
            name, where it is known.
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

    @property
    def queries(self) -> int:
        """The number of queries."""
        return sum(each.count for each in self.shapes)

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries by the table that they are about."""
        tables: Counter[str] = Counter()
        for each in self.shapes:
            tables[each.shape.table] += each.count
        return tables

    @property
    def written(self) -> tuple[str, ...]:
        """The tables that the queries changed, sorted."""
        return tuple(sorted({name for each in self.shapes for name in each.shape.tables_written}))

    @property
    def most_sent(self) -> tuple[ShapeActivity, ...]:
        """The shapes, the one sent most often first."""
        return tuple(sorted(self.shapes, key=lambda each: -each.count))

    def sent(self, text: str) -> int:
        """How often the shape with this text was sent."""
        return sum(each.count for each in self.shapes if each.shape.text == text)


def activity_of(
    log: QueryLog,
    *,
    trace: DriverTrace | None = None,
    result: object = None,
    work: Mapping[str, int] | None = None,
    origins: Mapping[str, CallSite] | None = None,
) -> Activity:
    """Make the activity that a finished log shows.

    Args:
        log: What SQLAlchemy sent.
        trace: What the driver saw, if it was asked.
        result: What the action returned; a number says how many records it emitted.
        work: Deterministic counts that were taken.
        origins: By statement, a line that tells it from the others. It replaces the nearest line
            of a shape where several shapes were sent from that line.
    """
    statements = log.statements
    queries = [each for each in statements if each.kind is StatementKind.QUERY]
    sites = _sites_by_shape(queries, origins or {})
    return Activity(
        shapes=_by_shape(queries, sites),
        session_statements=log.session_statements,
        transactions=log.transactions_begun,
        checkouts=log.checkouts,
        rows_fetched=log.rows_fetched,
        records=records_in(result),
        unconsumed=isinstance(result, Iterator | AsyncIterator),
        bypassed=trace.bypassed if trace else None,
        cursor_fetches=trace.cursor_fetches if trace else 0,
        work=work or {},
        sites=_sites_of_counts(statements, sites),
    )


def _by_shape(
    queries: Iterable[Query], sites: Mapping[Shape, CallSite]
) -> tuple[ShapeActivity, ...]:
    groups: defaultdict[Shape, list[Query]] = defaultdict(list)
    for query in queries:
        groups[query.shape].append(query)
    return tuple(
        ShapeActivity(
            shape=shape,
            count=len(group),
            # A chunk's values are sent as parameters, a page's come back as rows.
            values=max(
                sum(query.parameter_count for query in group),
                sum(query.rows_fetched for query in group),
            ),
            rows_fetched=sum(query.rows_fetched for query in group),
            site=sites.get(shape),
        )
        for shape, group in groups.items()
    )


def _sites_by_shape(
    queries: Iterable[Query], origins: Mapping[str, CallSite]
) -> Mapping[Shape, CallSite]:
    """The line to show for each shape: the nearest one, unless other shapes came from it too."""
    nearest: defaultdict[Shape, Counter[CallSite]] = defaultdict(Counter)
    texts: dict[Shape, str] = {}
    for query in queries:
        # Stacks are kept by text; the first text of a shape stands for all of them.
        texts.setdefault(query.shape, query.sql)
        if query.site is not None:
            nearest[query.shape][query.site] += 1
    sites = {shape: counted.most_common(1)[0][0] for shape, counted in nearest.items()}
    # The line in a wrapper is the nearest for all that the wrapper sends, so it explains nothing.
    shapes_at = Counter(sites.values())
    return {
        shape: origins.get(texts[shape], site) if shapes_at[site] > 1 else site
        for shape, site in sites.items()
    }


def _sites_of_counts(
    statements: Iterable[Query], sites: Mapping[Shape, CallSite]
) -> Mapping[str, CallSite]:
    """The line behind most of what is counted beside queries.

    SQLAlchemy's events for a transaction or a checkout carry no statement, so each is put down to
    the first query in it. One without a query stays unknown.
    """
    behind: defaultdict[str, Counter[CallSite]] = defaultdict(Counter)
    # None is the number of what began before counting did, and is not counted.
    seen: set[tuple[str, int | None]] = {(TRANSACTIONS, None), (CHECKOUTS, None)}
    for each in statements:
        if each.kind is StatementKind.SESSION and each.site is not None:
            behind[SESSION_STATEMENTS][each.site] += 1
        site = sites.get(each.shape)
        if site is None:
            continue
        for count in ((TRANSACTIONS, each.transaction), (CHECKOUTS, each.checkout)):
            if count not in seen:
                seen.add(count)
                behind[count[0]][site] += 1
    return {name: counted.most_common(1)[0][0] for name, counted in behind.items()}


@dataclass(frozen=True)
class StatementCount:
    """How often one statement text was sent from one line, as another process counted it."""

    sql: str
    count: int
    site: CallSite | None = None


def activity_of_counts(
    statements: Iterable[StatementCount],
    *,
    dialect: str,
    transactions: int = 0,
    records: int | None = None,
) -> Activity:
    """Make the activity that another process counted; what it did not count stays None.

    Args:
        statements: Every statement sent, session statements among them.
        dialect: SQLAlchemy's name of the database ("sqlite", "postgresql").
        transactions: Transactions begun.
        records: What the action emitted.
    """
    by_shape: dict[Shape, ShapeActivity] = {}
    senders: defaultdict[Shape, Counter[CallSite]] = defaultdict(Counter)
    session_statements = 0
    for each in statements:
        kind = kind_of(each.sql)
        if kind is StatementKind.SESSION:
            session_statements += each.count
        elif kind is StatementKind.QUERY:
            shape = shape_of(each.sql, dialect)
            known = by_shape.get(shape, ShapeActivity(shape, 0))
            by_shape[shape] = replace(known, count=known.count + each.count)
            if each.site is not None:
                senders[shape][each.site] += each.count
    return Activity(
        shapes=tuple(
            replace(each, site=senders[shape].most_common(1)[0][0]) if senders[shape] else each
            for shape, each in by_shape.items()
        ),
        session_statements=session_statements,
        transactions=transactions,
        records=records,
    )


_PLAIN = (str, bytes, int, float, Decimal, date, time, timedelta, UUID, type(None))
_RECORD = (tuple, Row, Mapping)


def records_in(result: object) -> int | None:
    """Count the records in a result; None if the result does not show them.

    A number is the count itself. In a collection, every element is a record. A tuple, row or
    mapping among them is one record, and the elements of a collection inside it are further ones.
    An object of another class may hold more than its attributes show (an ORM instance holds the
    children that it loaded), so a result with one in it gives None.
    """
    # To Python, a bool is an int; here, it says only whether something was found.
    if isinstance(result, int) and not isinstance(result, bool):
        return result
    if isinstance(result, str | bytes) or not isinstance(result, Mapping | Sequence | Set):
        return None
    elements = result.values() if isinstance(result, Mapping) else result
    try:
        return sum(_records(each) for each in elements)
    except _OpaqueError:
        return None


class _OpaqueError(Exception):
    """The result holds an object whose records cannot be counted."""


def _records(value: object) -> int:
    if isinstance(value, _PLAIN):
        return 1
    if isinstance(value, _RECORD):
        return 1 + sum(_records_in_field(each) for each in _fields(value))
    return _listed(value)


def _records_in_field(value: object) -> int:
    """A field is part of its record; only the elements of a collection in it are further ones."""
    if isinstance(value, _PLAIN):
        return 0
    if isinstance(value, _RECORD):
        return sum(_records_in_field(each) for each in _fields(value))
    return _listed(value)


def _listed(value: object) -> int:
    if isinstance(value, Sequence | Set):
        return sum(_records(each) for each in value)
    raise _OpaqueError


def _fields(record: object) -> Sequence[object]:
    if isinstance(record, Mapping):
        return list(record.values())
    return list(record) if isinstance(record, tuple | Row) else []
