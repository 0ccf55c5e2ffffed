"""The evidence and the advice of a growth failure, in words."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.fixes.queries import Fix, fix_of, shortened
from querygrowth.growth.forms import Chunk, Form, Growth
from querygrowth.growth.grown import Count
from querygrowth.growth.report import AxisGrowth, table_family
from querygrowth.growth.rises import risen_shapes
from querygrowth.growth.trend import Trend, trend
from querygrowth.places.call_sites import CallSite
from querygrowth.places.orm_loads import Reason

# The usual source of chunks, by their size.
_KNOWN_CHUNKS = {
    500: "IN lists split into chunks of 500",
    999: "IN lists split at 999, SQLite's old limit of variables",
    1000: "IN lists split into chunks of 1000",
    32_766: "IN lists split at 32766, SQLite's limit of variables",
    65_535: "IN lists split at 65535, PostgreSQL's limit of parameters",
}

_PAGE = re.compile(r"\bLIMIT\b|\bFETCH (?:FIRST|NEXT)\b")

SHOWN_SHAPES = 3
_NEAR_ZERO = 0.05
# The part of a chunk that its queries fill at least. The last one is short.
_FILLED = 0.5
_SHOWN_TABLES = 4


@dataclass(frozen=True)
class GrowingQueries:
    """Queries that are sent more often at a larger scale: those of one shape, or of like tables.

    Attributes:
        about: The table, or the tables.
        sent: The shape, or one of those about the tables.
        trend: How their number grows.
        tables: The number of tables.
        item: What they are sent for, in words after "once per".
    """

    about: str
    sent: ShapeActivity
    trend: Trend
    tables: int = 1
    item: str = "item"

    @property
    def fix(self) -> Fix:
        """The cause of the queries, and what to write instead."""
        return fix_of(self.sent, item=self.item)

    @property
    def site(self) -> CallSite | None:
        """The line that sends most of them."""
        return self.sent.site

    @property
    def key(self) -> tuple[object, ...]:
        """What queries of one cause have in common along all axes."""
        load = self.sent.cause.load
        relationship = load.relationship if load is not None else ""
        return self.about, self.sent.shape.text, self.site, relationship

    @property
    def chunk(self) -> Chunk | None:
        """The chunks in which it is sent; None if one of its queries is about fewer items."""
        chunk = self.trend.forms[0].chunk
        sent = self.sent
        # A load for the attribute of one object is sent for that object, however many rows it has.
        load = sent.cause.load
        if load is not None and load.needs and load.reason != Reason.EAGER:
            return None
        # A loop over every second item sends as many queries as chunks of two.
        most = max(
            sent.most_parameters, sent.rows_sent / sent.count, sent.rows_fetched / sent.count
        )
        return chunk if chunk and most > chunk.low * _FILLED else None

    def lines(self, *, shown: CallSite | None, worst: "GrowingQueries") -> Iterator[str]:
        """Yield the counts, the trend, the text and the causes.

        The line and the repair are left out where the verdict shows them, as it does for `worst`.
        """
        counts = ", ".join(map(str, self.trend.counts))
        described = describe_trend(self.trend, chunks=self.chunk is not None)
        yield f"{self.about}: {counts} ({described})"
        yield f"  {shortened(self.sent.shape.text)}"
        if self.site and self.site != shown:
            yield f"  sent from {self.site}"
        fix = self.fix
        yield from (f"  {line}" for line in fix.evidence)
        if self is not worst and fix.next_step != worst.fix.next_step and self.chunk is None:
            yield f"  look at: {fix.next_step}"


def growing_queries(
    axis: AxisGrowth, grown: Collection[str], further: Collection[str]
) -> tuple[GrowingQueries, ...]:
    """The queries that grow, those with the largest counts first.

    Args:
        axis: The measurements.
        grown: The tables and families of tables that are queried more often.
        further: Tables that only larger scales query, if they are too many.
    """
    known = {sent.shape.text: sent for sent in risen_shapes(axis.activities)}
    found = [
        GrowingQueries(known[text].shape.table, known[text], counted, item=_item(axis, counted))
        for text, counted in axis.shape_trends().items()
        if counted.grows and known[text].shape.table in grown
    ]
    groups = {family: family_of(family, axis) for family in grown if "#" in family}
    if further:
        groups[""] = frozenset(further)
    for name, tables in groups.items():
        counts = [sum(n for t, n in act.by_table.items() if t in tables) for act in axis.activities]
        shapes = [sent for sent in known.values() if sent.shape.table in tables]
        label = name if name in grown else f"tables such as {', '.join(sorted(tables)[:2])}"
        found.append(GrowingQueries(label, shapes[-1], trend(axis.scales, counts), len(tables)))
    # The statements into which SQLAlchemy splits a bulk INSERT or an eager load are not a second
    # cause beside others, and an eager load follows the query that has its option.
    loops = [each for each in found if max(each.trend.counts) > each.sent.continued + 1]
    return tuple(sorted(loops or found, key=_order))[:SHOWN_SHAPES]


def _order(growing: GrowingQueries) -> tuple[int, bool]:
    load = growing.sent.cause.load
    return -max(growing.trend.counts), load is not None and load.reason == Reason.EAGER


def family_of(family: str, axis: AxisGrowth) -> frozenset[str]:
    """The tables of a family that were queried along an axis."""
    names = (table for act in axis.activities for table in act.by_table)
    return frozenset(table for table in names if table_family(table) == family)


def counts_by_scale(axis: AxisGrowth, count: Count, name: str) -> Iterator[str]:
    """Yield a line for each group of scales with the same count, with the tables that rose."""
    samples = list(zip(axis.scales, axis.activities, strict=True))
    groups = [list(group) for _, group in groupby(samples, key=lambda pair: count(pair[1]))]
    scales = [", ".join(str(scale) for scale, _ in group) for group in groups]
    width = max(map(len, scales))
    before: Activity | None = None
    for label, group in zip(scales, groups, strict=True):
        after = group[-1][1]
        rises = ""
        if before is not None and name == "queries":
            risen = [
                f"{table} {before.by_table.get(table, 0)} -> {sent}"
                for table, sent in after.by_table.items()
                if sent > before.by_table.get(table, 0)
            ]
            more = len(risen) - _SHOWN_TABLES
            rises = "   " + ", ".join(risen[:_SHOWN_TABLES])
            rises += f" and {more} more tables" if more > 0 else ""
        yield f"{axis.axis}  {label:<{width}}  {count(after)} {name}{rises}"
        before = after


def advice(growing: Sequence[GrowingQueries], axis: AxisGrowth) -> str:
    """The advice for growing queries, by the form of growth of those that grow most."""
    # All shapes have constant counts, but their allowance grants less at a larger scale.
    if not growing:
        return "the tables that rose above"
    worst = growing[0]
    if worst.tables > 1:
        return (
            f"a query for each of {worst.tables} tables: keep their rows in one table with a key, "
            "or read the tables with one UNION ALL"
        )
    if max(worst.trend.counts) <= 1:
        return "statement text that differs at each scale: use bound parameters"
    load = worst.sent.cause.load
    # What is loaded for objects has one remedy, in however many loops it is loaded.
    if worst.trend.superlinear and not (load is not None and load.needs):
        return f"a query about {worst.about} inside nested loops"
    chunk = worst.chunk
    if chunk is not None:
        if _PAGE.search(worst.sent.shape.text):
            return (
                f"pages of {worst.about}: read larger ones, or stream the rows of one query; if it "
                f"is meant, declare it: allow({worst.about!r}, page=...)"
            )
        likely = [size for size in _KNOWN_CHUNKS if chunk.low <= size <= chunk.high][:1]
        source = next(map(_KNOWN_CHUNKS.get, likely), f"work done in chunks of {_sizes(chunk)}")
        declared = next(map(str, likely), "...")
        return f"{source}; if it is meant, declare it: allow({worst.about!r}, chunk={declared})"
    if worst.trend.growth is Growth.LOGARITHMIC:
        return (
            f"a search that queries {worst.about} at every step: let the database search, with "
            "WHERE, ORDER BY and LIMIT, or read all levels of a tree with WITH RECURSIVE"
        )
    return worst.fix.next_step


def _item(axis: AxisGrowth, found: Trend) -> str:
    if found.growth is Growth.LEVELS_OFF:
        return f"item, for up to {max(found.counts)} items"
    # A slope of a half or less is a loop over a part of them.
    return (
        f"item of {axis.axis}" if found.slope > _FILLED else f"item, for some items of {axis.axis}"
    )


def describe_trend(found: Trend, *, chunks: bool = True) -> str:
    """A trend in words: "constant", "linear, slope 1.00", "n^0.5 or logarithmic".

    Args:
        found: The trend.
        chunks: Whether steps can be chunks. If not, something is counted for a part of the items.
    """
    return " or ".join(_describe(form, found, chunks) for form in found.forms)


def _describe(form: Form, found: Trend, chunks: bool) -> str:
    if form.growth is Growth.LEVELS_OFF:
        return f"levels off at {found.counts[-1]}"
    if form.growth is Growth.STARTS_LATE:
        last = max(
            n for n, c in zip(found.scales, found.counts, strict=True) if c <= found.counts[0]
        )
        return f"constant up to {last}, then rising"
    if form.chunk is not None:
        sizes = _sizes(form.chunk)
        return f"stepwise, chunks of {sizes}" if chunks else f"stepwise, one for every {sizes}"
    if form.growth is Growth.LINEAR:
        return f"linear, slope {found.slope:.2f}"
    if form.degree is not None:
        return f"a polynomial of degree {form.degree}"
    if form.exponents is not None:
        low, high = (f"{exponent:.2g}" for exponent in form.exponents)
        if form.exponents[1] - form.exponents[0] > 1:
            return "a power of n"
        if form.exponents[0] < _NEAR_ZERO:
            return f"n^{high} or less"
        return f"n^{low}" if low == high else f"n^{low} to n^{high}"
    return str(form.growth)


def _sizes(chunk: Chunk) -> str:
    about = "about " if chunk.average else ""
    return f"{about}{chunk.low}" if chunk.low == chunk.high else f"{chunk.low} to {chunk.high}"


def unit_of(axis: AxisGrowth) -> str:
    """The unit of `AxisGrowth.extent` in words: "orders", "records along orders"."""
    if axis.extent is None or axis.extent == axis.scales:
        return axis.axis
    known = axis.extent == axis.records
    return f"{'records' if known else 'the rows of the tables'} along {axis.axis}"


def data_by_scale(axis: AxisGrowth) -> Iterator[str]:
    """Yield a line with the rows of the touched tables for each scale."""
    for scale, rows in zip(axis.scales, axis.data or (), strict=False):
        yield f"{axis.axis}  {scale}  {rows} rows in the tables that were read"
