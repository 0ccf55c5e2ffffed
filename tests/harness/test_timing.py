"""Timing: the paired ratio of two revisions on simulated rounds; higher is better."""

import random
from collections.abc import Iterator
from math import exp

import pytest

from harness.bench.race import pairings
from harness.bench.timing import LEAST_ROUNDS, Direction, Timing, pair
from querygrowth.verdict import Outcome

ROWS = 500
MAX_ROUNDS = 60
TRIES = 200


def simulated(seed: int, *, head_rate: float, noise: float = 0.08) -> Outcome:
    """Race two simulated revisions that drift with the machine, and are noisy round by round."""
    return last_pairing(seed, head_rate=head_rate, noise=noise).outcome


def last_pairing(seed: int, *, head_rate: float, noise: float):
    draw = random.Random(seed)
    drift = {"level": 0.0}

    def seconds(rate: float) -> float:
        drift["level"] += draw.gauss(0, 0.01)
        return exp(drift["level"] + draw.gauss(0, noise)) / rate

    actions = {"base": lambda: seconds(1.0), "head": lambda: seconds(head_rate)}
    return list(pairings(actions, rows=ROWS, max_rounds=MAX_ROUNDS, seed=seed))[-1]


def outcomes(head_rate: float) -> list[Outcome]:
    return [simulated(seed, head_rate=head_rate) for seed in range(TRIES)]


def test_of_200_comparisons_of_a_revision_with_itself_two_at_most_fail() -> None:
    assert outcomes(1.0).count(Outcome.FAILED) <= TRIES * 0.01


def test_a_slowdown_of_15_percent_is_called_in_at_least_95_percent_of_200_tries() -> None:
    assert outcomes(0.85).count(Outcome.FAILED) >= TRIES * 0.95


def test_a_slowdown_of_5_percent_is_never_called_faster() -> None:
    directions = {
        last_pairing(seed, head_rate=0.95, noise=0.03).direction for seed in range(TRIES // 4)
    }
    assert Direction.FASTER not in directions


def test_a_head_that_is_faster_passes_and_is_called_faster() -> None:
    found = pair(steady("base", 1.0), steady("head", 0.5), rows=ROWS)
    assert found.outcome is Outcome.PASSED
    assert found.direction is Direction.FASTER
    assert found.ratio == pytest.approx(2)


@pytest.mark.parametrize(
    ("head_seconds", "outcome"),
    [(1 / 0.94, Outcome.FAILED), (1 / 0.96, Outcome.PASSED), (1.0, Outcome.PASSED)],
)
def test_the_limits_are_those_agreed_on(head_seconds: float, outcome: Outcome) -> None:
    found = pair(steady("base", 1.0), steady("head", head_seconds), rows=ROWS)
    assert found.outcome is outcome


def test_what_straddles_the_limits_is_inconclusive_and_says_what_to_do() -> None:
    base = Timing("base", (1.0,) * 6)
    head = Timing("head", (0.8, 1.3, 0.8, 1.3, 0.8, 1.3))
    verdict = pair(base, head, rows=ROWS).verdict()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "more rounds" in verdict.next_step


def test_what_slows_both_sides_of_a_round_alike_cancels_out() -> None:
    load = (1.0, 5.0, 2.0, 9.0, 1.0, 3.0)
    base = Timing("base", load)
    head = Timing("head", tuple(2 * each for each in load))
    found = pair(base, head, rows=ROWS)
    assert found.interval.low == pytest.approx(0.5)
    assert found.interval.high == pytest.approx(0.5)


def test_rounds_stop_as_soon_as_it_is_decided_and_at_the_limit_at_the_latest() -> None:
    steady_pairs = list(pairings({"base": lambda: 1.0, "head": lambda: 1.0}, rows=1, max_rounds=60))
    assert [len(each.base.seconds) for each in steady_pairs] == [LEAST_ROUNDS]

    restless = alternating(0.5, 2.0)
    undecided = list(
        pairings({"base": lambda: 1.0, "head": lambda: next(restless)}, rows=1, max_rounds=20)
    )
    assert len(undecided[-1].base.seconds) == 20
    assert undecided[-1].outcome is Outcome.INCONCLUSIVE


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6 rounds"):
        list(pairings({"base": lambda: 1.0, "head": lambda: 1.0}, rows=1, max_rounds=5))


def steady(subject: str, seconds: float) -> Timing:
    return Timing(subject, (seconds,) * LEAST_ROUNDS)


def alternating(*values: float) -> Iterator[float]:
    while True:
        yield from values
