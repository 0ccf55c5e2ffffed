"""RecordType: what a comparison knows of each record type, independent of both exporters."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

MANIFEST = "manifest"

Identity = tuple[Any, ...]
"""A record's type and the values that tell it from every other record of that type."""


@dataclass(frozen=True)
class RecordType:
    """One record type: the fields that identify a record, those of its parent, and the order.

    `order` names what records below one parent are sorted by; some of it is stored only and in no
    record (a node's `registered_at`).
    """

    name: str
    key: tuple[str, ...]
    order: tuple[str, ...]
    parent: str | None = None

    def identity(self, record: Mapping[str, Any]) -> Identity:
        """What stays the same of a record wherever in an export it stands."""
        return (self.name, *(record.get(field) for field in self.key))


RECORD_TYPES: Mapping[str, RecordType] = MappingProxyType(
    {
        each.name: each
        for each in (
            RecordType("run", (), ()),
            RecordType("node", ("node_id",), ("sequence_in_pipeline", "registered_at", "node_id")),
            RecordType("edge", ("edge_id",), ("created_at", "edge_id")),
            RecordType("row", ("row_id",), ("row_index",)),
            RecordType("token", ("token_id",), ("created_at", "token_id"), "row_id"),
            RecordType("token_parent", ("token_id", "parent_token_id"), ("ordinal",), "token_id"),
            RecordType("node_state", ("state_id",), ("step_index", "attempt"), "token_id"),
            RecordType("routing_event", ("event_id",), ("ordinal", "event_id"), "state_id"),
            RecordType("call", ("call_id",), ("call_index",), "state_id"),
            RecordType("batch", ("batch_id",), ("created_at", "batch_id")),
            RecordType("batch_member", ("batch_id", "token_id"), ("ordinal",), "batch_id"),
            RecordType("artifact", ("artifact_id",), ("created_at", "artifact_id")),
            RecordType(MANIFEST, (), ()),
        )
    }
)
"""Every record type an export may hold, in emission order."""


def type_of(record: Mapping[str, Any]) -> RecordType:
    """The type of a record; one that is not known is told apart by all of its fields."""
    name = record.get("record_type")
    known = RECORD_TYPES.get(name) if isinstance(name, str) else None
    return known or RecordType(str(name), tuple(record), ())


def identity_of(record: Mapping[str, Any]) -> Identity:
    """What stays the same of a record wherever in an export it stands."""
    return type_of(record).identity(record)


def label(record: Mapping[str, Any]) -> str:
    """A record as messages name it: its type and its own id, `node_state s17`."""
    name, *key = identity_of(record)
    return " ".join((str(name), "/".join(map(str, key)))).rstrip()
