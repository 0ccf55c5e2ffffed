"""Sources of the ids, times and random values of a planned run, which follow from its spec."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random

from harness.generate.pools import SIZE, Payload, Pools, load_pools
from harness.generate.spec import RunSpec

START = datetime(2026, 1, 1, 9, 30)
"""The start of every run in UTC, without its START_MICROSECONDS."""

START_MICROSECONDS = 250_000

STEP_MICROSECONDS = 130
"""The time between two recorded entities, where nothing takes longer."""

_SECOND = 1_000_000

# A large run has millions of ids and times. Formatting their numbers took half of its planning,
# so the digits are formatted once here and joined later.
_THREE_DIGITS = tuple(f"{number:03}" for number in range(1000))


class Clock:
    """The time of a run as stored text: UTC with microseconds."""

    def __init__(self, microseconds: int = 0) -> None:
        """Start so many microseconds after the start of the run."""
        self.now = microseconds
        """Microseconds since the start of the run. It may be set, also backwards."""
        self._enter_second()

    def advance(self, microseconds: int = STEP_MICROSECONDS) -> str:
        """Advance the clock, and return the new time as stored text."""
        self.now += microseconds
        microsecond = self.now - self._second_began
        # The text of the second is kept, because most entities of a row fall into one second.
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
    """The pools, clock, random numbers and ids of one planned run.

    Two objects made from the same spec give the same values in the same order.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.pools: Pools = load_pools()
        self.clock = Clock()
        seed = hashlib.sha256(f"{spec.seed}/{spec.run_id}".encode()).digest()
        # Of the methods of Random, only `random` gives the same numbers in all versions of Python.
        self.random = Random(int.from_bytes(seed[:8])).random  # noqa: S311 - no secret
        self._tag = hashlib.sha256(spec.run_id.encode()).hexdigest()[:8]

    def id(self, kind: str, number: int) -> str:
        """Return an id of 32 characters. Ids of one kind ascend with their numbers.

        Args:
            kind: Three letters that name the kind of entity.
            number: The number of the entity among those of its kind in the run, from 0.
        """
        return f"{kind}-{self._tag}-{number:019d}"

    def ids(self, kind: str) -> Iterator[str]:
        """Yield the ids of a kind from number 0 on, faster than `id` makes them."""
        for thousands in count():
            start = f"{kind}-{self._tag}-{thousands:016d}"
            for end in _THREE_DIGITS:
                yield start + end

    def draw(self, pool: tuple[Payload, ...]) -> Payload:
        """Draw a random value from a pool of SIZE values."""
        return pool[int(self.random() * SIZE)]
