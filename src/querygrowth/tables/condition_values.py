"""What a CHECK demands of a column's values: bounds for all rows, and proposals for one row."""

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlglot import exp

from querygrowth.tables.condition_terms import Row, bare, literal_value
from querygrowth.tables.conditions import Condition
from querygrowth.tables.pattern_text import text_matching


@dataclass(frozen=True)
class Bounds:
    """What the conditions on one column alone say about its values.

    Attributes:
        low: The smallest number, inclusive; None without one.
        high: The largest number, inclusive; None without one.
        choices: The only values, if they are listed.
        shortest: The least length of a text, in characters.
        longest: The largest length of a text; None without one.
    """

    low: Any = None
    high: Any = None
    choices: tuple[object, ...] | None = None
    shortest: int = 0
    longest: int | None = None


def bounds_of(column: str, conditions: Iterable[Condition]) -> Bounds:
    """What the conditions on one column alone demand of its values.

    Args:
        column: The column.
        conditions: All conditions of the table.
    """
    low: Any = None
    high: Any = None
    choices: tuple[object, ...] | None = None
    shortest, longest = 0, None
    for part in _conjuncts(conditions):
        listed = _listed(part, column)
        if listed is not None:
            choices = listed if choices is None else tuple(x for x in choices if x in listed)
        for subject, sign, value in _comparisons(part):
            if _is_column(subject, column) and not isinstance(value, str):
                if sign in {">=", ">"}:
                    least = value + (1 if sign == ">" and isinstance(value, int) else 0)
                    low = least if low is None else max(low, least)
                elif sign in {"<=", "<"}:
                    most = value - (1 if sign == "<" and isinstance(value, int) else 0)
                    high = most if high is None else min(high, most)
            elif _is_length(subject, column) and isinstance(value, int):
                if sign in {">=", ">", "="}:
                    shortest = max(shortest, value + (sign == ">"))
                if sign in {"<=", "<", "="}:
                    most = value - (sign == "<")
                    longest = most if longest is None else min(longest, most)
    return Bounds(low, high, choices, shortest, longest)


def _conjuncts(conditions: Iterable[Condition]) -> Iterator[exp.Expression]:
    for condition in conditions:
        if len(condition.columns) == 1:
            stack = [condition.tree]
            while stack:
                part = stack.pop()
                while isinstance(part, exp.Paren):
                    part = part.this
                if isinstance(part, exp.And):
                    stack += [part.this, part.expression]
                else:
                    yield part


def _listed(part: exp.Expression, column: str) -> tuple[object, ...] | None:
    if isinstance(part, exp.In) and part.expressions and _is_column(part.this, column):
        nodes = part.expressions
    elif isinstance(part, exp.EQ) and _is_column(part.this, column):
        right = bare(part.expression)
        inner = bare(right.this) if isinstance(right, exp.Any) else right
        nodes = inner.expressions if isinstance(inner, exp.Array) else [inner]
    else:
        return None
    values = [_constant(bare(each)) for each in nodes]
    return tuple(values) if None not in values else None


def _comparisons(part: exp.Expression) -> Iterator[tuple[exp.Expression, str, Any]]:
    if isinstance(part, exp.Between):
        for sign, bound in ((">=", part.args["low"]), ("<=", part.args["high"])):
            value = _constant(bare(bound))
            if value is not None:
                yield part.this, sign, value
    written = _SIGNS.get(type(part))
    if written is None:
        return
    left, right = part.this, part.expression
    for subject, constant, each in ((left, right, written), (right, left, _MIRRORED[written])):
        value = _constant(bare(constant))
        if value is not None:
            yield subject, each, value


_SIGNS: dict[type[exp.Expression], str] = {
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.EQ: "=",
}
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "=": "="}


def _constant(node: exp.Expression) -> Any:
    if isinstance(node, exp.Literal):
        return literal_value(node)
    if isinstance(node, exp.Neg):
        value = _constant(bare(node.this))
        return None if value is None or isinstance(value, str) else -value
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    return None


def _is_column(node: exp.Expression, column: str) -> bool:
    inner = bare(node)
    return isinstance(inner, exp.Column) and inner.name == column


def _is_length(node: exp.Expression, column: str) -> bool:
    inner = bare(node)
    if isinstance(inner, exp.Length):
        measured = inner.this
    elif isinstance(inner, exp.Anonymous) and inner.name.lower() in _LENGTHS:
        measured = inner.expressions[0]
    else:
        return False
    while isinstance(measured, exp.Trim):
        measured = measured.this
    return _is_column(measured, column)


_PATTERNS = (exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.Glob)
_LENGTHS = frozenset({"char_length", "character_length"})


_STEPS = [dt.timedelta(days=each) for each in (2, 8, 32, 367)]


