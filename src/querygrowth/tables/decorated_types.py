"""Types of the user that convert values: what they take, store and give back."""

import datetime as dt
import enum
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import Dialect, types
from sqlalchemy.types import TypeDecorator, TypeEngine

from querygrowth.tables.code_constants import constants_of

_BASE = frozenset({"builtins", "sqlalchemy", "typing"})
SAMPLES: tuple[Callable[[int], object], ...] = (
    lambda n: [f"text {n}"],
    lambda n: {f"text {n}"},
    lambda n: [],
    lambda n: {},
    lambda n: f"a{n}",
    lambda n: f"https://example.org/{n}",
    lambda n: f"user{n}@example.org",
    lambda n: f"+49301234{n:04}",
    lambda n: f"10.0.{n // 250 % 250}.{n % 250 + 1}",
    lambda n: f"#{n % 0xFFFFFF:06x}",
    lambda n: f"0 {n % 24} * * *",
    lambda n: "UTC",
    lambda n: "en",
    lambda n: "EUR",
    lambda n: dt.timedelta(minutes=n),
    lambda n: str(uuid.UUID(int=n + 1, version=4)),
)


def through(
    kind: TypeDecorator[Any], dialect: Dialect, value: object, inner: TypeEngine[Any]
) -> None:
    """Send a value through a type and back, as a database would.

    Raises:
        Exception: The type refuses the value, or gives back what the column cannot hold.
    """
    stored_by = stored_form(kind, dialect)
    if stored_by is not None:
        stored_by(value)
    sent: Any = value
    if type(kind).process_bind_param is not TypeDecorator.process_bind_param:
        sent = kind.process_bind_param(value, dialect)
    if sent is None:
        raise ValueError("it stores nothing")
    for classes, taken, name in _TAKEN:
        if isinstance(inner, classes) and not isinstance(sent, taken):
            raise ValueError(f"it stores {type(sent).__name__} as {name}")
    length = getattr(inner, "length", None)
    if isinstance(sent, str) and length is not None and len(sent) > length:
        raise ValueError("it stores more than the column holds")
    if type(kind).process_result_value is not TypeDecorator.process_result_value:
        # What a driver hands back for these is what it was sent. Other classes depend on it.
        known = isinstance(inner, types.String | types.Integer | types.LargeBinary | types.JSON)
        kind.process_result_value(sent if known else value, dialect)


_TAKEN: tuple[tuple[type, type | tuple[type, ...], str], ...] = (
    (types.String, (str, enum.Enum), "text"),
    (types.Integer, int, "a number"),
    (types.LargeBinary, (bytes, bytearray, memoryview), "bytes"),
)


def stored_form(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What converts a value of a type to what the driver is sent; None if nothing does."""
    if not isinstance(kind, TypeDecorator | types.Enum):
        return None
    found: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return found


def listed_choices(kind: Any) -> Iterator[list[object]]:
    """The values that a type lists in one of its attributes, such as `choices` or an enum class."""
    for value in vars(kind).values():
        if isinstance(value, type) and issubclass(value, enum.Enum) and len(value):
            yield [*value]
            yield [each.value for each in value]
        elif isinstance(value, list | tuple) and value:
            pairs = all(isinstance(each, tuple) and len(each) == 2 for each in value)
            yield [each[0] for each in value] if pairs else [*value]


def values_in_code(
    kind: TypeDecorator[Any], dialect: Dialect, inner: TypeEngine[Any]
) -> list[object]:
    """The constants in the code of a type, or in attributes of its class, that the type takes."""
    classes = [
        each for each in type(kind).__mro__ if each.__module__.partition(".")[0] not in _BASE
    ]
    named = [
        value
        for each in classes
        for name, value in vars(each).items()
        if not name.startswith("__") and isinstance(value, list | tuple | set | frozenset | dict)
    ]
    found: list[object] = []
    in_code = constants_of(type(kind).process_bind_param)
    for each in (*(value for one in named for value in one), *in_code):
        with suppress(Exception):  # the type refuses it
            through(kind, dialect, each, inner)
            if each is not None and each not in found:
                found.append(each)
    return found
