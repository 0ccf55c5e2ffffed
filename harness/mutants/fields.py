"""Operators that change one field of one record type.

Fields that a statement reads are changed in its select list, so that the design's own checks,
signatures and hashes work on the changed value. Fields that Python makes, and changes of a value's
type, are changed in the record, before it is signed.
"""

import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Float,
    Integer,
    Select,
    String,
    case,
    cast,
    func,
    literal,
    null,
)

from elspeth.core.landscape.export.record_types import RECORD_TYPES, Record, RecordType
from harness.mutants.designs import Design, is_made_of
from harness.mutants.mutant import (
    SQL_FUNCTIONS,
    Mutant,
    RecordChange,
    changes_records,
    rewrites_statement,
)
from harness.mutants.query import Key, Query

CUT_LENGTHS = (255, 1_000, 4_096)
"""The lengths to which texts are cut, besides the length of the column."""

LARGEST_32_BITS = 2**31 - 1


def field_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of the fields of a design; designs take turns, operator by operator."""
    return (each for each in _mutants(design) if is_made_of(design, each.operator, each.part))


def _mutants(design: Design) -> Iterator[Mutant]:
    for record_type in RECORD_TYPES:
        for column in record_type.columns:
            for operator, place, does, expression in _read_differently(record_type, column):
                yield Mutant(
                    operator,
                    design.name,
                    "/".join(filter(None, (record_type.table.name, column.name, place))),
                    f"{record_type.name}.{column.name} {does}",
                    rewrites_statement(
                        record_type,
                        partial(
                            _read,
                            position=record_type.position(column.name),
                            expression=expression,
                        ),
                    ),
                )
            for operator, does, value in _python_values(record_type, column):
                yield Mutant(
                    operator,
                    design.name,
                    f"{record_type.table.name}/{column.name}",
                    f"{record_type.name}.{column.name} {does}",
                    changes_records(record_type, partial(_change, name=column.name, value=value)),
                )
        for operator, does, change in _record_changes(record_type):
            yield Mutant(
                operator,
                design.name,
                record_type.table.name,
                f"{record_type.name}{does}",
                changes_records(record_type, change),
            )


def _read(sent: Select[Any], position: int, expression: Key) -> Select[Any]:
    return Query.of(sent).with_column(position, expression)


# Values as a statement reads them.


def _read_differently(
    record_type: RecordType, column: Column[Any]
) -> Iterator[tuple[str, str, str, Key]]:
    """Yield an operator, its place in the field, what the field does, and what is read instead."""
    enum = record_type.enums.get(column.name)
    neighbours = _neighbours(column)
    nearest = next((each for each in neighbours.values() if each is not None), None)
    if nearest is not None:
        yield "read-neighbour", nearest.name, f"is read from {nearest.name}", nearest
    for place, other in neighbours.items():
        if other is not None and column.nullable:
            filled = func.coalesce(column, other)
            does = f"is read from {other.name} when it is NULL"
            yield "coalesce-neighbour", f"{place},{other.name}", does, filled
    if enum is not None:
        yield from _read_enum(column, [str(each.value) for each in enum])
    else:
        yield from _read_by_type(column)
    if column.nullable:
        yield "null-for-value", "", "is always NULL", null()
        for status in _counted_statuses(record_type, column):
            is_status = record_type.table.c.status == status
            does = f"is NULL with status {status}"
            yield "null-in-status", status, does, case((is_status, null()), else_=column)


def _neighbours(column: Column[Any]) -> dict[str, Column[Any] | None]:
    """Return the nearest columns of the same type in a table, before and after one."""
    columns = list(column.table.c)
    position = columns.index(column)

    def first(found: list[Column[Any]]) -> Column[Any] | None:
        return next((each for each in found if _kind(each) is _kind(column)), None)

    return {"before": first(columns[:position][::-1]), "after": first(columns[position + 1 :])}


def _kind(column: Column[Any]) -> type:
    kinds = (Integer, Float, DateTime)
    return next((kind for kind in kinds if isinstance(column.type, kind)), String)


def _counted_statuses(record_type: RecordType, column: Column[Any]) -> Iterator[str]:
    """Yield the statuses with which a record exports the column's stored value."""
    for member in record_type.enums.get("status", ()):
        if column.name not in record_type.null_when.get(member.value, ()):
            yield member.value


