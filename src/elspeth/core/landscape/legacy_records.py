"""The records of the control, by type: their fields, in the order of the original exporter."""

# Independent of the batched exporter and the verifier, as `legacy_exporter` says.

from datetime import UTC, datetime
from typing import Any

from elspeth.contracts import (
    Artifact,
    Batch,
    BatchMember,
    Call,
    Edge,
    Node,
    NodeState,
    NodeStateOpen,
    RoutingEvent,
    Row,
    Run,
    Token,
    TokenParent,
)


# Fields, the order of keys, and which values are enum members are those of the original exporter. A
# member equals its text and is encoded as its text.
def run_record(run: Run) -> dict[str, Any]:
    """Return the record of a run."""
    return {
        "record_type": "run",
        "run_id": run.run_id,
        "status": run.status,
        "started_at": isoformat(run.started_at),
        "completed_at": _isoformat_or_none(run.completed_at),
        "canonical_version": run.canonical_version,
        "config_hash": run.config_hash,
        "reproducibility_grade": run.reproducibility_grade,
    }


def node_record(run_id: str, node: Node) -> dict[str, Any]:
    """Return the record of a node."""
    return {
        "record_type": "node",
        "run_id": run_id,
        "node_id": node.node_id,
        "plugin_name": node.plugin_name,
        "node_type": node.node_type,
        "plugin_version": node.plugin_version,
        "config_hash": node.config_hash,
        "schema_hash": node.schema_hash,
        "sequence_in_pipeline": node.sequence_in_pipeline,
    }


def edge_record(run_id: str, edge: Edge) -> dict[str, Any]:
    """Return the record of an edge."""
    return {
        "record_type": "edge",
        "run_id": run_id,
        "edge_id": edge.edge_id,
        "from_node_id": edge.from_node_id,
        "to_node_id": edge.to_node_id,
        "label": edge.label,
        "default_mode": edge.default_mode,
    }


def row_record(run_id: str, row: Row) -> dict[str, Any]:
    """Return the record of a row."""
    return {
        "record_type": "row",
        "run_id": run_id,
        "row_id": row.row_id,
        "row_index": row.row_index,
        "source_node_id": row.source_node_id,
        "source_data_hash": row.source_data_hash,
    }


def token_record(run_id: str, token: Token) -> dict[str, Any]:
    """Return the record of a token."""
    return {
        "record_type": "token",
        "run_id": run_id,
        "token_id": token.token_id,
        "row_id": token.row_id,
        "step_in_pipeline": token.step_in_pipeline,
        "branch_name": token.branch_name,
        "fork_group_id": token.fork_group_id,
        "join_group_id": token.join_group_id,
    }


def token_parent_record(run_id: str, parent: TokenParent) -> dict[str, Any]:
    """Return the record of a token parent."""
    return {
        "record_type": "token_parent",
        "run_id": run_id,
        "token_id": parent.token_id,
        "parent_token_id": parent.parent_token_id,
        "ordinal": parent.ordinal,
    }


def node_state_record(run_id: str, state: NodeState) -> dict[str, Any]:
    """Return the record of a node state."""
    # An open state has no output, duration or end. The keys are there all the same, with null.
    finished = None if isinstance(state, NodeStateOpen) else state
    return {
        "record_type": "node_state",
        "run_id": run_id,
        "state_id": state.state_id,
        "token_id": state.token_id,
        "node_id": state.node_id,
        "step_index": state.step_index,
        "attempt": state.attempt,
        "status": state.status.value,
        "input_hash": state.input_hash,
        "output_hash": finished.output_hash if finished else None,
        "duration_ms": finished.duration_ms if finished else None,
        "started_at": isoformat(state.started_at),
        "completed_at": isoformat(finished.completed_at) if finished else None,
    }


def routing_event_record(run_id: str, event: RoutingEvent) -> dict[str, Any]:
    """Return the record of a routing event."""
    return {
        "record_type": "routing_event",
        "run_id": run_id,
        "event_id": event.event_id,
        "state_id": event.state_id,
        "edge_id": event.edge_id,
        "routing_group_id": event.routing_group_id,
        "ordinal": event.ordinal,
        "mode": event.mode,
        "reason_hash": event.reason_hash,
    }


def call_record(run_id: str, call: Call) -> dict[str, Any]:
    """Return the record of a call."""
    return {
        "record_type": "call",
        "run_id": run_id,
        "call_id": call.call_id,
        "state_id": call.state_id,
        "call_index": call.call_index,
        "call_type": call.call_type.value,
        "status": call.status.value,
        "request_hash": call.request_hash,
        "response_hash": call.response_hash,
        "latency_ms": call.latency_ms,
    }


def batch_record(run_id: str, batch: Batch) -> dict[str, Any]:
    """Return the record of a batch."""
    return {
        "record_type": "batch",
        "run_id": run_id,
        "batch_id": batch.batch_id,
        "aggregation_node_id": batch.aggregation_node_id,
        "attempt": batch.attempt,
        "status": batch.status,
        "trigger_reason": batch.trigger_reason,
        "created_at": isoformat(batch.created_at),
        "completed_at": _isoformat_or_none(batch.completed_at),
    }


def batch_member_record(run_id: str, member: BatchMember) -> dict[str, Any]:
    """Return the record of a batch member."""
    return {
        "record_type": "batch_member",
        "run_id": run_id,
        "batch_id": member.batch_id,
        "token_id": member.token_id,
        "ordinal": member.ordinal,
    }


def artifact_record(run_id: str, artifact: Artifact) -> dict[str, Any]:
    """Return the record of an artifact."""
    return {
        "record_type": "artifact",
        "run_id": run_id,
        "artifact_id": artifact.artifact_id,
        "sink_node_id": artifact.sink_node_id,
        "produced_by_state_id": artifact.produced_by_state_id,
        "artifact_type": artifact.artifact_type,
        "path_or_uri": artifact.path_or_uri,
        "content_hash": artifact.content_hash,
        "size_bytes": artifact.size_bytes,
    }


def isoformat(moment: datetime) -> str:
    """Return a time as text, in UTC if it has a time zone."""
    # PostgreSQL returns timestamps in the session's time zone, which must not change the bytes.
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def _isoformat_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else isoformat(moment)
