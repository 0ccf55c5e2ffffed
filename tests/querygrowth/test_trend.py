"""Trends: the kinds of growth are distinguished."""

import pytest

from querygrowth.trend import Chunk, Growth, trend


@pytest.mark.parametrize(
    ("scales", "counts", "growth"),
    [
        ((2, 20, 501), (12, 12, 12), Growth.CONSTANT),
        ((2, 20, 501), (3, 2, 2), Growth.CONSTANT),
        ((2, 20, 501), (12, 12, 13), Growth.STEPWISE),
        ((2, 20, 501), (5, 3, 5), Growth.CONSTANT),
        ((2, 20, 501), (5, 3, 6), Growth.STEPWISE),
        ((2, 20, 501), (5, 9, 5), Growth.LINEAR),
        ((2, 20, 501), (14, 32, 513), Growth.LINEAR),
        ((2, 20, 501), (6, 60, 1503), Growth.LINEAR),
        ((2, 20, 501), (4, 400, 251_001), Growth.SUPERLINEAR),
        ((2, 4, 8), (2, 4, 8), Growth.LINEAR),
        ((2, 4, 8), (4, 16, 64), Growth.SUPERLINEAR),
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


@pytest.mark.parametrize(("counts", "size"), [((1, 3, 50), 10), ((2, 5, 61), 8), ((1, 5, 48), 11)])
def test_chunks_that_no_size_explains_have_their_average_size(
    counts: tuple[int, ...], size: int
) -> None:
    assert trend((2, 20, 501), counts).chunk == Chunk(size, size)


def test_two_scales_give_one_slope() -> None:
    found = trend((1, 3), (4, 9))
    assert (found.slopes, found.slope, found.growth) == ((2.5,), 2.5, Growth.LINEAR)


def test_every_segment_has_its_slope() -> None:
    found = trend((2, 20, 501), (4, 22, 984))
    assert found.slopes == (1.0, 2.0)
    assert found.slope == pytest.approx(980 / 499)


@pytest.mark.parametrize("exponent", [1.0, 1.1])
def test_work_in_proportion_is_linear(exponent: float) -> None:
    """A sort's n*log(n) is within this."""
    scales = (2, 20, 501)
    counts = [round(100 + 50 * scale**exponent) for scale in scales]
    assert trend(scales, counts, in_steps=False).growth is Growth.LINEAR


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_work_beyond_proportion_is_superlinear(exponent: float) -> None:
    scales = (2, 20, 501)
    counts = [round(100 + 5 * scale**exponent) for scale in scales]
    assert trend(scales, counts, in_steps=False).growth is Growth.SUPERLINEAR


@pytest.mark.parametrize(
    ("exponent", "growth"), [(1.34, Growth.LINEAR), (1.36, Growth.SUPERLINEAR)]
)
def test_superlinear_begins_at_an_exponent_of_1_35(exponent: float, growth: Growth) -> None:
    # Scales in equal ratios give a power's own exponent, apart from the rounding of counts.
    scales = (10, 100, 1000)
    counts = [round(10_000 * scale**exponent) for scale in scales]
    assert trend(scales, counts, in_steps=False).growth is growth


@pytest.mark.parametrize(
    ("last", "growth"), [(22_500, Growth.LINEAR), (22_501, Growth.SUPERLINEAR)]
)
def test_a_slope_that_rises_by_a_quarter_is_still_that_of_a_line(last: int, growth: Growth) -> None:
    # Slopes of 100 and 125; the exponent between them is 0.44.
    found = trend((100, 200, 300), (0, 10_000, last), in_steps=False)
    assert found.growth is growth


@pytest.mark.parametrize("scales", [(2,), (2, 2, 3), (3, 2, 1)])
def test_scales_that_do_not_increase_are_refused(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scale"):
        trend(scales, [1] * len(scales))
