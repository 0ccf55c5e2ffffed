"""The tables of the audit trail."""

from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _key(name: str) -> Column[Any]:
    return Column(name, String(64), primary_key=True)


def _reference(name: str, target: str, **options: Any) -> Column[Any]:
    return Column(name, String(64), ForeignKey(target), nullable=False, **options)


def _text(name: str, *, required: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=not required)


def _time(name: str, *, required: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=not required)


def _number(name: str, *, required: bool = True) -> Column[Any]:
    return Column(name, Integer, nullable=not required)


runs_table = Table(
    "runs",
    metadata,
    _key("run_id"),
    _time("started_at", required=True),
    _time("completed_at"),
    _text("config_hash", required=True),
    _text("settings_json", required=True),
    _text("reproducibility_grade"),
    _text("canonical_version", required=True),
    _text("status", required=True),
    _text("export_status"),
    _text("export_error"),
    _time("exported_at"),
    _text("export_format"),
    _text("export_sink"),
)

nodes_table = Table(
    "nodes",
    metadata,
    _key("node_id"),
    _reference("run_id", "runs.run_id", index=True),
    _text("plugin_name", required=True),
    _text("node_type", required=True),
    _text("plugin_version", required=True),
    _text("determinism", required=True),
    _text("config_hash", required=True),
    _text("config_json", required=True),
    _text("schema_hash"),
    _number("sequence_in_pipeline", required=False),
    _time("registered_at", required=True),
    _text("schema_mode"),
    _text("schema_fields_json"),
)

edges_table = Table(
    "edges",
    metadata,
    _key("edge_id"),
    _reference("run_id", "runs.run_id", index=True),
    _reference("from_node_id", "nodes.node_id"),
    _reference("to_node_id", "nodes.node_id"),
    _text("label", required=True),
    _text("default_mode", required=True),
    _time("created_at", required=True),
    UniqueConstraint("run_id", "from_node_id", "label"),
)

rows_table = Table(
    "rows",
    metadata,
    _key("row_id"),
    _reference("run_id", "runs.run_id", index=True),
    _reference("source_node_id", "nodes.node_id"),
    _number("row_index"),
    _text("source_data_hash", required=True),
    _text("source_data_ref"),
    _time("created_at", required=True),
    UniqueConstraint("run_id", "row_index"),
)

tokens_table = Table(
    "tokens",
    metadata,
    _key("token_id"),
    _reference("row_id", "rows.row_id", index=True),
    _text("fork_group_id"),
    _text("join_group_id"),
    _text("expand_group_id"),
    _text("branch_name"),
    _number("step_in_pipeline", required=False),
    _time("created_at", required=True),
)

token_parents_table = Table(
    "token_parents",
    metadata,
    _reference("token_id", "tokens.token_id", primary_key=True),
    _reference("parent_token_id", "tokens.token_id", primary_key=True),
    _number("ordinal"),
    UniqueConstraint("token_id", "ordinal"),
)

node_states_table = Table(
    "node_states",
    metadata,
    _key("state_id"),
    _reference("token_id", "tokens.token_id", index=True),
    _reference("node_id", "nodes.node_id"),
    _number("step_index"),
    _number("attempt"),
    _text("status", required=True),
    _text("input_hash", required=True),
    _text("output_hash"),
    _text("context_before_json"),
    _text("context_after_json"),
    Column("duration_ms", Float),
    _text("error_json"),
    _time("started_at", required=True),
    _time("completed_at"),
    UniqueConstraint("token_id", "step_index", "attempt"),
)

routing_events_table = Table(
    "routing_events",
    metadata,
    _key("event_id"),
    _reference("state_id", "node_states.state_id", index=True),
    _reference("edge_id", "edges.edge_id"),
    _text("routing_group_id", required=True),
    _number("ordinal"),
    _text("mode", required=True),
    _text("reason_hash"),
    _text("reason_ref"),
    _time("created_at", required=True),
    UniqueConstraint("routing_group_id", "ordinal"),
)

calls_table = Table(
    "calls",
    metadata,
    _key("call_id"),
    _reference("state_id", "node_states.state_id", index=True),
    _number("call_index"),
    _text("call_type", required=True),
    _text("status", required=True),
    _text("request_hash", required=True),
    _text("request_ref"),
    _text("response_hash"),
    _text("response_ref"),
    _text("error_json"),
    Column("latency_ms", Float),
    _time("created_at", required=True),
    UniqueConstraint("state_id", "call_index"),
)

batches_table = Table(
    "batches",
    metadata,
    _key("batch_id"),
    _reference("run_id", "runs.run_id"),
    _reference("aggregation_node_id", "nodes.node_id"),
    Column("aggregation_state_id", String(64), ForeignKey("node_states.state_id")),
    _text("trigger_reason"),
    _text("trigger_type"),
    _number("attempt"),
    _text("status", required=True),
    _time("created_at", required=True),
    _time("completed_at"),
    Index("ix_batches_run_status", "run_id", "status"),
)

batch_members_table = Table(
    "batch_members",
    metadata,
    _reference("batch_id", "batches.batch_id", index=True),
    _reference("token_id", "tokens.token_id"),
    _number("ordinal"),
    UniqueConstraint("batch_id", "ordinal"),
    UniqueConstraint("batch_id", "token_id"),
)

artifacts_table = Table(
    "artifacts",
    metadata,
    _key("artifact_id"),
    _reference("run_id", "runs.run_id", index=True),
    _reference("produced_by_state_id", "node_states.state_id"),
    _reference("sink_node_id", "nodes.node_id"),
    _text("artifact_type", required=True),
    _text("path_or_uri", required=True),
    _text("content_hash", required=True),
    _number("size_bytes"),
    _text("idempotency_key"),
    _time("created_at", required=True),
)
