"""The checks by name, their limits in seconds, and their verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from querygrowth.verdict import Verdict


# The order matters, because the first failure has to name the cause: bytes before costs, queries
# before work, and work before a run so large that a quadratic exporter would not end.
class Check(StrEnum):
    """The checks, in the order in which they run."""

    RECORDS = "records"
    PLAN = "plan"
    BACKENDS = "backends"
    SIDE_EFFECTS = "side-effects"
    CALLS = "calls"
    ERRORS = "errors"
    QUERIES = "queries"
    SEARCH = "search"
    WORK = "work"
    SIZE = "size"
    SNAPSHOT = "snapshot"
    PROCESS = "process"
    MEMORY = "memory"


ALL_CHECKS = tuple(Check)


@dataclass(frozen=True)
class CheckVerdict:
    """A verdict, with its check and its backend.

    Attributes:
        check: The check.
        backend: The backend that it ran on.
        verdict: The judgement.
    """

    check: Check
    backend: str
    verdict: Verdict


@dataclass(frozen=True)
class Limits:
    """The seconds after which a candidate hangs, by check. The limit is for one export or script.

    Args:
        seconds: The limit of checks without their own.
        by_check: The limits of single checks.
        hangs: The number of hangs after which the other checks are left out.
    """

    # About thirty times what the slowest correct exporter takes on a quiet machine.
    seconds: float = 60.0
    by_check: Mapping[Check, float] = field(
        default_factory=lambda: MappingProxyType(
            {Check.SIZE: 180.0, Check.WORK: 120.0, Check.MEMORY: 120.0}
        )
    )
    hangs: int = 2

    def of(self, check: Check) -> float:
        """The limit of a check in seconds."""
        return self.by_check.get(check, self.seconds)
