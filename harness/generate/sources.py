"""Sources: the ids, times and random values that the plan of a run draws, all from its spec."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random

from harness.generate.pools import SIZE, Payload, Pools, load_pools
from harness.generate.spec import RunSpec

START = datetime(2026, 1, 1, 9, 30)
"""When every run starts, in UTC, but for a quarter of a second."""

START_MICROSECONDS = 250_000

_SECOND = 1_000_000

_THREE_DIGITS = tuple(f"{number:03}" for number in range(1000))
"""A large run has millions of ids and times, and formatting numbers took half of its planning."""

STEP_MICROSECONDS = 130
"""From one recorded thing to the next, where nothing takes longer."""


class Clock:
    """The time of a run, told as stored text: UTC, with microseconds."""

    def __init__(self, microseconds: int = 0) -> None:
        """Start so long after the start of the run."""
        self.now = microseconds
        self._enter_second()

    def tell(self, step: int = STEP_MICROSECONDS) -> str:
        """Let microseconds pass, then tell the time."""
        self.now += step
        microsecond = self.now - self._second_began
        if not 0 <= microsecond < _SECOND:
            self._enter_second()
            microsecond = self.now - self._second_began
        return (
            self._second_text
            + _THREE_DIGITS[microsecond // 1000]
            + _THREE_DIGITS[microsecond % 1000]
        )

    def _enter_second(self) -> None:
        second, microsecond = divmod(self.now + START_MICROSECONDS, _SECOND)
        self._second_began = self.now - microsecond
        self._second_text = (START + timedelta(seconds=second)).isoformat(" ") + "."


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
        """Make the ids of a kind from number 0 on."""
        for thousands in count():
            start = f"{kind}-{self._tag}-{thousands:016d}"
            for end in _THREE_DIGITS:
                yield start + end

    def any(self, pool: tuple[Payload, ...]) -> Payload:
        """Draw from a pool."""
        return pool[int(self.random() * SIZE)]
