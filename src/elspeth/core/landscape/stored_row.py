"""One fetched row whose values are checked as they are taken."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from math import isfinite
from typing import Any, TypeVar

from sqlalchemy import Table

from elspeth.contracts import errors
from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape.corruption import primary_key_columns

Member = TypeVar("Member", bound=Enum)
Value = TypeVar("Value")


@dataclass(frozen=True)
class StoredRow:
    """A row of a table by column name; every method raises CorruptAuditDataError for a bad value.

    The methods that end in `_or_none` accept NULL, the others do not.
    """

    table: Table
    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Take text."""
        return self._present(column, self.text_or_none(column))

    def text_or_none(self, column: str) -> str | None:
        """Take text or NULL."""
        value = self.values[column]
        if value is None or isinstance(value, str):
            return value
        raise self.corrupt(column, errors.NOT_TEXT)

    def integer(self, column: str) -> int:
        """Take an integer that canonical JSON can carry."""
        return self._present(column, self.integer_or_none(column))

    def integer_or_none(self, column: str) -> int | None:
        """Take an integer that canonical JSON can carry, or NULL."""
        value = self.values[column]
        if value is None:
            return None
        if type(value) is not int:
            raise self.corrupt(column, errors.NOT_AN_INTEGER)
        if abs(value) > errors.MAX_INTEGER:
            raise self.corrupt(column, errors.TOO_LARGE)
        return value

    def number(self, column: str) -> float:
        """Take a finite number."""
        return self._present(column, self.number_or_none(column))

    def number_or_none(self, column: str) -> float | None:
        """Take a finite number or NULL."""
        value = self.values[column]
        if value is None:
            return None
        if type(value) is not float:
            raise self.corrupt(column, errors.NOT_A_NUMBER)
        if not isfinite(value):
            raise self.corrupt(column, errors.NOT_FINITE)
        return value

    def moment(self, column: str) -> datetime:
        """Take a timestamp as the database keeps it: naive on SQLite, aware on PostgreSQL."""
        return self._present(column, self.moment_or_none(column))

    def moment_or_none(self, column: str) -> datetime | None:
        """Take a timestamp or NULL."""
        value = self.values[column]
        if value is None:
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                # Some moments of the years 1 and 9999 exist in their own time zone alone.
                moment.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise self.corrupt(column, errors.NOT_A_TIMESTAMP) from None
        return moment

    def member(self, column: str, enum: type[Member]) -> Member:
        """Take text that names a member of an enum, as that member."""
        value = self.text(column)
        try:
            return enum(value)
        except ValueError:
            raise self.corrupt(column, errors.not_a_member(value, enum.__name__)) from None

    def member_or_none(self, column: str, enum: type[Member]) -> Member | None:
        """Take a member of an enum or NULL."""
        return None if self.values[column] is None else self.member(column, enum)

    def json_list_or_none(self, column: str) -> list[Any] | None:
        """Take text that is a JSON list, as that list, or NULL."""
        text = self.text_or_none(column)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, list):
            raise self.corrupt(column, "is not a JSON list")
        return value

    def corrupt(self, column: str, problem: str) -> CorruptAuditDataError:
        """Build the error that names this row and one of its columns."""
        key = {part.name: self.values[part.name] for part in primary_key_columns(self.table)}
        return CorruptAuditDataError(self.table.name, key, column, problem)

    def _present(self, column: str, value: Value | None) -> Value:
        if value is None:
            raise self.corrupt(column, errors.IS_NULL)
        return value
