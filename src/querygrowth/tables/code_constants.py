"""Collect the constants that functions compare with, so that generated rows can meet them.

A filter `status == "paid"` selects nothing from random texts. Its constant is in the code of the
function, in a global name that the function uses, or inside a statement in text.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import CodeType, FunctionType
from typing import Any
from uuid import UUID

from sqlalchemy.sql.elements import BindParameter, ClauseElement, TextClause
from sqlalchemy.sql.visitors import iterate

_KINDS = (str, bytes, int, float, Decimal, date, datetime, time, timedelta, UUID, bool, Enum)
_IN_SQL = re.compile(r"'((?:[^']|'')*)'|(?<![\w.:])(\d+(?:\.\d+)?)(?![\w.])")
_STATEMENT = re.compile(r"\b(select|update|delete|insert|where|with)\b", re.IGNORECASE)
_DEEPEST_CALL = 3
_LONGEST = 60


def constants_of(*functions: Callable[..., object]) -> tuple[object, ...]:
    """The constants in the code of functions, and of the functions of their modules they use.

    Args:
        functions: Any callables. What has no Python code adds nothing.
    """
    found: dict[tuple[type, object], object] = {}
    seen: set[int] = set()
    for function in functions:
        for value in _of(function, _DEEPEST_CALL, seen):
            with suppress(TypeError):  # it cannot be hashed
                found.setdefault((type(value), value), value)
    return tuple(found.values())


def constants_in_sql(sql: str) -> Iterator[object]:
    """The literals of a statement in text: texts, whole numbers and decimal numbers."""
    for text, number in _IN_SQL.findall(sql):
        if number:
            yield Decimal(number) if "." in number else int(number)
        else:
            yield text.replace("''", "'")


def _of(function: object, depth: int, seen: set[int]) -> Iterator[object]:
    function = getattr(function, "func", function)  # a functools.partial
    function = inspect.unwrap(function) if callable(function) else function
    function = getattr(function, "__func__", function)  # a method
    if not isinstance(function, FunctionType):
        called = vars(type(function)).get("__call__")
        if not isinstance(called, FunctionType):
            return
        function = called
    if id(function) in seen or depth < 0:
        return
    seen.add(id(function))
    for default in function.__defaults__ or ():
        yield from _values(default)
    # A function inside of the function may call others, and names them in its own code.
    codes = [*_codes(function.__code__)]
    for code in codes:
        for constant in code.co_consts:
            yield from _values(constant)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for _, cell in cells:
        with suppress(ValueError):  # the cell is empty
            yield from _used(cell.cell_contents, function, depth, seen)
    for name in dict.fromkeys(name for code in codes for name in code.co_names):
        if name in function.__globals__:
            yield from _used(function.__globals__[name], function, depth, seen)


def _used(value: Any, user: FunctionType, depth: int, seen: set[int]) -> Iterator[object]:
    if isinstance(value, FunctionType):
        package = user.__module__.partition(".")[0]
        if value.__module__.partition(".")[0] == package:
            yield from _of(value, depth - 1, seen)
    elif isinstance(value, ClauseElement):
        yield from _in_statement(value)
    else:
        yield from _values(value)


def _in_statement(statement: ClauseElement) -> Iterator[object]:
    for element in iterate(statement):
        if isinstance(element, BindParameter):
            yield from _values(element.value)
        elif isinstance(element, TextClause):
            yield from constants_in_sql(element.text)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _values(value: object) -> Iterator[object]:
    if isinstance(value, tuple | list | set | frozenset):
        for each in value:
            yield from _values(each)
    elif isinstance(value, dict):
        yield from _values(list(value)[:_LONGEST])
    elif isinstance(value, str):
        if _STATEMENT.search(value) and " " in value:
            yield from constants_in_sql(value)
        elif len(value) <= _LONGEST:
            yield value
    elif isinstance(value, _KINDS):
        yield value
