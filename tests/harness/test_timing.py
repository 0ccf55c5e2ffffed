"""Timing: rates of the median round, and actions that take turns in an order that is drawn."""

import random
from itertools import pairwise

import pytest

from harness.bench.timing import Timing, perform_in_turn, time_in_turn


def test_a_rate_is_that_of_the_median_round() -> None:
    assert Timing("it", (1.0, 2.0, 50.0)).per_second(100) == 50


def test_a_speed_up_is_the_median_of_the_pairs_of_rounds() -> None:
    control = Timing("control", (10.0, 40.0, 30.0))
    candidate = Timing("candidate", (1.0, 2.0, 10.0))
    assert candidate.times_faster_than(control) == 10
    assert control.times_faster_than(candidate) == 0.1


def test_every_action_is_timed_once_a_round_and_keeps_its_name() -> None:
    answers = {"first": iter((1.0, 2.0, 3.0)), "second": iter((4.0, 5.0, 6.0))}
    actions = {name: lambda each=each: next(each) for name, each in answers.items()}
    assert time_in_turn(actions, rounds=3) == {
        "first": Timing("first", (1.0, 2.0, 3.0)),
        "second": Timing("second", (4.0, 5.0, 6.0)),
    }


def test_the_order_within_a_round_is_drawn_and_favours_no_action() -> None:
    order = random.Random(0)
    performed: list[str] = []
    actions = {name: lambda name=name: performed.append(name) for name in ("base", "head")}
    first = []
    for _ in range(400):
        performed.clear()
        perform_in_turn(actions, order)
        assert sorted(performed) == ["base", "head"]
        first.append(performed[0])
    # Four standard deviations around one half.
    assert 160 <= first.count("base") <= 240
    changes = sum(before != after for before, after in pairwise(first))
    assert 160 <= changes <= 240


def test_one_seed_gives_one_order_and_another_seed_another() -> None:
    def orders(seed: int) -> list[str]:
        performed: list[str] = []
        actions = {name: lambda name=name: performed.append(name) or 1.0 for name in "ab"}
        time_in_turn(actions, rounds=20, seed=seed)
        return performed

    assert orders(1) == orders(1) != orders(2)


@pytest.mark.parametrize("rounds", [0, -1])
def test_less_than_one_round_is_refused(rounds: int) -> None:
    with pytest.raises(ValueError, match=f"rounds={rounds}: at least one"):
        time_in_turn({"it": lambda: 1.0}, rounds=rounds)
