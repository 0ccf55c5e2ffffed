"""The Landscape: record, read and export the audit trail of a pipeline's runs."""

# These names, and the modules schema, database, recorder, exporter and formatters, are those of the
# original audit trail. Code that was written against it imports them from here.

#
# A name is imported at its first use: to verify an export takes no recorder and no database.
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        ReproducibilityGrade,
        RoutingEvent,
        Row,
        RowLineage,
        Run,
        Token,
        TokenParent,
    )
    from elspeth.core.landscape.database import LandscapeDB
    from elspeth.core.landscape.exporter import LandscapeExporter
    from elspeth.core.landscape.formatters import CSVFormatter, ExportFormatter, JSONFormatter
    from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter
    from elspeth.core.landscape.recorder import LandscapeRecorder
    from elspeth.core.landscape.row_data import RowDataResult, RowDataState
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
    "ReproducibilityGrade",
    "RoutingEvent",
    "Row",
    "RowDataResult",
    "RowDataState",
    "RowLineage",
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

_SUBMODULES = frozenset({"database", "exporter", "formatters", "recorder", "schema"})
_MODULE_OF: Mapping[str, str] = MappingProxyType(
    {
        "CSVFormatter": "formatters",
        "ExportFormatter": "formatters",
        "JSONFormatter": "formatters",
        "LandscapeDB": "database",
        "LandscapeExporter": "exporter",
        "LandscapeRecorder": "recorder",
        "LegacyLandscapeExporter": "legacy_exporter",
        "RowDataResult": "row_data",
        "RowDataState": "row_data",
    }
)


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULE_OF:
        module = f"{__name__}.{_MODULE_OF[name]}"
    else:
        # Tables are written in lower case, models of the contracts in camel case.
        module = f"{__name__}.schema" if name.islower() else "elspeth.contracts"
    value = globals()[name] = getattr(import_module(module), name)
    return value
