"""Trend: how a count grows with a scale: not at all, in steps, in proportion, or faster."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import log

# The slope of a quadratic grows like its scale to the power of 1, that of n*log(n) like a power
# below 0.2 at the sizes a test can afford.
_SUPERLINEAR_EXPONENT = 0.35
_PROPORTIONAL = 1.25


class Growth(StrEnum):
    """The kinds of growth that are told apart."""

    CONSTANT = "constant"
    STEPWISE = "stepwise"
    LINEAR = "linear"
    SUPERLINEAR = "superlinear"


@dataclass(frozen=True)
class Chunk:
    """The sizes of chunk that explain a step: all from `low` to `high`, one if they are equal."""

    low: int
    high: int


@dataclass(frozen=True)
class Trend:
    """Counts at increasing scales, and the growth they show.

    `slopes` holds one value for each segment between neighbouring scales, `slope` the one from
    first to last, both in counts per unit of scale. `chunk` is set for stepwise growth only.
    """

    scales: tuple[int, ...]
    counts: tuple[int, ...]
    growth: Growth
    slopes: tuple[float, ...]
    slope: float
    chunk: Chunk | None = None

    @property
    def grows(self) -> bool:
        """Whether any count is above the one at the smallest scale."""
        return self.growth is not Growth.CONSTANT


def trend(scales: Sequence[int], counts: Sequence[int], *, in_steps: bool = True) -> Trend:
    """Classify `counts` observed at `scales`.

    Scales must increase strictly and be at least two, else ValueError. `in_steps=False` is for
    amounts (rows, machine steps) whose steps, if any, are of no interest.
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
    if max(counts) <= counts[0]:
        return Growth.CONSTANT
    if chunk:
        return Growth.STEPWISE
    return Growth.SUPERLINEAR if _accelerates(scales, slopes) else Growth.LINEAR


def _accelerates(scales: Sequence[int], slopes: Sequence[float]) -> bool:
    """Whether the slope itself grows with the scale, as a power of it."""
    rising = [
        (slope, (a + b) / 2) for slope, (a, b) in zip(slopes, pairwise(scales), strict=True)
        if slope > 0
    ]  # fmt: skip
    (first, near), (last, far) = rising[0], rising[-1]
    if near == far or last <= _PROPORTIONAL * first:
        return False
    return log(last / first) / log(far / near) > _SUPERLINEAR_EXPONENT


def _chunk(scales: Sequence[int], counts: Sequence[int], slopes: Sequence[float]) -> Chunk | None:
    """The chunk sizes under which these counts are those of work done in chunks."""
    proportional = max(slopes) <= min(slopes)
    if max(counts) <= counts[0] or (proportional and slopes[0] >= 1):
        return None
    if fitting := _fitting_sizes(scales, counts):
        return Chunk(fitting[0], fitting[-1])
    uneven = (counts[-1] - counts[0]) / (scales[-1] - scales[0])
    if uneven > 0.5 or _accelerates(scales, slopes):
        return None
    return Chunk(round(1 / uneven), round(1 / uneven)) if uneven > 0 else None


def _fitting_sizes(scales: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Sizes that give exactly these counts, under the simplest explanation that any size fits.

    That is one query for each full chunk and a last short one; then for each page and a last one
    perhaps empty; then several queries for each chunk or page.
    """
    sizes = range(2, scales[-1] + 1)
    chunks = {size: _queries_each(counts, [-(-n // size) for n in scales]) for size in sizes}
    pages = {size: _queries_each(counts, [n // size for n in scales]) for size in sizes}
    explanations = (
        [size for size, each in chunks.items() if each == 1],
        [size for size, each in pages.items() if each == 1],
        [size for size, each in chunks.items() if each],
        [size for size, each in pages.items() if each],
    )
    return next((fitting for fitting in explanations if fitting), [])


def _queries_each(counts: Sequence[int], steps: Sequence[int]) -> int:
    """How many queries each step takes, if that is the same number for all; else 0."""
    rise, climbed = counts[-1] - counts[0], steps[-1] - steps[0]
    if climbed <= 0 or rise % climbed:
        return 0
    unit = rise // climbed
    even = all(
        count - counts[0] == unit * (step - steps[0])
        for count, step in zip(counts, steps, strict=True)
    )
    return unit if even else 0
