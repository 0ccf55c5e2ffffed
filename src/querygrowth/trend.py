"""Classify how a count grows with a scale: not at all, in steps, in proportion, or faster.

The counts are exact and the scales few (often three), so nothing is fitted by regression. A kind
of growth is recognised by conditions that its counts must satisfy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from math import log

# If a count grows like scale**k, its slope grows like scale**(k - 1): the exponent is 1 for a
# quadratic and 0 for a proportional count. For n*log(n), a sort, it stays below 0.2 at the sizes
# that a test can afford. A slope with an exponent above 0.35 (k = 1.35) is called superlinear.
_SUPERLINEAR_EXPONENT = 0.35
# A slope that rises by a quarter or less still counts as that of a proportional count.
_PROPORTIONAL = 1.25


class Growth(str, Enum):
    """The kinds of growth."""

    CONSTANT = "constant"
    STEPWISE = "stepwise"
    LINEAR = "linear"
    SUPERLINEAR = "superlinear"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


@dataclass(frozen=True)
class Chunk:
    """The chunk sizes that explain the steps of a count: all from `low` to `high`."""

    low: int
    high: int


@dataclass(frozen=True)
class Trend:
    """Counts at increasing scales, and the growth that they show.

    Args:
        scales: The scales, increasing.
        counts: The counts, in the order of the scales.
        growth: The kind of growth.
        slopes: Counts per unit of scale, between neighbouring scales.
        slope: Counts per unit of scale, from the first scale to the last.
        chunk: The chunk sizes that explain the counts; for stepwise growth only.
    """

    scales: tuple[int, ...]
    counts: tuple[int, ...]
    growth: Growth
    slopes: tuple[float, ...]
    slope: float
    chunk: Chunk | None = None

    @property
    def grows(self) -> bool:
        """Whether any count is above the count at the smallest scale."""
        return self.growth is not Growth.CONSTANT


def trend(scales: Sequence[int], counts: Sequence[int], *, in_steps: bool = True) -> Trend:
    """Classify counts that were observed at increasing scales.

    Args:
        scales: At least two scales.
        counts: The counts, in the order of the scales.
        in_steps: Whether the count may be stepwise, like queries in chunks. If not, as for rows
            and machine steps, it is constant, linear or superlinear.

    Raises:
        ValueError: There are fewer than two scales, they do not increase, or their number is not
            that of the counts.
    """
    if len(scales) != len(counts) or len(scales) < 2:
        raise ValueError("a trend needs one count for each of at least two scales")
    if any(after <= before for before, after in pairwise(scales)):
        raise ValueError(f"scales must increase strictly, got {list(scales)}")
    points = list(zip(scales, counts, strict=True))
    slopes = tuple((d - b) / (c - a) for (a, b), (c, d) in pairwise(points))
    slope = (counts[-1] - counts[0]) / (scales[-1] - scales[0])
    chunk = _chunk(scales, counts, slopes) if in_steps else None
    return Trend(
        scales=tuple(scales),
        counts=tuple(counts),
        growth=_growth(scales, counts, slopes, chunk),
        slopes=slopes,
        slope=slope,
        chunk=chunk,
    )


def _growth(
    scales: Sequence[int], counts: Sequence[int], slopes: Sequence[float], chunk: Chunk | None
) -> Growth:
    # A falling count is constant here: the smallest run may contain something that others lack.
    if max(counts) <= counts[0]:
        return Growth.CONSTANT
    if chunk:
        return Growth.STEPWISE
    return Growth.SUPERLINEAR if _accelerates(scales, slopes) else Growth.LINEAR


def _accelerates(scales: Sequence[int], slopes: Sequence[float]) -> bool:
    """Whether the slope itself grows with the scale, as a power of it."""
    # Segments without a rise are left out. Their slope has no logarithm, and a count that starts to
    # rise late is not superlinear for that reason alone.
    rising = [
        (slope, (a + b) / 2) for slope, (a, b) in zip(slopes, pairwise(scales), strict=True)
        if slope > 0
    ]  # fmt: skip
    (first, near), (last, far) = rising[0], rising[-1]
    if near == far or last <= _PROPORTIONAL * first:
        return False
    return log(last / first) / log(far / near) > _SUPERLINEAR_EXPONENT


def _chunk(scales: Sequence[int], counts: Sequence[int], slopes: Sequence[float]) -> Chunk | None:
    """The chunk sizes that give these counts for work done in chunks; None if no size does."""
    proportional = max(slopes) <= min(slopes)
    # One query or more for an item is a loop, although chunks of one would explain it as well.
    if max(counts) <= counts[0] or (proportional and slopes[0] >= 1):
        return None
    if fitting := _fitting_sizes(scales, counts):
        return Chunk(fitting[0], fitting[-1])
    # No size fits exactly, for example because chunks are filled unevenly. Below one query for two
    # items it is still work in chunks, and their average size is the best estimate.
    average = (counts[-1] - counts[0]) / (scales[-1] - scales[0])
    if average > 0.5 or _accelerates(scales, slopes):
        return None
    return Chunk(round(1 / average), round(1 / average)) if average > 0 else None


def _fitting_sizes(scales: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Sizes that give exactly these counts, under the simplest explanation that fits a size."""
    # From simple to complex: one query a chunk, of which the last is short; one query a page, of
    # which the last may be empty; several queries for a chunk or page.
    sizes = range(2, scales[-1] + 1)
    chunks = {size: _queries_each(counts, [-(-n // size) for n in scales]) for size in sizes}
    pages = {size: _queries_each(counts, [n // size for n in scales]) for size in sizes}
    explanations = (
        [size for size, queries in chunks.items() if queries == 1],
        [size for size, queries in pages.items() if queries == 1],
        [size for size, queries in chunks.items() if queries],
        [size for size, queries in pages.items() if queries],
    )
    return next((fitting for fitting in explanations if fitting), [])


def _queries_each(counts: Sequence[int], steps: Sequence[int]) -> int:
    """The number of queries that a step takes, if it is the same for all steps; else 0."""
    rise, climbed = counts[-1] - counts[0], steps[-1] - steps[0]
    if climbed <= 0 or rise % climbed:
        return 0
    unit = rise // climbed
    even = all(
        count - counts[0] == unit * (step - steps[0])
        for count, step in zip(counts, steps, strict=True)
    )
    return unit if even else 0
