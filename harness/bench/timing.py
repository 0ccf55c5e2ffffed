"""Timing: exports timed in turn, and the paired ratio of two revisions with its interval.

A ratio of rates is higher-is-better: 0.85 means that head exports 85 rows in the time of 100 of
base.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, log
from statistics import fmean, median

from querygrowth.verdict import Outcome, Verdict

FAIL_BELOW = 0.95
PASS_ABOVE = 0.90
# The two limits overlap, so that a small true difference is decided within a few rounds: only an
# interval wider than 0.05 can contain both, and stay inconclusive.

CONFIDENCE = 0.99
"""The confidence of the interval."""
# It is judged again after every few rounds, and a look is another chance to be wrong: at 0.95 too
# many comparisons of a revision with itself would fail.

LEAST_ROUNDS = 6
"""The number of rounds before the first judgement."""
# With fewer rounds the resamples of the bootstrap repeat, and the interval is too narrow.

_RESAMPLES = 1000

TimedAction = Callable[[], float]
"""Does something once and returns its seconds, in this process or another."""


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

    def followed_by(self, later: "Timing") -> "Timing":
        """Return these rounds and later ones of the same subject after them."""
        return Timing(self.subject, self.seconds + later.seconds)


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
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        # Turns spread a change of the machine's speed over all actions. The shuffle keeps an
        # action from always running after the same other one, whose caches it would inherit.
        for name in order.sample(list(actions), len(actions)):
            seconds[name].append(actions[name]())
    return {name: Timing(name, tuple(taken)) for name, taken in seconds.items()}


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval of a ratio."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"


class Direction(StrEnum):
    """Whether the interval shows head to be faster or slower; undecided while it contains 1."""

    FASTER = "faster"
    SLOWER = "slower"
    UNDECIDED = "no difference shown"


@dataclass(frozen=True)
class Pairing:
    """Base and head timed in the same rounds, on a run of `rows` source rows."""

    rows: int
    base: Timing
    head: Timing
    ratio: float
    interval: Interval

    @property
    def outcome(self) -> Outcome:
        """Failed if the whole interval is below 0.95, passed if it is above 0.90."""
        # The order matters where an interval lies between the limits: surely below 0.95 fails.
        if self.interval.high < FAIL_BELOW:
            return Outcome.FAILED
        return Outcome.PASSED if self.interval.low > PASS_ABOVE else Outcome.INCONCLUSIVE

    @property
    def is_decided(self) -> bool:
        """Whether no more rounds are needed."""
        enough = len(self.base.seconds) >= LEAST_ROUNDS
        return enough and self.outcome is not Outcome.INCONCLUSIVE

    @property
    def direction(self) -> Direction:
        """Whether head is shown to be faster or slower, by any amount."""
        if self.interval.low > 1:
            return Direction.FASTER
        return Direction.SLOWER if self.interval.high < 1 else Direction.UNDECIDED

    def verdict(self) -> Verdict:
        """Judge head's rows/s by base's."""
        return Verdict(
            subject=f"rows/s of {self.head.subject} against {self.base.subject}",
            outcome=self.outcome,
            expected=f"a ratio (higher is better) surely above {PASS_ABOVE:.2f}; "
            f"surely below {FAIL_BELOW:.2f} fails",
            seen=f"ratio {self.ratio:.3f}, {CONFIDENCE:.0%} interval {self.interval} "
            f"({self.direction})",
            evidence=(
                f"base  {self.base.per_second(self.rows):,.0f} rows/s in the median round",
                f"head  {self.head.per_second(self.rows):,.0f} rows/s in the median round",
                f"{len(self.base.seconds)} rounds of {self.rows:,} rows, in turn",
            ),
            next_step=_NEXT_STEPS[self.outcome],
        )


_NEXT_STEPS = {
    Outcome.FAILED: "what head does per record that base does not: a profile of both",
    Outcome.INCONCLUSIVE: "a quieter machine, or more rounds (--max-rounds)",
    Outcome.PASSED: "",
}


def pair(base: Timing, head: Timing, *, rows: int, seed: int = 0) -> Pairing:
    """Compare two timings of the same rounds.

    The ratio is the geometric mean over the rounds of base's seconds to head's. The interval is a
    percentile bootstrap over the rounds.

    Args:
        base: Seconds per round.
        head: Seconds per round, of the same rounds.
        rows: Source rows of the run that both exported.
        seed: The seed of the resamples.
    """
    # Logarithms: a round at twice the speed and one at half of it must cancel out. The geometric
    # mean of ratios does that, the arithmetic mean would give 1.25.
    logs = [log(b / h) for b, h in zip(base.seconds, head.seconds, strict=True)]
    return Pairing(rows, base, head, exp(fmean(logs)), _bootstrap(logs, seed))


def _bootstrap(logs: Sequence[float], seed: int) -> Interval:
    # Rounds are resampled as pairs, so that load which slows both sides of a round cancels out.
    # With one seed, the same timings always give the same interval.
    draw = random.Random(seed)  # noqa: S311 - resamples, no secret
    means = sorted(fmean(draw.choices(logs, k=len(logs))) for _ in range(_RESAMPLES))
    tail = round(_RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(exp(means[tail]), exp(means[-tail - 1]))