def _read_enum(column: Column[Any], values: list[str]) -> Iterator[tuple[str, str, str, Key]]:
    for value, other in zip(values, [*values[1:], values[0]], strict=True):
        changed = case((column == value, literal(other)), else_=column)
        yield "mistake-enum-value", value, f"is {other} instead of {value}", changed
    # The design refuses a value that is not in the enum. With these it exports a stored value that
    # it has to refuse.
    yield "strip", "", "loses blanks at its ends", func.trim(column)
    yield "lower", "", "is in lower case", func.lower(column)
    known = case((column.in_(values), column), else_=literal(values[0]))
    yield "enum-default", "", f"is {values[0]} when the stored value is unknown", known


def _read_by_type(column: Column[Any]) -> Iterator[tuple[str, str, str, Key]]:
    match column.type:
        case Integer():
            yield "constant", "", "is always 0", literal(0)
            yield "absolute", "", "has no sign", func.abs(column)
            yield "not-negative", "", "is 0 when it is negative", func.max(column, 0)
            at_most = func.min(column, LARGEST_32_BITS)
            yield "cut-to-32-bits", "", f"is at most {LARGEST_32_BITS:,}", at_most
            yield from _nulls(column, "zero", 0)
        case Float():
            yield "constant", "", "is always 0.0", literal(0.0)
            yield "absolute", "", "has no sign", func.abs(column)
            for digits in (3, 6):
                rounded = func.round(column, digits)
                yield "round", str(digits), f"is rounded to {digits} digits", rounded
            whole = cast(cast(column, Integer), Float)
            yield "cast-to-integer", "", "loses its fraction", whole
            yield (
                "cast-to-text",
                "",
                "is read through text of 15 digits",
                func.mutant_15_digits(column),
            )
            yield from _nulls(column, "zero", 0.0)
        case DateTime():
            for unit, length, end in (("second", 19, ".000000"), ("millisecond", 23, "000")):
                cut = func.substr(column, 1, length).op("||")(end)
                yield "cut-time", unit, f"is cut to the {unit}", cut
            yield "shift-time", "", "is an hour later", func.mutant_hour_later(column)
        case String() as text:
            yield "constant", "", "is always the same text", literal("constant")
            yield from _read_text(column, text)
            yield from _nulls(column, "empty", "")


def _nulls(column: Column[Any], zero: str, value: Any) -> Iterator[tuple[str, str, str, Key]]:
    # A design refuses NULL where the schema does, so these operators change nullable columns only.
    if column.nullable:
        filled, emptied = func.coalesce(column, literal(value)), func.nullif(column, literal(value))
        yield f"{zero}-for-null", "", f"is {value!r} instead of NULL", filled
        yield f"null-for-{zero}", "", f"is NULL instead of {value!r}", emptied


def _read_text(column: Column[Any], text: String) -> Iterator[tuple[str, str, str, Key]]:
    # Columns take turns with changes that differ little.
    turn = list(column.table.c).index(column)
    if turn % 2:
        yield "strip", "", "loses blanks at its ends", func.trim(column)
    else:
        yield "rstrip", "", "loses blanks at its end", func.rtrim(column)
    yield "lower", "", "is in lower case", func.mutant_lower(column)
    yield "normalise", "", "is normalised to NFC", func.mutant_nfc(column)
    yield "cut-at-nul", "", "ends before its first NUL", func.mutant_before_nul(column)
    width = text.length or 0
    # SQLite stores a text of any length in any column. The declared one is no limit.
    lengths = [width - turn % 2] if width else []
    if not width or width > 64:
        lengths.append(CUT_LENGTHS[turn % len(CUT_LENGTHS)])
    for length in lengths:
        cut = func.substr(column, 1, length)
        yield "cut", str(length), f"is cut to {length:,} characters", cut


