"""The functions that CHECK constraints call, on values of Python."""

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from sqlglot import exp

_PART = re.compile(r"([+-]?\d+) ?(week|day|hour|hr|minute|min|second|sec)s?\b", re.IGNORECASE)
_CLOCK = re.compile(r"(?<!\d)(\d+):(\d\d)(?::(\d\d))?$")
_UNITS = {
    "week": dt.timedelta(weeks=1),
    "day": dt.timedelta(days=1),
    "hour": dt.timedelta(hours=1),
    "hr": dt.timedelta(hours=1),
    "minute": dt.timedelta(minutes=1),
    "min": dt.timedelta(minutes=1),
    "second": dt.timedelta(seconds=1),
    "sec": dt.timedelta(seconds=1),
}


def length_of(value: Any) -> int:
    """The length in characters, of a number that of its text."""
    return len(value) if isinstance(value, str | bytes) else len(str(value))


def divided(one: Any, other: Any) -> Any:
    """The quotient; of whole numbers it is whole."""
    if isinstance(one, int) and isinstance(other, int):
        return int(one / other)  # towards zero, as databases do
    return one / other


def subtracted(one: Any, other: Any) -> Any:
    """The difference; of dates it is a number of days."""
    difference = one - other
    if isinstance(difference, dt.timedelta) and not isinstance(one, dt.datetime | dt.timedelta):
        return difference.days
    return difference


def timedelta_of(text: Any) -> dt.timedelta:
    """The time that an interval names, such as `1 day 02:00:00`.

    Raises:
        ValueError: It has months or years, whose length differs, or is no interval.
    """
    if isinstance(text, dt.timedelta):
        return text
    parts, clock = _PART.findall(text), _CLOCK.search(text)
    rest = _CLOCK.sub("", _PART.sub("", text)).strip()
    if rest or not (parts or clock):
        raise ValueError(f"{text} has no known length")
    found = sum((int(number) * _UNITS[unit.lower()] for number, unit in parts), dt.timedelta())
    if clock:
        hours, minutes, seconds = (int(each or 0) for each in clock.groups())
        found += dt.timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return found


def _is_json(value: Any) -> bool:
    try:
        json.loads(value) if isinstance(value, str | bytes) else json.dumps(value)
    except ValueError:
        return False
    return True


def _substring(text: str, start: int, length: int | None = None) -> str:
    first = start - 1 if start > 0 else len(text) + start
    return text[first : None if length is None else first + length]


def _rounded(value: Any, places: int = 0) -> Any:
    return round(Decimal(str(value)), places) if places else Decimal(round(value))


NAMED: Mapping[str, Callable[[Any], Any]] = {
    "json_valid": _is_json,
    "char_length": length_of,
    "character_length": length_of,
    "octet_length": lambda value: len(value.encode() if isinstance(value, str) else value),
    "ltrim": lambda value: value.lstrip(),
    "rtrim": lambda value: value.rstrip(),
    "btrim": lambda value: value.strip(),
    "isnull": lambda value: value is None,
}
# The function, and the names of its arguments in the node.
SEVERAL: Mapping[type[exp.Expression], tuple[Callable[..., Any], str]] = {
    exp.Substring: (_substring, "this start length"),
    exp.Left: (lambda text, length: text[:length], "this expression"),
    exp.Right: (lambda text, length: text[-length:], "this expression"),
    exp.StrPosition: (lambda text, part: text.find(part) + 1, "this substr"),
    exp.StartsWith: (lambda text, part: text.startswith(part), "this expression"),
    exp.Round: (_rounded, "this decimals"),
}
