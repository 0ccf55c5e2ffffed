"""Find what caused the statements of one action: lines, callers, and where parents were loaded."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from querygrowth.call_sites import Callers, CallSite, distinct_sites
from querygrowth.orm_loads import Load, Reason
from querygrowth.query import Query
from querygrowth.statements import NO_TABLE, Shape, StatementKind, shape_of

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


def causes_by_shape(queries: Sequence[Query]) -> Mapping[Shape, Cause]:
    """The cause of most queries of each shape."""
    groups: defaultdict[Shape, list[Query]] = defaultdict(list)
    for query in queries:
        groups[query.shape].append(query)
    # The commonest line of a shape, and the commonest chain through that line.
    nearest = {shape: _commonest(query.site for query in group) for shape, group in groups.items()}
    commonest: dict[Shape, tuple[tuple[CallSite, ...], str, Load | None]] = {}
    for shape, group in groups.items():
        here = (query for query in group if query.site == nearest[shape])
        found = _commonest((query.callers, query.entry, query.load) for query in here)
        commonest[shape] = found or ((), "", None)
    # A line in a wrapper is the nearest for all statements of the wrapper, so it explains nothing.
    # A query and what is loaded later for its objects may share a line without a wrapper.
    late = {shape for shape, (_, _, load) in commonest.items() if load is not None and load.needs}
    distinct: dict[Shape, CallSite | None] = {}
    for group_of_shapes in (late, commonest.keys() - late):
        distinct |= distinct_sites(
            {shape: chain for shape, (chain, _, _) in commonest.items() if shape in group_of_shapes}
        )
    shapes_at = Counter((site, shape in late) for shape, site in nearest.items())
    parents = parents_by_number(queries)
    return {
        shape: Cause(
            distinct.get(shape, site) if shapes_at[site, shape in late] > 1 else site,
            *commonest[shape],
            parents=_commonest(
                parents[query.number] for query in groups[shape] if query.number in parents
            ),
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
    """

    site: CallSite | None
    table: str = NO_TABLE
    text: str = ""


def commonest_cause(
    groups: Iterable[Sequence[Query]],
    empty: Iterable[Callers],
    sites: Mapping[Shape, CallSite | None],
) -> CountCause | None:
    """The cause of most transactions or checkouts.

    Args:
        groups: The statements in each of them that has any.
        empty: The callers of those without a statement.
        sites: The line that is shown for a shape.
    """
    # SQLAlchemy's events for a transaction or a checkout carry no statement. The first query inside
    # stands for it.
    causes = [_cause_of(_first_query(group), sites) for group in groups]
    causes += [CountCause(callers.site) for callers in empty]
    return _commonest(causes)


def cause_of_session_statements(statements: Sequence[Query]) -> CountCause | None:
    """The cause of most session statements, with the table of the query that follows them."""
    causes: list[CountCause] = []
    following = NO_TABLE
    for statement in reversed(statements):
        if statement.kind is StatementKind.SESSION:
            causes.append(CountCause(statement.site, following, statement.shape.text))
        elif statement.kind is StatementKind.QUERY:
            following = statement.shape.table
    return _commonest(reversed(causes))


def cause_of_bypasses(
    bypasses: Iterable[tuple[CallSite | None, str]], dialect: str
) -> CountCause | None:
    """The cause of most statements that went past SQLAlchemy.

    Args:
        bypasses: The lines that sent them, and their texts.
        dialect: SQLAlchemy's name of the dialect.
    """
    found = _commonest(bypasses)
    return found and CountCause(found[0], shape_of(found[1], dialect).table, found[1])


def _first_query(statements: Sequence[Query]) -> Query:
    queries = (each for each in statements if each.kind is StatementKind.QUERY)
    return next(queries, statements[0])


def _cause_of(query: Query, sites: Mapping[Shape, CallSite | None]) -> CountCause:
    return CountCause(sites.get(query.shape) or query.site, query.shape.table, query.shape.text)


def _commonest(values: Iterable[T]) -> T | None:
    return next((value for value, _ in Counter(values).most_common(1)), None)
