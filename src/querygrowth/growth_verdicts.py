"""Judge how an action grows with its data. All words of a growth failure stand in this file.

`judge_growth` judges a `GrowthReport`, measured here or elsewhere. `assert_query_growth` measures
and judges in one call. The pytest plugin and other programs all come through these two. The words
of a limit that holds at any one size stand in `querygrowth.contract`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

from querygrowth.activity import CHECKOUTS, SESSION_STATEMENTS, TRANSACTIONS, Activity
from querygrowth.call_sites import CallSite, Project
from querygrowth.contract import QueryContract, allowed, fetches_most, judge_vacuity, number
from querygrowth.growth import (
    DEFAULT_SCALES,
    Axes,
    AxisGrowth,
    GrowthReport,
    Populate,
    Scales,
    measure_growth,
)
from querygrowth.trend import Chunk, Growth, Trend, trend
from querygrowth.verdict import Outcome, Verdict, judge, require
from querygrowth.watch import Action

_KNOWN_CHUNKS = {
    500: "selectinload, or IN lists split into chunks of 500",
    999: "IN lists split at 999, SQLite's old limit of variables",
    1000: "IN lists split into chunks of 1000",
    32_766: "IN lists split at 32766, SQLite's limit of variables",
    65_535: "IN lists split at 65535, PostgreSQL's limit of parameters",
}
"""Where chunks of a size usually come from."""

_SHOWN_SHAPES = 3
_SHOWN_CHARACTERS = 160

Count = Callable[[Activity], "int | None"]

_CONSTANT_COUNTS: tuple[tuple[str, Count, str], ...] = (
    (TRANSACTIONS, lambda act: act.transactions, "a transaction or session opened in a loop"),
    (CHECKOUTS, lambda act: act.checkouts, "a connection taken from the pool in a loop"),
    (SESSION_STATEMENTS, lambda act: act.session_statements, "a savepoint or pragma in a loop"),
)
"""What must be the same at every scale, beside queries, and what to look for if it is not."""


def judge_growth(
    report: GrowthReport, contract: QueryContract | None = None
) -> tuple[Verdict, ...]:
    """Judge every axis of a report; failed verdicts come first.

    Queries (less declared allowances), transactions, checkouts and session statements must be the
    same at every scale. Fetched rows may grow in proportion to the records emitted, and work in
    proportion to the scale. No query may go past SQLAlchemy, and the action must have done
    something. Each limit of the contract must hold at every scale. A count that was not taken
    gives a skipped verdict.

    A failed verdict names the expectation that was broken, and `site` is the line behind it where
    that is known: the line that sends the shape that grows most, or that opens the transactions.

    Args:
        report: Measured by `measure_growth`, or built by `GrowthReport.of` from activities that
            were measured elsewhere.
        contract: Limits and allowances; default: none.
    """
    contract = contract or QueryContract()
    grown = [_judge_queries(axis, report.subject, contract) for axis in report.axes]
    verdicts = [
        each
        for axis, queries in zip(report.axes, grown, strict=True)
        for each in _judge_axis(axis, report.subject, contract, queries)
    ]
    return (
        *_by_cause([each for each in verdicts if each.failed], grown),
        *(each for each in verdicts if not each.failed),
    )


def _by_cause(failed: Sequence[Verdict], grown: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Reduce failures to one for each cause, with what follows from it in the evidence.

    A loop that opens a transaction for each query breaks half a dozen expectations, and one edit
    mends them all. So other failures at a line whose queries grew are put beneath that growth. A
    limit that is broken in the same words along several axes is listed once.
    """
    causes = {each.site: each for each in reversed(grown) if each.failed and each.site}
    beneath: defaultdict[Verdict, list[str]] = defaultdict(list)
    told: dict[Verdict, None] = {}
    for each in failed:
        cause = causes.get(each.site) if each.site else None
        if cause is None or each in grown:
            told[each] = None
        else:
            beneath[cause].append(f"as a result: {each.seen} (expected: {each.expected})")
    return tuple(
        replace(each, evidence=(*each.evidence, *dict.fromkeys(beneath[each]))) for each in told
    )


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
    """Measure as `measure_growth` does, judge, and return the report.

    Args:
        action: Called with an engine; plain or async.
        populate: Called with the size of every axis; returns an engine on such a database.
        axes: The axes with their base sizes, or only their names.
        scales: The sizes to try, for all axes or for each.
        contract: Limits and allowances. Without one, queries must be the same at every scale.
        together: Sizes to try with all axes growing at once.
        work: Deterministic counts to take (`VM_STEPS`, `BRANCHES`).
        writes: Whether the action may change tables.
        subject: What to call the action in verdicts; default: its name.
        project: The user's own files; default: those below the working directory.

    Raises:
        VerdictError: At least one verdict failed; the message shows all that did.
        ValueError: The request makes no sense, as for `measure_growth`.
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


def _judge_axis(
    axis: AxisGrowth, subject: str, contract: QueryContract, queries: Verdict
) -> Iterator[Verdict]:
    yield _first_failed([judge_vacuity(act, subject) for act in axis.activities])
    yield _judge_bypasses(axis, subject)
    yield queries
    yield from _judge_limits(axis, subject, contract)
    for name, count, next_step in _CONSTANT_COUNTS:
        yield _judge_constant(axis, subject, name, count, next_step)
    yield _judge_rows(axis, subject)
    for name in dict.fromkeys(name for act in axis.activities for name in act.work):
        yield _judge_work(axis, subject, name)


def _judge_queries(axis: AxisGrowth, subject: str, contract: QueryContract) -> Verdict:
    unexplained = [contract.unexplained(act) for act in axis.activities]
    first = unexplained[0]
    # A single query that only larger runs need is not growth: it is sent once at any larger size.
    grown = {
        table
        for counts in unexplained
        for table, count in counts.items()
        if count > max(1, first.get(table, 0))
    }
    growing = _growing_shapes(axis, grown)
    site = growing[0].site if growing else None
    broken = [each for each in contract.allowances if each.table in grown or not grown]
    return judge(
        subject,
        not grown,
        expected=f"the same count at every scale{allowed(broken)}",
        seen=f"queries grew with {axis.axis}"
        if grown
        else f"queries did not grow with {axis.axis}",
        evidence=[
            *_counts_by_scale(axis, lambda act: act.queries, "queries"),
            *(line for each in growing for line in each.lines(shown=site)),
        ],
        next_step=_advice(growing, axis),
        site=site,
    )


def _judge_limits(axis: AxisGrowth, subject: str, contract: QueryContract) -> Iterator[Verdict]:
    """Judge the contract's limits, each once: at the smallest scale that breaks it."""
    # Limits come in the same order at every scale. The last, on rows, is missing where there are no
    # records, hence zip_longest.
    for verdicts in zip_longest(*(contract.judge(act, subject) for act in axis.activities)):
        yield _first_failed([each for each in verdicts if each is not None])


