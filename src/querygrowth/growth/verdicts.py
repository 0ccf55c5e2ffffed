"""Judge how an action grows with its data.

The words of one judgement are in its function, in the order of `_judge_axis`: `_judge_bypasses`,
`_judge_queries` or `_no_growth`, `_judge_steady`, `_judge_rows`, `_judge_work`. Its evidence and
its advice are worded in `evidence`. The words of a limit that holds at one size, and of an action
that did nothing, are in `querygrowth.contracts.contract`. `grown` decides what grew.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from querygrowth.contracts.allowance import describe_allowances
from querygrowth.contracts.contract import (
    QueryContract,
    check_contract,
    judge_vacuity,
    number,
)
from querygrowth.contracts.table_limits import misspelt_table
from querygrowth.counting.activity import (
    BYPASSES,
    CHECKOUTS,
    FETCHED_ROWS,
    OTHER_STATEMENTS,
    SESSION_STATEMENTS,
    TRANSACTIONS,
    Activity,
)
from querygrowth.fixes.queries import shortened
from querygrowth.growth.evidence import (
    SHOWN_SHAPES,
    GrowingQueries,
    advice,
    counts_by_scale,
    data_by_scale,
    describe_trend,
    growing_queries,
    unit_of,
)
from querygrowth.growth.grown import (
    FURTHER_TABLES,
    STEADY_COUNTS,
    counts_of,
    further_tables,
    grown_tables,
    queries_about,
    reported_counts,
    rows_must_be_constant,
    rows_trend,
)
from querygrowth.growth.report import AxisGrowth, GrowthReport
from querygrowth.growth.rises import concerned, repair_of_rise, site_of_rise
from querygrowth.growth.trend import trend
from querygrowth.verdict import GROWTH, Outcome, Verdict, judge

# What to look at where a count beside queries is not the same at every scale.
_STEADY_ADVICE = {
    TRANSACTIONS: "a transaction or session opened in a loop",
    CHECKOUTS: "a connection taken from the pool in a loop",
    SESSION_STATEMENTS: "a savepoint or pragma in a loop",
    OTHER_STATEMENTS: "a statement such as CREATE, EXPLAIN or COPY in a loop",
}


def judge_growth(
    report: GrowthReport, contract: QueryContract | None = None
) -> tuple[Verdict, ...]:
    """Judge every axis of a report; failed verdicts come first.

    Queries (less declared allowances), transactions, checkouts and session statements must be the
    same at every scale. Fetched rows may grow in proportion to the records emitted, and work in
    proportion to the scale. No query may go past SQLAlchemy, and the action must have done
    something. The limits of the contract must hold at every scale. A count that was not taken
    gives a skipped verdict. An axis along which the data did not grow gives one inconclusive
    verdict in place of those on growth. A contract that names a table that does not exist gives one
    failed verdict and no other, if the report has the tables.

    A failed verdict names the expectation that was broken. Its `site` is the line that caused it,
    where that is known: the line that sends the shape that grows most, or opens the transactions.

    Args:
        report: Measured by `measure_growth`, or built by `GrowthReport.of` from activities that
            were measured elsewhere.
        contract: Limits and allowances; default: none.

    Raises:
        ValueError: `contract` is not a QueryContract.
    """
    check_contract(contract)
    contract = contract or QueryContract()
    if report.tables is not None:
        touched, subject = report.touched_tables, report.subject
        if misspelt := misspelt_table(contract, touched, report.tables, subject=subject):
            return (misspelt,)  # other failures may only follow from the misspelling
    reported = reported_counts(report.axes, contract)
    growing = [
        _growing(axis, contract, names) for axis, names in zip(report.axes, reported, strict=True)
    ]
    grown = [
        _judge_queries(axis, report.subject, contract, names, queries)
        for axis, names, queries in zip(report.axes, reported, growing, strict=True)
    ]
    # What goes past SQLAlchemy does so along all axes: it is reported where it is the most.
    worst = max(report.axes, key=lambda axis: len(_most_bypassed(axis)))
    bypasses = _judge_bypasses(worst, report.subject)
    verdicts: list[Verdict] = []
    for axis, queries, names in zip(report.axes, grown, reported, strict=True):
        verdicts += _judge_axis(axis, report.subject, contract, queries, names)
    passed = [verdict for verdict in (*verdicts, bypasses) if not verdict.failed]
    failed = [verdict for verdict in (bypasses, *verdicts) if verdict.failed]
    # What was not counted explains all other failures, so that failure comes first.
    once = _along_one_axis(report.axes, grown, growing)
    failed = [once.get(verdict, verdict) for verdict in failed]
    return (*_by_cause([*dict.fromkeys(failed)], [once.get(each, each) for each in grown]), *passed)


def _along_one_axis(
    axes: Sequence[AxisGrowth],
    grown: Sequence[Verdict],
    growing: Sequence[Sequence[GrowingQueries]],
) -> Mapping[Verdict, Verdict]:
    """For a failure along each axis, the one to report: one, if the same queries grow along both.

    More rows of an association table need more of its parents, so that one lazy load grows with
    both tables. The axis of the parents is reported, or that with the steepest growth.
    """
    # Queries without a line may have several causes.
    left = {
        n: {each.key: each for each in growing[n]}
        for n, verdict in enumerate(grown)
        if verdict.failed and growing[n] and all(each.site for each in growing[n])
    }

    def rank(n: int) -> tuple[bool, float]:
        worst, load = growing[n][0], growing[n][0].sent.cause.load
        parents = load is not None and load.needs_table == axes[n].axis
        return parents, worst.trend.counts[-1] / worst.trend.scales[-1]

    also: defaultdict[int, list[str]] = defaultdict(list)
    reported = {n: n for n in range(len(grown))}
    for n in sorted(left, key=rank):
        mine = left.pop(n)
        found = {key: [m for m in left if key in left[m]] for key in mine}
        if not all(found.values()):
            left[n] = mine
            continue
        owners = {key: max(others, key=rank) for key, others in found.items()}
        reported[n] = owners[growing[n][0].key]
        for key, owner in owners.items():
            counts, scales = mine[key].trend.counts, mine[key].trend.scales
            also[owner].append(
                f"the same queries grew with {axes[n].axis} ({_listed(scales)}): {_listed(counts)}"
            )
    # An axis that took the place of another may have been replaced in its turn.
    while any(reported[m] != m for m in reported.values()):
        reported = {n: reported[m] for n, m in reported.items()}
    return {
        grown[n]: replace(grown[m], evidence=(*grown[m].evidence, *also[m]))
        for n, m in reported.items()
    }


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _by_cause(failed: Sequence[Verdict], grown: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Reduce failures to one for a cause, with the failures that follow from it as its evidence."""
    # A loop that opens a transaction for every query breaks half a dozen expectations, and one edit
    # repairs them all. So the other failures at a line whose queries grew become its evidence.
    causes = {queries.site: queries for queries in reversed(grown) if queries.failed}
    results: defaultdict[Verdict, list[str]] = defaultdict(list)
    reported: dict[Verdict, None] = {}  # once if broken in the same words along several axes
    for verdict in failed:
        cause = causes.get(verdict.site) if verdict.site else None
        if cause is None or verdict in grown:
            reported[verdict] = None
        else:
            results[cause].append(f"as a result: {verdict.seen} (expected: {verdict.expected})")
    return tuple(
        replace(verdict, evidence=(*verdict.evidence, *dict.fromkeys(results[verdict])))
        for verdict in reported
    )


