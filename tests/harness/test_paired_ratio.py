"""The paired ratio of two revisions: its interval, its outcome by two clocks, and its words."""

import random
from itertools import product
from math import exp, log

import pytest

from harness.bench.paired_ratio import (
    FAIL_BELOW,
    LEAST_ROUNDS,
    PASS_ABOVE,
    Direction,
    Interval,
    PairedRatio,
    Pairing,
    _signed_rank_cut,
    pair,
    planned_looks,
)
from harness.bench.timing import Timing
from querygrowth.verdict import Outcome


def steady(subject: str, seconds: float, rounds: int = LEAST_ROUNDS) -> Timing:
    return Timing(subject, (seconds,) * rounds)


def ratio(low: float, high: float, middle: float = 0.0) -> PairedRatio:
    return PairedRatio(
        steady("base", 1.0), steady("head", 1.0), middle or (low * high) ** 0.5, Interval(low, high)
    )


def pairing(wall: PairedRatio, cpu: PairedRatio | None = None) -> Pairing:
    return Pairing(500, 4000, wall, cpu)


def paired(logs: list[float], *, looks: int = 1) -> PairedRatio:
    """The ratio of a base and a head whose rounds have these logarithms of their ratio."""
    base = Timing("base", tuple(map(exp, logs)))
    return pair(base, steady("head", 1.0, len(logs)), looks=looks)


@pytest.mark.parametrize(
    ("rounds", "tail", "cut"),
    # Published critical values of the signed-rank test: two-sided 0.05, 0.02 and 0.01.
    [
        *((6, 0.025, 0), (8, 0.025, 3), (10, 0.025, 8), (12, 0.025, 13), (20, 0.025, 52)),
        *((12, 0.01, 9), (12, 0.005, 7), (15, 0.005, 15), (20, 0.005, 37), (30, 0.005, 109)),
        *((5, 0.025, -1), (7, 0.005, -1)),
    ],
)
def test_the_cut_is_the_published_critical_value(rounds: int, tail: float, cut: int) -> None:
    assert _signed_rank_cut(rounds, tail) == cut


@pytest.mark.parametrize("tail", [0.005, 0.005 / 7, 0.005 / 16])
def test_the_cut_of_many_rounds_is_not_above_the_exact_one(
    tail: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = _signed_rank_cut(100, tail)
    monkeypatch.setattr("harness.bench.paired_ratio._EXACT_ROUNDS", 99)
    approximate = _signed_rank_cut.__wrapped__(100, tail)
    assert 0.99 * exact <= approximate <= exact


def test_the_interval_misses_a_symmetric_truth_by_chance_as_often_as_it_says() -> None:
    # Every pattern of signs that a coin can give to these 12 magnitudes is equally likely, and the
    # true logarithm is 0.
    magnitudes = [0.01 * 1.3**number for number in range(12)]
    missed = 0
    for signs in product((1, -1), repeat=12):
        found = paired([sign * each for sign, each in zip(signs, magnitudes, strict=True)])
        missed += not found.interval.low <= 1 <= found.interval.high
    assert missed / 2**12 <= 0.01
    assert missed / 2**12 > 0.005


def test_the_ratio_is_the_median_of_the_averages_of_pairs_and_higher_is_better() -> None:
    found = pair(steady("base", 1.0), steady("head", 0.5))
    assert found.ratio == pytest.approx(2)
    assert found.direction is Direction.FASTER
    logs = [log(2)] * 11 + [log(1000)]
    assert paired(logs).ratio == pytest.approx(2)


def test_the_interval_is_cut_at_the_same_rank_on_both_sides() -> None:
    # With 12 rounds and a tail of 0.005, 7 averages are left out at both ends.
    logs = [float(number) for number in range(12)]
    averages = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    found = paired(logs)
    assert log(found.interval.low) == pytest.approx(averages[7])
    assert log(found.interval.high) == pytest.approx(averages[-8])


def test_more_looks_give_a_wider_interval() -> None:
    draw = random.Random(0)
    logs = [draw.gauss(0, 0.1) for _ in range(40)]
    one, seven = paired(logs), paired(logs, looks=7)
    assert seven.interval.low < one.interval.low
    assert seven.interval.high > one.interval.high
    assert seven.ratio == one.ratio


def test_too_few_rounds_have_no_bounds_and_decide_nothing() -> None:
    found = pair(steady("base", 1.0, 3), steady("head", 2.0, 3))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.ratio == 0.5


def test_what_slows_both_sides_of_a_round_alike_cancels_out() -> None:
    load = (1.0, 5.0, 2.0, 9.0, 1.0, 3.0) * 2
    found = pair(Timing("base", load), Timing("head", tuple(2 * each for each in load)))
    assert found.interval.low == pytest.approx(0.5)
    assert found.interval.high == pytest.approx(0.5)
    assert found.ratios == pytest.approx((0.5,) * 12)


def test_rounds_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        pair(steady("base", 1.0, 12), steady("head", 1.0, 13))


@pytest.mark.parametrize(
    ("limit", "looks"),
    [
        (12, (12,)),
        (13, (12, 13)),
        (96, (12, 17, 24, 34, 48, 68, 96)),
        (100, (12, 17, 24, 34, 48, 68, 96, 100)),
    ],
)
def test_the_looks_are_planned_before_the_first_round(limit: int, looks: tuple[int, ...]) -> None:
    assert planned_looks(limit) == looks


def test_every_allowed_limit_has_a_bounded_interval_at_the_first_look() -> None:
    looks = len(planned_looks(1000))
    assert _signed_rank_cut(LEAST_ROUNDS, 0.005 / looks) >= 0


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="max_rounds=11: at least 12 rounds"):
        planned_looks(11)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.80, 0.949, Outcome.FAILED),
        (0.80, 0.95, Outcome.INCONCLUSIVE),
        (0.90, 1.10, Outcome.INCONCLUSIVE),
        (0.901, 1.10, Outcome.PASSED),
        (0.91, 0.94, Outcome.FAILED),
        (0.91, 0.95, Outcome.PASSED),
    ],
)
def test_the_limits_are_those_agreed_on(low: float, high: float, outcome: Outcome) -> None:
    assert (FAIL_BELOW, PASS_ABOVE) == (0.95, 0.90)
    assert ratio(low, high).outcome is outcome


