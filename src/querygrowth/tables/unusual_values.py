"""Values that code often does not expect, by type: few, so that rows tie, and unusual ones."""

import datetime as dt
import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import types
from sqlalchemy.types import TypeEngine

from querygrowth.tables.condition_values import as_like, neighbours

_TEXTS = (
    *("a", "b", "B", "", "a ", "é", "Ä", "%", "o'x", "10", "9", "_a", "ß", "日本"),
    *("a\nb", "\tb", '"q"', "\\", "a\u0308", "\U0001f600", "NULL"),
)
_NUMBERS = (1, 2, 0, 3, -1, 10, 5, 100, 7, -20)
# Sums of these floats are exact, so that they do not depend on the order of the rows.
_FLOATS = (1.0, 2.0, 0.0, 0.5, -1.0, 2.25, 10.0, 99.75, -0.5)
_DAYS = (
    dt.date(2024, 1, 1),
    dt.date(2024, 1, 2),
    dt.date(2024, 2, 29),
    dt.date(2023, 12, 31),
    dt.date(2020, 6, 15),
    dt.date(1999, 1, 1),
)
_MOMENTS = (
    *(dt.datetime(2024, 1, 1, hour) for hour in (0, 12)),
    dt.datetime(2024, 1, 2),
    dt.datetime(2024, 1, 1, 23, 59, 59, 999999),
    dt.datetime(2023, 12, 31, 12),
    dt.datetime(2024, 2, 29, 8, 30),
)
_SIMPLE: tuple[tuple[type, Sequence[Any]], ...] = (
    (types.Boolean, (True, False)),
    (
        types.Interval,
        [dt.timedelta(0), dt.timedelta(days=1), dt.timedelta(hours=-1), dt.timedelta(seconds=1.5)],
    ),
    (types.Date, _DAYS),
    (types.Time, (dt.time(0, 0), dt.time(12, 30), dt.time(23, 59, 59))),
    (types.JSON, ({}, {"a": 1}, [], [1, "b"], "a", 0, {"a": None, "b": {"c": []}})),
    (types.LargeBinary, (b"a", b"", b"\x00\xff", b"A")),
    (types.Integer, _NUMBERS),
)


def unusual_values(kind: TypeEngine[Any]) -> list[Any]:
    """Values of a type, common ones first; none for enums and for types of one database.

    Args:
        kind: The type, without decorators.
    """
    if isinstance(kind, types.Enum):
        return []
    if isinstance(kind, types.String):
        return list(_TEXTS)
    if isinstance(kind, types.DateTime):
        zone = dt.timezone.utc if kind.timezone else None
        return [moment.replace(tzinfo=zone) for moment in _MOMENTS]
    if isinstance(kind, types.Uuid):
        made = [UUID(int=number) for number in (1, 2, 3)]
        return made if kind.as_uuid else list(map(str, made))
    if isinstance(kind, types.ARRAY):
        items = unusual_values(kind.item_type)[:3]
        return [[], items[:1], items] if items and kind.dimensions in {None, 1} else []
    if isinstance(kind, types.Numeric | types.Float):
        return [Decimal(str(each)) if kind.asdecimal else each for each in _FLOATS]
    for classes, values in _SIMPLE:
        if isinstance(kind, classes):
            return list(values)
    return []


def json_objects(constants: Iterable[object]) -> Iterator[dict[str, object]]:
    """Objects of JSON with keys and values that code compares with.

    Args:
        constants: Those of the code, in its order: mostly a key is followed by its value.
    """
    known = [each for each in constants if isinstance(each, str | int | float)]
    for key, value in pairwise([*known, 1]):
        if isinstance(key, str) and key.isidentifier():
            yield {key: value}
            yield {key: "a" if isinstance(value, str) else None}


_WILDCARDS = re.compile(r"^[%_]+|[%_]+$")


def variants_of(constant: object, like: object) -> Iterator[object]:
    """What code may compare with a constant: it, its neighbours, and texts that differ a bit."""
    value = constant.value if isinstance(constant, enum.Enum) else constant
    if isinstance(value, bool):
        return
    for own in as_like(value, like):
        if isinstance(own, str):
            bare = _WILDCARDS.sub("", own)
            variants = (bare, bare.upper(), bare.lower(), f"{bare}x", f"x{bare}")
            yield from filter(None, variants)
        else:
            yield from neighbours(own)
