"""Check fetched rows and build records from them; an error names a value that must not be exported.

Rows come in chunks and take one of two paths. A plain chunk is checked and built column by column.
Any other chunk is built row by row with exact rules, which accept an unusual row or name the
refused value. A property test checks that both paths give the same records.
"""

# The column path exists for speed, and nearly every chunk takes it: a few calls into C check a
# thousand values, which takes half of the time of one dict and one encoder call for each record
# (docs/performance.md, "Where the time goes"). It may refuse too much, never too little.

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

Values: TypeAlias = Sequence[Any]
"""The values of one column over the rows of a chunk."""

# A timestamp as SQLAlchemy stores it on SQLite, with every digit replaced by zero.
_STORED_TIMESTAMP = b"0000-00-00 00:00:00.000000"
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


class RecordBuilder:
    """Builds the records of one type for one run, from rows of `record_type.columns`."""

    def __init__(self, record_type: RecordType, run_id: str) -> None:
        self.record_type = record_type
        self.run_id = run_id
        self._type_check = _TypeCheck(record_type)
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

        Raises:
            CorruptAuditDataError: A row must not be exported. It is raised after the records before
                it are consumed.
        """
        columns = self.plain_columns(rows)
        if columns is None:
            return map(self.build_one, rows)
        # dict(zip(...)) through map: no Python bytecode runs for a single record.
        values = zip(repeat(self.record_type.name), repeat(self.run_id), *columns, strict=False)
        return map(dict, map(zip, repeat(self.record_type.keys), values))

    def build_one(self, row: FetchedRow) -> Record:
        """Return the record of one row, by the exact rules.

        Raises:
            CorruptAuditDataError: The row must not be exported.
        """
        values = exported_values(self.record_type, self.run_id, row)
        keys = self.record_type.keys
        return dict(zip(keys, (self.record_type.name, self.run_id, *values), strict=True))

    def plain_columns(self, rows: Sequence[FetchedRow]) -> list[Values] | None:
        """Return the exported values column by column, or None when a row needs the exact rules.

        Args:
            rows: At least one row.
        """
        # Types come first: set membership and the conversions below rely on them.
        columns: list[Values] = list(zip(*rows, strict=True))
        if not self._type_check.accepts(columns):
            return None
        if not all(allowed.issuperset(columns[at]) for at, allowed in self._enums.items()):
            return None
        for position, convert in self._conversions:
            converted = convert(columns[position])
            if converted is None:
                return None
            columns[position] = converted
        return columns


class _TypeCheck:
    """Accepts chunks whose values have the types of their columns, with NULL only where allowed."""

    # It checks patterns: the types of a row's values, and the row's status if the rules depend on
    # it. Millions of rows have a handful of patterns. Accepted patterns are kept, so the usual cost
    # of a chunk is one set difference.

    def __init__(self, record_type: RecordType) -> None:
        self._record_type = record_type
        self._allowed = [_column_types(column) for column in record_type.columns]
        self._by_status = bool(record_type.required_when)
        self._accepted: set[tuple[Any, ...]] = set()

    def accepts(self, columns: Sequence[Values]) -> bool:
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
        empty = self._record_type.null_when.get(status, ())
        required = self._record_type.required_when.get(status, ())
        return all(types[name] is NoneType for name in empty) and not any(
            types[name] is NoneType for name in required
        )


def _column_types(column: Column[Any]) -> frozenset[type]:
    match column.type:
        case Integer():
            types: frozenset[type] = frozenset({int})
        case Float():
            types = frozenset({float})
        case DateTime():
            types = frozenset({str, datetime})  # text from SQLite, datetime from PostgreSQL
        case _:
            types = frozenset({str})
    return types | {NoneType} if column.nullable else types


def _integers_in_range(column: Values) -> Values | None:
    # Two calls into C for a column; a comparison of single values would be Python bytecode.
    present = [value for value in column if value is not None]
    if present and (max(present) > MAX_INTEGER or min(present) < -MAX_INTEGER):
        return None
    return column


def _finite_floats(column: Values) -> Values | None:
    return column if all(value is None or isfinite(value) for value in column) else None


def _timestamps(column: Values) -> Values | None:
    present = [value for value in column if value is not None]
    try:
        # A column that mixes text and datetime takes the slower path: a driver returns one of them.
        rewritten = set(map(type, present)) == {str} and _rewrite_stored(present)
        converted = iter(rewritten or map(isoformat, present))
        return [None if value is None else next(converted) for value in column]
    except (ValueError, OverflowError):
        return None


def _rewrite_stored(texts: Sequence[str]) -> Sequence[str] | None:
    """Convert SQLite's timestamps to ISO 8601, or return None when one has another form.

    Raises:
        ValueError: A text has the right form but is not a timestamp, such as month 13.
    """
    # For these texts `datetime.isoformat` only replaces the blank by a T, and takes ten times as
    # long as one check of the form of a whole chunk. It omits a fraction of zero, so a chunk with
    # such a fraction is left to it.
    together = "\n".join(texts).encode()
    forms = (_STORED_TIMESTAMP + b"\n") * (len(texts) - 1) + _STORED_TIMESTAMP
    if together.translate(_DIGITS_TO_ZERO) != forms or b".000000" in together:
        return None
    # The form alone admits month 13. Parsing is cheap; it is formatting that takes long.
    for text in texts:
        datetime.fromisoformat(text)
    return together.replace(b" ", b"T").decode().split("\n")


_CONVERSIONS: dict[type, Callable[[Values], Values | None]] = {
    Integer: _integers_in_range,
    Float: _finite_floats,
    DateTime: _timestamps,
}
"""By column type: converts a column, or returns None when it needs the exact rules."""


def exported_values(record_type: RecordType, run_id: str, row: FetchedRow) -> list[Any]:
    """Return the values of one row's record by the exact rules.

    Args:
        record_type: The type of the record.
        run_id: The exported run, which identifies the row of `runs`.
        row: The values of `record_type.columns`.

    Returns:
        One value a field, in the order of `record_type.fields`.

    Raises:
        CorruptAuditDataError: A value must not be exported. The error names the first such value
            by table, primary key and column.
    """
    stored = dict(zip(record_type.fields, row, strict=True))
    status = str(stored.get("status"))
    required = record_type.required_when.get(status, ())
    empty = record_type.null_when.get(status, ())
    for column in record_type.columns:
        value = stored[column.name]
        problem = _problem(column, value)
        if value is None and column.name in required:
            problem = errors.null_in_state(status)
        elif value is not None and column.name in empty:
            problem = errors.not_null_in_state(status)
        elif value is not None and problem is None:
            problem = _enum_problem(record_type, column, value)
        if problem is not None:
            key = {part: stored.get(part, run_id) for part in record_type.primary_key}
            raise CorruptAuditDataError(record_type.table.name, key, column.name, problem)
        if value is not None and isinstance(column.type, DateTime):
            stored[column.name] = isoformat(value)
    return list(stored.values())


def isoformat(value: str | datetime) -> str:
    """Return a stored timestamp as ISO 8601 text; one with an offset is converted to UTC first.

    Raises:
        ValueError: The text is not a timestamp.
        OverflowError: The timestamp does not exist in UTC, at the ends of Python's years.
    """
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def _problem(column: Column[Any], value: object) -> str | None:
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
    # SQLite stores a value of any type in any column. `type() is`, since bool is a subclass of int.
    if type(value) is not int:
        return errors.NOT_AN_INTEGER
    return None if abs(value) <= MAX_INTEGER else errors.TOO_LARGE


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
