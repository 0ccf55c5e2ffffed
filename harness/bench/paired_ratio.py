"""Pairing: two revisions timed in turn, the ratio of their rates, and what can be said of it.

Higher is better: a ratio of 0.85 means that head handles 85 rows where base handles 100.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, log
from statistics import fmean

from harness.exporters.timing import Timing
from querygrowth.verdict import Outcome, Verdict

FAIL_BELOW = 0.95
PASS_ABOVE = 0.90
CONFIDENCE = 0.99
"""Of the interval. Rounds are added and looked at again, so that 0.95 would cry wolf too often."""

LEAST_ROUNDS = 6
_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval of a ratio."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"


class Direction(StrEnum):
    """What the interval shows of head's rate; nothing, when it holds 1."""

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
        """Failed when head is surely slower than 0.95, passed when surely not below 0.90."""
        if self.interval.high < FAIL_BELOW:
            return Outcome.FAILED
        return Outcome.PASSED if self.interval.low > PASS_ABOVE else Outcome.INCONCLUSIVE

    @property
    def direction(self) -> Direction:
        """Whether head is shown to be faster or slower, by however little."""
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
    """Set two timings of the same rounds against each other.

    The ratio is the geometric mean over the rounds of base's seconds to head's; the interval is a
    percentile bootstrap over rounds, which stay paired, so that what slows both cancels out.
    """
    logs = [log(b / h) for b, h in zip(base.seconds, head.seconds, strict=True)]
    return Pairing(rows, base, head, exp(fmean(logs)), _bootstrap(logs, seed))


def is_decided(pairing: Pairing) -> bool:
    """Whether more rounds are not needed."""
    enough = len(pairing.base.seconds) >= LEAST_ROUNDS
    return enough and pairing.outcome is not Outcome.INCONCLUSIVE


def _bootstrap(logs: Sequence[float], seed: int) -> Interval:
    draw = random.Random(seed)  # noqa: S311 - resampling, no secret
    means = sorted(fmean(draw.choices(logs, k=len(logs))) for _ in range(_RESAMPLES))
    tail = round(_RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(exp(means[tail]), exp(means[-tail - 1]))
