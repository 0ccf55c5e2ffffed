"""Trends: the forms of growth are distinguished, and all that fit are listed."""

from collections.abc import Callable
from math import ceil, floor, log
from random import Random

import pytest

from querygrowth.growth.forms import Chunk, Form, Growth
from querygrowth.growth.trend import Trend, trend


@pytest.mark.parametrize(
    ("scales", "counts", "growth"),
    [
        ((2, 20, 501), (12, 12, 12), Growth.CONSTANT),
        ((2, 20, 501), (3, 2, 2), Growth.CONSTANT),
        ((2, 20, 501), (12, 12, 13), Growth.STEPWISE),
        ((2, 20, 501), (5, 3, 5), Growth.CONSTANT),
        ((2, 20, 501), (5, 3, 6), Growth.IRREGULAR),
        ((2, 20, 501), (5, 9, 5), Growth.IRREGULAR),
        ((2, 20, 501), (14, 32, 513), Growth.LINEAR),
        ((2, 20, 501), (6, 60, 1503), Growth.LINEAR),
        ((2, 20, 501), (4, 400, 251_001), Growth.POLYNOMIAL),
        ((2, 4, 8), (2, 4, 8), Growth.LINEAR),
        ((2, 4, 8), (4, 16, 64), Growth.POLYNOMIAL),
    ],
)
def test_growth_is_classified(
    scales: tuple[int, ...], counts: tuple[int, ...], growth: Growth
) -> None:
    assert trend(scales, counts).growth is growth


