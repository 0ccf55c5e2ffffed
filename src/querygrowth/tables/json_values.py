"""Values for a JSON column, as the model takes them: its annotation, its mutable type."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from sqlalchemy import Column
from sqlalchemy.orm import Mapped, Mapper
from sqlalchemy.types import JSON

from querygrowth.tables.annotated_values import annotated_value
from querygrowth.tables.unusual_values import unusual_values
from querygrowth.tables.user_tables import every_registry

_SCALARS = frozenset({str, int, float, bool, type(None)})


def json_values(column: Column[Any]) -> tuple[object, ...]:
    """The values that the model of a JSON column takes; none where it takes any.

    A model says so by an annotation, such as `Mapped[list[str]]`, or by refusing a value that is
    set, as `MutableDict.as_mutable(JSON)` does.

    Args:
        column: A column of the user's table.
    """
    if not isinstance(column.type, JSON):
        return ()
    for mapper in _mappers(column):
        with suppress(Exception):  # other models of the user may not fit together
            mapper.registry.configure(cascade=True)  # mutable types listen from then on
        key = mapper.get_property_by_column(column).key
        annotation = _annotation(mapper, key)
        candidates = unusual_values(column.type)
        taken = [each for each in candidates if _holds(each, annotation)]
        taken += [each for each in _made(annotation) if each not in taken]
        taken = [each for each in taken if _is_taken(mapper, key, each)]
        if taken and len(taken) != len(candidates):
            return tuple(taken)
    return ()


def _mappers(column: Column[Any]) -> Iterator[Mapper[Any]]:
    for each in every_registry():
        if each.metadata is column.table.metadata:
            yield from [one for one in each.mappers if column in one.columns.values()]


def _annotation(mapper: Mapper[Any], key: str) -> Any:
    with suppress(Exception):  # annotations of the user may name what exists for checkers alone
        found = get_type_hints(mapper.class_, include_extras=True)[key]
        return get_args(found)[0] if get_origin(found) is Mapped else found
    return Any


def _made(annotation: Any) -> Iterator[object]:
    """Values that are made from an annotation, as far as JSON has them."""
    for elements, n in ((0, 0), (1, 0), (1, 1)):
        with suppress(Exception):
            value = annotated_value(annotation, n, elements)
            if value is not None and json.loads(json.dumps(value)) == value:
                yield value


def _holds(value: object, annotation: Any) -> bool:
    """Whether an annotation allows a value of JSON; True where that cannot be told."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Annotated:
        return _holds(value, arguments[0])
    if origin in (Union, UnionType):
        return any(_holds(value, each) for each in arguments)
    if origin in _SCALARS or origin is None:
        return type(value) is (type(None) if origin is None else origin)
    if not isinstance(origin, type) or origin is object:
        return True
    if hasattr(origin, "__required_keys__"):
        return isinstance(value, dict) and origin.__required_keys__ <= value.keys()
    if issubclass(origin, Mapping):
        inner = arguments[1] if len(arguments) == 2 else Any
        return isinstance(value, dict) and all(_holds(each, inner) for each in value.values())
    if issubclass(origin, Collection) or origin is Iterable:
        inner = arguments[0] if arguments else Any
        return isinstance(value, list) and all(_holds(each, inner) for each in value)
    return True


def _is_taken(mapper: Mapper[Any], key: str, value: object) -> bool:
    """Whether an object of the class takes a value that is set."""
    try:
        setattr(mapper.class_manager.new_instance(), key, value)
    except Exception:  # of the user's class, or of a mutable type
        return False
    return True
