"""Simulated races of two revisions: how often they are decided, and how often wrongly.

    python -m tests.support.race_simulation

prints the table of docs/gate.md. The noise is that of several kinds of machine. One kind has the
parameters that were measured on a busy machine, by comparing a revision with itself.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from math import exp, sqrt

from harness.bench.paired_ratio import Interval, Pairing, pair, planned_looks
from harness.bench.race import Elapsed, pairings
from harness.bench.timing import Timing, perform_in_turn
from harness.cli.compare import MAX_ROUNDS
from querygrowth.verdict import Outcome

RATES: Mapping[str, float] = {"no change": 1.0, "5 %": 0.95, "10 %": 0.90, "15 %": 0.85}
"""The rates of head against base, by the slowdown."""

TRIES = 200
"""Simulated races for a row of the table."""

Noise = Callable[[], Elapsed]
"""The factors by which the machine lengthens the next export, by both clocks."""


def normal(draw: random.Random, *, wall: float, cpu: float) -> Noise:
    """Logarithms with a normal distribution of these deviations."""
    return lambda: Elapsed(exp(draw.gauss(0, wall)), exp(draw.gauss(0, cpu)))


def measured(draw: random.Random, *, scale: float) -> Noise:
    """Both clocks with the tails of Student's t with 2 degrees of freedom."""

    def student() -> float:
        # A quotient of a normal and a chi variable; that of two degrees is exponential.
        return draw.gauss(0, 1) / sqrt(draw.expovariate(1))

    return lambda: Elapsed(exp(scale * student()), exp(scale * student()))


def with_waits(draw: random.Random, *, wall: float, scale: float) -> Noise:
    """A busy machine that does not count waits for a core: they are in wall time."""
    cpu = measured(draw, scale=scale)
    return lambda: Elapsed(exp(draw.gauss(0, wall)), cpu().cpu)


def drift(draw: random.Random) -> Noise:
    """A machine whose speed wanders, and falls by half a percent with every export."""
    level = 0.0

    def noise() -> Elapsed:
        nonlocal level
        level += draw.gauss(0.005, 0.02)
        return Elapsed(exp(level + draw.gauss(0, 0.05)), exp(level + draw.gauss(0, 0.04)))

    return noise


def bursts(draw: random.Random) -> Noise:
    """Load that comes for several exports at a time, and then doubles the time or more."""
    busy = False

    def noise() -> Elapsed:
        nonlocal busy
        busy = draw.random() < (0.8 if busy else 0.1)
        waited = 1 + draw.expovariate(1) if busy else 1.0
        shared = 1 + draw.expovariate(10) if busy else 1.0
        return Elapsed(waited * exp(draw.gauss(0, 0.03)), shared * exp(draw.gauss(0, 0.02)))

    return noise


# Measured on a machine of two cores by 70 and 120 rounds of a revision with itself. At a load of 1
# to 3 and at a load of 7 to 14 the absolute logarithm of a round's ratio had the medians 0.047 and
# 0.043, and the 95th percentiles 0.17 and 0.22, by either clock: Student's t with 2 degrees of
# freedom and a scale of 0.035. With waits for a core the median was 0.25.
MACHINES: Mapping[str, Callable[[random.Random], Noise]] = {
    "quiet": partial(normal, wall=0.01, cpu=0.01),
    "noisy": partial(normal, wall=0.08, cpu=0.04),
    "drifting": drift,
    "bursts of load": bursts,
    "busy, as measured": partial(measured, scale=0.035),
    "busy, waits not known": partial(with_waits, wall=0.26, scale=0.035),
}
"""The kinds of machine, by name. Scales are those of one timing's logarithm."""


@dataclass(frozen=True)
class Race:
    """The looks of one simulated race, up to its decision."""

    looks: tuple[Pairing, ...]

    @property
    def outcome(self) -> Outcome:
        """The outcome at the last look."""
        return self.looks[-1].outcome


def simulate(
    machine: str,
    rate: float,
    seed: int,
    *,
    cpu_rate: float | None = None,
    max_rounds: int = MAX_ROUNDS,
) -> Race:
    """Race two simulated revisions.

    Args:
        machine: One of MACHINES.
        rate: Head's rate against base's, in wall time.
        seed: The seed of the noise and of the order.
        cpu_rate: Head's rate in CPU time; default: the same.
        max_rounds: The limit of rounds.
    """
    actions = _exports(machine, rate, rate if cpu_rate is None else cpu_rate, seed)
    return Race(tuple(pairings(actions, rows=500, records=5000, max_rounds=max_rounds, seed=seed)))


def intervals_at_all_looks(machine: str, rate: float, seed: int) -> Iterator[list[Interval]]:
    """Yield the intervals of wall time, and those of CPU time, at all looks of a whole race."""
    actions = _exports(machine, rate, rate, seed)
    order = random.Random(seed)
    rounds = [perform_in_turn(actions, order) for _ in range(MAX_ROUNDS)]
    looks = planned_looks(MAX_ROUNDS)
    for clock in ("wall", "cpu"):
        base, head = ([getattr(each[side], clock) for each in rounds] for side in ("base", "head"))
        yield [
            pair(
                Timing("base", tuple(base[:look])),
                Timing("head", tuple(head[:look])),
                looks=len(looks),
            ).interval
            for look in looks
        ]


def _exports(
    machine: str, rate: float, cpu_rate: float, seed: int
) -> Mapping[str, Callable[[], Elapsed]]:
    noise = MACHINES[machine](random.Random(f"{machine} {seed}"))

    def export(rate: float, cpu_rate: float) -> Elapsed:
        factor = noise()
        return Elapsed(factor.wall / rate, factor.cpu / cpu_rate)

    return {"base": partial(export, 1.0, 1.0), "head": partial(export, rate, cpu_rate)}


@cache
def races(machine: str, rate: float) -> tuple[Race, ...]:
    """Simulate the races of one row of the table."""
    return tuple(simulate(machine, rate, seed) for seed in range(TRIES))


def share_of(outcome: Outcome, of: Sequence[Race]) -> float:
    """Return the share of the races that ended with an outcome."""
    return sum(each.outcome is outcome for each in of) / len(of)


def power_row(machine: str, slowdown: str) -> str:
    """Return one row of the table: outcomes in percent, and the median rounds."""
    found = races(machine, RATES[slowdown])
    shares = [
        f"{100 * share_of(outcome, found):.1f} %"
        for outcome in (Outcome.FAILED, Outcome.PASSED, Outcome.INCONCLUSIVE)
    ]
    rounds = sorted(each.looks[-1].rounds for each in found)[len(found) // 2]
    return f"| {machine} | {slowdown} | {' | '.join(shares)} | {rounds} |"


def power_table() -> str:
    """Return the table of docs/gate.md as Markdown."""
    head = "| machine | slowdown | failed | passed | inconclusive | rounds (median) |"
    rows = (power_row(machine, slowdown) for machine in MACHINES for slowdown in RATES)
    return "\n".join(chain((head, "|---|---|---:|---:|---:|---:|"), rows)) + "\n"


if __name__ == "__main__":
    print(power_table(), end="")  # noqa: T201 - the output of the script
