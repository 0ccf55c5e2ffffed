"""The enums of the audit trail: every status, kind and mode that is stored as text.

All but RowOutcome mix in `str`: a member equals its stored text, can be bound as a parameter, and
`json` and `csv` write the text.
"""

# Not enum.StrEnum: its str() and f-strings give the value, and code that uses these enums relies
# on `ClassName.MEMBER`.
# ruff: noqa: UP042

from enum import Enum


class RunStatus(str, Enum):
    """The status of a pipeline run."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class NodeStateStatus(str, Enum):
    """The status of a token's visit to a node."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"


class ExportStatus(str, Enum):
    """The status of the export that follows a run. The run itself can have any status."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class BatchStatus(str, Enum):
    """The status of an aggregation's batch."""

    DRAFT = "draft"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"


class TriggerType(str, Enum):
    """The event that made an aggregation flush its batch."""

    COUNT = "count"
    TIMEOUT = "timeout"
    CONDITION = "condition"
    END_OF_SOURCE = "end_of_source"
    MANUAL = "manual"


class NodeType(str, Enum):
    """The function of a node in the pipeline's graph."""

    SOURCE = "source"
    TRANSFORM = "transform"
    GATE = "gate"
    AGGREGATION = "aggregation"
    COALESCE = "coalesce"
    SINK = "sink"


class Determinism(str, Enum):
    """Whether a node gives the same result again, and what that takes."""

    DETERMINISTIC = "deterministic"
    SEEDED = "seeded"
    IO_READ = "io_read"
    IO_WRITE = "io_write"
    EXTERNAL_CALL = "external_call"
    NON_DETERMINISTIC = "non_deterministic"


class RoutingKind(str, Enum):
    """The kind of a gate's decision: continue, take another route, or take several."""

    CONTINUE = "continue"
    ROUTE = "route"
    FORK_TO_PATHS = "fork_to_paths"


class RoutingMode(str, Enum):
    """Whether a token itself or a copy of it takes an edge."""

    MOVE = "move"
    COPY = "copy"


class CallType(str, Enum):
    """The kind of external system that a node called."""

    LLM = "llm"
    HTTP = "http"
    SQL = "sql"
    FILESYSTEM = "filesystem"


class CallStatus(str, Enum):
    """The result of a call to an external system."""

    SUCCESS = "success"
    ERROR = "error"


class ReproducibilityGrade(str, Enum):
    """How far a run can be reproduced, best first.

    `runs.reproducibility_grade` stores it as text, or NULL for a run that was not graded.
    """

    FULL_REPRODUCIBLE = "full_reproducible"
    REPLAY_REPRODUCIBLE = "replay_reproducible"
    ATTRIBUTABLE_ONLY = "attributable_only"


class RowOutcome(Enum):
    """The outcome of a token. It is derived and never stored, so it does not mix in `str`."""

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
        """Whether the outcome is final. Only a buffered token waits for another one."""
        return self is not RowOutcome.BUFFERED
