"""Values that all parts of the pipeline share."""

from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    CallType,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)

__all__ = [
    "BatchStatus",
    "CallStatus",
    "CallType",
    "NodeStateStatus",
    "NodeType",
    "RoutingMode",
    "RunStatus",
]
