"""Capture the result of a call as plain values that can be compared after the call is over."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias

from sqlalchemy import Row, RowMapping
from sqlalchemy import inspect as mapped
from sqlalchemy.engine.result import Result, ScalarResult
from sqlalchemy.exc import DBAPIError, NoInspectionAvailable
from sqlalchemy.orm import InstanceState, Query

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{6,}")
# They differ between two calls of one endpoint, or follow from the body.
_HEADERS_IGNORED = frozenset(
    {"age", "connection", "content-length", "date", "etag", "keep-alive", "last-modified"}
    | {"server", "server-timing", "traceparent", "transfer-encoding", "x-correlation-id"}
    | {"x-process-time", "x-request-id"}
)

Identity: TypeAlias = tuple[str, str]
"""An ORM object: its class and its primary key in words."""


@dataclass(frozen=True)
class Leaf:
    """A value without parts: its type in words, and its text, equal for equal values."""

    kind: str
    text: str


@dataclass(frozen=True)
class Items:
    """A list, a tuple, or what an iterator gave. `ordered` is false for a set."""

    kind: str
    items: "tuple[Node, ...]"
    ordered: bool = True


@dataclass(frozen=True)
class Fields:
    """A mapping, a response, or an object by its class, with its entries by name."""

    kind: str
    entries: "Mapping[str, Node]"


@dataclass(frozen=True)
class Reference:
    """An ORM object. Its attributes are in `Captured.objects`, because objects form cycles."""

    identity: Identity


Node: TypeAlias = Leaf | Items | Fields | Reference

NOT_LOADED = Leaf("not loaded", "not loaded")
"""An attribute that cannot be read any more, because its session is closed."""


@dataclass(frozen=True)
class Captured:
    """A result, or the exception that took its place.

    Args:
        root: The result.
        objects: The ORM objects in it, by identity, with their attributes.
        raised: Whether the call raised. The root is the exception then.
    """

    root: Node
    objects: Mapping[Identity, Fields] = field(default_factory=dict)
    raised: bool = False

    @property
    def relationships(self) -> Mapping[Identity, frozenset[str]]:
        """The relationships that were loaded, by the object that they start at."""
        return {
            identity: frozenset(
                name[1:] for name in fields.entries if name.startswith(_RELATIONSHIP)
            )
            for identity, fields in self.objects.items()
        }

    @property
    def records(self) -> int:
        """How many records the result shows: the length of its longest collection.

        A single value counts as 2 where it says something, because a function that returns one
        number or one object cannot return more. None, 0, an empty text and an exception count 0.
        """
        if self.raised:
            return 0
        if isinstance(self.root, Fields) and "body" in self.root.entries:
            return _records(self.root.entries["body"])
        return _records(self.root)


_RELATIONSHIP = "."  # in front of a relationship's name, so that it differs from a column's
_EMPTY = frozenset(
    {"None", "0", "0.0", "False", "''", "b''", "Decimal('0')", "0:00:00", "not loaded"}
)


def _records(node: Node) -> int:
    longest = _longest(node)
    if isinstance(node, Fields) and longest:
        return max(2, longest)  # one object by its nature, with a collection that holds something
    if longest is not None:
        return longest
    return 0 if isinstance(node, Leaf) and node.text in _EMPTY else 2


def _longest(node: Node) -> int | None:
    """The length of the longest collection in a value; None if it holds no collection."""
    if isinstance(node, Items) and node.kind != "tuple":
        return max([len(node.items), *filter(None, map(_longest, node.items))])
    if isinstance(node, Items):
        found = [_longest(item) for item in node.items]
    elif isinstance(node, Fields):
        if node.kind == "dict" and not all(name.startswith("'") for name in node.entries):
            return len(node.entries)  # keyed by something that is no name: a mapping of records
        found = [_longest(entry) for entry in node.entries.values()]
    else:
        return None
    return max((length for length in found if length is not None), default=None)


def capture(
    value: object,
    *,
    relationships: Mapping[Identity, frozenset[str]] | None = None,
    wait_for: Callable[[Any], Any] | None = None,
) -> Captured:
    """Capture a result. Iterators are consumed, and attributes that are not loaded are read.

    Args:
        value: What the call returned.
        relationships: The relationships to read, by object; default: those that are loaded.
        wait_for: Returns the result of an awaitable, for asynchronous iterators.
    """
    capturing = _Capturing(relationships, wait_for)
    root = capturing.node(value)
    return Captured(root, capturing.objects)


def capture_error(error: Exception) -> Captured:
    """Capture an exception: class and message; of a database error class and constraint."""
    return Captured(Leaf(_class_name(type(error)), _message(error)), raised=True)


def _message(error: Exception) -> str:
    original = error.orig if isinstance(error, DBAPIError) else None
    if original is None:
        return _ADDRESS.sub("", str(error))
    # The text of a DBAPIError holds the statement, in which old and new differ.
    constraint = getattr(getattr(original, "diag", None), "constraint_name", None)
    if constraint:
        return f"{type(original).__name__}: {constraint}"
    words = original.args[-1] if original.args else original
    return f"{type(original).__name__}: {str(words).partition(chr(10))[0]}"


def text_of(node: Node, *, loose: bool = False) -> str:
    """The text of a value, equal for equal values; loosely also for values in another order."""
    if isinstance(node, Leaf):
        return f"{node.kind}:{node.text}"
    if isinstance(node, Reference):
        return f"{node.identity[0]}#{node.identity[1]}"
    if isinstance(node, Fields):
        inside = [f"{k}={text_of(v, loose=loose)}" for k, v in sorted(node.entries.items())]
        return f"{node.kind}{{{','.join(inside)}}}"
    inside = [text_of(item, loose=loose) for item in node.items]
    if (loose and node.kind != "tuple") or not node.ordered:
        inside.sort()
    return f"{node.kind}[{','.join(inside)}]"


def shown(node: Node) -> str:
    """A value as a person reads it."""
    if isinstance(node, Leaf):
        return node.text
    if isinstance(node, Reference):
        return f"<{node.identity[0].rpartition('.')[2]} {node.identity[1]}>"
    if isinstance(node, Fields):
        entries = ", ".join(
            f"{name}: {shown(entry)}" for name, entry in node.entries.items() if entry != NOT_LOADED
        )
        name = "" if node.kind == "dict" else node.kind.rpartition(".")[2]
        return f"{name}{{{entries}}}"
    inside = ", ".join(map(shown, node.items))
    if node.kind == "tuple":
        return f"({inside},)" if len(node.items) == 1 else f"({inside})"
    return f"[{inside}]" if node.ordered else f"{{{inside}}}"


@dataclass
class _Capturing:
    """Turns values into nodes. An ORM object is entered once and then referred to."""

    relationships: Mapping[Identity, frozenset[str]] | None
    wait_for: Callable[[Any], Any] | None
    objects: dict[Identity, Fields] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)

    def node(self, value: object) -> Node:
        leaf = _leaf(value)
        if leaf is not None:
            return leaf
        if _is_response(value):
            return self._response(value)
        state = _state_of(value)
        if state is not None and state.key is not None:
            return self._entity(value, state)
        if id(value) in self.inside:
            return Leaf(_class_name(type(value)), "(itself)")
        self.inside.add(id(value))
        try:
            return self._parts(value, state)
        finally:
            self.inside.discard(id(value))

    def _parts(self, value: Any, state: InstanceState[Any] | None) -> Node:
        if state is not None:  # an ORM object that is not in the database
            entries = {
                name: self.node(state.dict[name])
                for name in state.mapper.column_attrs.keys()  # noqa: SIM118 - not a mapping
                if name in state.dict
            }
            return Fields(f"unsaved {_class_name(type(value))}", entries)
        if isinstance(value, Mapping | RowMapping):
            kind = "dict" if isinstance(value, dict | RowMapping) else _class_name(type(value))
            named = {self._key(key): self.node(entry) for key, entry in value.items()}
            return Fields(kind, named)
        if isinstance(value, Set):
            kind = "frozenset" if isinstance(value, frozenset) else "set"
            return Items(kind, self._nodes(value), ordered=False)
        if isinstance(value, list):
            return Items("list", self._nodes(value))
        if isinstance(value, Row) or type(value) is tuple:
            return Items("tuple", self._nodes(value))  # type checkers see a Row as a tuple too
        if isinstance(value, tuple):
            return Items(_class_name(type(value)), self._nodes(value))
        if isinstance(value, Iterator | Result | ScalarResult | Query):
            return Items("iterator", self._nodes(value))
        if hasattr(value, "__aiter__") and self.wait_for is not None:
            return Items("iterator", self._nodes(self.wait_for(_list_of(value))))
        return self._object(value)

    def _key(self, key: object) -> str:
        node = self.node(key)
        return repr(key) if isinstance(key, str) else shown(node)

    def _nodes(self, values: Iterable[object]) -> tuple[Node, ...]:
        return tuple(map(self.node, values))

    def _object(self, value: Any) -> Node:
        kind = _class_name(type(value))
        if dataclasses.is_dataclass(value):
            names = [each.name for each in dataclasses.fields(value)]
        else:
            slots = (getattr(each, "__slots__", ()) for each in type(value).__mro__)
            names = [
                *getattr(value, "__dict__", {}),
                *(name for each in slots for name in ([each] if isinstance(each, str) else each)),
            ]
        entries = {
            name: self.node(getattr(value, name))
            for name in names
            if hasattr(value, name)
            and not (name.startswith("__") or callable(getattr(value, name)))
        }
        if names:
            return Fields(kind, entries)
        return Leaf(kind, _ADDRESS.sub("", repr(value)))

    def _entity(self, value: object, state: InstanceState[Any]) -> Reference:
        key = ", ".join(_show(part) for part in (state.identity or ()))
        identity = (_class_name(type(value)), key)
        if identity in self.objects:
            return Reference(identity)
        entries: dict[str, Node] = {}
        self.objects[identity] = Fields(identity[0], entries)
        for column in state.mapper.column_attrs:
            entries[column.key] = self._attribute(value, column.key)
        for name in self._to_read(identity, state):
            entries[_RELATIONSHIP + name] = self._attribute(value, name)
        return Reference(identity)

    def _to_read(self, identity: Identity, state: InstanceState[Any]) -> Iterable[str]:
        if self.relationships is not None:
            return sorted(self.relationships.get(identity, ()))
        return [name for name in state.mapper.relationships.keys() if name in state.dict]  # noqa: SIM118

    def _attribute(self, value: object, name: str) -> Node:
        try:
            return self.node(getattr(value, name))
        except Exception:  # detached, in async code, or with raiseload: a caller cannot read it
            return NOT_LOADED

    def _response(self, value: Any) -> Node:
        headers: dict[str, Node] = {}
        items = [*value.headers.items()]
        for name, content in items:
            lower = str(name).lower()
            # A cookie holds a signature and a time.
            text = str(content).partition("=")[0] if lower == "set-cookie" else str(content)
            if lower not in _HEADERS_IGNORED:
                headers[lower] = Leaf("str", repr(text))
        body = value.content if hasattr(value, "content") else None
        if not isinstance(body, bytes):
            body = value.get_data() if hasattr(value, "get_data") else value.body
        status = int(value.status_code)
        node = self.node(_decoded(body, _content_type(items)))
        entries = {"status": Leaf("int", str(status)), "body": node}
        return Fields("response", {**entries, "headers": Fields("dict", headers)})


def _content_type(headers: Iterable[tuple[Any, Any]]) -> str:
    return next((str(text) for name, text in headers if str(name).lower() == "content-type"), "")


def _decoded(body: bytes, content_type: str) -> object:
    if "json" in content_type.lower():
        try:
            return json.loads(body)
        except ValueError:
            return body
    return body


async def _list_of(values: Any) -> list[object]:
    return [value async for value in values]


def _is_response(value: object) -> bool:
    if not (hasattr(value, "status_code") and hasattr(value, "headers")):
        return False
    return any(hasattr(value, name) for name in ("content", "get_data", "body"))


def _state_of(value: object) -> InstanceState[Any] | None:
    try:
        state = mapped(value)
    except NoInspectionAvailable:
        return None
    return state if isinstance(state, InstanceState) else None


def _leaf(value: object) -> Leaf | None:
    if isinstance(value, Enum):
        return Leaf(_class_name(type(value)), f"{type(value).__name__}.{value.name}")
    if value is None or isinstance(value, bool):
        return Leaf(type(value).__name__, repr(value))
    for kind in (int, str, bytes, bytearray):
        if isinstance(value, kind):
            return Leaf(kind.__name__, kind.__repr__(value))
    if isinstance(value, memoryview):
        return Leaf("bytes", repr(bytes(value)))
    if isinstance(value, float):
        return Leaf("float", "nan" if math.isnan(value) else repr(value + 0.0))
    if isinstance(value, Decimal):
        if not value.is_finite():
            return Leaf("Decimal", str(value))
        plain = value.normalize() + 0
        return Leaf("Decimal", f"Decimal('{plain:f}')")
    if isinstance(value, datetime | date | time):
        return Leaf(type(value).__name__, str(value))
    if isinstance(value, type):
        return Leaf("type", _class_name(value))
    parts = hasattr(value, "__dict__") or hasattr(value, "__iter__") or hasattr(value, "__aiter__")
    if parts or hasattr(value, "__slots__"):
        # UUID has slots, and its text says it all.
        return Leaf("UUID", str(value)) if type(value).__name__ == "UUID" else None
    return Leaf(_class_name(type(value)), _ADDRESS.sub("", _show(value)))


def _show(value: object) -> str:
    return str(value) if type(value).__repr__ is object.__repr__ else repr(value)


def _class_name(kind: type) -> str:
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
