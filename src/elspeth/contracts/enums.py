"""The enums of the audit trail: every status, kind and mode that is stored as text.

All but RowOutcome mix in `str`: a member equals its stored text, can be bound as a parameter, and
`json` and `csv` write the text. They are not `enum.StrEnum`, whose `str()` gives the value: code
that uses these enums relies on `ClassName.MEMBER`.
"""

# ruff: noqa: UP042 - StrEnum changes str() and f-strings, see above

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
    """The status of the export that follows a run. The run itself may have any status."""

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
    """Why an aggregation flushed its batch."""

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
    """What a second run of a node would need to give the same result."""

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
    """Whether a token moves along an edge, or a copy of it does."""

    MOVE = "move"
    COPY = "copy"


class CallType(str, Enum):
    """What kind of system a node called."""

    LLM = "llm"
    HTTP = "http"
    SQL = "sql"
    FILESYSTEM = "filesystem"


class CallStatus(str, Enum):
    """How a call to another system ended."""

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
    """What became of a token. It is derived and never stored, so it does not mix in `str`."""

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
