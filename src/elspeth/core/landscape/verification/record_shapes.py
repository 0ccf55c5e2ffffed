"""The record types of the verifier: their fields and the allowed values.

These tables repeat the content of the exporters' tables on purpose. If the verifier shared a table
with an exporter, an export with a mistake from that table would verify. Only the enums are shared.
A test compares types and keys with the schema, which is not imported: SQLAlchemy would take more
than half of the time in which a short export is verified. To export one more stored column, add it
here and in both exporters.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from types import MappingProxyType
from typing import Any

from elspeth.contracts import errors
from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    CallType,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.core.landscape.verification.defects import Defect, Reason, short_repr

MANIFEST = "manifest"
SIGNATURE = "signature"

TEXT = frozenset({str})
INTEGER = frozenset({int})
# Canonical JSON writes 5.0 as 5, so the value of a Float column may be read as an integer.
NUMBER = frozenset({int, float})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record type, and the values that it may hold."""

    name: str
    types: frozenset[type] = TEXT
    nullable: bool = False
    members: frozenset[str] | None = None
    """The values of the field's enum; None when any text is allowed."""

    def defect(self, value: Any) -> str | None:
        """Return the message of a defect of the value; None when it is valid."""
        if value is None:
            return None if self.nullable else errors.IS_NULL
        # Not isinstance, because True is an instance of int.
        if type(value) not in self.types:
            return f"holds {short_repr(value)}, which is not {_TYPE_NAMES[self.types]}"
        if self.members is not None and value not in self.members:
            return f"holds {short_repr(value)}, which is not a known value"
        if self.types is INTEGER and abs(value) > errors.MAX_INTEGER:
            return errors.TOO_LARGE
        return errors.NOT_FINITE if type(value) is float and not isfinite(value) else None


_TYPE_NAMES: Mapping[frozenset[type], str] = {
    NUMBER: "a number",
    INTEGER: "an integer",
    TEXT: "text",
}


@dataclass(frozen=True, slots=True)
class RecordShape:
    """One record type: its fields, and the fields that a status forbids or requires."""

    name: str
    fields: Mapping[str, Field]
    table_name: str = ""
    """The table that the records come from; empty for the manifest."""
    primary_key: tuple[str, ...] = ()
    null_when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By status: fields that must be null."""
    required_when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By status: nullable fields that must hold a value."""
    optional: Mapping[str, Field] = field(default_factory=dict)
    """Fields that a record may also lack."""

    def all_fields(self, names: Container[str]) -> Mapping[str, Field]:
        """Return the fields, and the optional ones that are among some names."""
        present = {name: field for name, field in self.optional.items() if name in names}
        return {**self.fields, **present} if present else self.fields

    def defect(self, record: Mapping[str, Any]) -> Defect | None:
        """Return the first defect of a record's fields and values, its signature excepted."""
        fields = self.all_fields(record)
        if record.keys() - {SIGNATURE} != fields.keys():
            return Defect(Reason.FIELDS, self._describe_field_names(record))
        for name, expected in fields.items():
            message = expected.defect(record[name])
            if message is not None:
                return Defect(Reason.VALUE, f"{name} {message}")
        return self._status_defect(record)

    def _describe_field_names(self, record: Mapping[str, Any]) -> str:
        missing = sorted(self.fields.keys() - record.keys())
        unknown = sorted(record.keys() - self.all_fields(record).keys() - {SIGNATURE})
        parts = (("lacks", missing), ("has the unknown", unknown))
        # At most five names, because the record comes from a file of unknown origin.
        named = (
            f"{verb} {', '.join(map(short_repr, names[:5]))}" for verb, names in parts if names
        )
        return f"a {self.name} record that {' and '.join(named)}"

    def _status_defect(self, record: Mapping[str, Any]) -> Defect | None:
        status = record.get("status", "")
        for name in self.null_when.get(status, ()):
            if record[name] is not None:
                return Defect(Reason.VALUE, f"{name} holds a value in a state that is {status}")
        for name in self.required_when.get(status, ()):
            if record[name] is None:
                return Defect(Reason.VALUE, f"{name} {errors.null_in_state(status)}")
        return None


