"""The closed vocabularies of the audit trail: every status, kind and mode that is stored as text.

All but RowOutcome mix in `str`, so a member equals its stored text, binds as it and is written as
it by `json` and `csv`. `enum.StrEnum` would not do: its `str()` gives the value, where code that
builds on these enums has always seen `ClassName.MEMBER`.
"""

# ruff: noqa: UP042 - StrEnum changes str() and f-strings, as said above

from enum import Enum


class RunStatus(str, Enum):
    """How far a run of a pipeline got."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class NodeStateStatus(str, Enum):
    """How a token's visit to a node ended, or that it has not ended."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"


class ExportStatus(str, Enum):
    """How far the export that follows a run got; it says nothing about the run itself."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class BatchStatus(str, Enum):
    """How far an aggregation's batch got."""

    DRAFT = "draft"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"


class TriggerType(str, Enum):
    """What made an aggregation flush its batch."""

    COUNT = "count"
    TIMEOUT = "timeout"
    CONDITION = "condition"
    END_OF_SOURCE = "end_of_source"
    MANUAL = "manual"


class NodeType(str, Enum):
    """What a node of the pipeline's graph does."""

    SOURCE = "source"
    TRANSFORM = "transform"
    GATE = "gate"
    AGGREGATION = "aggregation"
    COALESCE = "coalesce"
    SINK = "sink"


class Determinism(str, Enum):
    """What running a node again would take to give the same result."""

    DETERMINISTIC = "deterministic"
    SEEDED = "seeded"
    IO_READ = "io_read"
    IO_WRITE = "io_write"
    EXTERNAL_CALL = "external_call"
    NON_DETERMINISTIC = "non_deterministic"


class RoutingKind(str, Enum):
    """What a gate decided: go on, go elsewhere, or go several ways at once."""

    CONTINUE = "continue"
    ROUTE = "route"
    FORK_TO_PATHS = "fork_to_paths"


class RoutingMode(str, Enum):
    """Whether a token leaves along an edge or a copy of it does."""

    MOVE = "move"
    COPY = "copy"


class CallType(str, Enum):
    """What a node called outside the pipeline."""

    LLM = "llm"
    HTTP = "http"
    SQL = "sql"
    FILESYSTEM = "filesystem"


class CallStatus(str, Enum):
    """How a call to the outside ended."""

    SUCCESS = "success"
    ERROR = "error"


class ReproducibilityGrade(str, Enum):
    """What could be done with a run's evidence, best first.

    `runs.reproducibility_grade` stores it as text or NULL: a run that nobody graded has none.
    """

    FULL_REPRODUCIBLE = "full_reproducible"
    REPLAY_REPRODUCIBLE = "replay_reproducible"
    ATTRIBUTABLE_ONLY = "attributable_only"


class RowOutcome(Enum):
    """What became of a token. It is derived, never stored, and so it is no `str`."""

    COMPLETED = "completed"
    ROUTED = "routed"
    FORKED = "forked"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CONSUMED_IN_BATCH = "consumed_in_batch"
    COALESCED = "coalesced"
    EXPANDED = "expanded"
    BUFFERED = "buffered"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more can happen to the token; only a buffered one still waits."""
        return self is not RowOutcome.BUFFERED
