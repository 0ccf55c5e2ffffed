"""How many records an action emitted, going by what it returned."""

from collections.abc import Mapping, Sequence, Set
from datetime import date, time, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Row

_PLAIN = (str, bytes, int, float, Decimal, date, time, timedelta, UUID, type(None))
_RECORD = (tuple, Row, Mapping)


def records_in(result: object) -> int | None:
    """The number of records in a result; None if that cannot be told.

    A number says it itself. A collection has its elements; a tuple, row or mapping among them is
    one record, and what is listed inside it comes on top. Objects of other classes may hold more
    than meets the eye (an ORM instance its loaded children): of those, nothing can be told.
    """
    if isinstance(result, int) and not isinstance(result, bool):
        return result
    if isinstance(result, str | bytes) or not isinstance(result, Mapping | Sequence | Set):
        return None
    elements = result.values() if isinstance(result, Mapping) else result
    try:
        return sum(_records(each) for each in elements)
    except _OpaqueError:
        return None


class _OpaqueError(Exception):
    """An object that may hold records out of sight."""


def _records(value: object) -> int:
    if isinstance(value, _PLAIN):
        return 1
    if isinstance(value, _RECORD):
        return 1 + sum(_records_in_field(each) for each in _fields(value))
    return _listed(value)


def _records_in_field(value: object) -> int:
    """A field is part of its record; only what is listed in it are further ones."""
    if isinstance(value, _PLAIN):
        return 0
    if isinstance(value, _RECORD):
        return sum(_records_in_field(each) for each in _fields(value))
    return _listed(value)


def _listed(value: object) -> int:
    if isinstance(value, Sequence | Set):
        return sum(_records(each) for each in value)
    raise _OpaqueError


def _fields(record: object) -> Sequence[object]:
    if isinstance(record, Mapping):
        return list(record.values())
    return list(record) if isinstance(record, tuple | Row) else []