def _judge_axis(
    axis: AxisGrowth,
    subject: str,
    contract: QueryContract,
    queries: Verdict,
    reported: Collection[str],
) -> Iterator[Verdict]:
    # An action that did nothing explains all other verdicts, so that is judged first.
    yield _first_failed([judge_vacuity(act, subject) for act in axis.activities])
    yield queries
    yield from _judge_limits(axis, subject, contract)
    if axis.same_data:
        return
    for name in STEADY_COUNTS:
        yield _judge_steady(axis, subject, name, name in reported)
    yield _judge_rows(axis, subject, contract, FETCHED_ROWS in reported)
    for name in dict.fromkeys(name for act in axis.activities for name in act.work):
        yield _judge_work(axis, subject, name)


def _most_bypassed(axis: AxisGrowth) -> Sequence[str]:
    return max((act.bypassed or () for act in axis.activities), key=len)


def _judge_bypasses(axis: AxisGrowth, subject: str) -> Verdict:
    expected = "every statement sent through SQLAlchemy, where it is counted"
    if any(act.bypassed is None for act in axis.activities):
        return Verdict(subject, Outcome.SKIPPED, expected, "the driver was not traced")
    bypassed = _most_bypassed(axis)
    return judge(
        subject,
        not bypassed,
        expected=expected,
        seen=f"{number(len(bypassed), 'statement')} went past SQLAlchemy"
        if bypassed
        else "no statement went past SQLAlchemy",
        evidence=[
            *counts_by_scale(axis, lambda act: len(act.bypassed or ()), "bypassing"),
            *dict.fromkeys(bypassed[:SHOWN_SHAPES]),
            *(concerned(axis.activities, BYPASSES) if bypassed else ()),
        ],
        site=site_of_rise(axis.activities, BYPASSES) if bypassed else None,
        next_step="cursors taken from raw_connection() or connection.connection, another engine, "
        "or a connection of the driver",
    )