def _judge_constant(
    axis: AxisGrowth, subject: str, name: str, count: Count, next_step: str
) -> Verdict:
    expected = f"the same number of {name} at every scale"
    counts = _known([count(act) for act in axis.activities])
    if counts is None:
        return Verdict(subject, Outcome.SKIPPED, expected, f"{name} were not counted")
    found = trend(axis.scales, counts)
    return judge(
        subject,
        not found.grows,
        expected=expected,
        seen=f"{name} grew with {axis.axis} ({describe_trend(found)})"
        if found.grows
        else f"{name} constant",
        evidence=_counts_by_scale(axis, count, name),
        next_step=next_step,
        site=axis.activities[-1].sites.get(name),
    )


def _judge_rows(axis: AxisGrowth, subject: str) -> Verdict:
    records = [act.records for act in axis.activities if act.records is not None]
    site = fetches_most(axis.activities[-1])
    if len(records) == len(axis.activities) and len(set(records)) == 1:
        constant = _judge_constant(
            axis,
            subject,
            "fetched rows",
            lambda act: act.rows_fetched,
            "rows fetched only to be thrown away: filter them in the database",
        )
        return replace(constant, site=site if constant.failed else None)
    unit = _unit(axis)
    expected = f"fetched rows in proportion to {unit}"
    counts = _known([act.rows_fetched for act in axis.activities])
    if counts is None:
        return Verdict(subject, Outcome.SKIPPED, expected, "fetched rows were not counted")
    found = trend(axis.extent, counts, in_steps=False)
    multiplied = found.growth is Growth.SUPERLINEAR
    return judge(
        subject,
        not multiplied,
        expected=expected,
        seen=f"fetched rows grew faster than {unit}"
        if multiplied
        else f"fetched rows {describe_trend(found)}",
        evidence=[
            *_counts_by_scale(axis, lambda act: act.rows_fetched, "fetched rows"),
            *(_counts_by_scale(axis, lambda act: act.records or 0, "records") if records else ()),
        ],
        next_step="joins that multiply each other's rows, or a missing join condition",
        site=site,
    )


def _judge_work(axis: AxisGrowth, subject: str, name: str) -> Verdict:
    unit = _unit(axis)
    expected = f"{name} at most in proportion to {unit}"
    counts = _known([act.work.get(name) for act in axis.activities])
    if counts is None:
        return Verdict(subject, Outcome.SKIPPED, expected, f"{name} were not counted")
    found = trend(axis.extent, counts, in_steps=False)
    faster = found.growth is Growth.SUPERLINEAR
    return judge(
        subject,
        not faster,
        expected=expected,
        seen=f"{name} grew faster than {unit}" if faster else f"{name} {describe_trend(found)}",
        evidence=_counts_by_scale(axis, lambda act: act.work.get(name), name),
        next_step="a full scan in a loop, a missing index, or a nested loop in Python",
    )