def proposals(condition: Condition, column: str, row: Row) -> Iterator[object]:
    """Values for a column of a row that may satisfy a condition, without None.

    Args:
        condition: A condition that the row does not satisfy.
        column: One of its columns.
        row: The row; the values of its other columns are proposed too.
    """
    present = row[column]
    near = [_constant(each) for each in condition.tree.find_all(exp.Literal, exp.Neg, exp.Boolean)]
    near += [row[each] for each in condition.columns if each != column]
    for node in condition.tree.find_all(*_PATTERNS):
        pattern = _constant(bare(node.expression))
        if isinstance(pattern, str) and _is_column(node.this, column):
            if isinstance(node, exp.Like | exp.ILike):
                yield pattern.replace("%", "a").replace("_", "a")
            elif isinstance(node, exp.Glob):
                yield from text_matching(pattern.replace("*", ".*").replace("?", "."))
            else:
                yield from text_matching(pattern)
    if any(each.name.lower() == "json_valid" for each in condition.tree.find_all(exp.Anonymous)):
        yield "{}"
    for value in near:
        yield from _around(value, present)
    if isinstance(present, str):
        for value in near:
            if isinstance(value, int) and 0 <= value <= 10_000:
                for length in (value, value + 1, value - 1):
                    yield present[: max(length, 0)].ljust(max(length, 0), "a")
        yield from (present.lower(), present.upper(), present.strip())
        # For patterns that are excluded: another beginning, no spaces, letters and digits alone.
        words = "".join(present.split())
        letters = "".join(filter(str.isalpha, words)).lower() or "a"
        yield from (f"x{present}", words, "".join(filter(str.isalnum, words)), letters)
        for value in near:
            if isinstance(value, str) and value:
                yield from (f"{value}{present}", f"{present}{value}", f"{letters}{value}{letters}")
    if isinstance(present, dt.date):  # a datetime is one too
        days = [each for each in near if type(each) is int and 0 < each <= 10_000]
        moments: list[Any] = [moment for each in near for moment in as_like(each, present)]
        for moment in (present, *moments):
            for step in (*_STEPS, *(dt.timedelta(days=each) for each in days)):
                with suppress(OverflowError):
                    yield from (moment + step, moment - step)
    if isinstance(present, dt.timedelta):
        yield from (*_STEPS, *(step * 2 for step in _STEPS))
    if isinstance(present, bytes):
        for value in near:
            if isinstance(value, int) and 0 <= value <= 10_000:
                yield present[:value].rjust(value, b"0")
    if isinstance(present, int | float | Decimal):
        yield from (type(present)(0), type(present)(1), -present, abs(present))


def _around(value: object, like: object) -> Iterator[object]:
    """A value, what is just below and above it, in the class of another value."""
    for first in as_like(value, like):
        yield from neighbours(first)
        if isinstance(first, int) and not isinstance(first, bool):
            yield from (first * 2, first // 2)
        elif isinstance(first, float | Decimal):
            half: Any = type(first)(0.5)
            yield from (first + half, first - half, first * 2, first / 2)


def as_like(value: Any, like: object) -> Iterator[Any]:
    """A value in the class of another one; nothing where it cannot be in that class."""
    try:
        if value is None or isinstance(like, str) != isinstance(value, str):
            if not isinstance(value, str) or not isinstance(like, dt.date | dt.time):
                return
            value = type(like).fromisoformat(value)
        if isinstance(like, dt.datetime) and isinstance(value, dt.date):
            if not isinstance(value, dt.datetime):
                value = dt.datetime.combine(value, dt.time())
            if value.tzinfo is None:
                value = value.replace(tzinfo=like.tzinfo)
        elif isinstance(like, dt.date) and isinstance(value, dt.datetime):
            value = value.date()
        elif isinstance(like, Decimal) and isinstance(value, int | float):
            value = Decimal(str(value))
        elif isinstance(like, int) and isinstance(value, float | Decimal):
            value = int(value)
        elif isinstance(like, float) and isinstance(value, int | Decimal):
            value = float(value)
    except (ValueError, OverflowError):
        return
    if isinstance(value, type(like)) or (
        isinstance(value, _NUMBERS) and isinstance(like, _NUMBERS)
    ):
        yield value


_NUMBERS = (int, float, Decimal)


def neighbours(value: Any) -> Iterator[Any]:
    """A value, and what is just above and below it where its class has that."""
    yield value
    if isinstance(value, bool):
        return
    if isinstance(value, dt.date):  # a datetime is one too
        step: Any = dt.timedelta(days=1)
    elif isinstance(value, int | float | Decimal):
        step = 1
    else:
        return
    with suppress(OverflowError):
        yield from (value + step, value - step)
