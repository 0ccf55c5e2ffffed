"""What the result of an action shows about the rows that it needed: its records, and its kind."""

import re
from collections.abc import Mapping, Sequence, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

from sqlalchemy import Row


class ResultKind(str, Enum):
    """What the result of an action can show about the rows that the action needed."""

    RECORDS = "records"
    """A collection: its elements are the records that were asked for."""
    FIGURES = "figures"
    """A collection with numbers in it: any number of rows may have made them."""
    KEYS = "keys"
    """A collection of whole numbers: figures, or the keys of the records that were asked for."""
    SUMMARY = "summary"
    """A number, a text or a structure of few values: any number of rows may have made it."""
    YES_OR_NO = "yes or no"
    """A bool: it takes no more than one row to know it."""
    OPAQUE = "opaque"
    """Nothing, or an object whose records cannot be seen."""

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


_PLAIN = (str, bytes, int, float, Decimal, date, time, timedelta, UUID, type(None))
_RECORD = (tuple, Row, Mapping)

# Longer ones are keys or digests, and no figures.
_WHOLE_NUMBER = re.compile(r"(?<!\w)\d{1,12}(?!\w)", re.ASCII)

# A tuple of more values is a collection of records, one of fewer is a structure.
_LONGEST_STRUCTURE = 4


def result_kind(result: object) -> ResultKind:
    """What a result can show about the rows that were needed for it."""
    if isinstance(result, bool):
        return ResultKind.YES_OR_NO
    if result is None:
        return ResultKind.OPAQUE
    short = isinstance(result, tuple) and len(result) <= _LONGEST_STRUCTURE
    if isinstance(result, (*_PLAIN, Mapping)) or short:
        return ResultKind.SUMMARY
    if not isinstance(result, Sequence | Set):
        return ResultKind.OPAQUE
    if result and all(type(each) is int for each in result):
        return ResultKind.KEYS
    return ResultKind.FIGURES if _holds_a_number(result) else ResultKind.RECORDS


def _holds_a_number(value: object) -> bool:
    if isinstance(value, int | float | Decimal):
        return not isinstance(value, bool)
    if isinstance(value, str | bytes):
        return False
    if isinstance(value, Mapping):
        value = list(value.values())
    return isinstance(value, Sequence | Set | Row) and any(map(_holds_a_number, value))


def characters_in(value: object) -> int:
    """The characters of all texts in a value."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return sum(map(characters_in, value)) if isinstance(value, Sequence | Set | Row) else 0


def figures_in(value: object) -> float:
    """The sum of all numbers and days in a value, also of those in its texts."""
    if isinstance(value, str):
        return float(sum(map(int, _WHOLE_NUMBER.findall(value))))
    if isinstance(value, date):
        return float(value.toordinal())
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float | Decimal):
        try:
            return abs(float(value)) if not isinstance(value, bool) else 0.0
        except (OverflowError, ValueError):  # a large whole number, a signalling NaN
            return 0.0
    if isinstance(value, Mapping):
        value = list(value.values())
    return sum(map(figures_in, value)) if isinstance(value, Sequence | Set | Row) else 0.0


def records_in(result: object) -> int | None:
    """Count the records in a result; None if the result does not show them.

    A number is the count itself. In a collection, every element is a record. A tuple, row or
    mapping among them is one record, and the elements of a collection inside it are further ones.
    A result that holds an object of another class gives None.
    """
    # A bool is an int in Python, but it counts nothing: it says whether something was found.
    if isinstance(result, int) and not isinstance(result, bool):
        return result
    if isinstance(result, str | bytes) or not isinstance(result, Mapping | Sequence | Set):
        return None
    elements = result.values() if isinstance(result, Mapping) else result
    try:
        return sum(map(_records, elements))
    except _OpaqueError:
        return None


class _OpaqueError(Exception):
    """The result holds an object whose records cannot be counted.

    An ORM instance is one: it holds the children that it loaded, and its attributes do not show
    whether it did.
    """


def _records(value: object) -> int:
    if isinstance(value, _PLAIN):
        return 1
    if isinstance(value, _RECORD):
        return 1 + sum(map(_records_in_field, _fields(value)))
    return _records_in_collection(value)


def _records_in_field(value: object) -> int:
    """Count the records inside one field of a record. The field itself is a part of its record."""
    if isinstance(value, _PLAIN):
        return 0
    if isinstance(value, _RECORD):
        return sum(map(_records_in_field, _fields(value)))
    return _records_in_collection(value)


def _records_in_collection(value: object) -> int:
    if isinstance(value, Sequence | Set):
        return sum(map(_records, value))
    raise _OpaqueError


def _fields(record: object) -> Sequence[object]:
    if isinstance(record, Mapping):
        return list(record.values())
    return list(record) if isinstance(record, tuple | Row) else []
