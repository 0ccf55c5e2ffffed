"""The record types of the verifier: their fields and the allowed values.

These tables repeat the content of the exporters' tables on purpose. If the verifier shared a table
with an exporter, an export with a mistake from that table would verify. Only the table schema and
the enums are shared. To export one more stored column, add its name here and in both exporters.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from types import MappingProxyType
from typing import Any

from sqlalchemy import Float, Integer, Table

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
from elspeth.core.landscape import schema
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
    table: Table,
    name: str,
    *columns: str,
    enums: Mapping[str, type[Enum]] = MappingProxyType({}),
    primary_key: tuple[str, ...] = (),
    null_when: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    required_when: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> RecordShape:
    """Build a shape whose field types and nullability are those of the table's columns."""
    return RecordShape(
        name,
        _by_name(
            *_common_fields(name),
            *(_field(table, column, enums.get(column)) for column in columns),
        ),
        table.name,
        primary_key or tuple(column.name for column in table.primary_key),
        null_when,
        required_when,
    )


def _field(table: Table, name: str, enum: type[Enum] | None) -> Field:
    column = table.c[name]
    nullable = bool(column.nullable)
    match column.type:
        case Integer():
            return Field(name, INTEGER, nullable)
        case Float():
            return Field(name, NUMBER, nullable)
        case _:
            members = None if enum is None else frozenset(member.value for member in enum)
            return Field(name, TEXT, nullable, members)


def _common_fields(name: str) -> tuple[Field, Field]:
    return Field("record_type", members=frozenset({name})), Field("run_id")


def _by_name(*fields: Field) -> Mapping[str, Field]:
    return {field.name: field for field in fields}


_STORED = (
    _shape(
        schema.runs_table,
        "run",
        "status",
        "started_at",
        "completed_at",
        "canonical_version",
        "config_hash",
        "reproducibility_grade",
        enums={"status": RunStatus},
    ),
    _shape(
        schema.nodes_table,
        "node",
        "node_id",
        "plugin_name",
        "node_type",
        "plugin_version",
        "config_hash",
        "schema_hash",
        "sequence_in_pipeline",
        enums={"node_type": NodeType},
    ),
    _shape(
        schema.edges_table,
        "edge",
        "edge_id",
        "from_node_id",
        "to_node_id",
        "label",
        "default_mode",
        enums={"default_mode": RoutingMode},
    ),
    _shape(
        schema.rows_table,
        "row",
        "row_id",
        "row_index",
        "source_node_id",
        "source_data_hash",
    ),
    _shape(
        schema.tokens_table,
        "token",
        "token_id",
        "row_id",
        "step_in_pipeline",
        "branch_name",
        "fork_group_id",
        "join_group_id",
    ),
    _shape(
        schema.token_parents_table,
        "token_parent",
        "token_id",
        "parent_token_id",
        "ordinal",
    ),
    _shape(
        schema.node_states_table,
        "node_state",
        "state_id",
        "token_id",
        "node_id",
        "step_index",
        "attempt",
        "status",
        "input_hash",
        "output_hash",
        "duration_ms",
        "started_at",
        "completed_at",
        enums={"status": NodeStateStatus},
        null_when={NodeStateStatus.OPEN.value: ("output_hash", "duration_ms", "completed_at")},
        # The rules of the node state models in `elspeth.contracts`.
        required_when={
            NodeStateStatus.COMPLETED.value: ("output_hash", "duration_ms", "completed_at"),
            NodeStateStatus.FAILED.value: ("duration_ms", "completed_at"),
        },
    ),
    _shape(
        schema.routing_events_table,
        "routing_event",
        "event_id",
        "state_id",
        "edge_id",
        "routing_group_id",
        "ordinal",
        "mode",
        "reason_hash",
        enums={"mode": RoutingMode},
    ),
    _shape(
        schema.calls_table,
        "call",
        "call_id",
        "state_id",
        "call_index",
        "call_type",
        "status",
        "request_hash",
        "response_hash",
        "latency_ms",
        enums={"call_type": CallType, "status": CallStatus},
    ),
    _shape(
        schema.batches_table,
        "batch",
        "batch_id",
        "aggregation_node_id",
        "attempt",
        "status",
        "trigger_reason",
        "created_at",
        "completed_at",
        enums={"status": BatchStatus},
    ),
    # The table has no primary key; its unique constraint identifies a row.
    _shape(
        schema.batch_members_table,
        "batch_member",
        "batch_id",
        "token_id",
        "ordinal",
        primary_key=("batch_id", "token_id"),
    ),
    _shape(
        schema.artifacts_table,
        "artifact",
        "artifact_id",
        "sink_node_id",
        "produced_by_state_id",
        "artifact_type",
        "path_or_uri",
        "content_hash",
        "size_bytes",
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
