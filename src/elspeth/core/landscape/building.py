"""Fetched rows -> checked records: every value is one that an export may carry, or an error.

Rows come in chunks. A chunk of plain rows, as nearly every chunk is, is checked and built column
by column, in a few calls into C for a thousand values. Any other chunk is built row by row by the
exact rules, which get along with an unusual row or name the one that may not be exported. A
property test holds both ways equal.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import repeat
from math import isfinite
from types import NoneType
from typing import Any, TypeAlias

from sqlalchemy import Column, DateTime, Float, Integer

from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.landscape.records import FetchedRow, Record, RecordType
from elspeth.core.landscape.rules import exported_values, isoformat

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
