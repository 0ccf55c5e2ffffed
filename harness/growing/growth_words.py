"""Telling growth to a person: counts at each scale, the shapes that grow, and what to try."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.counting.callsites import CallSite
from harness.growing.activity import Activity
from harness.growing.growth import AxisGrowth
from harness.growing.trends import Growth, Trend

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
