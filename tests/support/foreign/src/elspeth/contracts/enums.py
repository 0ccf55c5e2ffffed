"""The words that the database stores."""

# Like those of the original. A member of StrEnum would format as its value.
# ruff: noqa: UP042

from enum import Enum


class RunStatus(str, Enum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class NodeType(str, Enum):
    """What a node of a pipeline does."""

    SOURCE = "source"
    TRANSFORM = "transform"
    GATE = "gate"
    AGGREGATION = "aggregation"
    COALESCE = "coalesce"
    SINK = "sink"


class RoutingMode(str, Enum):
    """How a token follows an edge."""

    MOVE = "move"
    COPY = "copy"
    DIVERT = "divert"


class NodeStateStatus(str, Enum):
    """How a node's work on a token stands."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"


class CallType(str, Enum):
    """The kind of an external call."""

    LLM = "llm"
    HTTP = "http"
    SQL = "sql"
    FILESYSTEM = "filesystem"


class CallStatus(str, Enum):
    """How an external call ended."""

    SUCCESS = "success"
    ERROR = "error"


class BatchStatus(str, Enum):
    """How a batch stands."""

    DRAFT = "draft"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
