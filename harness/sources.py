"""Sources: the ids, times and random values that the plan of a run draws, all from its spec."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random

from harness.pools import SIZE, Payload, Pools, load_pools
from harness.spec import RunSpec

START = datetime(2026, 1, 1, 9, 30)
"""When every run starts, in UTC, but for a quarter of a second."""

START_MICROSECONDS = 250_000

STEP_MICROSECONDS = 130
"""From one recorded thing to the next, where nothing takes longer."""


class Clock:
    """The time of a run, told as stored text: UTC, with microseconds."""

    def __init__(self, microseconds: int = 0) -> None:
        """Start so long after the start of the run."""
        self.now = microseconds
        self._second = -1
        self._text = ""

    def tell(self, step: int = STEP_MICROSECONDS) -> str:
        """Let microseconds pass, then tell the time."""
        self.now += step
        second, microsecond = divmod(self.now + START_MICROSECONDS, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = (START + timedelta(seconds=second)).isoformat(" ")
        return f"{self._text}.{microsecond:06d}"


class Sources:
    """What one plan draws from; another of the same spec gives the same, in the same order.

    What is random comes from `random.Random.random` alone, which Python keeps the same in all its
    versions.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.pools: Pools = load_pools()
        self.clock = Clock()
        seed = hashlib.sha256(f"{spec.seed}/{spec.run_id}".encode()).digest()
        self.random = Random(int.from_bytes(seed[:8])).random  # noqa: S311 - no secret
        self._tag = hashlib.sha256(spec.run_id.encode()).hexdigest()[:8]

    def id(self, kind: str, number: int) -> str:
        """Make an id of 32 characters; ids of a kind ascend with their numbers."""
        return f"{kind}-{self._tag}-{number:019d}"

    def ids(self, kind: str) -> Iterator[str]:
        """Make the ids of a kind, one after the other."""
        start = f"{kind}-{self._tag}-"
        return (f"{start}{number:019d}" for number in count())

    def any(self, pool: tuple[Payload, ...]) -> Payload:
        """Draw from a pool."""
        return pool[int(self.random() * SIZE)]
