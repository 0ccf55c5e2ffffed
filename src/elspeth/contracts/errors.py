"""The errors an audit trail answers with: no such run, or stored data that no export may carry."""

from collections.abc import Mapping
from typing import Self

MAX_INTEGER = 2**53 - 1
"""The largest integer that canonical JSON can carry (RFC 8785, section 3.2.2.3)."""

IS_NULL = "is NULL"
NOT_TEXT = "is not text"
NOT_UTF8 = "is not UTF-8 text"
NOT_AN_INTEGER = "is not an integer"
TOO_LARGE = "is beyond 2^53 - 1"
NOT_A_NUMBER = "is not a number"
NOT_FINITE = "is not a finite number"
NOT_A_TIMESTAMP = "is not a timestamp"


def not_a_member(value: object, enum_name: str) -> str:
    """Say that a stored value names no member of an enum."""
    return f"holds {value!r}, which is no {enum_name}"


def null_in_state(status: str) -> str:
    """Say that a value is NULL which a node state of this status must hold."""
    return f"is NULL in a {status} state"


class RunNotFoundError(ValueError):
    """The audit trail holds no run of this id."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run not found: {run_id}")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # Without it a worker process could not hand the error to its parent.
        return type(self), (self.run_id,)


class CorruptAuditDataError(ValueError):
    """A stored value that no export may carry: an audit integrity violation.

    Both exporters raise it with the same words, so that an auditor can compare their refusals.
    """

    def __init__(
        self, table: str, primary_key: Mapping[str, object], column: str, problem: str
    ) -> None:
        self.table = table
        self.primary_key = dict(primary_key)
        self.column = column
        self.problem = problem
        key = ", ".join(f"{name}={value!r}" for name, value in self.primary_key.items())
        super().__init__(f"Audit integrity violation: {table} ({key}): {column} {problem}")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # Without it a worker process could not hand the error to its parent.
        return type(self), (self.table, self.primary_key, self.column, self.problem)
