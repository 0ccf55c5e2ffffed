"""Decide which counts of an action grow along an axis more than a contract allows.

The measurement asks this to find the axes and the form of a growth, and the judgement to fail it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

from querygrowth.contracts.contract import QueryContract
from querygrowth.counting.action_result import ResultKind
from querygrowth.counting.activity import (
    CHECKOUTS,
    FETCHED_ROWS,
    OTHER_STATEMENTS,
    SESSION_STATEMENTS,
    TRANSACTIONS,
    Activity,
)
from querygrowth.growth.report import AxisGrowth, by_family
from querygrowth.growth.trend import Trend, trend

Count = Callable[[Activity], "int | None"]

_ABOUT = "queries about "
FURTHER_TABLES = "queries about further tables"
STEADY_COUNTS: Mapping[str, Count] = {
    TRANSACTIONS: lambda act: act.transactions,
    CHECKOUTS: lambda act: act.checkouts,
    SESSION_STATEMENTS: lambda act: act.session_statements,
    OTHER_STATEMENTS: lambda act: act.other_statements,
}
"""The counts beside queries that must be the same at every scale."""


def queries_about(table: str) -> str:
    """The name of the count of queries about a table, or a family of tables."""
    return f"{_ABOUT}{table}"


def grown_counts(axis: AxisGrowth, contract: QueryContract) -> frozenset[str]:
    """The names of the counts that grow more than they may; empty for data that does not grow.

    Args:
        axis: The measurements.
        contract: The allowances.
    """
    if axis.same_data:
        return frozenset()
    grown = {queries_about(table) for table in grown_tables(axis, contract)}
    if further_tables(axis, contract):
        grown.add(FURTHER_TABLES)
    grown |= {name for name in STEADY_COUNTS if steady_count_grew(axis, name)}
    if rows_grew(axis, contract):
        grown.add(FETCHED_ROWS)
    return frozenset(grown)


def grown_tables(axis: AxisGrowth, contract: QueryContract) -> frozenset[str]:
    """The tables, or families of tables, whose queries grow more than the contract allows."""
    counts = _unexpected(axis, contract)
    # A single query that only larger runs need is not growth: it is sent once at any larger size.
    return frozenset(
        table
        for each in counts
        for table, count in each.items()
        if count > max(1, counts[0][table])
    )


def further_tables(axis: AxisGrowth, contract: QueryContract) -> frozenset[str]:
    """Tables that larger runs query once each, if there are more of them at every scale.

    A larger run may need the tables of further kinds of items. That ends with the kinds, so only
    one more table may appear after the second scale. A table for every item has no end.
    """
    counts = _unexpected(axis, contract)
    grown = grown_tables(axis, contract)
    new = [{t for t, n in each.items() if n and not counts[0].get(t)} - grown for each in counts]
    further = [len(after - before) for before, after in pairwise(new[1:])]
    return frozenset(new[-1]) if any(more > 1 for more in further) else frozenset()


def _unexpected(axis: AxisGrowth, contract: QueryContract) -> Sequence[Mapping[str, int]]:
    by_table = [contract.unexpected(act) for act in axis.activities]
    names = dict.fromkeys(table for counts in by_table for table in counts)
    # The same names at every scale, so that a family is one at all of them.
    return [by_family({name: counts.get(name, 0) for name in names}) for counts in by_table]


def steady_count_grew(axis: AxisGrowth, name: str) -> bool:
    """Whether one of `STEADY_COUNTS` rises above that of the smallest scale."""
    counts = counts_of(axis, STEADY_COUNTS[name])
    # A single CREATE or ANALYZE that only larger runs need is like a single such query.
    least = 1 if name == OTHER_STATEMENTS else 0
    return counts is not None and max(counts) > max(least, counts[0])


def rows_must_be_constant(axis: AxisGrowth) -> bool:
    """Whether the result stays the same size, so that fetched rows have to as well."""
    # Rows that are changed have to be fetched, whatever the result is.
    if axis.partial or axis.writes or any(act.may_write for act in axis.activities):
        return False
    if all(act.result is ResultKind.YES_OR_NO for act in axis.activities):
        return True
    records = axis.records
    # A number, a text or a structure may be made of all rows, and nothing shows whether it is.
    if records is None or any(act.result is ResultKind.SUMMARY for act in axis.activities):
        return False
    # Figures for two items, made of more and more rows, are not a filter. Their first ten are, and
    # so are whole numbers that stay the same: the keys of two items.
    if records[0] == records[-1] and not axis.shows_records and not axis.same_keys:
        return False
    return records[-1] == records[-2]


def rows_trend(axis: AxisGrowth, contract: QueryContract) -> Trend | None:
    """How fetched rows grow with the data; None if either is not known."""
    counts = counts_of(axis, contract.fetched_rows)
    extent = axis.scales if rows_must_be_constant(axis) else axis.extent
    return None if counts is None or extent is None else trend(extent, counts, in_steps=False)


def rows_grew(axis: AxisGrowth, contract: QueryContract) -> bool:
    """Whether fetched rows grow, where they have to be constant, or faster than the data."""
    found = rows_trend(axis, contract)
    if found is None:
        return False
    if rows_must_be_constant(axis):
        # While the result still grows, rows may grow with it. One row is enough for an answer.
        levels = axis.records is not None and len(set(axis.records)) > 1
        before = found.counts[-2] if levels else found.counts[0]
        return max(found.counts) > max(1, before)
    return found.accelerates or found.superlinear


def undecided_trends(axis: AxisGrowth, contract: QueryContract, names: Collection[str]) -> bool:
    """Whether several forms of growth fit one of the counts that are named."""
    counts = [_count_of(axis, contract, name) for name in names if name not in _NO_FORM]
    return any(not trend(axis.scales, known).certain for known in counts)


# The part of a count that the axes which matter make up; the rest is of other axes.
_MOST_OF_IT = 0.9
# Rows are judged with a tolerance, and tables are not counted.
_NO_FORM = {FETCHED_ROWS, FURTHER_TABLES}


def reported_counts(
    axes: Sequence[AxisGrowth], contract: QueryContract
) -> Sequence[frozenset[str]]:
    """For each axis, the counts whose growth is reported there.

    What grows along one axis grows where that axis and others do, and is reported once: for the
    single axis. A count that levels off along the single axis, but grows on where others grow
    too, is reported there: the sizes of the other axes are what made it level off.

    Args:
        axes: Single axes first, then those that grow at once, few of them first.
        contract: The allowances.
    """
    grown = [grown_counts(axis, contract) for axis in axes]
    reported: list[frozenset[str]] = []
    known: frozenset[str] = frozenset()
    for position, axis in enumerate(axes):
        later = [*zip(axes, grown, strict=True)][position + 1 :]
        here = {
            name
            for name in grown[position] - (known if axis.together else frozenset())
            if not any(
                name in more and _goes_on(axis, other, contract, name)
                for other, more in later
                if {*(axis.together or [axis.axis])} < {*other.together}
            )
        }
        reported.append(frozenset(here))
        known |= here
    return reported


def grows_as(every: AxisGrowth, fewer: AxisGrowth, contract: QueryContract, name: str) -> bool:
    """Whether a count that grows along every axis grows as much along fewer of them."""
    if name not in grown_counts(fewer, contract):
        return False
    if name in _NO_FORM:
        return True
    least = _MOST_OF_IT * max(_count_of(every, contract, name))
    return max(_count_of(fewer, contract, name)) >= least


def _goes_on(axis: AxisGrowth, other: AxisGrowth, contract: QueryContract, name: str) -> bool:
    """Whether a count that levels off along one axis reaches a higher level along others."""
    if name in _NO_FORM:
        return False
    counts, further = _count_of(axis, contract, name), _count_of(other, contract, name)
    return counts[-1] == counts[-2] and max(further) > max(counts)


def _count_of(axis: AxisGrowth, contract: QueryContract, name: str) -> list[int]:
    if name in STEADY_COUNTS:
        return counts_of(axis, STEADY_COUNTS[name]) or []
    return [each.get(name.removeprefix(_ABOUT), 0) for each in _unexpected(axis, contract)]


def counts_of(axis: AxisGrowth, count: Count) -> list[int] | None:
    """The counts at all scales; None if one of them was not taken, because a trend needs all."""
    counts = [count(act) for act in axis.activities]
    known = [each for each in counts if each is not None]
    return known if len(known) == len(counts) else None
