"""Timing: the seconds of exporters in rounds, in which they take turns."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

TimedAction = Callable[[], float]
"""Does something once and returns its seconds, in this process or another."""

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """The seconds of one subject in every round. The same index is the same round for all."""

    subject: str
    seconds: tuple[float, ...]

    def per_second(self, amount: int) -> float:
        """The rate in the median round, for an `amount` of records or rows."""
        # The median: one round under load must not move the rate.
        return amount / median(self.seconds)

    def times_faster_than(self, other: "Timing") -> float:
        """The median over the rounds of the other's seconds to these. Higher is faster."""
        # Pairs of one round saw the same load. Within one job such ratios repeat to about 0.3 %,
        # while the rates of two jobs differed by 26 %.
        pairs = zip(other.seconds, self.seconds, strict=True)
        return median(theirs / ours for theirs, ours in pairs)


def time_in_turn(
    actions: Mapping[str, TimedAction], *, rounds: int, seed: int = 0
) -> Mapping[str, Timing]:
    """Time every action once a round. The caller warms the actions up before.

    Args:
        actions: The actions to time, by name.
        rounds: The number of rounds, at least one.
        seed: The seed of the order of the actions within the rounds.

    Raises:
        ValueError: `rounds` is less than one.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: at least one is needed")
    order = random.Random(seed)  # noqa: S311 - a shuffled order, no secret
    done = [perform_in_turn(actions, order) for _ in range(rounds)]
    return {name: Timing(name, tuple(each[name] for each in done)) for name in actions}


def perform_in_turn(actions: Mapping[str, Callable[[], T]], order: random.Random) -> dict[str, T]:
    """Perform every action once, in an order that is drawn, and return their results by name."""
    # Turns spread a change of the machine's speed over all actions. The shuffle keeps an action
    # from always running after the same other one, whose caches it would inherit. The interval of
    # a paired ratio holds because the order is drawn.
    return {name: actions[name]() for name in order.sample(list(actions), len(actions))}
