"""The database tables of the audit trail, parents before children.

Tables, columns, constraints and indexes are those of the original audit trail: its databases can be
exported, and its code can read ours. `create_all` adds missing tables and never alters existing
ones, so a new column or index needs a migration.
"""

from functools import cache

from sqlalchemy import (
    Column,
    DateTime,
    Engine,
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
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

metadata = MetaData()

runs_table = Table(
    "runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    Column("config_hash", String(64), nullable=False),
    Column("settings_json", Text, nullable=False),
    Column("reproducibility_grade", String(32)),
    Column("canonical_version", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("export_status", String(32)),
    Column("export_error", Text),
    Column("exported_at", DateTime(timezone=True)),
    Column("export_format", String(16)),
    Column("export_sink", String(128)),
)

nodes_table = Table(
    "nodes",
    metadata,
    Column("node_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("plugin_name", String(128), nullable=False),
    Column("node_type", String(32), nullable=False),
    Column("plugin_version", String(32), nullable=False),
    Column("determinism", String(32), nullable=False),
    Column("config_hash", String(64), nullable=False),
    Column("config_json", Text, nullable=False),
    Column("schema_hash", String(64)),
    Column("sequence_in_pipeline", Integer),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("schema_mode", String(16)),
    Column("schema_fields_json", Text),
    Index("ix_nodes_run_id", "run_id"),
)

edges_table = Table(
    "edges",
    metadata,
    Column("edge_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("from_node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("to_node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("label", String(64), nullable=False),
    Column("default_mode", String(16), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("run_id", "from_node_id", "label"),
    Index("ix_edges_run_id", "run_id"),
)

# Everything below rows and batches has no run id: it belongs to the run of the row or batch above
# it. No constraint keeps other references in one run, so a row can name a source node of another
# run.

rows_table = Table(
    "rows",
    metadata,
    Column("row_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("source_node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("row_index", Integer, nullable=False),
    Column("source_data_hash", String(64), nullable=False),
    Column("source_data_ref", String(256)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    # SQLite reads the row tree of an export in the order of this index (docs/performance.md,
    # "Query plans"). Without it every statement would sort the whole run.
    UniqueConstraint("run_id", "row_index"),
    Index("ix_rows_run_id", "run_id"),
)

tokens_table = Table(
    "tokens",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("row_id", String(64), ForeignKey("rows.row_id"), nullable=False),
    Column("fork_group_id", String(64)),
    Column("join_group_id", String(64)),
    Column("expand_group_id", String(32), index=True),  # the length of uuid4().hex
    Column("branch_name", String(64)),
    Column("step_in_pipeline", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_tokens_row_id", "row_id"),
)

token_parents_table = Table(
    "token_parents",
    metadata,
    Column("token_id", String(64), ForeignKey("tokens.token_id"), primary_key=True),
    Column("parent_token_id", String(64), ForeignKey("tokens.token_id"), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    # Makes the export order by ordinal total: two parents cannot tie.
    UniqueConstraint("token_id", "ordinal"),
    Index("ix_token_parents_parent", "parent_token_id"),
)

node_states_table = Table(
    "node_states",
    metadata,
    Column("state_id", String(64), primary_key=True),
    Column("token_id", String(64), ForeignKey("tokens.token_id"), nullable=False),
    Column("node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("step_index", Integer, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("status", String(32), nullable=False),
    Column("input_hash", String(64), nullable=False),
    Column("output_hash", String(64)),
    Column("context_before_json", Text),
    Column("context_after_json", Text),
    Column("duration_ms", Float),
    Column("error_json", Text),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    UniqueConstraint("token_id", "node_id", "attempt"),
    # Makes the export order by step and attempt total.
    UniqueConstraint("token_id", "step_index", "attempt"),
    Index("ix_node_states_token", "token_id"),
    Index("ix_node_states_node", "node_id"),
)

calls_table = Table(
    "calls",
    metadata,
    Column("call_id", String(64), primary_key=True),
    Column("state_id", String(64), ForeignKey("node_states.state_id"), nullable=False),
    Column("call_index", Integer, nullable=False),
    Column("call_type", String(32), nullable=False),
    Column("status", String(32), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("request_ref", String(256)),
    Column("response_hash", String(64)),
    Column("response_ref", String(256)),
    Column("error_json", Text),
    Column("latency_ms", Float),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("state_id", "call_index"),
    Index("ix_calls_state", "state_id"),
)

artifacts_table = Table(
    "artifacts",
    metadata,
    Column("artifact_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("produced_by_state_id", String(64), ForeignKey("node_states.state_id"), nullable=False),
    Column("sink_node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("artifact_type", String(64), nullable=False),
    Column("path_or_uri", String(512), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("idempotency_key", String(256)),  # never written, in the original neither
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_artifacts_run", "run_id"),
)

routing_events_table = Table(
    "routing_events",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("state_id", String(64), ForeignKey("node_states.state_id"), nullable=False),
    Column("edge_id", String(64), ForeignKey("edges.edge_id"), nullable=False),
    Column("routing_group_id", String(64), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("reason_hash", String(64)),
    Column("reason_ref", String(256)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    # Unique in a group, not in a node state: the events of two groups of one state can tie, so the
    # export order ends with the event id.
    UniqueConstraint("routing_group_id", "ordinal"),
    Index("ix_routing_events_state", "state_id"),
    Index("ix_routing_events_group", "routing_group_id"),
)

batches_table = Table(
    "batches",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("aggregation_node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("aggregation_state_id", String(64), ForeignKey("node_states.state_id")),
    Column("trigger_reason", String(128)),
    Column("trigger_type", String(32)),
    Column("attempt", Integer, nullable=False, default=0),
    Column("status", String(32), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    Index("ix_batches_run_status", "run_id", "status"),
)

# Declares no primary key; (batch_id, token_id) identifies a member.
batch_members_table = Table(
    "batch_members",
    metadata,
    Column("batch_id", String(64), ForeignKey("batches.batch_id"), nullable=False),
    Column("token_id", String(64), ForeignKey("tokens.token_id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    UniqueConstraint("batch_id", "ordinal"),
    UniqueConstraint("batch_id", "token_id"),
    Index("ix_batch_members_batch", "batch_id"),
)

batch_outputs_table = Table(
    "batch_outputs",
    metadata,
    Column("batch_output_id", String(64), primary_key=True),
    Column("batch_id", String(64), ForeignKey("batches.batch_id"), nullable=False),
    Column("output_type", String(32), nullable=False),
    Column("output_id", String(64), nullable=False),
    UniqueConstraint("batch_id", "output_type", "output_id"),
    Index("ix_batch_outputs_batch", "batch_id"),
)

# The tables below are created and never exported. The ids in the two tables of errors are not
# foreign keys, except the run's.
validation_errors_table = Table(
    "validation_errors",
    metadata,
    Column("error_id", String(32), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("node_id", String(64)),
    Column("row_hash", String(64), nullable=False),
    Column("row_data_json", Text),
    Column("error", Text, nullable=False),
    Column("schema_mode", String(16), nullable=False),
    Column("destination", String(255), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_validation_errors_run", "run_id"),
    Index("ix_validation_errors_node", "node_id"),
)

transform_errors_table = Table(
    "transform_errors",
    metadata,
    Column("error_id", String(32), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("token_id", String(64), nullable=False),
    Column("transform_id", String(64), nullable=False),
    Column("row_hash", String(64), nullable=False),
    Column("row_data_json", Text),
    Column("error_details_json", Text),
    Column("destination", String(255), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_transform_errors_run", "run_id"),
    Index("ix_transform_errors_token", "token_id"),
    Index("ix_transform_errors_transform", "transform_id"),
)

checkpoints_table = Table(
    "checkpoints",
    metadata,
    Column("checkpoint_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("runs.run_id"), nullable=False),
    Column("token_id", String(64), ForeignKey("tokens.token_id"), nullable=False),
    Column("node_id", String(64), ForeignKey("nodes.node_id"), nullable=False),
    Column("sequence_number", Integer, nullable=False),
    Column("aggregation_state_json", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_checkpoints_run", "run_id"),
    Index("ix_checkpoints_run_seq", "run_id", "sequence_number"),
)

# The record types of the batched exporter name these tables too; a test compares the two lists.
EXPORTED_TABLES = (
    runs_table,
    nodes_table,
    edges_table,
    rows_table,
    tokens_table,
    token_parents_table,
    node_states_table,
    routing_events_table,
    calls_table,
    batches_table,
    batch_members_table,
    artifacts_table,
)
"""The tables that an export reads, in the order in which their records first appear."""


def create_tables_in(engine: Engine, *, is_new: bool) -> None:
    """Create the tables that a database lacks.

    Args:
        engine: An engine of SQLite or PostgreSQL.
        is_new: Whether it is a new SQLite database, which is faster than to look for its tables.
    """
    if not is_new:
        metadata.create_all(engine)
        return
    with engine.begin() as connection:
        for statement in _sqlite_statements():
            connection.exec_driver_sql(statement)


@cache
def _sqlite_statements() -> tuple[str, ...]:
    # SQLAlchemy compiles them for every engine again, which takes twice as long as executing them.
    # Another process may create the tables of the same new file at the same time.
    creations: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        creations.append(CreateTable(table, if_not_exists=True))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        creations += (CreateIndex(index, if_not_exists=True) for index in indexes)
    return tuple(str(creation.compile(dialect=sqlite.dialect())) for creation in creations)
