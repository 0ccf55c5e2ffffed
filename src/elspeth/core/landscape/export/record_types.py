"""The record types of an export, with their tables and fields.

To export a column that is stored already, add its name to `fields` here. The query, the checks and
the encoding follow from the column's type in the schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, TypeAlias

from sqlalchemy import Column, Table
from sqlalchemy.types import TypeEngine

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

Record: TypeAlias = dict[str, Any]
FetchedRow: TypeAlias = Sequence[Any]
"""The values of a record type's columns, in their order."""


def primary_key_columns(table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that identify a row, also of batch_members, which declares no key."""
    return tuple(table.primary_key) or (table.c.batch_id, table.c.token_id)


# eq=False: record types are keys of dicts. Identity serves as the hash, since the mappings in them
# have none.
@dataclass(frozen=True, eq=False)
class RecordType:
    """One type of exported record.

    Attributes:
        name: The value of `record_type` in its records.
        table: The table whose columns of the same names store the fields.
        fields: The fields after `record_type` and `run_id`, in the order of a record's keys.
        enums: By field: the enum of which its text must name a member.

        null_when: By status: fields that must not hold a value yet.
        required_when: By status: nullable fields that must hold a value.
        sorted_by: The fields by which exported records below one parent ascend, where a database
            may sort the stored values in another way.
    """

    name: str
    table: Table
    fields: tuple[str, ...]
    enums: Mapping[str, type[Enum]] = field(default_factory=dict)

    null_when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required_when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sorted_by: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> tuple[Column[Any], ...]:
        """The columns to select, in the order of `fields`."""
        return tuple(self.table.c[name] for name in self.fields)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of an unsigned record, in order."""
        return ("record_type", "run_id", *self.fields)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The names of the columns that identify a row of the table."""
        return tuple(column.name for column in primary_key_columns(self.table))

    def names_of(self, kind: type[TypeEngine[Any]]) -> tuple[str, ...]:
        """Return the fields whose columns are of one SQLAlchemy type, such as Integer."""
        return tuple(column.name for column in self.columns if isinstance(column.type, kind))

    def position(self, name: str) -> int:
        """Return the index of a field in a fetched row."""
        return self.fields.index(name)


RUN = RecordType(
    "run",
    schema.runs_table,
    (
        "status",
        "started_at",
        "completed_at",
        "canonical_version",
        "config_hash",
        "reproducibility_grade",
    ),
    enums={"status": RunStatus},
)
NODE = RecordType(
    "node",
    schema.nodes_table,
    (
        "node_id",
        "plugin_name",
        "node_type",
        "plugin_version",
        "config_hash",
        "schema_hash",
        "sequence_in_pipeline",
    ),
    enums={"node_type": NodeType},
)
EDGE = RecordType(
    "edge",
    schema.edges_table,
    ("edge_id", "from_node_id", "to_node_id", "label", "default_mode"),
    enums={"default_mode": RoutingMode},
)
ROW = RecordType(
    "row",
    schema.rows_table,
    ("row_id", "row_index", "source_node_id", "source_data_hash"),
)
TOKEN = RecordType(
    "token",
    schema.tokens_table,
    (
        "token_id",
        "row_id",
        "step_in_pipeline",
        "branch_name",
        "fork_group_id",
        "join_group_id",
    ),
)
TOKEN_PARENT = RecordType(
    "token_parent",
    schema.token_parents_table,
    ("token_id", "parent_token_id", "ordinal"),
)
NODE_STATE = RecordType(
    "node_state",
    schema.node_states_table,
    (
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
    ),
    enums={"status": NodeStateStatus},
    # An open state has no output and no end: to export null in place of a stored value would lose
    # it. A completed one must have both, and a failed one may have stopped before an output.
    null_when={NodeStateStatus.OPEN.value: ("output_hash", "duration_ms", "completed_at")},
    required_when={
        NodeStateStatus.COMPLETED.value: ("output_hash", "duration_ms", "completed_at"),
        NodeStateStatus.FAILED.value: ("duration_ms", "completed_at"),
    },
)
ROUTING_EVENT = RecordType(
    "routing_event",
    schema.routing_events_table,
    (
        "event_id",
        "state_id",
        "edge_id",
        "routing_group_id",
        "ordinal",
        "mode",
        "reason_hash",
    ),
    enums={"mode": RoutingMode},
    sorted_by=("ordinal", "event_id"),
)
CALL = RecordType(
    "call",
    schema.calls_table,
    (
        "call_id",
        "state_id",
        "call_index",
        "call_type",
        "status",
        "request_hash",
        "response_hash",
        "latency_ms",
    ),
    enums={"call_type": CallType, "status": CallStatus},
)
BATCH = RecordType(
    "batch",
    schema.batches_table,
    (
        "batch_id",
        "aggregation_node_id",
        "attempt",
        "status",
        "trigger_reason",
        "created_at",
        "completed_at",
    ),
    enums={"status": BatchStatus},
    sorted_by=("created_at", "batch_id"),
)
BATCH_MEMBER = RecordType(
    "batch_member",
    schema.batch_members_table,
    ("batch_id", "token_id", "ordinal"),
)
ARTIFACT = RecordType(
    "artifact",
    schema.artifacts_table,
    (
        "artifact_id",
        "sink_node_id",
        "produced_by_state_id",
        "artifact_type",
        "path_or_uri",
        "content_hash",
        "size_bytes",
    ),
)

RECORD_TYPES = (
    RUN,
    NODE,
    EDGE,
    ROW,
    TOKEN,
    TOKEN_PARENT,
    NODE_STATE,
    ROUTING_EVENT,
    CALL,
    BATCH,
    BATCH_MEMBER,
    ARTIFACT,
)
"""The twelve exported record types, in the order in which an export first queries their tables."""

TABLES = tuple(record_type.table for record_type in RECORD_TYPES)
"""The tables that an export reads, in the same order."""
