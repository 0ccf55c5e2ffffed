"""The values that generated rows take: few for a column, so that they tie, and unusual ones."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import count
from math import isfinite
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column
from sqlalchemy import types as sql
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeDecorator, TypeEngine

from querygrowth.rewrites.code_constants import constants_in_sql

_TEXTS = (
    "a",
    "b",
    "B",
    "",
    "a ",
    "é",
    "Ä",
    "%",
    "o'x",
    "10",
    "9",
    "_a",
    "ß",
    "日本",
    "a\nb",
    "\tb",
    '"q"',
)
_NUMBERS = (1, 2, 0, 3, -1, 10, 5, 100, 7, -20)
# Sums of these floats are exact, so that they do not depend on the order of the rows.
_FLOATS = (1.0, 2.0, 0.0, 0.5, -1.0, 2.25, 10.0, 99.75, -0.5)
_DAYS = (
    date(2024, 1, 1),
    date(2024, 1, 2),
    date(2024, 2, 29),
    date(2023, 12, 31),
    date(2020, 6, 15),
    date(1999, 1, 1),
)
_TIMES = (time(0, 0), time(12, 30), time(23, 59, 59))
_MOMENTS = (
    *(datetime(2024, 1, 1, hour) for hour in (0, 12)),
    datetime(2024, 1, 2),
    datetime(2024, 1, 1, 23, 59, 59, 999999),
    datetime(2023, 12, 31, 12),
    datetime(2024, 2, 29, 8, 30),
)
_JSON: tuple[object, ...] = ({}, {"a": 1}, [], [1, "b"], "a", 0, {"a": None, "b": {"c": []}})
_LARGEST: dict[type[TypeEngine[Any]], int] = {
    sql.SmallInteger: 2**15 - 1,
    sql.BigInteger: 2**63 - 1,
}
_CODED_LIST = re.compile(r"^[%_]+|[%_]+$")


class UnknownTypeError(ValueError):
    """No value is known for the type of a column."""


def pool_of(column: Column[Any], constants: Sequence[object]) -> list[object]:
    """The values to take for a column, common ones first, without NULL.

    Args:
        column: The column.
        constants: What the functions compare with; values of the column's type are added.

    Raises:
        UnknownTypeError: Its type is not known.
    """
    kind = column.type
    impl = _implementation(kind)
    if isinstance(impl, sql.Enum):
        return [*impl.enum_class] if impl.enum_class else [*impl.enums]
    allowed, bounds = _checked(column)
    found = [*allowed] if allowed else [*_of_type(impl)]
    if not allowed:
        found = [*_fitting(impl, (*constants, *bounds)), *found]
    if isinstance(kind, TypeDecorator):
        found = [*_decorated(kind, found)]
    if not found:
        raise UnknownTypeError(f"{column.table.name}.{column.name} has the type {kind!r}")
    return [*{(type(value), repr(value)): value for value in found}.values()]


def fresh_values(column: Column[Any]) -> Iterator[object]:
    """Ever new values, for a column that must not repeat any; none for types that cannot have."""
    impl = _implementation(column.type)
    for number in count(1):
        if isinstance(impl, sql.Enum | sql.Boolean):
            return
        if isinstance(impl, sql.Integer | sql.Numeric):
            yield number if isinstance(impl, sql.Integer) else _number(impl, number)
        elif isinstance(impl, sql.String):
            text = f"v{number}"
            if impl.length and len(text) > impl.length:
                return
            yield text
        elif isinstance(impl, sql.DateTime):
            yield datetime(2022, 1, 1) + timedelta(days=number)
        elif isinstance(impl, sql.Date):
            yield date(2022, 1, 1) + timedelta(days=number)
        elif isinstance(impl, sql.Uuid):
            yield _uuid(impl, number)
        elif isinstance(impl, sql.LargeBinary):
            yield b"v%d" % number
        else:
            return


def _implementation(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return kind


def _number(impl: sql.Numeric[Any], number: int) -> object:
    return Decimal(number) if impl.asdecimal else float(number)


def _uuid(impl: sql.Uuid[Any], number: int) -> object:
    made = UUID(int=number)
    return made if impl.as_uuid else str(made)


def _of_type(impl: TypeEngine[Any]) -> Iterable[object]:
    if isinstance(impl, sql.Boolean):
        return (True, False)
    if isinstance(impl, sql.Integer):
        return _NUMBERS
    if isinstance(impl, sql.Float):
        return map(Decimal, map(str, _FLOATS)) if impl.asdecimal else _FLOATS
    if isinstance(impl, sql.Numeric):
        return _decimals(impl)
    if isinstance(impl, sql.DateTime):
        zone = timezone.utc if impl.timezone else None
        return [moment.replace(tzinfo=zone) for moment in _MOMENTS]
    if isinstance(impl, sql.Uuid):
        return [_uuid(impl, number) for number in (1, 2, 3)]
    if isinstance(impl, sql.LargeBinary):
        return (b"a", b"", b"\x00\xff", b"A")
    if isinstance(impl, sql.ARRAY):
        items = [*_of_type(_implementation(impl.item_type))][:3]
        return [[], items[:1], items]
    simple = {sql.Date: _DAYS, sql.Time: _TIMES, sql.JSON: _JSON}
    for kind, values in simple.items():
        if isinstance(impl, kind):
            return values
    if isinstance(impl, sql.Interval):
        return (timedelta(0), timedelta(days=1), timedelta(hours=-1), timedelta(seconds=1.5))
    if isinstance(impl, sql.String):
        return [text for text in _TEXTS if len(text) <= (impl.length or 99)]
    return ()


def _decimals(impl: sql.Numeric[Any]) -> list[object]:
    scale = 2 if impl.scale is None else impl.scale
    digits = (impl.precision or 18) - scale
    values = [Decimal(str(value)) for value in _FLOATS]
    fit = [v for v in values if v == round(v, scale) and abs(v) < 10**digits]
    return [value if impl.asdecimal else float(value) for value in fit]


def _fitting(impl: TypeEngine[Any], constants: Iterable[object]) -> Iterator[object]:
    """The constants that a column can hold, with their neighbours."""
    for constant in constants:
        value: Any = constant.value if isinstance(constant, Enum) else constant
        if isinstance(impl, sql.DateTime | sql.Date) and isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(impl, sql.DateTime) and isinstance(value, date):
            moment = value if isinstance(value, datetime) else datetime.combine(value, time())
            if impl.timezone and moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            yield from (moment, moment + timedelta(days=1), moment - timedelta(seconds=1))
        elif isinstance(impl, sql.Date) and isinstance(value, date):
            day = value.date() if isinstance(value, datetime) else value
            yield from (day, day + timedelta(days=1), day - timedelta(days=1))
        elif isinstance(impl, sql.Integer) and isinstance(value, int | float | Decimal):
            largest = 2**31 - 1
            for kind, most in _LARGEST.items():
                largest = most if isinstance(impl, kind) else largest
            if isfinite(value):
                near = (int(value), int(value) + 1, int(value) - 1)
                yield from (number for number in near if abs(number) <= largest)
        elif isinstance(impl, sql.Numeric) and isinstance(value, int | float | Decimal):
            yield from _decimal_neighbours(impl, value)
        elif isinstance(impl, sql.String) and isinstance(value, str):
            bare = _CODED_LIST.sub("", value)
            variants = (bare, bare.upper(), bare.lower(), f"{bare}x", f"x{bare}")
            yield from (text for text in variants if text and len(text) <= (impl.length or 99))


def _decimal_neighbours(impl: sql.Numeric[Any], value: float | Decimal) -> Iterator[object]:
    exact = Decimal(str(value))
    if not exact.is_finite():
        return
    scale = 2 if impl.scale is None else impl.scale
    digits = (impl.precision or 18) - scale
    for near in (exact, exact + 1, exact - 1):
        if abs(near) < 10**digits and near == round(near, scale):
            yield near if impl.asdecimal else float(near)


def _decorated(kind: TypeDecorator[Any], values: Iterable[object]) -> Iterator[object]:
    """The values that the type's own binding takes."""
    try:
        wanted = kind.python_type
    except NotImplementedError:
        wanted = None
    if wanted is not None and issubclass(wanted, Enum):
        yield from wanted
        return
    for value in values:
        try:
            kind.process_bind_param(value, _dialect())
        except NotImplementedError:
            yield value
        except (StatementError, TypeError, ValueError, AttributeError, KeyError, LookupError):
            continue
        else:
            yield value


def _dialect() -> Any:
    from sqlalchemy.dialects import sqlite

    return sqlite.dialect()


def _checked(column: Column[Any]) -> tuple[list[object], list[object]]:
    """The values that CHECK constraints list for a column, and other constants in them."""
    listed: list[object] = []
    others: list[object] = []
    for constraint in column.table.constraints:
        if not isinstance(constraint, CheckConstraint):
            continue
        text = str(constraint.sqltext.compile(compile_kwargs={"literal_binds": True}))
        if not re.search(rf"\b{re.escape(column.name)}\b", text):
            continue
        found = re.search(rf"\b{re.escape(column.name)}\"?\s+IN\s*\(([^)]*)\)", text, re.IGNORECASE)
        listed += constants_in_sql(found[1]) if found and " or " not in text.lower() else []
        others += constants_in_sql(text)
    return listed, others
