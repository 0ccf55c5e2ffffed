"""The models of the audit trail: a dataclass for every kind of stored entity.

The recorder returns them. They do not check their values: a reader refuses corrupt values before it
builds a model. Datetimes are as the database returns them: naive from SQLite, aware from
PostgreSQL.
"""

# Field names, order and defaults, and which models are frozen, equal those of the original audit
# trail: code that was written against it may build a model by position or assign a field.

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, TypedDict

from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    CallType,
    Determinism,
    ExportStatus,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)


@dataclass(frozen=True)
class RoutingSpec:
    """One route that a gate has chosen; several routes make a fork."""

    edge_id: str
    mode: RoutingMode


@dataclass
class Run:
    """One run of a pipeline, with the status of its export."""

    run_id: str
    started_at: datetime
    config_hash: str
    settings_json: str
    canonical_version: str
    status: RunStatus
    completed_at: datetime | None = None
    reproducibility_grade: str | None = None
    # NULL in a run without an export. `status` does not depend on these five fields.
    export_status: ExportStatus | None = None
    export_error: str | None = None
    exported_at: datetime | None = None
    export_format: str | None = None
    export_sink: str | None = None


@dataclass
class Node:
    """A node of the pipeline's graph: a plugin with its configuration."""

    node_id: str
    run_id: str
    plugin_name: str
    node_type: NodeType
    plugin_version: str
    determinism: Determinism
    config_hash: str
    config_json: str
    registered_at: datetime
    schema_hash: str | None = None
    sequence_in_pipeline: int | None = None
    schema_mode: str | None = None
    # Stored as JSON text in `schema_fields_json`.
    schema_fields: list[dict[str, object]] | None = None


@dataclass
class Edge:
    """A labelled edge from one node to another."""

    edge_id: str
    run_id: str
    from_node_id: str
    to_node_id: str
    label: str
    default_mode: RoutingMode
    created_at: datetime


@dataclass
class Row:
    """A source row, with the hash of its data."""

    row_id: str
    run_id: str
    source_node_id: str
    row_index: int
    source_data_hash: str
    created_at: datetime
    source_data_ref: str | None = None


@dataclass
class Token:
    """A token: one instance of a source row that moves through the graph."""

    token_id: str
    row_id: str
    created_at: datetime
    fork_group_id: str | None = None
    join_group_id: str | None = None
    expand_group_id: str | None = None
    branch_name: str | None = None
    step_in_pipeline: int | None = None


@dataclass
class TokenParent:
    """A token and one of its parents; `ordinal` orders the parents of a join."""

    token_id: str
    parent_token_id: str
    ordinal: int


# A class for each status, with the status as a literal: a type checker then knows that a completed
# state has an output and a duration, and `match` on the status is exhaustive.
@dataclass(frozen=True)
class NodeStateOpen:
    """A token's visit to a node that has not ended."""

    state_id: str
    token_id: str
    node_id: str
    step_index: int
    attempt: int
    status: Literal[NodeStateStatus.OPEN]
    input_hash: str
    started_at: datetime
    context_before_json: str | None = None


@dataclass(frozen=True)
class NodeStateCompleted:
    """A visit that ended with an output."""

    state_id: str
    token_id: str
    node_id: str
    step_index: int
    attempt: int
    status: Literal[NodeStateStatus.COMPLETED]
    input_hash: str
    started_at: datetime
    output_hash: str
    completed_at: datetime
    duration_ms: float
    context_before_json: str | None = None
    context_after_json: str | None = None


@dataclass(frozen=True)
class NodeStateFailed:
    """A visit that ended with an error, with or without an output."""

    state_id: str
    token_id: str
    node_id: str
    step_index: int
    attempt: int
    status: Literal[NodeStateStatus.FAILED]
    input_hash: str
    started_at: datetime
    completed_at: datetime
    duration_ms: float
    error_json: str | None = None
    output_hash: str | None = None
    context_before_json: str | None = None
    context_after_json: str | None = None


NodeState: TypeAlias = NodeStateOpen | NodeStateCompleted | NodeStateFailed
"""A token's visit to a node. Both `status` and the class tell the three apart."""


@dataclass
class Call:
    """One request to another system, made during a visit to a node."""

    call_id: str
    state_id: str
    call_index: int
    call_type: CallType
    status: CallStatus
    request_hash: str
    created_at: datetime
    request_ref: str | None = None
    response_hash: str | None = None
    response_ref: str | None = None
    error_json: str | None = None
    latency_ms: float | None = None


@dataclass
class Artifact:
    """An output that a sink wrote, with its path and the hash of its content."""

    artifact_id: str
    run_id: str
    produced_by_state_id: str
    sink_node_id: str
    artifact_type: str
    path_or_uri: str
    content_hash: str
    size_bytes: int
    created_at: datetime


@dataclass
class RoutingEvent:
    """A gate's decision to send a token along one edge."""

    event_id: str
    state_id: str
    edge_id: str
    routing_group_id: str
    ordinal: int
    mode: RoutingMode
    created_at: datetime
    reason_hash: str | None = None
    reason_ref: str | None = None


@dataclass
class Batch:
    """One attempt of an aggregation at a group of tokens."""

    batch_id: str
    run_id: str
    aggregation_node_id: str
    attempt: int
    status: BatchStatus
    created_at: datetime
    aggregation_state_id: str | None = None
    trigger_reason: str | None = None
    completed_at: datetime | None = None


@dataclass
class BatchMember:
    """A token's place in a batch."""

    batch_id: str
    token_id: str
    ordinal: int


@dataclass
class BatchOutput:
    """An output of a batch."""

    batch_id: str
    output_type: str
    output_id: str


@dataclass
class Checkpoint:
    """A point at which a run can be resumed. Checkpoints are neither recorded nor exported."""

    checkpoint_id: str
    run_id: str
    token_id: str
    node_id: str
    sequence_number: int
    created_at: datetime | None
    aggregation_state_json: str | None = None


@dataclass
class RowLineage:
    """A source row with its data, if the data was kept."""

    row_id: str
    run_id: str
    source_node_id: str
    row_index: int
    source_data_hash: str
    created_at: datetime
    source_data: dict[str, object] | None
    payload_available: bool


@dataclass
class ValidationErrorRecord:
    """A source row that its schema refused. It is not exported."""

    error_id: str
    run_id: str
    node_id: str | None
    row_hash: str
    error: str
    schema_mode: str
    destination: str
    created_at: datetime
    row_data_json: str | None = None


@dataclass
class TransformErrorRecord:
    """A row that a transform could not process. It is not exported."""

    error_id: str
    run_id: str
    token_id: str
    transform_id: str
    row_hash: str
    destination: str
    created_at: datetime
    row_data_json: str | None = None
    error_details_json: str | None = None


class ExportStatusUpdate(TypedDict, total=False):
    """The columns of `runs` that an export may update; absent keys stay as they are."""

    export_status: ExportStatus
    exported_at: datetime
    export_error: str | None
    export_format: str
    export_sink: str


class BatchStatusUpdate(TypedDict, total=False):
    """The columns of `batches` that a new status may update; absent keys stay as they are."""

    status: BatchStatus
    completed_at: datetime
    trigger_reason: str
    aggregation_state_id: str
