"""Pools: the committed values that generated runs draw from.

Faker made the values of `pools.json` once. A generated run has to be the same with every release of
Faker, which does not promise that, so runs draw from the file. `python -m harness.generate.pools`
makes the file anew, which changes the contents of every generated run.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from elspeth.core.canonical import JsonValue, canonical_json

POOLS_PATH = Path(__file__).with_name("pools.json")
SIZE = 64
"""The number of values in a pool: few enough that a run of some hundred rows has each of them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Payload:
    """A value that the audit trail stores as canonical JSON, as its SHA-256 hash, or as both."""

    value: JsonValue
    json: str
    hash: str

    @classmethod
    def of(cls, value: JsonValue) -> "Payload":
        """Canonicalise and hash a value once for all the entities that will hold it."""
        text = canonical_json(value)
        return cls(value, text, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class Pools:
    """The values for each kind of column. No pool is empty."""

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
    # Faker is imported here because only this rebuild needs it.
    from faker import Faker

    fake = Faker()
    # With one version of Faker, the same file is made every time.
    fake.seed_instance(8)

    def distinct(draw: Callable[[], T]) -> list[T]:
        # By repr, because some of the values cannot be hashed.
        drawn: dict[str, T] = {}
        while len(drawn) < SIZE:
            value = draw()
            drawn.setdefault(repr(value), value)
        return list(drawn.values())

    pools = {
        "plugins": distinct(lambda: f"{fake.word()}_{fake.word()}"),
        "labels": distinct(lambda: fake.word()[:16]),
        "branches": distinct(lambda: f"{fake.color_name()}"[:24]),
        "paths": distinct(lambda: fake.file_path(depth=2)),
        "triggers": distinct(lambda: fake.sentence(nb_words=5)),
        "configs": distinct(lambda: {"model": fake.slug(), "limit": fake.pyint(), "on": True}),
        "rows": distinct(lambda: _person(fake.name(), fake.email(), fake.pyint(), fake.sentence())),
        "reasons": distinct(lambda: {"rule": fake.bs(), "score": fake.pyint() / 8}),
        "errors": distinct(lambda: {"type": "ValueError", "message": fake.catch_phrase()}),
        "hostile_texts": list(HOSTILE_TEXTS),
        "hostile_values": list(HOSTILE_VALUES),
    }
    return json.dumps(pools, indent=1) + "\n"


def _person(name: str, email: str, cents: int, note: str) -> JsonValue:
    return {"name": name, "email": email, "amount": cents / 100, "note": note, "tags": [note[:4]]}


if __name__ == "__main__":
    POOLS_PATH.write_text(build_pools(), encoding="utf-8")