def _no_growth(axis: AxisGrowth, subject: str) -> Verdict:
    # Not a failure: values can grow inside of rows, such as a list in a JSON column.
    return Verdict(
        subject,
        Outcome.INCONCLUSIVE,
        expected=f"data that grows along {axis.axis}",
        seen=f"the data did not grow along {axis.axis}",
        evidence=(
            *counts_by_scale(axis, lambda act: act.queries, "queries"),
            "every table had the same number of rows at every scale",
        ),
        next_step=f"whether populate uses {axis.axis}, and returns a new database at every scale",
    )


def _growing(
    axis: AxisGrowth, contract: QueryContract, reported: Collection[str]
) -> Sequence[GrowingQueries]:
    grown = {t for t in grown_tables(axis, contract) if queries_about(t) in reported}
    further = further_tables(axis, contract) if FURTHER_TABLES in reported else frozenset()
    return growing_queries(axis, grown, further) if grown or further else ()


def _judge_queries(
    axis: AxisGrowth,
    subject: str,
    contract: QueryContract,
    reported: Collection[str],
    growing: Sequence[GrowingQueries],
) -> Verdict:
    if axis.same_data:
        return _no_growth(axis, subject)
    grown = {t for t in grown_tables(axis, contract) if queries_about(t) in reported}
    further = FURTHER_TABLES in reported
    site = growing[0].site if growing else None
    broken = [granted for granted in contract.allowances if granted.table in grown or not grown]
    return judge(
        subject,
        not grown and not further,
        expected=f"the same count at every scale{describe_allowances(broken)}",
        seen=f"queries {'grew' if grown or further else 'did not grow'} with {axis.axis}",
        evidence=[
            *counts_by_scale(axis, lambda act: act.queries, "queries"),
            *(line for shape in growing for line in shape.lines(shown=site, worst=growing[0])),
        ],
        next_step=advice(growing, axis),
        site=site,
        kind=GROWTH,
    )


def _judge_limits(axis: AxisGrowth, subject: str, contract: QueryContract) -> Iterator[Verdict]:
    """Judge the limits of the contract, a limit once: at the smallest scale that breaks it."""
    # Limits come in the same order at every scale. The last, on rows, is missing where an action
    # emitted no records, hence zip_longest.
    for verdicts in zip_longest(*(contract.judge(act, subject) for act in axis.activities)):
        yield _first_failed([verdict for verdict in verdicts if verdict is not None])


