"""The race of two revisions: its planned looks, and its errors and its power in simulations."""

from collections.abc import Callable, Iterator
from itertools import cycle
from math import ceil
from pathlib import Path

import pytest

from harness.bench.paired_ratio import CONFIDENCE, Direction, Pairing, planned_looks
from harness.bench.race import Elapsed, pairings
from harness.cli.compare import MAX_ROUNDS
from querygrowth.verdict import Outcome
from tests.support.race_simulation import (
    MACHINES,
    intervals_at_all_looks,
    power_table,
    races,
    share_of,
    simulate,
)

DOCS = Path(__file__).parents[2] / "docs" / "gate.md"
ERROR = 1 - CONFIDENCE


@pytest.mark.parametrize("machine", MACHINES)
def test_of_200_comparisons_of_a_revision_with_itself_two_at_most_fail(machine: str) -> None:
    assert share_of(Outcome.FAILED, races(machine, 1.0)) <= ERROR


def test_the_interval_of_a_clock_holds_the_truth_at_every_look_as_often_as_it_says() -> None:
    # To the last look: a race that stops early has fewer chances to be wrong.
    tries, missed = 0, 0
    for machine in MACHINES:
        for seed in range(60):
            for intervals in intervals_at_all_looks(machine, 0.9, seed):
                tries += 1
                missed += any(not each.low <= 0.9 <= each.high for each in intervals)
    assert tries == 2 * 60 * len(MACHINES)
    assert missed <= tries * ERROR


@pytest.mark.parametrize("machine", MACHINES)
def test_a_slowdown_of_15_percent_is_called_in_at_least_99_percent(machine: str) -> None:
    assert share_of(Outcome.FAILED, races(machine, 0.85)) >= 0.99


@pytest.mark.parametrize("machine", ["quiet", "noisy", "drifting"])
def test_a_slowdown_that_only_waits_is_called_though_cpu_time_shows_nothing(machine: str) -> None:
    outcomes = [simulate(machine, 0.85, seed, cpu_rate=1.0).outcome for seed in range(50)]
    assert outcomes.count(Outcome.FAILED) >= 49


@pytest.mark.parametrize("machine", MACHINES)
def test_waiting_never_passes_where_wall_time_is_too_noisy(machine: str) -> None:
    outcomes = [simulate(machine, 0.85, seed, cpu_rate=1.0).outcome for seed in range(100)]
    assert outcomes.count(Outcome.PASSED) <= 100 * ERROR


@pytest.mark.parametrize("machine", MACHINES)
def test_a_slowdown_of_5_percent_is_called_faster_by_the_error_that_is_allowed(
    machine: str,
) -> None:
    lasts = [each.looks[-1] for each in races(machine, 0.95)]
    assert sum(each.wall.direction is Direction.FASTER for each in lasts) <= len(lasts) * ERROR


def test_the_table_of_the_docs_is_that_of_the_simulation() -> None:
    assert power_table() in DOCS.read_text(encoding="utf-8"), (
        "python -m tests.support.race_simulation"
    )


def race(base: Callable[[], Elapsed], head: Callable[[], Elapsed], limit: int) -> list[Pairing]:
    actions = {"base": base, "head": head}
    return list(pairings(actions, rows=500, records=4000, max_rounds=limit))


def seconds(*values: float) -> Callable[[], Elapsed]:
    turn: Iterator[float] = cycle(values)
    return lambda: Elapsed(wall := next(turn), wall / 2)


def test_rounds_stop_as_soon_as_it_is_decided() -> None:
    (only,) = race(seconds(1.0), seconds(1.0), MAX_ROUNDS)
    assert (only.rounds, only.outcome) == (12, Outcome.PASSED)
    assert only.cpu is not None
    assert (only.rows, only.records) == (500, 4000)
    assert set(only.cpu.base.seconds) == {0.5}


def test_rounds_end_at_the_limit_at_the_latest_and_every_look_was_planned() -> None:
    found = race(seconds(1.0), seconds(0.5, 2.0), 30)
    assert tuple(each.rounds for each in found) == planned_looks(30) == (12, 17, 24, 30)
    assert {each.outcome for each in found} == {Outcome.INCONCLUSIVE}


def test_rounds_of_all_looks_are_kept_in_their_order() -> None:
    count = iter(range(1, 100))
    found = race(lambda: Elapsed(next(count), 1.0), seconds(0.1, 1000.0), 17)[-1]
    assert found.wall.base.seconds == tuple(range(1, 18))


def test_the_suggested_rounds_do_decide() -> None:
    for seed in range(20):
        last = simulate("noisy", 1.0, seed, max_rounds=12).looks[-1]
        needed = last.wall.rounds_to_decide
        if last.outcome is Outcome.INCONCLUSIVE and needed <= MAX_ROUNDS:
            again = simulate("noisy", 1.0, seed, max_rounds=ceil(2 * needed))
            assert again.outcome is Outcome.PASSED


def test_a_head_that_is_slower_is_not_taken_for_the_base() -> None:
    (slower,) = race(seconds(1.0), seconds(2.0), 96)
    (faster,) = race(seconds(2.0), seconds(1.0), 96)
    assert (slower.wall.ratio, faster.wall.ratio) == (0.5, 2.0)
    assert slower.wall.base.subject == "base"
    assert slower.outcome is Outcome.FAILED
    assert faster.outcome is Outcome.PASSED


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 12 rounds"):
        race(seconds(1.0), seconds(1.0), 11)