@pytest.mark.parametrize(
    ("low", "high", "direction"),
    [
        (1.0, 1.2, Direction.UNDECIDED),
        (1.001, 1.2, Direction.FASTER),
        (0.8, 1.0, Direction.UNDECIDED),
        (0.8, 0.999, Direction.SLOWER),
    ],
)
def test_a_direction_is_called_only_when_the_interval_excludes_1(
    low: float, high: float, direction: Direction
) -> None:
    assert ratio(low, high).direction is direction


LOSS, WIDE, NONE, FAST = ratio(0.8, 0.9), ratio(0.7, 1.2), ratio(0.98, 1.02), ratio(1.2, 1.3)
SLIGHT = ratio(0.92, 1.05)


@pytest.mark.parametrize(
    ("wall", "cpu", "outcome"),
    [
        (NONE, NONE, Outcome.PASSED),
        # Only waiting: CPU time shows nothing, and wall time decides.
        (LOSS, NONE, Outcome.FAILED),
        (LOSS, FAST, Outcome.FAILED),
        # Too noisy for wall time: CPU time decides a loss, but never passes.
        (WIDE, LOSS, Outcome.FAILED),
        (WIDE, NONE, Outcome.INCONCLUSIVE),
        (WIDE, FAST, Outcome.INCONCLUSIVE),
        (WIDE, WIDE, Outcome.INCONCLUSIVE),
        # Wall time may still be below 0.95, and CPU time surely is.
        (SLIGHT, LOSS, Outcome.FAILED),
        # More CPU time in several processes, and surely not slower.
        (NONE, LOSS, Outcome.PASSED),
        (FAST, LOSS, Outcome.PASSED),
        (NONE, WIDE, Outcome.PASSED),
        (NONE, None, Outcome.PASSED),
        (LOSS, None, Outcome.FAILED),
        (WIDE, None, Outcome.INCONCLUSIVE),
    ],
)
def test_both_clocks_are_judged(
    wall: PairedRatio, cpu: PairedRatio | None, outcome: Outcome
) -> None:
    found = pairing(wall, cpu)
    assert found.outcome is outcome
    assert found.is_decided is (outcome is not Outcome.INCONCLUSIVE)
    verdict = found.verdict()
    assert verdict.outcome is outcome
    assert f"wall time: ratio {wall.ratio:.3f}, 99% interval {wall.interval}" in verdict.seen
    assert ("CPU time" in verdict.seen) is (cpu is not None)
    assert bool(verdict.next_step) is (outcome is not Outcome.PASSED)


def test_fewer_rounds_than_the_first_look_decide_nothing() -> None:
    short = PairedRatio(steady("b", 1.0, 11), steady("h", 1.0, 11), 1.0, Interval(0.99, 1.01))
    assert not pairing(short).is_decided


def test_a_verdict_names_both_sides_and_gives_rows_and_records_per_second() -> None:
    wall = PairedRatio(steady("base main", 2.0), steady("head tree", 4.0), 0.5, Interval(0.4, 0.6))
    verdict = Pairing(500, 4000, wall, None).verdict()
    assert verdict.subject == "rows/s of head tree against base main"
    assert verdict.evidence == (
        "base  250 rows/s, 2,000 records/s in the median round",
        "head  125 rows/s, 1,000 records/s in the median round",
        "12 rounds of 500 rows, in turn",
    )
    older = Pairing(500, None, wall, None).verdict()
    assert older.evidence[0] == "base  250 rows/s in the median round"


def test_an_undecided_verdict_says_how_far_it_is_and_how_many_rounds_would_decide() -> None:
    found = pairing(ratio(0.88, 1.136, middle=1.0), NONE)
    # Half the distance from 0.88 to 1 lies above 0.90, so that about 1.5 times the rounds decide.
    needed = found.wall.rounds_to_decide
    assert needed == 18
    step = found.verdict().next_step
    assert "undecided after 12 rounds: its interval contains both 0.90 and 0.95" in step
    assert f"--max-rounds {needed}" in step


def test_the_rounds_to_decide_count_the_nearer_limit() -> None:
    # To fail: from 0.85 up to 0.95, with a half-width of 0.1625 in logarithms.
    assert ratio(0.72, 1.0, middle=0.85).rounds_to_decide == 26
    assert ratio(0.98, 1.02).rounds_to_decide == LEAST_ROUNDS


def test_noise_that_no_limit_would_decide_asks_for_a_quieter_machine() -> None:
    step = pairing(ratio(0.1, 10.0, middle=0.92)).verdict().next_step
    assert "More than 1,000 rounds" in step
    assert "quieter machine" in step
