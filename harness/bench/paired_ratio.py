"""The paired ratio of two revisions: its interval, which holds at every look, and its outcome.

A ratio of rates is higher-is-better: 0.85 means that head exports 85 rows in the time of 100 of
base. docs/gate.md explains the statistics; tests/support/race_simulation.py proves their coverage.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import ceil, exp, log, sqrt
from statistics import NormalDist, median

from harness.bench.timing import Timing
from querygrowth.verdict import Outcome, Verdict

FAIL_BELOW = 0.95
PASS_ABOVE = 0.90
# The two limits overlap, so that a small true difference is decided within a few rounds: only an
# interval wider than 0.05 can contain both, and stay inconclusive.

CONFIDENCE = 0.99
"""The least probability that a clock's interval contains the true ratio at every look."""
# Both tails count half. A revision against itself fails only by the lower tail, so with two
# clocks its false failures stay below 1 % in the whole comparison.

LEAST_ROUNDS = 12
"""The number of rounds before the first look."""
# With 12 signs the smallest tail is 1/4096, which is less than half of 1 % shared by 20 looks.

MOST_ROUNDS = 1000
"""The largest limit of rounds: 50 minutes on a quiet machine."""

_GROWTH_OF_LOOKS = 1.4
# Few looks keep the share of every look large. A factor of 1.4 wastes at most 40 % of the rounds.

_EXACT_ROUNDS = 100
# The exact distribution takes time with the cube of the rounds.


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a ratio."""

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
class PairedRatio:
    """Base and head by one clock, in the same rounds. The ratio is base's seconds to head's."""

    base: Timing
    head: Timing
    ratio: float
    interval: Interval

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return len(self.base.seconds)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio of every round."""
        pairs = zip(self.base.seconds, self.head.seconds, strict=True)
        return tuple(base / head for base, head in pairs)

    @property
    def outcome(self) -> Outcome:
        """Failed if the whole interval is below 0.95, passed if it is above 0.90."""
        # The order matters where an interval lies between the limits: surely below 0.95 fails.
        if self.interval.high < FAIL_BELOW:
            return Outcome.FAILED
        return Outcome.PASSED if self.interval.low > PASS_ABOVE else Outcome.INCONCLUSIVE

    @property
    def direction(self) -> Direction:
        """Whether head is shown to be faster or slower, by any amount."""
        if self.interval.low > 1:
            return Direction.FASTER
        return Direction.SLOWER if self.interval.high < 1 else Direction.UNDECIDED

    @property
    def rounds_to_decide(self) -> int:
        """The rounds that would decide the ratio if it stays, with the noise as measured."""
        if self.outcome is not Outcome.INCONCLUSIVE:
            return self.rounds
        to_pass = log(self.ratio / PASS_ABOVE), log(self.ratio / self.interval.low)
        to_fail = log(FAIL_BELOW / self.ratio), log(self.interval.high / self.ratio)
        # The width of an interval falls with the square root of the rounds. One of the distances
        # is at least half of that between the limits, so the quotient is finite.
        factors = [width / distance for distance, width in (to_pass, to_fail) if distance > 0]
        return ceil(self.rounds * max(1.0, min(factors)) ** 2)

    def __str__(self) -> str:
        return (
            f"ratio {self.ratio:.3f}, {CONFIDENCE:.0%} interval {self.interval} ({self.direction})"
        )


