"""Scaling: measure how an action grows, and hold it to a contract. The one place both are called.

The command, the pytest plugin and tests of any project come through here.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from querygrowth.activity import Action, Activity
from querygrowth.call_sites import CallSite, Project
from querygrowth.contract import QueryContract
from querygrowth.growth import (
    DEFAULT_SCALES,
    Axes,
    AxisGrowth,
    GrowthReport,
    Populate,
    Scales,
    measure_growth,
)
from querygrowth.trend import Growth, Trend, trend
from querygrowth.verdict import Outcome, Verdict, judge, require

# Telling growth to a person: counts at each scale, the shapes that grow, and what to try.


# Where chunks of this size come from.
_KNOWN_CHUNKS = {
    500: "selectinload, or IN lists split into chunks of 500",
    999: "IN lists split at 999, SQLite's old limit of variables",
    1000: "IN lists split into chunks of 1000",
    32_766: "IN lists split at 32766, SQLite's limit of variables",
    65_535: "IN lists split at 65535, PostgreSQL's limit of parameters",
}
_SHOWN_SHAPES = 3
_SHOWN_CHARACTERS = 160


@dataclass(frozen=True)
class GrowingShape:
    """A shape that is sent more often at a larger scale, and where from."""

    table: str
    text: str
    trend: Trend
    site: CallSite | None

    def lines(self) -> tuple[str, ...]:
        """How often it was sent at each scale, its text, and the place it was sent from."""
        counts = ", ".join(map(str, self.trend.counts))
        sent = (f"  sent from {self.site}",) if self.site else ()
        return (f"{self.table}: {counts} ({self.trend})", f"  {_shortened(self.text)}", *sent)


def _shortened(text: str) -> str:
    """A long statement without its list of columns, which tells least, and then cut off."""
    if len(text) > _SHOWN_CHARACTERS:
        text = re.sub(r"^SELECT .*? FROM ", "SELECT ... FROM ", text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def counts_by_scale(
    axis: AxisGrowth, count: Callable[[Activity], int], what: str
) -> tuple[str, ...]:
    """One line for each run of scales with the same count; the tables that rose are named."""
    samples = list(zip(axis.scales, axis.activities, strict=True))
    groups = [list(group) for _, group in groupby(samples, key=lambda pair: count(pair[1]))]
    scales = [", ".join(str(scale) for scale, _ in group) for group in groups]
    width = max(len(each) for each in scales)
    lines: list[str] = []
    before: Activity | None = None
    for label, group in zip(scales, groups, strict=True):
        after = group[-1][1]
        rises = _rises(before, after) if what == "queries" else ""
        lines.append(f"{axis.axis}  {label:<{width}}  {count(after)} {what}{rises}")
        before = after
    return tuple(lines)


def _rises(before: Activity | None, after: Activity) -> str:
    if before is None:
        return ""
    rises = [
        f"{table} {before.by_table.get(table, 0)} -> {count}"
        for table, count in after.by_table.items()
        if count > before.by_table.get(table, 0)
    ]
    return f"   {', '.join(rises)}"


def growing_shapes(axis: AxisGrowth, tables: Collection[str]) -> tuple[GrowingShape, ...]:
    """The shapes about `tables` whose count grows, those with the largest counts first."""
    known = {each.shape.text: each for act in axis.activities for each in act.shapes}
    found = [
        GrowingShape(known[text].shape.table, text, grown, known[text].site)
        for text, grown in axis.shape_trends().items()
        if grown.grows and known[text].shape.table in tables
    ]
    return tuple(sorted(found, key=lambda each: -max(each.trend.counts)))[:_SHOWN_SHAPES]


def advice(growing: Sequence[GrowingShape], axis: AxisGrowth) -> str:
    """What to try first, going by the kind of growth of the shape that grows most."""
    if not growing:
        return "the tables that rose above"
    worst = growing[0]
    if max(worst.trend.counts) <= 1:
        return "statement text that differs at each scale: use bound parameters"
    match worst.trend.growth:
        case Growth.STEPWISE:
            return _about_chunks(worst)
        case Growth.SUPERLINEAR:
            return f"a query about {worst.table} inside nested loops"
        case _:
            return (
                f"a loop that queries {worst.table} once per item of {axis.axis}: fetch them "
                "in one query (a join, an IN list, or an eager load)"
            )


def _about_chunks(worst: GrowingShape) -> str:
    chunk = worst.trend.chunk
    known = [
        words
        for size, words in _KNOWN_CHUNKS.items()
        if chunk is not None and chunk.low <= size <= chunk.high
    ]
    source = known[0] if known else f"work done in chunks of {chunk}"
    return f"{source}; if it is meant, declare it: allow({worst.table!r}, chunk=...)"


# Judging growth: what an action may not do more of when there is more to do it on.


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


__all__ = [
    "DEFAULT_SCALES",
    "AxisGrowth",
    "GrowthReport",
    "assert_query_growth",
    "judge_growth",
    "measure_growth",
]


def assert_query_growth(
    action: Action,
    populate: Populate,
    *,
    axes: Axes,
    scales: Scales = DEFAULT_SCALES,
    contract: QueryContract | None = None,
    together: Sequence[int] = (),
    work: Iterable[str] = (),
    writes: bool = False,
    subject: str = "",
    project: Project | None = None,
) -> GrowthReport:
    """Measure as `measure_growth` does; VerdictError if growth breaks the contract.

    Without a contract, queries must be the same at every scale. The report is returned for
    further questions.
    """
    __tracebackhide__ = True  # in pytest, the failing line is the caller's
    report = measure_growth(
        action,
        populate,
        axes=axes,
        scales=scales,
        together=together,
        work=work,
        writes=writes,
        subject=subject,
        project=project,
    )
    require(judge_growth(report, contract))
    return report
