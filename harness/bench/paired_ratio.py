"""The paired ratio: two revisions timed in the same rounds, and what their ratio shows.

Higher is better: a ratio of 0.85 means that head handles 85 rows in the time of 100 of base.
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
# The two limits overlap, so that a small true difference is decided within a few rounds: an
# interval has to be wider than 0.05 before it can contain both, and stay inconclusive.

CONFIDENCE = 0.99
"""Of the interval. It is looked at again after every few rounds, and each look is another chance
to be wrong: at 0.95 too many comparisons of a revision with itself would fail."""

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
    """What the interval shows of head's rate; nothing while it contains 1."""

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
        if self.interval.high < FAIL_BELOW:
            return Outcome.FAILED
        return Outcome.PASSED if self.interval.low > PASS_ABOVE else Outcome.INCONCLUSIVE

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
    percentile bootstrap over rounds. Rounds stay paired when they are resampled, so that a load
    which slows both sides of a round cancels out.

    Args:
        base: Seconds per round.
        head: Seconds per round, as many.
        rows: Source rows of the run that both exported.
        seed: Of the resampling.
    """
    logs = [log(b / h) for b, h in zip(base.seconds, head.seconds, strict=True)]
    return Pairing(rows, base, head, exp(fmean(logs)), _bootstrap(logs, seed))


def is_decided(pairing: Pairing) -> bool:
    """Whether no more rounds are needed."""
    enough = len(pairing.base.seconds) >= LEAST_ROUNDS
    return enough and pairing.outcome is not Outcome.INCONCLUSIVE


def _bootstrap(logs: Sequence[float], seed: int) -> Interval:
    draw = random.Random(seed)  # noqa: S311 - resampling, no secret
    means = sorted(fmean(draw.choices(logs, k=len(logs))) for _ in range(_RESAMPLES))
    tail = round(_RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(exp(means[tail]), exp(means[-tail - 1]))
