"""Decide which forms of growth can give a list of counts, up to rounding.

Forms: constant, a level that is reached, a level that is left, logarithm, chunks, line, n log n,
power, polynomial.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import combinations, pairwise
from math import inf, log

# Rounding of any kind (down, up, to the nearest) moves a count by less than one. All of them
# together are a shift of the form's constant, and half a unit to either side.
_ROUNDING = 0.5
_EPSILON = 1e-6
# A power within this distance of a line, a logarithm or a whole exponent is not listed beside it.
_NEAR = 0.15
# The exponent of a logarithm, beside which no power is listed.
_ZERO = 1e-6
# Exponents in an interval that is wider than this are tried one by one.
_THIN = 0.02
_TRIED_EXPONENTS = 40
# Exponents that lie farther apart than this say little.
_VAGUE = 0.3
_LARGEST_EXPONENT = 6.0
_DEGREES = (2, 3, 4)
# Work in chunks sends a few queries for a chunk: one for each of its tables or relationships.
_MOST_QUERIES_EACH = 4


class Growth(str, Enum):
    """The forms of growth."""

    CONSTANT = "constant"
    LEVELS_OFF = "levels off"
    STARTS_LATE = "constant at first"
    LOGARITHMIC = "logarithmic"
    STEPWISE = "stepwise"
    LINEAR = "linear"
    LINEARITHMIC = "n log n"
    POWER = "power"
    POLYNOMIAL = "polynomial"
    IRREGULAR = "irregular"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


@dataclass(frozen=True)
class Chunk:
    """The chunk sizes that explain the steps of a count: all from `low` to `high`.

    `average` says that no size gives the steps exactly, and that it is the average size.
    """

    low: int
    high: int
    average: bool = False


@dataclass(frozen=True)
class Form:
    """One form of growth that fits.

    Args:
        growth: The form.
        chunk: The sizes of the chunks; for `STEPWISE` only.
        exponents: The smallest and the largest exponent that fit; for `POWER` only.
        degree: The degree; for `POLYNOMIAL` only.
    """

    growth: Growth
    chunk: Chunk | None = None
    exponents: tuple[float, float] | None = None
    degree: int | None = None

    @property
    def superlinear(self) -> bool:
        """Whether the form grows faster than the scale, by more than a logarithm."""
        powerful = self.exponents is not None and self.exponents[0] > 1 + _NEAR
        return powerful or self.growth is Growth.POLYNOMIAL


@lru_cache(maxsize=1024)
def fitting_forms(
    scales: tuple[int, ...], counts: tuple[int, ...], *, in_steps: bool = True
) -> tuple[Form, ...]:
    """The forms that give every count up to rounding, the simplest first; never empty.

    A form that contains a simpler one (a polynomial contains a line) is listed only if the simpler
    one does not fit. Among forms that do not contain each other, all that fit are listed.

    Args:
        scales: At least two scales, increasing, none negative.
        counts: The counts, in the order of the scales.
        in_steps: Whether the count may be stepwise.
    """
    # A falling count is constant here: the smallest run may contain something that others lack.
    if max(counts) <= counts[0]:
        return (Form(Growth.CONSTANT),)
    if any(after < before for before, after in pairwise(counts)):
        return (Form(Growth.IRREGULAR),)
    forms = tuple(_fitting(list(scales), list(counts), in_steps))
    return forms or (Form(Growth.IRREGULAR),)


def _fitting(scales: list[int], counts: list[int], in_steps: bool) -> Iterator[Form]:
    linear = _fits(scales, counts, [_proportional])
    slope = (counts[-1] - counts[0]) / (scales[-1] - scales[0])
    chunk = _chunk(scales, counts, slope, linear) if in_steps else None
    level = len(counts) > 2 and counts[-1] == counts[-2]
    logarithmic = 0 not in scales and _fits(scales, counts, [_log])
    # Chunks of several queries each may be a coincidence.
    steps = chunk and (chunk.average or _queries_a_step(scales, counts, chunk.low) == 1)
    late = not (linear or steps or level) and _starts_late(scales, counts)
    degree = None if linear or chunk or level else _degree(scales, counts)
    power = _exponents(scales, counts)
    simpler = ((0, level or logarithmic), (1, linear), (degree or 0, degree))
    if power and any(fits and _is_near(power, exponent) for exponent, fits in simpler):
        power = None
    if level and _levels_off(scales, counts):
        yield Form(Growth.LEVELS_OFF)
    if chunk:
        yield Form(Growth.STEPWISE, chunk=chunk)
    if linear and (not chunk or slope > _ROUNDING):
        yield Form(Growth.LINEAR)
    if logarithmic:
        yield Form(Growth.LOGARITHMIC)
    # Where a power may be anything around 1 beside a simpler form, n log n says nothing more.
    vague = power and power[1] - power[0] > _VAGUE and (level or chunk or linear or logarithmic)
    if not vague and 0 not in scales and _linearithmic(scales, counts, linear):
        yield Form(Growth.LINEARITHMIC)
    # A power with a coefficient of whole queries would have risen from the first scale on.
    if late:
        yield Form(Growth.STARTS_LATE)
        return
    if degree:
        yield Form(Growth.POLYNOMIAL, degree=degree)
    if power:
        yield Form(Growth.POWER, exponents=power)
    # A level that was reached before the last scale only.
    if not level and not (chunk and not chunk.average) and _levels_off(scales, counts):
        yield Form(Growth.LEVELS_OFF)


def _is_near(power: tuple[float, float], exponent: int) -> bool:
    """Whether the exponents of a power lie close around that of a simpler form."""
    below, above = exponent - power[0], power[1] - exponent
    return -_ZERO <= below <= _NEAR and -_ZERO <= above <= _NEAR


def _levels_off(scales: Sequence[int], counts: Sequence[int]) -> bool:
    """Whether a line up to some scale, and one level from there on, gives the counts."""
    level = counts.index(counts[-1])
    # With one count below the level, any line may have led there.
    if level < 2:
        return level + 1 < len(counts)
    if not _fits(scales[:level], counts[:level], [_proportional]):
        return False
    # The level may be reached between two scales. Its first count is then below the line.
    slope = (counts[level - 1] - counts[0]) / (scales[level - 1] - scales[0])
    line = counts[level - 1] + slope * (scales[level] - scales[level - 1])
    return counts[level] <= (line + 1 if level + 1 < len(counts) else line - 1)


def _starts_late(scales: Sequence[int], counts: Sequence[int]) -> bool:
    """Whether one level up to some scale, and a line from there on, gives the counts."""
    first = next(position for position, count in enumerate(counts) if count > counts[0])
    # With one count on the level, a power of the scale is simpler. With one count above it, any
    # line may have led there.
    if first < 2 or first + 1 == len(counts):
        return first > 1
    if not _fits(scales[first:], counts[first:], [_proportional]):
        return False
    # The level may be left between two scales. The line must have been below it before.
    slope = (counts[-1] - counts[first]) / (scales[-1] - scales[first])
    return counts[first] - slope * (scales[first] - scales[first - 1]) <= counts[0] + 1


def _linearithmic(scales: Sequence[int], counts: Sequence[int], linear: bool) -> bool:
    # The second is a sort with a pass over all items beside it. It contains the line.
    return _fits(scales, counts, [_n_log_n]) or (
        not linear and _fits(scales, counts, [_proportional, _n_log_n])
    )


def _proportional(scale: float) -> float:
    return scale


def _log(scale: float) -> float:
    return log(scale)


def _n_log_n(scale: float) -> float:
    return scale * log(scale)


_Term = Callable[[float], float]
# What repeats sends whole queries, so the coefficient of these forms is no small fraction. A line
# with a small slope is work in chunks.
_LEAST_FACTOR = 0.5
_LEAST_COEFFICIENT: Mapping[_Term, float] = {_log: _LEAST_FACTOR, _n_log_n: _LEAST_FACTOR}


def _fits(scales: Sequence[int], counts: Sequence[int], terms: Sequence[_Term]) -> bool:
    """Whether a constant plus positive multiples of `terms` gives every count up to rounding."""
    rows = [[1.0, *(term(scale) for term in terms)] for scale in scales]
    return _solvable(rows, counts) and all(
        _may_be(_LEAST_COEFFICIENT.get(term, 0.0), rows, counts, column)
        for column, term in enumerate(terms, start=1)
    )


def _solvable(rows: Sequence[Sequence[float]], counts: Sequence[int]) -> bool:
    # Every count allows a slab of coefficients. By Helly's theorem, slabs in p dimensions have a
    # common point if every p + 1 of them have one. For those the least deviation is known: it is
    # that of the combination of rows that vanishes.
    width = len(rows[0])
    for chosen in combinations(range(len(rows)), width + 1):
        weights = _vanishing([rows[index] for index in chosen])
        miss = abs(sum(w * counts[index] for w, index in zip(weights, chosen, strict=True)))
        allowed = sum(map(abs, weights)) * _ROUNDING
        if miss > allowed * (1 + _EPSILON):
            return False
    return True


def _may_be(
    least: float, rows: Sequence[Sequence[float]], counts: Sequence[int], column: int
) -> bool:
    """Whether the coefficient of a column can exceed `least`, for every smallest set of counts."""
    width = len(rows[0])
    for chosen in combinations(range(len(rows)), width):
        # Cramer's rule: the coefficient is a combination of the counts.
        square = [list(rows[index]) for index in chosen]
        whole = _determinant(square)
        weights = [
            (-1 if (row + column) % 2 else 1)
            * _determinant([line[:column] + line[column + 1 :] for line in _without(square, row)])
            / whole
            for row in range(width)
        ]
        value = sum(w * counts[index] for w, index in zip(weights, chosen, strict=True))
        if value + sum(map(abs, weights)) * _ROUNDING <= least:
            return False
    return True


def _vanishing(rows: Sequence[Sequence[float]]) -> list[float]:
    """The weights of a combination of p + 1 rows of p numbers that is zero in every column."""
    matrix = [list(row) for row in rows]
    return [
        (-1 if row % 2 else 1) * _determinant(_without(matrix, row)) for row in range(len(matrix))
    ]


def _without(rows: list[list[float]], row: int) -> list[list[float]]:
    return rows[:row] + rows[row + 1 :]


def _determinant(square: list[list[float]]) -> float:
    if len(square) == 1:
        return square[0][0]
    return sum(
        (-line[0] if row % 2 else line[0])
        * _determinant([rest[1:] for rest in _without(square, row)])
        for row, line in enumerate(square)
    )


def _degree(scales: Sequence[int], counts: Sequence[int]) -> int | None:
    """The smallest degree of a polynomial that gives the counts and rises at the end."""
    for degree in _DEGREES:
        # Whole numbers, in which determinants are exact however large the powers are.
        rows = [[scale**power for power in range(degree + 1)] for scale in scales]
        if len(rows) <= degree:
            return None
        if _solvable(rows, counts):
            return degree if _may_be(0.0, rows, counts, degree) else None
    return None


def _exponents(scales: Sequence[int], counts: Sequence[int]) -> tuple[float, float] | None:
    """The exponents k for which a + b * n**k can give the counts, b positive; None for none."""
    low, high = 0.0, _LARGEST_EXPONENT
    triples = combinations(zip(scales, counts, strict=True), 3)
    for (a, first), (b, second), (c, third) in triples:
        # The ratio of the two rises, (c**k - b**k) / (b**k - a**k), grows with k.
        near, far = second - first, third - second
        least = max(0.0, far - 1) / (near + 1)
        most = (far + 1) / (near - 1) if near > 1 else inf
        low = max(low, _exponent_of(least * (1 - _EPSILON), a, b, c))
        high = min(high, _exponent_of(most * (1 + _EPSILON), a, b, c))
    # A larger exponent goes with a smaller factor.
    rise = counts[-1] - counts[0] + 1
    high = min(high, _rising_to(lambda k: _LEAST_FACTOR * (scales[-1] ** k - scales[0] ** k), rise))
    if low > high or low >= _LARGEST_EXPONENT:
        return None
    if high - low < _THIN:
        return low, high
    # Three counts at a time may allow exponents that all of them together do not.
    tried = [low + (high - low) * step / _TRIED_EXPONENTS for step in range(_TRIED_EXPONENTS + 1)]
    fitting = [k for k in tried if _solvable([[1.0, scale**k] for scale in scales], counts)]
    return (fitting[0], fitting[-1]) if fitting else None


def _exponent_of(ratio: float, a: int, b: int, c: int) -> float:
    """The exponent with this ratio of rises, from 0 to the largest."""
    if ratio == inf:
        return _LARGEST_EXPONENT
    return _rising_to(lambda k: c**k - b**k - ratio * (b**k - a**k), 0.0)


def _rising_to(function: Callable[[float], float], value: float) -> float:
    """The exponent, from 0 to the largest, up to which a function stays below a value."""
    low, high = _ZERO / 10, _LARGEST_EXPONENT
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < value else (low, middle)
    return (low + high) / 2


def _chunk(
    scales: Sequence[int], counts: Sequence[int], slope: float, linear: bool
) -> Chunk | None:
    """The chunk sizes that give these counts for work done in chunks; None if no size does."""
    slopes = [(d - b) / (c - a) for (a, b), (c, d) in pairwise(zip(scales, counts, strict=True))]
    # One query or more for an item is a loop, although chunks of one would explain it as well.
    if max(slopes) <= min(slopes) and slope >= 1:
        return None
    if fitting := _chunk_sizes(scales, counts):
        return Chunk(fitting[0], fitting[-1])
    # A line of less than one query for two items, rounded, is work in chunks of about that size.
    # Three counts on one level are none.
    if linear and slope <= _ROUNDING and len(set(counts[-3:])) > 1:
        average = round(1 / slope)
        return Chunk(average, average, average=True)
    return None


def _queries_a_step(scales: Sequence[int], counts: Sequence[int], size: int) -> int:
    """The number of queries for a chunk or page of this size, if it explains the counts; else 0."""
    chunks = _queries_each(counts, [-(-n // size) for n in scales])
    return chunks or _queries_each(counts, [n // size for n in scales])


def _chunk_sizes(scales: Sequence[int], counts: Sequence[int]) -> list[int]:
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
    return unit if even and unit <= _MOST_QUERIES_EACH else 0