def _shape(
    table_name: str,
    name: str,
    primary_key: tuple[str, ...],
    *fields: Field,
    null_when: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    required_when: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> RecordShape:
    return RecordShape(
        name,
        _by_name(*_common_fields(name), *fields),
        table_name,
        primary_key,
        null_when,
        required_when,
    )


def _members(enum: type[Enum]) -> frozenset[str]:
    return frozenset(member.value for member in enum)


def _common_fields(name: str) -> tuple[Field, Field]:
    return Field("record_type", members=frozenset({name})), Field("run_id")


def _by_name(*fields: Field) -> Mapping[str, Field]:
    return {field.name: field for field in fields}


_STORED = (
    _shape(
        "runs",
        "run",
        ("run_id",),
        Field("status", members=_members(RunStatus)),
        Field("started_at"),
        Field("completed_at", nullable=True),
        Field("canonical_version"),
        Field("config_hash"),
        Field("reproducibility_grade", nullable=True),
    ),
    _shape(
        "nodes",
        "node",
        ("node_id",),
        Field("node_id"),
        Field("plugin_name"),
        Field("node_type", members=_members(NodeType)),
        Field("plugin_version"),
        Field("config_hash"),
        Field("schema_hash", nullable=True),
        Field("sequence_in_pipeline", INTEGER, nullable=True),
    ),
    _shape(
        "edges",
        "edge",
        ("edge_id",),
        Field("edge_id"),
        Field("from_node_id"),
        Field("to_node_id"),
        Field("label"),
        Field("default_mode", members=_members(RoutingMode)),
    ),
    _shape(
        "rows",
        "row",
        ("row_id",),
        Field("row_id"),
        Field("row_index", INTEGER),
        Field("source_node_id"),
        Field("source_data_hash"),
    ),
    _shape(
        "tokens",
        "token",
        ("token_id",),
        Field("token_id"),
        Field("row_id"),
        Field("step_in_pipeline", INTEGER, nullable=True),
        Field("branch_name", nullable=True),
        Field("fork_group_id", nullable=True),
        Field("join_group_id", nullable=True),
    ),
    _shape(
        "token_parents",
        "token_parent",
        (
            "token_id",
            "parent_token_id",
        ),
        Field("token_id"),
        Field("parent_token_id"),
        Field("ordinal", INTEGER),
    ),
    _shape(
        "node_states",
        "node_state",
        ("state_id",),
        Field("state_id"),
        Field("token_id"),
        Field("node_id"),
        Field("step_index", INTEGER),
        Field("attempt", INTEGER),
        Field("status", members=_members(NodeStateStatus)),
        Field("input_hash"),
        Field("output_hash", nullable=True),
        Field("duration_ms", NUMBER, nullable=True),
        Field("started_at"),
        Field("completed_at", nullable=True),
        null_when={NodeStateStatus.OPEN.value: ("output_hash", "duration_ms", "completed_at")},
        # The rules of the node state models in `elspeth.contracts`.
        required_when={
            NodeStateStatus.COMPLETED.value: ("output_hash", "duration_ms", "completed_at"),
            NodeStateStatus.FAILED.value: ("duration_ms", "completed_at"),
        },
    ),
    _shape(
        "routing_events",
        "routing_event",
        ("event_id",),
        Field("event_id"),
        Field("state_id"),
        Field("edge_id"),
        Field("routing_group_id"),
        Field("ordinal", INTEGER),
        Field("mode", members=_members(RoutingMode)),
        Field("reason_hash", nullable=True),
    ),
    _shape(
        "calls",
        "call",
        ("call_id",),
        Field("call_id"),
        Field("state_id"),
        Field("call_index", INTEGER),
        Field("call_type", members=_members(CallType)),
        Field("status", members=_members(CallStatus)),
        Field("request_hash"),
        Field("response_hash", nullable=True),
        Field("latency_ms", NUMBER, nullable=True),
    ),
    _shape(
        "batches",
        "batch",
        ("batch_id",),
        Field("batch_id"),
        Field("aggregation_node_id"),
        Field("attempt", INTEGER),
        Field("status", members=_members(BatchStatus)),
        Field("trigger_reason", nullable=True),
        Field("created_at"),
        Field("completed_at", nullable=True),
    ),
    # The table has no primary key; its unique constraint identifies a row.
    _shape(
        "batch_members",
        "batch_member",
        (
            "batch_id",
            "token_id",
        ),
        Field("batch_id"),
        Field("token_id"),
        Field("ordinal", INTEGER),
    ),
    _shape(
        "artifacts",
        "artifact",
        ("artifact_id",),
        Field("artifact_id"),
        Field("sink_node_id"),
        Field("produced_by_state_id"),
        Field("artifact_type"),
        Field("path_or_uri"),
        Field("content_hash"),
        Field("size_bytes", INTEGER),
    ),
)

_MANIFEST_SHAPE = RecordShape(
    MANIFEST,
    _by_name(
        *_common_fields(MANIFEST),
        Field("record_count", INTEGER),
        Field("final_hash"),
        Field("hash_algorithm"),
        Field("signature_algorithm"),
        Field("exported_at"),
    ),
    optional=_by_name(Field("left_out")),
)

SHAPES: Mapping[str, RecordShape] = MappingProxyType(
    {shape.name: shape for shape in (*_STORED, _MANIFEST_SHAPE)}
)
"""Every record type by name, in order of emission, the manifest last."""

TABLE_NAMES: Mapping[str, str] = MappingProxyType(
    {shape.name: shape.table_name for shape in _STORED}
)
"""By record type, the table that its records come from; without the manifest."""
