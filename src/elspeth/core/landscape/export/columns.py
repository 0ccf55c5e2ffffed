"""Fetched rows -> checked records: every value is one that an export may carry, or an error.

Rows come in chunks. A chunk of plain rows, as nearly every chunk is, is checked and built column
by column, in a few calls into C for a thousand values. Any other chunk is built row by row by the
exact rules, which get along with an unusual row or name the one that may not be exported. A
property test holds both ways equal.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from math import isfinite
from types import NoneType
from typing import Any, TypeAlias

from sqlalchemy import Column, DateTime, Float, Integer

from elspeth.contracts import errors
from elspeth.contracts.errors import MAX_INTEGER, CorruptAuditDataError
from elspeth.core.landscape.export.record_types import FetchedRow, Record, RecordType

# Which stored values an export may carry, exactly: one row at a time, or an error naming it.


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


Values: TypeAlias = Sequence[Any]
"""The values of one field over the rows of a chunk."""

_STORED_FORM = b"0000-00-00 00:00:00.000000"
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


class RecordBuilder:
    """Builds the records of one type for one run, from rows of `record_type.columns`."""

    def __init__(self, record_type: RecordType, run_id: str) -> None:
        self.record_type = record_type
        self.run_id = run_id
        self._plain_types = _PlainTypes(record_type)
        self._enums = {
            record_type.position(name): frozenset(member.value for member in enum)
            for name, enum in record_type.enums.items()
        }
        self._conversions = [
            (position, convert)
            for kind, convert in _CONVERSIONS.items()
            for position in map(record_type.position, record_type.names_of(kind))
        ]

    def build(self, rows: Sequence[FetchedRow]) -> Iterable[Record]:
        """Return the records of a chunk of rows, in order.

        Raises CorruptAuditDataError, where its turn comes, for a row no export may carry.
        """
        columns = self.plain_columns(rows)
        if columns is None:
            return map(self.build_one, rows)
        values = zip(repeat(self.record_type.name), repeat(self.run_id), *columns, strict=False)
        return map(dict, map(zip, repeat(self.record_type.keys), values))

    def build_one(self, row: FetchedRow) -> Record:
        """Return the record of one row, by the exact rules."""
        values = exported_values(self.record_type, self.run_id, row)
        return dict(
            zip(
                self.record_type.keys,
                (self.record_type.name, self.run_id, *values),
                strict=True,
            )
        )

    def plain_columns(self, rows: Sequence[FetchedRow]) -> list[Values] | None:
        """Return the exported values field by field, or None where a row is not plain."""
        columns: list[Values] = list(zip(*rows, strict=True))
        if not self._plain_types.accept(columns):
            return None
        if not all(allowed.issuperset(columns[at]) for at, allowed in self._enums.items()):
            return None
        for position, convert in self._conversions:
            converted = convert(columns[position])
            if converted is None:
                return None
            columns[position] = converted
        return columns


class _PlainTypes:
    """Accepts the rows whose values are of their columns' types, NULLs where they may be.

    What a row is made of, its status and its values' types, is judged once and remembered: there
    are a handful of such patterns in millions of rows.
    """

    def __init__(self, record_type: RecordType) -> None:
        self._record_type = record_type
        self._allowed = [_plain_types(column) for column in record_type.columns]
        self._by_status = bool(record_type.required_when)
        self._accepted: set[tuple[Any, ...]] = set()

    def accept(self, columns: Sequence[Values]) -> bool:
        types: list[Iterable[Any]] = [map(type, column) for column in columns]
        if self._by_status:
            types.append(columns[self._record_type.position("status")])
        patterns = set(zip(*types, strict=True)) - self._accepted
        if not all(map(self._is_plain, patterns)):
            return False
        self._accepted |= patterns
        return True

    def _is_plain(self, pattern: tuple[Any, ...]) -> bool:
        types = dict(zip(self._record_type.fields, pattern, strict=False))
        if not all(map(frozenset.__contains__, self._allowed, types.values())):
            return False
        status = pattern[-1] if self._by_status else ""
        ignored = self._record_type.ignored_when.get(status, ())
        required = self._record_type.required_when.get(status, ())
        return all(types[name] is NoneType for name in ignored) and not any(
            types[name] is NoneType for name in required
        )


def _plain_types(column: Column[Any]) -> frozenset[type]:
    match column.type:
        case Integer():
            plain: frozenset[type] = frozenset({int})
        case Float():
            plain = frozenset({float})
        case DateTime():
            plain = frozenset({str, datetime})
        case _:
            plain = frozenset({str})
    return plain | {NoneType} if column.nullable else plain


def _integers_in_range(column: Values) -> Values | None:
    present = [value for value in column if value is not None]
    if present and (max(present) > MAX_INTEGER or min(present) < -MAX_INTEGER):
        return None
    return column


def _finite_floats(column: Values) -> Values | None:
    return column if all(value is None or isfinite(value) for value in column) else None


def _timestamps(column: Values) -> Values | None:
    present = [value for value in column if value is not None]
    try:
        rewritten = set(map(type, present)) == {str} and _as_stored(present)
        converted = iter(rewritten or map(isoformat, present))
        return [None if value is None else next(converted) for value in column]
    except (ValueError, OverflowError):
        return None


def _as_stored(texts: Sequence[str]) -> Sequence[str] | None:
    """Rewrite what SQLAlchemy stores in SQLite, unless it is of another form or ends in zeros.

    `datetime.isoformat` takes ten times as long as to make sure that all it would do is to put
    a T in the place of a blank. Raises ValueError where a text is no timestamp.
    """
    together = "\n".join(texts).encode()
    forms = (_STORED_FORM + b"\n") * (len(texts) - 1) + _STORED_FORM
    if together.translate(_DIGITS_TO_ZERO) != forms or b".000000" in together:
        return None
    for text in texts:
        datetime.fromisoformat(text)
    return together.replace(b" ", b"T").decode().split("\n")


_CONVERSIONS: dict[type, Callable[[Values], Values | None]] = {
    Integer: _integers_in_range,
    Float: _finite_floats,
    DateTime: _timestamps,
}
