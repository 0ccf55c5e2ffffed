"""The Landscape: record, read and export the audit trail of a pipeline's runs."""

# These names, and the modules schema, database, recorder, exporter and formatters, are those of the
# original audit trail. Code that was written against it imports them from here.

from elspeth.contracts import (
    Artifact,
    Batch,
    BatchMember,
    Call,
    Edge,
    Node,
    NodeState,
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    RoutingEvent,
    Row,
    Run,
    Token,
    TokenParent,
)
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.formatters import CSVFormatter, ExportFormatter, JSONFormatter
from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import (
    artifacts_table,
    batch_members_table,
    batch_outputs_table,
    batches_table,
    calls_table,
    checkpoints_table,
    edges_table,
    metadata,
    node_states_table,
    nodes_table,
    routing_events_table,
    rows_table,
    runs_table,
    token_parents_table,
    tokens_table,
    transform_errors_table,
    validation_errors_table,
)

__all__ = [
    "Artifact",
    "Batch",
    "BatchMember",
    "CSVFormatter",
    "Call",
    "Edge",
    "ExportFormatter",
    "JSONFormatter",
    "LandscapeDB",
    "LandscapeExporter",
    "LandscapeRecorder",
    "LegacyLandscapeExporter",
    "Node",
    "NodeState",
    "NodeStateCompleted",
    "NodeStateFailed",
    "NodeStateOpen",
    "RoutingEvent",
    "Row",
    "Run",
    "Token",
    "TokenParent",
    "artifacts_table",
    "batch_members_table",
    "batch_outputs_table",
    "batches_table",
    "calls_table",
    "checkpoints_table",
    "edges_table",
    "metadata",
    "node_states_table",
    "nodes_table",
    "routing_events_table",
    "rows_table",
    "runs_table",
    "token_parents_table",
    "tokens_table",
    "transform_errors_table",
    "validation_errors_table",
]
