"""Find what caused the statements of one action: lines, callers, and where parents were loaded."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from querygrowth.counting.query import Query
from querygrowth.counting.shapes import shape_of
from querygrowth.counting.statements import NO_TABLE, Shape, StatementKind
from querygrowth.places.call_sites import Callers, CallSite, distinct_sites
from querygrowth.places.orm_loads import Load, Reason

_LONGEST_PATH = 4  # relationships, from the user's query to the one that was loaded lazily
T = TypeVar("T")


@dataclass(frozen=True)
class Parents:
    """The statement that loaded the objects whose attributes were loaded later.

    Attributes:
        site: Its line; None if it is unknown.
        load: Why it was sent.
        parents: The statement that loaded the parents of these objects, if a relationship did.
        number: The number of the statement, which two that are equal do not share.
    """

    site: CallSite | None
    load: Load | None
    parents: "Parents | None" = None
    number: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Cause:
    """Why and from where most queries of one shape were sent.

    Attributes:
        site: The line that sent most of them. If several shapes share that line, as they do in a
            wrapper, the nearest line further out that is not shared.
        chain: The user's lines that led to most of them, the nearest first.
        entry: The function of SQLAlchemy that the nearest line called, such as "commit".
        load: Why the ORM sent them; None for statements of Core.
        parents: For attributes that were loaded, the statement that loaded their objects.
    """

    site: CallSite | None = None
    chain: tuple[CallSite, ...] = ()
    entry: str = ""
    load: Load | None = None
    parents: Parents | None = None


@dataclass(frozen=True)
class Origin:
    """Queries of one shape that were sent for the same reason through the same lines.

    Attributes:
        cause: Why and from where, with the nearest line as its `site`.
        queries: Their number.
        rows_fetched: The rows that they fetched.
        steps: The steps of SQLite's machine that they took, if they were counted.
    """

    cause: Cause
    queries: int
    rows_fetched: int = 0
    steps: int = 0


Origins = Mapping[Shape, Sequence[Origin]]


def origins_by_shape(queries: Sequence[Query]) -> Origins:
    """The origins of the queries of each shape, in order of their first query."""
    parents = parents_by_number(queries)
    groups: defaultdict[Shape, defaultdict[Cause, list[Query]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for query in queries:
        loaded_with = parents.get(query.number)
        cause = Cause(query.site, query.callers, query.entry, query.load, loaded_with)
        groups[query.shape][cause].append(query)
    return {
        shape: [
            Origin(
                cause,
                len(sent),
                sum(query.rows_fetched for query in sent),
                sum(query.steps for query in sent),
            )
            for cause, sent in causes.items()
        ]
        for shape, causes in groups.items()
    }


def rise(before: Sequence[Origin], after: Sequence[Origin]) -> Sequence[Origin]:
    """What `after` has more than `before`: a line that sends as much in both is no cause of it."""

    # The parents may come from another line at a larger scale, and are not compared.
    old, new = ([replace(each.cause, parents=None) for each in side] for side in (before, after))

    def less(measure: Callable[[Origin], int]) -> Sequence[int]:
        known: Counter[Cause] = Counter()
        for cause, each in zip(old, before, strict=True):
            known[cause] += measure(each)
        rest: list[int] = []
        for cause, each in zip(new, after, strict=True):
            count = measure(each)
            rest.append(max(0, count - known[cause]))
            known[cause] = max(0, known[cause] - count)
        return rest

    queries = less(lambda each: each.queries)
    rows, steps = less(lambda each: each.rows_fetched), less(lambda each: each.steps)
    return [
        Origin(each.cause, *counts)
        for each, *counts in zip(after, queries, rows, steps, strict=True)
    ]


def causes_by_shape(
    origins: Origins, measure: Callable[[Origin], int] = lambda each: each.queries
) -> Mapping[Shape, Cause]:
    """The cause of most queries of each shape.

    Args:
        origins: The origins of its queries.
        measure: What there has to be most of, if not of queries.
    """
    # The commonest line of a shape, and the commonest chain through that line.
    nearest = {
        shape: _most((each.cause.site, measure(each)) for each in group)
        for shape, group in origins.items()
    }
    commonest: dict[Shape, tuple[tuple[CallSite, ...], str, Load | None]] = {}
    parents: dict[Shape, Parents | None] = {}
    for shape, group in origins.items():
        here = [each for each in group if each.cause.site == nearest[shape]]
        found = _most(
            ((each.cause.chain, each.cause.entry, each.cause.load), measure(each)) for each in here
        )
        commonest[shape] = found or ((), "", None)
        parents[shape] = _most(
            (each.cause.parents, measure(each))
            for each in here
            if each.cause.parents is not None and each.cause.load == commonest[shape][2]
        )
    # A line in a wrapper is the nearest for all statements of the wrapper, so it explains nothing.
    # A query and what is loaded later for its objects may share a line without a wrapper.
    late = {shape for shape, (_, _, load) in commonest.items() if load is not None and load.needs}
    distinct: dict[Shape, CallSite | None] = {}
    for group_of_shapes in (late, commonest.keys() - late):
        distinct |= distinct_sites(
            {shape: chain for shape, (chain, _, _) in commonest.items() if shape in group_of_shapes}
        )
    shapes_at = Counter((site, shape in late) for shape, site in nearest.items())
    return {
        shape: Cause(
            distinct.get(shape, site) if shapes_at[site, shape in late] > 1 else site,
            *commonest[shape],
            parents=parents[shape],
        )
        for shape, site in nearest.items()
    }


def parents_by_number(queries: Iterable[Query]) -> Mapping[int, Parents]:
    """By the number of a load, the statement that loaded the objects that it belongs to.

    Args:
        queries: All queries of an action, in order of sending.
    """
    # Objects do not know the statement that loaded them. It is the last one before that loads
    # objects of the class, or else the last that loads other objects and reads the table too (an
    # eager join), or else the last that reads the table.
    by_class: dict[str, Parents] = {}
    by_table: dict[str, Parents] = {}
    by_any_table: dict[str, Parents] = {}
    found: dict[int, Parents] = {}
    for query in queries:
        load = query.load
        source: Parents | None = None
        if load is not None and load.needs:
            table = load.needs_table
            source = by_class.get(load.needs) or by_table.get(table) or by_any_table.get(table)
            if source is not None:
                found[query.number] = source
        # The children of a recursive relationship are parents too. The first load is shown, which
        # is the one that an option can be added to.
        if load is not None and load.recursive and load.reason in (Reason.LAZY, Reason.EAGER):
            continue
        above = _cut(source) if load and load.rows else None
        loaded = Parents(query.site, load, above, query.number)
        if load is not None and load.rows:
            by_class[load.rows] = loaded
        if query.operation == "SELECT" and not (load and load.needs):
            by = by_table if load is not None and load.rows else by_any_table
            by.update(dict.fromkeys(query.shape.tables_read, loaded))
    return found


def _cut(parents: Parents | None, longest: int = _LONGEST_PATH) -> Parents | None:
    """The same without the parts beyond the longest path that is shown."""
    if parents is None or longest == 0:
        return None
    return replace(parents, parents=_cut(parents.parents, longest - 1))


@dataclass(frozen=True)
class CountCause:
    """What caused most of a count other than queries, such as transactions.

    Attributes:
        site: The line; None if it is unknown.
        table: The table that is concerned; `NO_TABLE` if there is none.
        text: The normalised statement; empty if there is none.
        chain: The user's lines that led to it, the nearest first.
    """

    site: CallSite | None
    table: str = NO_TABLE
    text: str = ""
    chain: tuple[CallSite, ...] = ()

    @property
    def words(self) -> str:
        """The table and the statement in words; empty if there is no statement."""
        if not self.text or self.table == NO_TABLE:
            return self.text
        return f"{self.table}: {self.text}"


CountCauses = Mapping[CountCause, int]


def causes_of_blocks(groups: Iterable[Sequence[Query]], empty: Iterable[Callers]) -> CountCauses:
    """The causes of transactions or checkouts, and the number of each.

    Args:
        groups: The statements in each of them that has any.
        empty: The callers of those without a statement.
    """
    # SQLAlchemy's events for a transaction or a checkout carry no statement. The first query inside
    # stands for it.
    first = map(_first_query, groups)
    causes = [
        CountCause(each.site, each.shape.table, each.shape.text, each.callers) for each in first
    ]
    return Counter([*causes, *(CountCause(callers.site) for callers in empty)])


def causes_of_session_statements(statements: Sequence[Query]) -> CountCauses:
    """The causes of session statements, each with the table of the query that follows it."""
    causes: list[CountCause] = []
    following = NO_TABLE
    for statement in reversed(statements):
        if statement.kind is StatementKind.SESSION:
            causes.append(CountCause(statement.site, following, statement.shape.text))
        elif statement.kind is StatementKind.QUERY:
            following = statement.shape.table
    return Counter(reversed(causes))


def causes_of_bypasses(
    bypasses: Iterable[tuple[CallSite | None, str]], dialect: str
) -> CountCauses:
    """The causes of the statements that went past SQLAlchemy, and the number of each.

    Args:
        bypasses: The lines that sent them, and their texts.
        dialect: SQLAlchemy's name of the dialect.
    """
    return {
        CountCause(site, shape_of(text, dialect).table, text): count
        for (site, text), count in Counter(bypasses).items()
    }


def largest_rise(
    before: CountCauses, after: CountCauses, sites: Mapping[str, CallSite | None]
) -> CountCause | None:
    """The cause of which there is most more than before, or most if nothing is more.

    Args:
        before: The causes at a smaller scale; empty for none.
        after: The causes at a larger scale.
        sites: The line that is shown for the text of a shape.
    """
    risen = {cause: max(0, count - before.get(cause, 0)) for cause, count in after.items()}
    counts = risen if any(risen.values()) else after
    # Recursion makes chains longer, so that they are told apart last.
    worst = _most((replace(cause, chain=()), count) for cause, count in counts.items())
    chain = _most(
        (cause.chain, count) for cause, count in counts.items() if replace(cause, chain=()) == worst
    )
    if worst is None or not chain:
        return worst
    shown = sites.get(worst.text)
    return replace(worst, chain=chain, site=shown if shown in chain else worst.site)


def _first_query(statements: Sequence[Query]) -> Query:
    queries = (each for each in statements if each.kind is StatementKind.QUERY)
    return next(queries, statements[0])


def _most(values: Iterable[tuple[T, int]]) -> T | None:
    """The value with the largest sum of numbers, the first of several."""
    sums: Counter[T] = Counter()
    for value, number in values:
        sums[value] += number
    return next((value for value, _ in sums.most_common(1)), None)
