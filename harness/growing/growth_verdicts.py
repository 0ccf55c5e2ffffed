"""Judging growth: what an action may not do more of when there is more to do it on."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from harness.growing.activity import Activity
from harness.growing.contracts import QueryContract
from harness.growing.growth import AxisGrowth, GrowthReport
from harness.growing.growth_words import advice, counts_by_scale, growing_shapes
from harness.growing.trends import Growth, trend
from harness.verdict import Outcome, Verdict, judge

# What must be the same at every scale, beside queries.
_CONSTANT_COUNTS: tuple[tuple[str, Callable[[Activity], int], str], ...] = (
    ("transactions", lambda act: act.transactions, "a transaction or session opened in a loop"),
    ("checkouts", lambda act: act.checkouts, "a connection taken from the pool in a loop"),
    ("session statements", lambda act: act.session_statements, "a savepoint or pragma in a loop"),
)


def judge_growth(
    report: GrowthReport, contract: QueryContract | None = None
) -> tuple[Verdict, ...]:
    """Every verdict on every axis, failed ones first.

    Queries (but for declared allowances), transactions, checkouts and session statements must be
    the same at every scale. Fetched rows may grow with the records emitted, work with the scale,
    neither faster. Nothing may go past SQLAlchemy, and something must have been done at all.
    """
    contract = contract or QueryContract()
    verdicts = [
        each for axis in report.axes for each in _judge_axis(axis, report.subject, contract)
    ]
    return tuple(sorted(verdicts, key=lambda each: not each.failed))


def _judge_axis(axis: AxisGrowth, subject: str, contract: QueryContract) -> Iterator[Verdict]:
    yield _first_failed([act.vacuity(subject) for act in axis.activities])
    yield _judge_bypasses(axis, subject)
    yield _judge_queries(axis, subject, contract)
    yield from _judge_contract(axis, subject, contract)
    for name, count, next_step in _CONSTANT_COUNTS:
        yield _judge_constant(axis, subject, name, count, next_step)
    yield _judge_rows(axis, subject)
    for name in axis.activities[0].work:
        yield _judge_work(axis, subject, name)


def _judge_queries(axis: AxisGrowth, subject: str, contract: QueryContract) -> Verdict:
    unexplained = [contract.unexplained(act) for act in axis.activities]
    first = unexplained[0]
    # A single query that only larger runs have a use for is not growth.
    grown = {
        table
        for counts in unexplained
        for table, count in counts.items()
        if count > max(1, first.get(table, 0))
    }
    growing = growing_shapes(axis, grown)
    return judge(
        subject,
        not grown,
        expected=contract.promise,
        seen=f"queries grew with {axis.axis}" if grown else f"queries kept along {axis.axis}",
        evidence=[
            *counts_by_scale(axis, lambda act: act.queries, "queries"),
            *(line for each in growing for line in each.lines()),
        ],
        next_step=advice(growing, axis),
    )


def _judge_contract(axis: AxisGrowth, subject: str, contract: QueryContract) -> Iterator[Verdict]:
    """The contract's limits at each scale, told once: at the smallest scale that breaks them."""
    by_promise: defaultdict[str, list[Verdict]] = defaultdict(list)
    for activity in axis.activities:
        for verdict in contract.judge(activity, subject):
            by_promise[verdict.expected].append(verdict)
    for verdicts in by_promise.values():
        yield _first_failed(verdicts)


def _judge_constant(
    axis: AxisGrowth, subject: str, name: str, count: Callable[[Activity], int], next_step: str
) -> Verdict:
    found = axis.trend(count)
    return judge(
        subject,
        not found.grows,
        expected=f"the same number of {name} at every scale",
        seen=f"{name} grew with {axis.axis} ({found})" if found.grows else f"{name} constant",
        evidence=counts_by_scale(axis, count, name),
        next_step=next_step,
    )


def _judge_rows(axis: AxisGrowth, subject: str) -> Verdict:
    known = [act.records for act in axis.activities if act.records is not None]
    if len(known) == len(axis.activities) and len(set(known)) == 1:
        return _judge_constant(
            axis,
            subject,
            "fetched rows",
            lambda act: act.rows_fetched,
            "rows fetched only to be thrown away: filter them in the database",
        )
    unit = _unit(axis)
    found = trend(axis.extent, [act.rows_fetched for act in axis.activities], in_steps=False)
    multiplied = found.growth is Growth.SUPERLINEAR
    return judge(
        subject,
        not multiplied,
        expected=f"fetched rows in proportion to {unit}",
        seen=f"fetched rows grew faster than {unit}" if multiplied else f"fetched rows {found}",
        evidence=[
            *counts_by_scale(axis, lambda act: act.rows_fetched, "fetched rows"),
            *(counts_by_scale(axis, lambda act: act.records or 0, "records") if known else ()),
        ],
        next_step="joins that multiply each other's rows, or a missing join condition",
    )


def _judge_work(axis: AxisGrowth, subject: str, name: str) -> Verdict:
    unit = _unit(axis)
    found = trend(axis.extent, [act.work[name] for act in axis.activities], in_steps=False)
    faster = found.growth is Growth.SUPERLINEAR
    return judge(
        subject,
        not faster,
        expected=f"{name} at most in proportion to {unit}",
        seen=f"{name} grew faster than {unit}" if faster else f"{name} {found}",
        evidence=counts_by_scale(axis, lambda act: act.work[name], name),
        next_step="a full scan in a loop, a missing index, or a nested loop in Python",
    )


def _judge_bypasses(axis: AxisGrowth, subject: str) -> Verdict:
    if any(act.bypassed is None for act in axis.activities):
        return Verdict(
            subject, Outcome.SKIPPED, "no statement past SQLAlchemy", "this driver cannot be asked"
        )
    bypassed = max((act.bypassed or () for act in axis.activities), key=len)
    return judge(
        subject,
        not bypassed,
        expected="every statement sent through SQLAlchemy, where it is counted",
        seen=f"{len(bypassed)} statements went past SQLAlchemy" if bypassed else "no bypass",
        evidence=[
            *counts_by_scale(axis, lambda act: len(act.bypassed or ()), "bypassing"),
            *dict.fromkeys(bypassed[:3]),
        ],
        next_step="cursors taken from raw_connection() or connection.connection",
    )


def _unit(axis: AxisGrowth) -> str:
    return axis.axis if axis.extent == axis.scales else f"records along {axis.axis}"


def _first_failed(verdicts: Sequence[Verdict]) -> Verdict:
    return next((each for each in verdicts if each.failed), verdicts[0])