def _judge_bypasses(axis: AxisGrowth, subject: str) -> Verdict:
    expected = "every statement sent through SQLAlchemy, where it is counted"
    if any(act.bypassed is None for act in axis.activities):
        return Verdict(subject, Outcome.SKIPPED, expected, "the driver was not asked")
    bypassed = max((act.bypassed or () for act in axis.activities), key=len)
    return judge(
        subject,
        not bypassed,
        expected=expected,
        seen=f"{number(len(bypassed), 'statement')} went past SQLAlchemy"
        if bypassed
        else "no statement went past SQLAlchemy",
        evidence=[
            *_counts_by_scale(axis, lambda act: len(act.bypassed or ()), "bypassing"),
            *dict.fromkeys(bypassed[:_SHOWN_SHAPES]),
        ],
        next_step="cursors taken from raw_connection() or connection.connection",
    )


@dataclass(frozen=True)
class _GrowingShape:
    """A shape that is sent more often at a larger scale."""

    table: str
    text: str
    trend: Trend
    site: CallSite | None

    def lines(self, *, shown: CallSite | None) -> Iterator[str]:
        """How often it was sent, its text, and its line unless the verdict has `shown` it."""
        counts = ", ".join(map(str, self.trend.counts))
        yield f"{self.table}: {counts} ({describe_trend(self.trend)})"
        yield f"  {_shortened(self.text)}"
        if self.site and self.site != shown:
            yield f"  sent from {self.site}"


def _growing_shapes(axis: AxisGrowth, tables: Collection[str]) -> tuple[_GrowingShape, ...]:
    """The shapes about `tables` whose count grows, those with the largest counts first."""
    # The largest scale wins: there, the line that loops has sent more than any other line.
    known = {each.shape.text: each for act in axis.activities for each in act.shapes}
    found = [
        _GrowingShape(known[text].shape.table, text, grown, known[text].site)
        for text, grown in axis.shape_trends().items()
        if grown.grows and known[text].shape.table in tables
    ]
    return tuple(sorted(found, key=lambda each: -max(each.trend.counts)))[:_SHOWN_SHAPES]


def _shortened(text: str) -> str:
    """Shorten a long statement: first leave out its list of columns, then cut off its end."""
    if len(text) > _SHOWN_CHARACTERS:
        text = re.sub(r"^SELECT .*? FROM ", "SELECT ... FROM ", text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _counts_by_scale(axis: AxisGrowth, count: Count, what: str) -> Iterator[str]:
    """Yield a line for each group of scales with the same count, with the tables that rose."""
    samples = list(zip(axis.scales, axis.activities, strict=True))
    groups = [list(group) for _, group in groupby(samples, key=lambda pair: count(pair[1]))]
    scales = [", ".join(str(scale) for scale, _ in group) for group in groups]
    width = max(len(each) for each in scales)
    before: Activity | None = None
    for label, group in zip(scales, groups, strict=True):
        after = group[-1][1]
        rises = ""
        if before is not None and what == "queries":
            rises = "   " + ", ".join(
                f"{table} {before.by_table.get(table, 0)} -> {sent}"
                for table, sent in after.by_table.items()
                if sent > before.by_table.get(table, 0)
            )
        yield f"{axis.axis}  {label:<{width}}  {count(after)} {what}{rises}"
        before = after


def _advice(growing: Sequence[_GrowingShape], axis: AxisGrowth) -> str:
    """What to try first, by the kind of growth of the shape that grows most."""
    if not growing:
        return "the tables that rose above"
    worst = growing[0]
    if max(worst.trend.counts) <= 1:
        return "statement text that differs at each scale: use bound parameters"
    if worst.trend.growth is Growth.SUPERLINEAR:
        return f"a query about {worst.table} inside nested loops"
    chunk = worst.trend.chunk
    if chunk is None:
        return (
            f"a loop that queries {worst.table} once per item of {axis.axis}: fetch them "
            "in one query (a join, an IN list, or an eager load)"
        )
    usual = (words for size, words in _KNOWN_CHUNKS.items() if chunk.low <= size <= chunk.high)
    source = next(usual, f"work done in chunks of {_sizes(chunk)}")
    return f"{source}; if it is meant, declare it: allow({worst.table!r}, chunk=...)"


def describe_trend(found: Trend) -> str:
    """A trend in words: "constant", "linear, slope 1.00", ..."""
    if found.growth is Growth.STEPWISE and found.chunk:
        return f"stepwise, chunks of {_sizes(found.chunk)}"
    if found.growth is Growth.LINEAR:
        return f"linear, slope {found.slope:.2f}"
    if found.growth is Growth.SUPERLINEAR:
        return f"superlinear, slopes {', '.join(f'{slope:.2f}' for slope in found.slopes)}"
    return "constant"


def _sizes(chunk: Chunk) -> str:
    return str(chunk.low) if chunk.low == chunk.high else f"{chunk.low} to {chunk.high}"


def _unit(axis: AxisGrowth) -> str:
    return axis.axis if axis.extent == axis.scales else f"records along {axis.axis}"


def _known(counts: Sequence[int | None]) -> list[int] | None:
    known = [each for each in counts if each is not None]
    return known if len(known) == len(counts) else None


def _first_failed(verdicts: Sequence[Verdict]) -> Verdict:
    return next((each for each in verdicts if each.failed), verdicts[0])
