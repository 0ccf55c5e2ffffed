"""Name the forms of growth that exact counts at increasing scales allow.

The counts are exact and the scales few (often three), so nothing is fitted by regression. A form
fits if one of its functions gives every count up to rounding. If several forms fit, all of them
are listed, and further scales can decide between them. `querygrowth.growth.forms` finds what fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log

from querygrowth.growth.forms import Chunk, Form, Growth, fitting_forms

# If a count grows like scale**k, its slope grows like scale**(k - 1): the exponent is 1 for a
# quadratic and 0 for a proportional count. For n*log(n), a sort, it stays below 0.2 at the sizes
# that a test can afford. A slope with an exponent above 0.35 (k = 1.35) accelerates.
_ACCELERATING_EXPONENT = 0.35
# A slope that rises by a quarter or less still counts as that of a proportional count.
_PROPORTIONAL = 1.25


@dataclass(frozen=True)
class Trend:
    """Counts at increasing scales, and the growth that they show.

    Args:
        scales: The scales, increasing.
        counts: The counts, in the order of the scales.
        in_steps: Whether the count may be stepwise, like queries in chunks.
    """

    scales: tuple[int, ...]
    counts: tuple[int, ...]
    in_steps: bool = True

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """The forms that give every count up to rounding, the simplest first; never empty."""
        return fitting_forms(self.scales, self.counts, in_steps=self.in_steps)

    @property
    def growth(self) -> Growth:
        """The simplest form that fits. Others may fit as well, unless the trend is `certain`."""
        return self.forms[0].growth

    @property
    def certain(self) -> bool:
        """Whether the counts allow one form only."""
        return len(self.forms) == 1

    @property
    def chunk(self) -> Chunk | None:
        """The chunk sizes that explain the counts; None if no size does."""
        return next((form.chunk for form in self.forms if form.chunk), None)

    @property
    def grows(self) -> bool:
        """Whether any count is above the count at the smallest scale."""
        return max(self.counts) > self.counts[0]

    @property
    def slopes(self) -> tuple[float, ...]:
        """Counts per unit of scale, between neighbouring scales."""
        points = zip(self.scales, self.counts, strict=True)
        return tuple((d - b) / (c - a) for (a, b), (c, d) in pairwise(points))

    @property
    def slope(self) -> float:
        """Counts per unit of scale, from the first scale to the last."""
        return (self.counts[-1] - self.counts[0]) / (self.scales[-1] - self.scales[0])

    @property
    def accelerates(self) -> bool:
        """Whether the slope itself grows with the scale, as a power of it.

        This judgement has a tolerance, for counts that are not an exact form: the work of a
        database, and rows that depend on what the data contain.
        """
        # Segments without a rise are left out. Their slope has no logarithm, and a count that
        # starts to rise late does not accelerate for that reason alone.
        segments = zip(self.slopes, pairwise(self.scales), strict=True)
        rising = [(slope, (a + b) / 2) for slope, (a, b) in segments if slope > 0]
        if not self.grows or not rising:
            return False
        (first, near), (last, far) = rising[0], rising[-1]
        if near == far or last <= _PROPORTIONAL * first:
            return False
        return log(last / first) / log(far / near) > _ACCELERATING_EXPONENT

    @property
    def superlinear(self) -> bool:
        """Whether every form that fits grows faster than the scale, by more than a logarithm."""
        return all(form.superlinear for form in self.forms)


def trend(scales: Sequence[int], counts: Sequence[int], *, in_steps: bool = True) -> Trend:
    """Name the growth of counts that were observed at increasing scales.

    Args:
        scales: At least two scales.
        counts: The counts, in the order of the scales.
        in_steps: Whether the count may be stepwise, like queries in chunks. Rows and machine steps
            are not.

    Raises:
        ValueError: There are fewer than two scales, they do not increase, or their number is not
            that of the counts.
    """
    if len(scales) != len(counts) or len(scales) < 2:
        raise ValueError("a trend needs one count for each of at least two scales")
    if any(after <= before for before, after in pairwise(scales)):
        raise ValueError(f"scales must increase strictly, got {list(scales)}")
    return Trend(tuple(scales), tuple(counts), in_steps)