def _judge_steady(axis: AxisGrowth, subject: str, name: str, grew: bool) -> Verdict:
    """Judge one of `STEADY_COUNTS`."""
    expected = f"the same number of {name} at every scale"
    count = STEADY_COUNTS[name]
    counts = counts_of(axis, count)
    if counts is None:
        return Verdict(subject, Outcome.SKIPPED, expected, f"{name} were not counted")
    described = describe_trend(trend(axis.scales, counts))
    others = axis.activities[-1].other_shapes if name == OTHER_STATEMENTS else ()
    most = sorted(others, key=lambda sent: -sent.count)[:SHOWN_SHAPES]
    return judge(
        subject,
        not grew,
        expected=expected,
        seen=f"{name} grew with {axis.axis} ({described})" if grew else f"{name} constant",
        evidence=[
            *counts_by_scale(axis, count, name),
            *(f"{sent.count}x {shortened(sent.shape.text)}" for sent in most),
            *(concerned(axis.activities, name) if grew else ()),
        ],
        next_step=(
            repair_of_rise(axis.activities, name)
            if grew and name in (SESSION_STATEMENTS, OTHER_STATEMENTS)
            else ""
        )
        or _STEADY_ADVICE[name],
        # To look for the cause takes as long as an export.
        site=site_of_rise(axis.activities, name) if grew else None,
    )


def _judge_rows(axis: AxisGrowth, subject: str, contract: QueryContract, grew: bool) -> Verdict:
    constant = rows_must_be_constant(axis)
    found = rows_trend(axis, contract)
    if constant:
        expected = "the same number of fetched rows at every scale"
        next_step = (
            "rows fetched only to be thrown away: filter, limit or count them in the database; "
            "if all rows are meant to be read, declare it: allow_rows(...)"
        )
        faster = f"fetched rows grew with {axis.axis}"
    else:
        expected = f"fetched rows in proportion to {unit_of(axis)}"
        next_step = (
            "joins that multiply each other's rows (load one of two collections with "
            "selectinload), or a missing join condition"
        )
        faster = f"fetched rows grew faster than {unit_of(axis)}"
    if found is None:
        unknown = counts_of(axis, lambda act: act.rows_fetched) is None
        return Verdict(
            subject,
            Outcome.SKIPPED,
            expected,
            "fetched rows were not counted"
            if unknown
            else f"the data along {axis.axis} are "
            "unknown: the action returns no records, and the rows of its tables cannot be counted",
        )
    records = axis.records is not None
    return judge(
        subject,
        not grew,
        expected=expected,
        seen=f"{faster} ({describe_trend(found)})"
        if grew and constant
        else faster
        if grew
        else f"fetched rows {describe_trend(found)}",
        evidence=[
            *counts_by_scale(axis, lambda act: act.rows_fetched, "fetched rows"),
            *(counts_by_scale(axis, lambda act: act.records or 0, "records") if records else ()),
            *(data_by_scale(axis) if axis.together and not records else ()),
            *(concerned(axis.activities, FETCHED_ROWS) if grew else ()),
        ],
        next_step=next_step,
        site=site_of_rise(axis.activities, FETCHED_ROWS) if grew else None,
    )


def _judge_work(axis: AxisGrowth, subject: str, name: str) -> Verdict:
    """Judge that work grows no faster than the data."""
    expected = f"{name} at most in proportion to {unit_of(axis)}"

    def count(act: Activity) -> int | None:
        return act.work.get(name)

    counts = counts_of(axis, count)
    if counts is None:
        return Verdict(subject, Outcome.SKIPPED, expected, f"{name} were not counted")
    # With a tolerance, because work is no exact form: a sort takes n log n, an index its depth.
    found = trend(axis.extent or axis.scales, counts, in_steps=False)
    grew = found.accelerates
    return judge(
        subject,
        not grew,
        expected=expected,
        seen=f"{name} grew faster than {unit_of(axis)}"
        if grew
        else f"{name} {describe_trend(found)}",
        evidence=[
            *counts_by_scale(axis, count, name),
            *(concerned(axis.activities, name) if grew else ()),
        ],
        next_step="a full scan in a loop, a missing index, or a nested loop in Python",
        site=site_of_rise(axis.activities, name) if grew else None,
    )


def _first_failed(verdicts: Sequence[Verdict]) -> Verdict:
    return next((verdict for verdict in verdicts if verdict.failed), verdicts[0])