def _text(function: Callable[[str], str]) -> Callable[[Any], Any]:
    """Return a function that changes texts and leaves other values alone."""
    return lambda value: function(value) if isinstance(value, str) else value


SQL_FUNCTIONS.update(
    mutant_lower=_text(str.lower),
    mutant_nfc=_text(partial(unicodedata.normalize, "NFC")),
    mutant_before_nul=_text(lambda text: text.partition("\0")[0]),
    mutant_15_digits=lambda value: value if value is None else float(f"{value:.15g}"),
    mutant_hour_later=_text(
        lambda text: (datetime.fromisoformat(text) + timedelta(hours=1)).isoformat(
            " ", "microseconds"
        )
    ),
)


# Values as Python makes them.


def _python_values(
    record_type: RecordType, column: Column[Any]
) -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """Yield an operator, what the field does, and the change of its exported value."""
    if column.name in record_type.enums:
        yield "wrong-case", "is in upper case", str.upper
        enum = record_type.enums[column.name]
        yield "enum-name", "is the text of the enum's member", lambda value: str(enum(value))
        return
    match column.type:
        case Integer():
            yield "float-for-integer", "is a float", _unless_null(float)
            yield "text-for-integer", "is a text", _unless_null(str)
            if not column.nullable:
                yield "null-for-zero", "is null instead of 0", lambda value: value or None
        case Float():
            yield "integer-for-float", "is an integer when it is whole", _unless_null(_whole)
            yield "text-for-float", "is a text", _unless_null(str)
        case DateTime():
            yield "keep-fraction", "has a fraction of zero", _unless_null(_with_fraction)
            yield "add-offset", "ends with +00:00", _unless_null(lambda value: f"{value}+00:00")
            yield "blank-for-t", "has a blank for T", _unless_null(lambda v: v.replace("T", " "))
        case String() if not column.nullable:
            yield "null-for-empty", "is null instead of empty", lambda value: value or None


def _unless_null(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else function(value)


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _with_fraction(text: str) -> str:
    return datetime.fromisoformat(text).isoformat(timespec="microseconds")


def _change(record: Record, name: str, value: Callable[[Any], Any]) -> Record:
    record[name] = value(record[name])
    return record


def _record_changes(record_type: RecordType) -> Iterator[tuple[str, str, RecordChange]]:
    """Yield an operator, what the record does, and the change, for fields that no column stores."""
    for operator, does, function in (
        ("strip-run-id", " has the run id without blanks at its ends", str.strip),
        ("lower-run-id", " has the run id in lower case", str.lower),
        ("cut-run-id", " has the first 32 characters of the run id", lambda text: text[:32]),
        ("normalise-run-id", " has the run id in NFC", partial(unicodedata.normalize, "NFC")),
    ):
        yield operator, does, partial(_change, name="run_id", value=function)
    yield "hyphenate-record-type", " has another record type", _hyphenated
    yield "swap-keys", " has its last two keys in the other order", _swap_last_keys
    yield "drop-field", " lacks its last field", _without_last
    if any(column.nullable for column in record_type.columns):
        yield "drop-null-fields", " lacks the fields that are null", _without_nulls


def _hyphenated(record: Record) -> Record:
    return record | {"record_type": f"{record['record_type']}-"}


def _swap_last_keys(record: Record) -> Record:
    *rest, first, second = record.items()
    return dict([*rest, second, first])


def _without_last(record: Record) -> Record:
    return dict(list(record.items())[:-1])


def _without_nulls(record: Record) -> Record:
    return {name: value for name, value in record.items() if value is not None}
