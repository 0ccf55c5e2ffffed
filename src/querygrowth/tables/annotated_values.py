"""Values for types whose annotations name what they take: enums, models, dataclasses."""

import datetime as dt
import enum
import types as python_types
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sqlalchemy.types import TypeDecorator

_DEEPEST = 8  # classes inside of each other
_MOMENT = dt.datetime(2020, 1, 1)
_PLAIN: Mapping[object, Callable[[int], object]] = {
    str: lambda n: f"text {n}",
    int: lambda n: n + 1,
    float: lambda n: n + 0.5,
    bool: lambda n: True,
    bytes: lambda n: b"%d" % n,
    Decimal: lambda n: Decimal(n),
    dt.datetime: lambda n: _MOMENT + dt.timedelta(minutes=n),
    dt.date: lambda n: _MOMENT.date() + dt.timedelta(days=n),
    dt.timedelta: lambda n: dt.timedelta(minutes=n),
    uuid.UUID: lambda n: uuid.UUID(int=n + 1, version=4),
    Any: lambda n: {},
    object: lambda n: {},
    None: lambda n: None,
    type(None): lambda n: None,
}


def annotated_enums(kind: TypeDecorator[Any]) -> Iterator[list[object]]:
    """The members of enums that the annotations of a type name."""
    for each in _annotations(kind):
        for one in (each, *get_args(each)):
            if isinstance(one, type) and issubclass(one, enum.Enum) and len(one):
                yield [*one]


def annotated_values(kind: TypeDecorator[Any]) -> Iterator[Callable[[int], object]]:
    """What makes values of the classes that the annotations of a type name, by a row's number."""
    for each in _annotations(kind):
        # For these, the type of the column knows better values.
        if each in _PLAIN or all(one in _PLAIN for one in get_args(each) or [each]):
            continue
        for elements in (0, 1):  # some collections must not be empty
            yield lambda n, each=each, elements=elements: (  # type: ignore[misc]
                annotated_value(each, n, elements)
            )


def _annotations(kind: TypeDecorator[Any]) -> Iterator[Any]:
    taken: Any = type(kind).process_bind_param
    if taken is not TypeDecorator.process_bind_param:
        annotations = dict(getattr(taken, "__annotations__", {}))
        annotations.pop("return", None)
        with suppress(Exception):  # annotations of the user may name what exists for checkers alone
            first = next(iter(annotations.values()))
            # By itself, because that of the dialect is mostly such a name.
            alone = SimpleNamespace(__annotations__={"value": first})
            yield get_type_hints(alone, taken.__globals__, include_extras=True)["value"]
    for base in getattr(type(kind), "__orig_bases__", ()):
        yield from (part for part in get_args(base) if not isinstance(part, TypeVar))


def annotated_value(annotation: Any, n: int, elements: int) -> object:
    """The n-th value of an annotation, with so many elements in its collections: 0 or 1.

    Raises:
        Exception: No value is known, or the class of the annotation refuses it.
    """
    return _value(annotation, n, elements, _DEEPEST)


def _value(annotation: Any, n: int, elements: int, deepest: int) -> object:
    """A value of an annotation.

    Raises:
        Exception: No value is known, or the class of the annotation refuses it.
    """
    if deepest == 0:
        raise ValueError("classes inside of each other without an end")
    if annotation in _PLAIN:
        return _PLAIN[annotation](n)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(arguments[0], n, elements, deepest)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, python_types.UnionType):
        return _first_of(arguments, n, elements, deepest)
    kind: Any = origin or annotation
    for other in ("__value__", "__supertype__"):  # `type name = ...`, NewType
        if hasattr(kind, other):
            return _value(getattr(kind, other), n, elements, deepest)
    if not isinstance(kind, type):
        raise TypeError(f"no value is known for {annotation}")
    if issubclass(kind, enum.Enum):
        return [*kind][n % len(kind)]
    if issubclass(kind, Mapping) and not hasattr(kind, "__required_keys__"):
        return {}
    if arguments and issubclass(kind, list | set | frozenset | tuple):
        inner = arguments[0] if elements else None
        return kind([_value(inner, n, elements, deepest - 1)] if elements else [])
    return _object(kind, n, elements, deepest - 1)


def _first_of(arguments: tuple[Any, ...], n: int, elements: int, deepest: int) -> object:
    refused: Exception | None = None
    for each in sorted(arguments, key=lambda one: one is type(None)):
        try:
            return _value(each, n, elements, deepest)
        except Exception as error:
            refused = error
    raise refused or TypeError("a union of nothing")


def _object(kind: Any, n: int, elements: int, deepest: int) -> object:
    """An object of a class that lists its fields, with the fields that have no default."""
    known = getattr(kind, "model_fields", None)  # of pydantic, which is not imported here
    if isinstance(known, Mapping):
        needed = {
            (each.alias if isinstance(each.alias, str) else name): each.annotation
            for name, each in known.items()
            if each.is_required()
        }
    else:
        hints = get_type_hints(kind, include_extras=True)
        if is_dataclass(kind):
            needed = {
                each.name: hints[each.name]
                for each in fields(kind)
                if each.init and each.default is MISSING and each.default_factory is MISSING
            }
        elif hasattr(kind, "__required_keys__"):
            needed = {name: hints[name] for name in kind.__required_keys__}
        else:
            raise TypeError(f"no value is known for {kind}")
    return kind(**{name: _value(each, n, elements, deepest) for name, each in needed.items()})
