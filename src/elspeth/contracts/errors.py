"""Errors of recording and reading an audit trail, and the wording of problems with values."""

from collections.abc import Mapping
from typing import Self

MAX_INTEGER = 2**53 - 1
"""The largest integer that canonical JSON can carry (RFC 8785, section 3.2.2.3)."""

# Control and candidate use the same wording, so that a comparison of the two exporters can compare
# their refusals too. These texts complete the sentence "<table> (<key>): <column> ...".
IS_NULL = "is NULL"
NOT_TEXT = "is not text"
NOT_UTF8 = "is not UTF-8 text"
NOT_AN_INTEGER = "is not an integer"
TOO_LARGE = "is beyond 2^53 - 1"
NOT_A_NUMBER = "is not a number"
NOT_FINITE = "is not a finite number"
NOT_A_TIMESTAMP = "is not a timestamp"
IS_NOT_UNIQUE = "is stored in two rows, since the table lacks its unique constraint"


def not_a_member(value: object, enum_name: str) -> str:
    """Return the problem of a value that names no member of its enum."""
    return f"holds {value!r}, which is not a member of {enum_name}"


def null_in_state(status: str) -> str:
    """Return the problem of a NULL that a node state of this status must not have."""
    return f"is NULL in a {status} state"


def not_null_in_state(status: str) -> str:
    """Return the problem of a value that a node state of this status must not have yet."""
    return f"is not NULL while the state is {status}"


def not_ascending(previous: object, value: object) -> str:
    """Return the problem of a sort key whose stored form sorts in another way than its value."""
    return (
        f"is exported as {value!r}, which does not sort after {previous!r}, as its stored form "
        "does; store all times in one form, and text as UTF-8 without a collation"
    )


def not_in_datetime_range(text: str) -> str:
    """Return the problem of a PostgreSQL timestamp outside the range of Python's datetime."""
    return f"holds {text!r}, which is not in the years 1 to 9999"


class RunNotFoundError(ValueError):
    """The audit trail has no run with this id."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run not found: {run_id}")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # A worker of a parallel export pickles the error for its parent. The default passes the
        # finished message to __init__ and would put it into the message a second time.
        return type(self), (self.run_id,)


class RecordingError(ValueError):
    """The recorder refused a call, because what it would have stored contradicts the trail.

    Nothing was written. The message names the entity and the reason.
    """


class UnknownEntityError(RecordingError, AssertionError):
    """A call of the recorder names an entity that the audit trail does not have."""

    # An AssertionError too: the original audit trail raises one in these places.


class CorruptAuditDataError(ValueError):
    """A stored value that must not be exported.

    Attributes:
        table: The name of the table.
        primary_key: The row's key, by column name.
        column: The column that holds the value.
        problem: The problem, in the wording of this module.
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
        # As above: the default would call __init__ with one argument in place of four.
        return type(self), (self.table, self.primary_key, self.column, self.problem)