@dataclass(frozen=True)
class Pairing:
    """Base and head timed in the same rounds, on a run of `rows` source rows.

    `records` is the number of records of its export. It and `cpu` are None in results of older
    versions, which did not measure them.
    """

    rows: int
    records: int | None
    wall: PairedRatio
    cpu: PairedRatio | None

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return self.wall.rounds

    @property
    def outcome(self) -> Outcome:
        """Failed if either clock shows a loss; passed if wall time shows none."""
        # Wall time excuses a loss in CPU time only where it is surely not slower: an export in two
        # processes takes more CPU time and less wall time. CPU time never passes a head alone, as
        # it does not contain what only waits: sleep, locks, disks.
        lost_cpu = self.cpu is not None and self.cpu.outcome is Outcome.FAILED
        if lost_cpu and self.wall.interval.low <= FAIL_BELOW:
            return Outcome.FAILED
        return self.wall.outcome

    @property
    def is_decided(self) -> bool:
        """Whether no more rounds are needed."""
        return self.rounds >= LEAST_ROUNDS and self.outcome is not Outcome.INCONCLUSIVE

    def verdict(self) -> Verdict:
        """Judge head's rows/s by base's."""
        clocks = {"wall time": self.wall, **({"CPU time": self.cpu} if self.cpu else {})}
        return Verdict(
            subject=f"rows/s of {self.wall.head.subject} against {self.wall.base.subject}",
            outcome=self.outcome,
            expected=f"a ratio (higher is better) surely above {PASS_ABOVE:.2f}; "
            f"surely below {FAIL_BELOW:.2f} fails",
            seen="; ".join(f"{name}: {each}" for name, each in clocks.items()),
            evidence=(*self._rates(), f"{self.rounds} rounds of {self.rows:,} rows, in turn"),
            next_step=self._next_step(),
        )

    def _rates(self) -> Iterator[str]:
        for role, timing in (("base", self.wall.base), ("head", self.wall.head)):
            records = f", {timing.per_second(self.records):,.0f} records/s" if self.records else ""
            rows = f"{timing.per_second(self.rows):,.0f} rows/s"
            yield f"{role}  {rows}{records} in the median round"

    def _next_step(self) -> str:
        if self.outcome is Outcome.PASSED:
            return ""
        if self.outcome is Outcome.FAILED:
            return "what head does per record that base does not: a profile of both"
        rounds = self.wall.rounds_to_decide
        undecided = (
            f"wall time is undecided after {self.rounds} rounds: its interval contains both "
            f"{PASS_ABOVE:.2f} and {FAIL_BELOW:.2f}"
        )
        if rounds <= MOST_ROUNDS:
            enough = f"harness compare --max-rounds {rounds}"
            return f"{undecided}. About {rounds} rounds decide it: {enough}"
        return f"{undecided}. More than {MOST_ROUNDS:,} rounds are needed: use a quieter machine"


def planned_looks(max_rounds: int) -> tuple[int, ...]:
    """The numbers of rounds after which a comparison is judged, up to the limit.

    Raises:
        ValueError: `max_rounds` is less than LEAST_ROUNDS.
    """
    # Fixed before the first round: a look that depends on the results would be a further chance
    # to be wrong, which no share of the 1 % is kept for.
    if max_rounds < LEAST_ROUNDS:
        raise ValueError(f"max_rounds={max_rounds}: at least {LEAST_ROUNDS} rounds are needed")
    looks = [LEAST_ROUNDS]
    while looks[-1] < max_rounds:
        looks.append(min(max_rounds, ceil(looks[-1] * _GROWTH_OF_LOOKS)))
    return tuple(looks)


def pair(base: Timing, head: Timing, *, looks: int = 1) -> PairedRatio:
    """Compare two timings of the same rounds, of which the order was drawn at random.

    The ratio is the Hodges-Lehmann estimate over the rounds, and the interval is that of the
    signed-rank test. Base and head have the same distribution of noise, and a coin decides which
    of them goes first. So a round's noise is as likely to favour one as the other, and the
    interval is exact for any noise: heavy tails, drift and bursts included.

    Args:
        base: Seconds per round.
        head: Seconds per round, of the same rounds.
        looks: The number of planned looks, which share the probability of an error.
    """
    # Logarithms: a round at twice the speed and one at half of it must cancel out.
    logs = [log(b / h) for b, h in zip(base.seconds, head.seconds, strict=True)]
    # Hodges and Lehmann's estimate and Tukey's interval are order statistics of these averages.
    averages = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    cut = _signed_rank_cut(len(logs), (1 - CONFIDENCE) / 2 / looks)
    # Too few rounds for this confidence give the whole range of a ratio that a file can hold.
    low, high = (averages[cut], averages[-1 - cut]) if cut >= 0 else (-log(1e8), log(1e8))
    return PairedRatio(base, head, exp(median(averages)), Interval(exp(low), exp(high)))


@cache
def _signed_rank_cut(rounds: int, tail: float) -> int:
    """Return the largest sum of signed ranks whose lower tail is at most `tail`; -1 if none is."""
    if rounds > _EXACT_ROUNDS:
        # The normal distribution has heavier tails than the exact one, so this is conservative.
        mean = rounds * (rounds + 1) / 4
        deviation = sqrt(rounds * (rounds + 1) * (2 * rounds + 1) / 24)
        return int(mean + NormalDist().inv_cdf(tail) * deviation) - 1
    # Subsets of the ranks 1 to n by their sum: each sign is a fair coin.
    subsets = [1] + [0] * (rounds * (rounds + 1) // 2)
    for rank in range(1, rounds + 1):
        for total in range(rank * (rank + 1) // 2, rank - 1, -1):
            subsets[total] += subsets[total - rank]
    below, cut = 0, -1
    for count in subsets:
        below += count
        if below > tail * 2**rounds:
            break
        cut += 1
    return cut
