"""The terms of CHECK constraints as functions of a row: operators, functions, casts, CASE."""

import datetime as dt
import fnmatch
import operator
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlglot import exp

from querygrowth.tables.condition_functions import (
    NAMED,
    SEVERAL,
    divided,
    length_of,
    subtracted,
    timedelta_of,
)

Row = Mapping[str, object]
Evaluate = Callable[[Row], Any]


class UnknownConditionError(Exception):
    """A condition has a part that cannot be evaluated here."""


def compiled(node: exp.Expression) -> Evaluate:
    """The function that evaluates a part of a parsed condition.

    Raises:
        UnknownConditionError: The part, or one below it, is not known here.
    """
    kind = type(node)
    if kind in _BINARY:
        return _binary(_BINARY[kind], compiled(node.this), compiled(node.expression))
    if kind in _UNARY:
        return _unary(_UNARY[kind], compiled(node.this))
    builder = _BUILDERS.get(kind)
    if builder is None:
        raise UnknownConditionError(kind.__name__)
    return builder(node)


def _binary(operate: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(row: Row) -> Any:
        one, other = left(row), right(row)
        if one is None or other is None:
            return None
        return operate(*_comparable(one, other))

    return evaluate


def _unary(operate: Callable[[Any], Any], inner: Evaluate) -> Evaluate:
    def evaluate(row: Row) -> Any:
        value = inner(row)
        return None if value is None else operate(value)

    return evaluate


def _comparable(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values of classes that compare, where one was written as a text."""
    if isinstance(one, str) and not isinstance(other, str):
        return _as(type(other), one), other
    if isinstance(other, str) and not isinstance(one, str):
        return one, _as(type(one), other)
    if isinstance(one, float) and isinstance(other, Decimal):
        return Decimal(repr(one)), other
    if isinstance(other, float) and isinstance(one, Decimal):
        return one, Decimal(repr(other))
    if isinstance(one, dt.datetime) != isinstance(other, dt.datetime):
        return _as_moment(one), _as_moment(other)
    return one, other


def _as_moment(value: Any) -> Any:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day)
    return value


def _as(kind: type, text: str) -> Any:
    if kind is bool:
        return {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}.get(
            text.lower(), text
        )
    if issubclass(kind, dt.datetime | dt.date | dt.time):
        return kind.fromisoformat(text)
    if issubclass(kind, int | float | Decimal | uuid.UUID):
        try:
            return kind(text)
        except InvalidOperation:
            raise ValueError(text) from None
    raise TypeError(f"{kind.__name__} and text")


def _and(node: exp.Expression) -> Evaluate:
    left, right = compiled(node.this), compiled(node.expression)

    def evaluate(row: Row) -> Any:
        one = left(row)
        if one is not None and not one:
            return False
        other = right(row)
        if other is not None and not other:
            return False
        return None if one is None or other is None else True

    return evaluate


def _or(node: exp.Expression) -> Evaluate:
    left, right = compiled(node.this), compiled(node.expression)

    def evaluate(row: Row) -> Any:
        one = left(row)
        if one:
            return True
        other = right(row)
        if other:
            return True
        return None if one is None or other is None else False

    return evaluate


def _between(node: exp.Expression) -> Evaluate:
    inner = compiled(node.this)
    low = _binary(operator.ge, inner, compiled(node.args["low"]))
    high = _binary(operator.le, inner, compiled(node.args["high"]))

    def evaluate(row: Row) -> Any:
        values = (low(row), high(row))
        return False if False in values else None if None in values else True

    return evaluate


def _one_of(inner: Evaluate, listed: Sequence[Evaluate]) -> Evaluate:
    equal = [_binary(operator.eq, inner, each) for each in listed]

    def evaluate(row: Row) -> Any:
        values = [each(row) for each in equal]
        return True if True in values else None if None in values else False

    return evaluate


def _in(node: exp.Expression) -> Evaluate:
    if not node.expressions:
        raise UnknownConditionError("IN with a query")
    return _one_of(compiled(node.this), [compiled(each) for each in node.expressions])


def _equal(node: exp.Expression) -> Evaluate:
    right = node.expression
    if isinstance(right, exp.Any):  # PostgreSQL stores IN as = ANY (ARRAY[...])
        listed = bare(right.this)
        if not isinstance(listed, exp.Array):
            raise UnknownConditionError("ANY")
        return _one_of(compiled(node.this), [compiled(each) for each in listed.expressions])
    return _binary(operator.eq, compiled(node.this), compiled(right))


def _unequal(node: exp.Expression) -> Evaluate:
    right = node.expression
    if isinstance(right, exp.All):  # PostgreSQL stores NOT IN as <> ALL (ARRAY[...])
        listed = bare(right.this)
        if not isinstance(listed, exp.Array):
            raise UnknownConditionError("ALL")
        found = _one_of(compiled(node.this), [compiled(each) for each in listed.expressions])
        return _unary(operator.not_, found)
    return _binary(operator.ne, compiled(node.this), compiled(right))


def bare(node: exp.Expression) -> exp.Expression:
    """An expression without parentheses and casts."""
    while isinstance(node, exp.Paren | exp.Cast):
        node = node.this
    return node


def _is(node: exp.Expression) -> Evaluate:
    inner, right = compiled(node.this), node.expression
    if isinstance(right, exp.Null):
        return lambda row: inner(row) is None
    if isinstance(right, exp.Boolean):
        wanted = bool(right.this)
        return lambda row: (value := inner(row)) is not None and bool(value) is wanted
    other = compiled(right)
    return lambda row: inner(row) == other(row)


def _literal(node: exp.Expression) -> Evaluate:
    value: object = literal_value(node)
    return lambda _row: value


def literal_value(node: exp.Expression) -> object:
    """The value of a literal: a text, an int or a Decimal."""
    if node.is_string:
        return node.name
    return int(node.name) if node.name.isdigit() else Decimal(node.name)


def _column(node: exp.Expression) -> Evaluate:
    name = node.name

    def evaluate(row: Row) -> Any:
        return row[name]

    return evaluate


def _cast(node: exp.Expression) -> Evaluate:
    inner, kind = compiled(node.this), node.args["to"].this
    if kind in exp.DataType.TEXT_TYPES:
        return _unary(lambda value: value if isinstance(value, str) else str(value), inner)
    if kind in exp.DataType.INTEGER_TYPES:
        return _unary(int, inner)
    if kind in exp.DataType.NUMERIC_TYPES:
        return _unary(lambda value: Decimal(str(value)), inner)
    if kind is exp.DataType.Type.INTERVAL:
        return _unary(timedelta_of, inner)
    if kind is exp.DataType.Type.DATE:
        return _unary(lambda value: _as(dt.date, value) if isinstance(value, str) else value, inner)
    return inner  # a comparison converts what it needs


def _interval(node: exp.Expression) -> Evaluate:
    number, unit = node.this, node.args.get("unit")
    if not isinstance(number, exp.Literal):
        raise UnknownConditionError(node.sql())
    try:
        value = timedelta_of(f"{number.name} {unit.name if unit is not None else ''}")
    except ValueError as error:
        raise UnknownConditionError(str(error)) from error
    return lambda _row: value


def _coalesce(node: exp.Expression) -> Evaluate:
    parts = [compiled(each) for each in (node.this, *node.expressions)]
    return lambda row: next((value for each in parts if (value := each(row)) is not None), None)


def _case(node: exp.Expression) -> Evaluate:
    subject = node.args.get("this")
    branches = [
        (
            compiled(each.this) if subject is None else _equals(subject, each.this),
            compiled(each.args["true"]),
        )
        for each in node.args["ifs"]
    ]
    otherwise = node.args.get("default")
    default = compiled(otherwise) if otherwise is not None else lambda _row: None

    def evaluate(row: Row) -> Any:
        for condition, value in branches:
            if condition(row):
                return value(row)
        return default(row)

    return evaluate


def _equals(one: exp.Expression, other: exp.Expression) -> Evaluate:
    return _binary(operator.eq, compiled(one), compiled(other))


def _like(flags: int) -> Callable[[exp.Expression], Evaluate]:
    def build(node: exp.Expression) -> Evaluate:
        return _binary(
            lambda value, pattern: bool(re.fullmatch(_like_expression(pattern), value, flags)),
            compiled(node.this),
            compiled(node.expression),
        )

    return build


def _like_expression(pattern: str) -> str:
    return "".join({"%": ".*", "_": "."}.get(each, re.escape(each)) for each in pattern)


def _regular(flags: int) -> Callable[[exp.Expression], Evaluate]:
    def build(node: exp.Expression) -> Evaluate:
        return _binary(
            lambda value, pattern: bool(re.search(pattern, value, flags)),
            compiled(node.this),
            compiled(node.expression),
        )

    return build


def _glob(node: exp.Expression) -> Evaluate:
    def matches(text: str, pattern: str) -> bool:
        return fnmatch.fnmatchcase(text, pattern.replace("[^", "[!"))

    return _binary(matches, compiled(node.this), compiled(node.expression))


def _distinct(wanted: bool) -> Callable[[exp.Expression], Evaluate]:
    def build(node: exp.Expression) -> Evaluate:
        left, right = compiled(node.this), compiled(node.expression)
        return lambda row: (left(row) == right(row)) is wanted

    return build


def _named_function(node: exp.Expression) -> Evaluate:
    name = node.name.lower()
    parts = [compiled(each) for each in node.expressions]
    if name in {"num_nonnulls", "num_nulls"}:
        nulls = name == "num_nulls"
        return lambda row: sum((each(row) is None) is nulls for each in parts)
    function = NAMED.get(name)
    if function is None or len(parts) != 1:
        raise UnknownConditionError(name)
    return _unary(function, parts[0])


def _of_several(node: exp.Expression) -> Evaluate:
    function, names = SEVERAL[type(node)]
    values = [compiled(node.args[each]) for each in names.split() if node.args.get(each)]

    def evaluate(row: Row) -> Any:
        found = [each(row) for each in values]
        return None if None in found else function(*found)

    return evaluate


_BINARY: dict[type[exp.Expression], Callable[[Any, Any], Any]] = {
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.Add: operator.add,
    exp.Sub: subtracted,
    exp.Mul: operator.mul,
    exp.Div: divided,
    exp.Mod: operator.mod,
    exp.DPipe: lambda one, other: f"{one}{other}",
    exp.Xor: lambda one, other: bool(one) != bool(other),
}
_UNARY: dict[type[exp.Expression], Callable[[Any], Any]] = {
    exp.Not: operator.not_,
    exp.Neg: operator.neg,
    exp.Length: length_of,
    exp.Lower: lambda value: value.lower(),
    exp.Upper: lambda value: value.upper(),
    exp.Trim: lambda value: value.strip(),
    exp.Abs: abs,
    exp.Paren: lambda value: value,
}
_BUILDERS: dict[type[exp.Expression], Callable[[Any], Evaluate]] = {
    exp.And: _and,
    exp.Or: _or,
    exp.EQ: _equal,
    exp.NEQ: _unequal,
    exp.Between: _between,
    exp.In: _in,
    exp.Is: _is,
    exp.Literal: _literal,
    exp.Boolean: lambda node: lambda _row: bool(node.this),
    exp.Null: lambda _node: lambda _row: None,
    exp.Column: _column,
    exp.Cast: _cast,
    exp.Interval: _interval,
    exp.Coalesce: _coalesce,
    exp.Case: _case,
    exp.Like: _like(re.DOTALL),
    exp.ILike: _like(re.DOTALL | re.IGNORECASE),
    exp.RegexpLike: _regular(0),
    exp.RegexpILike: _regular(re.IGNORECASE),
    exp.Glob: _glob,
    exp.NullSafeEQ: _distinct(True),
    exp.NullSafeNEQ: _distinct(False),
    exp.Anonymous: _named_function,
    **dict.fromkeys(SEVERAL, _of_several),
}
