"""Which stored values an export may carry, exactly: one row at a time, or an error naming it."""

from datetime import UTC, datetime
from math import isfinite
from typing import Any

from sqlalchemy import Column, DateTime, Float, Integer

from elspeth.contracts import errors
from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape.records import FetchedRow, RecordType


def exported_values(record_type: RecordType, run_id: str, row: FetchedRow) -> list[Any]:
    """Return what a record of this row holds, field by field.

    Raises CorruptAuditDataError, naming table, primary key and column, for the first value that
    no export may carry.
    """
    stored = dict(zip(record_type.fields, row, strict=True))
    status = str(stored.get("status"))
    required = record_type.required_when.get(status, ())
    for name in record_type.ignored_when.get(status, ()):
        stored[name] = None
    for column in record_type.columns:
        value = stored[column.name]
        problem = _problem(column, value)
        if value is None and column.name in required:
            problem = errors.null_in_state(status)
        elif value is not None and problem is None:
            problem = _enum_problem(record_type, column, value)
        if problem is not None:
            key = {part: stored.get(part, run_id) for part in record_type.primary_key}
            raise CorruptAuditDataError(record_type.table.name, key, column.name, problem)
        if value is not None and isinstance(column.type, DateTime):
            stored[column.name] = isoformat(value)
    return list(stored.values())


def isoformat(value: str | datetime) -> str:
    """ISO 8601 text of a timestamp as a database gives it; one with an offset goes to UTC first.

    Raises ValueError for text that is no timestamp, OverflowError for one that UTC cannot hold.
    """
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def _problem(column: Column[Any], value: object) -> str | None:
    """What is wrong with a value as one of its column, if anything."""
    if value is None:
        return None if column.nullable else errors.IS_NULL
    match column.type:
        case Integer():
            return _integer_problem(value)
        case Float():
            return _float_problem(value)
        case DateTime():
            return _timestamp_problem(value)
        case _:
            return None if type(value) is str else errors.NOT_TEXT


def _integer_problem(value: object) -> str | None:
    if type(value) is not int:
        return errors.NOT_AN_INTEGER
    return None if abs(value) <= errors.MAX_INTEGER else errors.TOO_LARGE


def _float_problem(value: object) -> str | None:
    if type(value) is not float:
        return errors.NOT_A_NUMBER
    return None if isfinite(value) else errors.NOT_FINITE


def _timestamp_problem(value: object) -> str | None:
    if not isinstance(value, str | datetime):
        return errors.NOT_A_TIMESTAMP
    try:
        isoformat(value)
    except (ValueError, OverflowError):
        return errors.NOT_A_TIMESTAMP
    return None


def _enum_problem(record_type: RecordType, column: Column[Any], value: object) -> str | None:
    enum = record_type.enums.get(column.name)
    if enum is None or value in {member.value for member in enum}:
        return None
    return errors.not_a_member(value, enum.__name__)