@pytest.mark.parametrize("chunk", [2, 3, 10, 100, 500])
@pytest.mark.parametrize("queries_per_chunk", [1, 2])
def test_the_chunk_of_a_step_is_found(chunk: int, queries_per_chunk: int) -> None:
    scales = (2, 20, 500, 501, 1001)
    counts = [7 + queries_per_chunk * -(-scale // chunk) for scale in scales]
    found = trend(scales, counts)
    assert found.growth is Growth.STEPWISE
    assert found.chunk.low <= chunk <= found.chunk.high


def test_a_step_right_after_500_can_only_be_a_chunk_of_500() -> None:
    assert trend((2, 500, 501), (1, 1, 2)).chunk == Chunk(500, 500)


def test_pages_with_an_empty_last_one_are_steps() -> None:
    scales = (2, 20, 501)
    assert trend(scales, [scale // 2 + 1 for scale in scales]).chunk == Chunk(2, 2)


@pytest.mark.parametrize(("counts", "size"), [((1, 3, 50), 10), ((2, 5, 61), 8)])
def test_chunks_that_no_size_explains_have_their_average_size(
    counts: tuple[int, ...], size: int
) -> None:
    assert trend((2, 20, 501), counts).chunk == Chunk(size, size, average=True)


def test_a_count_that_slows_down_is_no_work_in_chunks() -> None:
    found = trend((2, 20, 501), (1, 5, 48))
    assert named(found) == {"power", "levels off"}


def test_two_scales_give_one_slope() -> None:
    found = trend((1, 3), (4, 9))
    assert (found.slopes, found.slope, found.growth) == ((2.5,), 2.5, Growth.LINEAR)


def test_every_segment_has_its_slope() -> None:
    found = trend((2, 20, 501), (4, 22, 984))
    assert found.slopes == (1.0, 2.0)
    assert found.slope == pytest.approx(980 / 499)


@pytest.mark.parametrize("exponent", [1.0, 1.1])
def test_work_in_proportion_does_not_accelerate(exponent: float) -> None:
    """A sort's n*log(n) is within this."""
    scales = (2, 20, 501)
    counts = [round(100 + 50 * scale**exponent) for scale in scales]
    assert not trend(scales, counts, in_steps=False).accelerates


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_work_beyond_proportion_accelerates(exponent: float) -> None:
    scales = (2, 20, 501)
    counts = [round(100 + 5 * scale**exponent) for scale in scales]
    found = trend(scales, counts, in_steps=False)
    assert found.accelerates
    assert found.superlinear


@pytest.mark.parametrize(("exponent", "accelerates"), [(1.34, False), (1.36, True)])
def test_acceleration_begins_at_an_exponent_of_1_35(exponent: float, accelerates: bool) -> None:
    # Scales in equal ratios give a power's own exponent, apart from the rounding of counts.
    scales = (10, 100, 1000)
    counts = [round(10_000 * scale**exponent) for scale in scales]
    assert trend(scales, counts, in_steps=False).accelerates is accelerates


@pytest.mark.parametrize(("last", "accelerates"), [(22_500, False), (22_501, True)])
def test_a_slope_that_rises_by_a_quarter_is_still_that_of_a_line(
    last: int, accelerates: bool
) -> None:
    # Slopes of 100 and 125; the exponent between them is 0.44.
    found = trend((100, 200, 300), (0, 10_000, last), in_steps=False)
    assert found.accelerates is accelerates


def named(found: Trend) -> set[str]:
    return {str(form.growth) for form in found.forms}


@pytest.mark.parametrize(
    ("function", "form"),
    [
        (lambda n: 2 + ceil(log(n, 2)), Growth.LOGARITHMIC),
        (lambda n: floor(n**0.5), Growth.POWER),
        (lambda n: round(n**0.8), Growth.POWER),
        (lambda n: round(n**1.35), Growth.POWER),
        (lambda n: round(3 * n * log(n)), Growth.LINEARITHMIC),
        (lambda n: 400 * n + n**2, Growth.POLYNOMIAL),
        (lambda n: n * (n - 1) * (n + 5) // 2, Growth.POLYNOMIAL),
        (lambda n: 7 * n, Growth.LINEAR),
        (lambda n: 1 + ceil(n / 62), Growth.STEPWISE),
        (lambda n: min(n, 11), Growth.LEVELS_OFF),
        (lambda n: 1 + max(0, n - 120), Growth.STARTS_LATE),
    ],
)
def test_a_form_is_among_those_that_fit_and_alone_with_enough_scales(
    function: Callable[[int], int], form: Growth
) -> None:
    for scales in ((2, 20, 501), (2, 7, 23), (3, 20, 100), (10, 100, 1000)):
        found = trend(scales, [function(scale) for scale in scales])
        assert form in {each.growth for each in found.forms} or found.counts[0] == found.counts[-1]
    scales = (2, 5, 20, 60, 150, 501, 1002, 4008)
    assert named(trend(scales, [function(scale) for scale in scales])) == {form}


ROUNDED: list[Callable[[float], int]] = [floor, ceil, round]


def random_function(form: Growth, drawn: Random) -> Callable[[int], float]:
    """A function of this form with random coefficients."""
    a, b = drawn.uniform(0.6, 30), drawn.uniform(0, 9)
    exponent = drawn.choice([0.2, 1.15, 2.15]) + drawn.uniform(0, 0.65)
    chunk, level, whole = drawn.randint(2, 700), drawn.randint(3, 200), drawn.randint(1, 4)
    functions: dict[Growth, Callable[[int], float]] = {
        Growth.LOGARITHMIC: lambda n: a * log(n),
        Growth.POWER: lambda n: a * n**exponent,
        Growth.LINEARITHMIC: lambda n: a * n * log(n) + b * n,
        Growth.LINEAR: lambda n: (a + 0.3) * n,
        Growth.POLYNOMIAL: lambda n: 40 * b * n + a * n**2,
        Growth.STEPWISE: lambda n: whole * ceil(n / chunk),
        Growth.LEVELS_OFF: lambda n: whole * min(n, level),
        Growth.STARTS_LATE: lambda n: whole * max(0, n - level - 20),
    }
    constant = drawn.randint(0, 30)
    return lambda n: constant + functions[form](n)


SCALES = [(2, 20, 501), (2, 7, 23), (2, 7, 12, 23, 46), (3, 20, 100), (2, 6, 20, 100, 501, 1002)]
FORMS = [each for each in Growth if each not in {Growth.CONSTANT, Growth.IRREGULAR}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(
    "scales", [(2, 20, 501), (2, 7, 23), (2, 7, 12, 23, 46), (3, 20, 100)], ids=str
)
def test_a_random_function_is_never_named_wrongly_with_certainty(
    form: Growth, scales: tuple[int, ...]
) -> None:
    drawn = Random(f"{form} {scales}")
    for _ in range(60):
        function, to_whole = random_function(form, drawn), drawn.choice(ROUNDED)
        found = trend(scales, [to_whole(function(scale)) for scale in scales])
        if not found.certain or not found.grows:
            continue
        (only,) = found.forms
        assert only.growth is form or equal_at(scales, found, only), (found.counts, only)


def equal_at(scales: tuple[int, ...], found: Trend, only: Form) -> bool:
    """Whether a simpler form that contains or equals the true one gives the same counts."""
    if only.growth is Growth.LINEAR:
        return found.counts == tuple(
            round(found.counts[0] + found.slope * (n - scales[0])) for n in scales
        )
    # A level that no scale reaches, a level between two scales, steps of one item.
    return only.growth in {Growth.LEVELS_OFF, Growth.STEPWISE} and len(set(found.counts)) <= 2


def test_chunks_of_every_size_are_steps_of_that_size() -> None:
    scales = (2, 20, 501, 1002)
    for size in range(2, 700):
        counts = [4 + ceil(n / size) for n in scales]
        found = trend(scales, counts)
        if not found.grows:
            continue
        assert found.growth is Growth.STEPWISE or counts[-1] == counts[-2]
        chunks = [form.chunk for form in found.forms if form.chunk]
        assert chunks
        assert chunks[0].low <= size <= chunks[0].high


@pytest.mark.parametrize("scales", [(2,), (2, 2, 3), (3, 2, 1)])
def test_scales_that_do_not_increase_are_refused(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scale"):
        trend(scales, [1] * len(scales))
