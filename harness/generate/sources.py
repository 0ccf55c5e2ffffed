"""Sources of the ids, times and random values of a planned run.

Values are drawn from pools, which Faker filled once. A generated run has to be the same with every
release of Faker, which does not promise that, so runs draw from the committed file `pools.json`.
`python -m harness.generate.sources` makes the file again and changes every generated run.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import TypeVar

from elspeth.core.canonical import JsonValue, canonical_json

POOLS_PATH = Path(__file__).with_name("pools.json")
# Few enough that a run of some hundred rows has all of them.
SIZE = 64
"""The number of values in a pool."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Payload:
    """A value that the audit trail stores as canonical JSON, as its SHA-256 hash, or as both."""

    value: JsonValue
    json: str
    hash: str

    @classmethod
    def of(cls, value: JsonValue) -> "Payload":
        """Canonicalise and hash a value, once for all the entities that hold it."""
        text = canonical_json(value)
        return cls(value, text, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class Pools:
    """The values for each kind of column. A pool has at least one value."""

    plugins: tuple[str, ...]
    labels: tuple[str, ...]
    branches: tuple[str, ...]
    paths: tuple[str, ...]
    triggers: tuple[str, ...]
    configs: tuple[Payload, ...]
    rows: tuple[Payload, ...]
    reasons: tuple[Payload, ...]
    errors: tuple[Payload, ...]
    hostile_texts: tuple[str, ...]
    hostile_values: tuple[Payload, ...]
    by_hash: dict[str, JsonValue] = field(init=False, repr=False)
    """The value of each hash that a run may store."""

    def __post_init__(self) -> None:
        payloads = (
            *self.configs,
            *self.rows,
            *self.reasons,
            *self.errors,
            *self.hostile_values,
        )
        # A frozen dataclass allows no plain assignment.
        object.__setattr__(self, "by_hash", {each.hash: each.value for each in payloads})


@cache
def load_pools() -> Pools:
    """Read the committed pools, once in a process."""
    return parse_pools(POOLS_PATH.read_text(encoding="utf-8"))


def parse_pools(text: str) -> Pools:
    """Read pools from the text that `build_pools` returns."""
    content: dict[str, list[JsonValue]] = json.loads(text)

    def texts(name: str) -> tuple[str, ...]:
        return tuple(str(value) for value in content[name])

    def payloads(name: str) -> tuple[Payload, ...]:
        return tuple(Payload.of(value) for value in content[name])

    return Pools(
        plugins=texts("plugins"),
        labels=texts("labels"),
        branches=texts("branches"),
        paths=texts("paths"),
        triggers=texts("triggers"),
        configs=payloads("configs"),
        rows=payloads("rows"),
        reasons=payloads("reasons"),
        errors=payloads("errors"),
        hostile_texts=texts("hostile_texts"),
        hostile_values=payloads("hostile_values"),
    )


HOSTILE_TEXTS = (
    'it\'s "quoted" \\ `back`',
    "tab\tline\nreturn\rbell\x07",
    "\x01\x1b[31m\x7f\x9f",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "\u0645\u0631\u062d\u0628\u0627",
    "\U0001f469\u200d\U0001f4bb\U0001f9ea",
    "line\u2028paragraph\u2029",
    "e\u0301 is not \u00e9",
    "\ufeffbom \ufffd\uffff",
    "\U00010000 after \ue000",
    '=1+1;@SUM(A1),"x"',
    "<script>alert('x')</script>",
    "'; DROP TABLE runs; --",
    "%s %(x)s {0} ${y} :run_id",
    " blanks context ",
    "null",
)
"""Short texts that break careless quoting, splitting, ordering or escaping. None has a NUL."""

HOSTILE_VALUES: tuple[JsonValue, ...] = (
    {},
    {"\U00010000": 1, "\ue000": 2, "\uffff": 3, "a": 4},
    {text: text for text in HOSTILE_TEXTS},
    {"": "", " ": None, "0": [[], {}, [None, True, False]]},
    [1e21, 1e-7, 5e-324, 1.7976931348623157e308, -0.0, 0.1, 4.35, 2**53 - 1, 1 - 2**53],
)


def build_pools() -> str:
    """Fill every pool by Faker with a fixed seed, and return the text of `pools.json`."""
    # Faker belongs to an extra, and only this function needs it.
    from faker import Faker

    fake = Faker()
    # With one version of Faker, the same file is made every time.
    fake.seed_instance(8)

    def distinct(draw: Callable[[], T]) -> list[T]:
        # By repr, because dicts cannot be hashed.
        drawn: dict[str, T] = {}
        while len(drawn) < SIZE:
            value = draw()
            drawn.setdefault(repr(value), value)
        return list(drawn.values())

    def person() -> JsonValue:
        # In this order: every value comes from the one sequence of random numbers.
        name, email, cents, note = fake.name(), fake.email(), fake.pyint(), fake.sentence()
        return {
            "name": name,
            "email": email,
            "amount": cents / 100,
            "note": note,
            "tags": [note[:4]],
        }

    pools = {
        "plugins": distinct(lambda: f"{fake.word()}_{fake.word()}"),
        "labels": distinct(lambda: fake.word()[:16]),
        "branches": distinct(lambda: fake.color_name()[:24]),
        "paths": distinct(lambda: fake.file_path(depth=2)),
        "triggers": distinct(lambda: fake.sentence(nb_words=5)),
        "configs": distinct(lambda: {"model": fake.slug(), "limit": fake.pyint(), "on": True}),
        "rows": distinct(person),
        "reasons": distinct(lambda: {"rule": fake.bs(), "score": fake.pyint() / 8}),
        "errors": distinct(lambda: {"type": "ValueError", "message": fake.catch_phrase()}),
        "hostile_texts": list(HOSTILE_TEXTS),
        "hostile_values": list(HOSTILE_VALUES),
    }
    return json.dumps(pools, indent=1) + "\n"


START = datetime(2026, 1, 1, 9, 30)
"""The start of every run in UTC, without its START_MICROSECONDS."""

# Not zero: with a whole second, some formats would leave the fraction out.
START_MICROSECONDS = 250_000
"""The microseconds of the second in which every run starts."""

STEP_MICROSECONDS = 130
"""The time between two recorded entities, where nothing takes longer."""

_SECOND = 1_000_000
_ID_DIGITS = 19

# Hot path: a large run has millions of ids and times. Formatting their numbers took half of the
# time of its planning, so the digits are formatted once here and joined later.
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
        # Hot path: the text of the second is kept, because most entities of a row fall into one
        # second, and formatting a datetime costs more than the rest of this function.
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


def id_start(run_id: str) -> str:
    """Return what the ids of a run have between their kind and their number."""
    return f"-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}-"


def is_generated_id(text: str) -> bool:
    """Return whether a text has the form of an id that Sources makes."""
    return text[3:4] == "-" and text[-_ID_DIGITS:].isdigit()


class Sources:
    """The pools, clock, random numbers and ids of one planned run.

    Two objects with the same run id and seed give the same values in the same order.

    Args:
        run_id: The run. Its ids hold a hash of it, so that runs of one database share no id.
        seed: Changes the random values, and no id or time.
    """

    def __init__(self, run_id: str, seed: int) -> None:
        self.pools: Pools = load_pools()
        self.clock = Clock()
        # A hash, so that the numbers of neighbouring runs and of neighbouring seeds are unrelated.
        start = hashlib.sha256(f"{seed}/{run_id}".encode()).digest()
        # Of the methods of Random, only `random` gives the same numbers in all versions of Python.
        self.random = Random(int.from_bytes(start[:8])).random  # noqa: S311 - no secret
        self._start = id_start(run_id)

    def id(self, kind: str, number: int) -> str:
        """Return an id of 32 characters. Ids of one kind ascend with their numbers.

        Args:
            kind: Three letters that name the kind of entity.
            number: The number of the entity among those of its kind in the run, from 0.
        """
        return f"{kind}{self._start}{number:019d}"

    def ids(self, kind: str) -> Iterator[str]:
        """Yield the ids of a kind from number 0 on, faster than `id` makes them."""
        for thousands in count():
            start = f"{kind}{self._start}{thousands:016d}"
            for end in _THREE_DIGITS:
                yield start + end

    def draw(self, pool: tuple[Payload, ...]) -> Payload:
        """Draw a random value from a pool of SIZE values."""
        return pool[int(self.random() * SIZE)]


if __name__ == "__main__":
    POOLS_PATH.write_text(build_pools(), encoding="utf-8")
