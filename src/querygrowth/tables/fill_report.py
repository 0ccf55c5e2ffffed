"""What `fill_tables` reports: the rows added, what fell short, and why a table takes no row."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from querygrowth.tables.table_rules import TableRules


@dataclass(frozen=True)
class Refusal:
    """A table that could not be filled.

    Attributes:
        table: The table, with its schema if it has one.
        reason: The constraint or the database's message.
        hint: What to give so that it can be filled.
    """

    table: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.table}: {self.reason}; {self.hint}"


@dataclass(frozen=True)
class Filled:
    """What `fill_tables` did.

    Attributes:
        rows: The rows added, by table, with a table's schema if it has one.
        limited: Why a table took fewer rows than were wanted, by table.
        empty: Columns left NULL because no value is known for them, as "table.column".
        refused: The tables that could not be filled.
    """

    rows: Mapping[str, int]
    limited: Mapping[str, str]
    empty: tuple[str, ...]
    refused: tuple[Refusal, ...]

    def __str__(self) -> str:
        lines = [f"{sum(self.rows.values())} rows in {len(self.rows)} tables"]
        lines += [
            f"  {table}: {self.rows[table]} rows: {why}" for table, why in self.limited.items()
        ]
        lines += [f"  {column}: left NULL" for column in self.empty]
        lines += [f"  not filled: {each}" for each in self.refused]
        return "\n".join(lines)


class FillError(Exception):
    """At least one table could not be filled. Nothing was added.

    Attributes:
        filled: What was and was not filled before everything was taken back.
    """

    def __init__(self, filled: Filled) -> None:
        # The first refusal is in the first line, which is all that some reports show.
        counted = f"{len(filled.refused)} of {len(filled.rows)} tables cannot be filled"
        first, *others = filled.refused
        super().__init__("\n".join([f"{counted}: {first}", *(f"  {each}" for each in others)]))
        self.filled = filled


class CannotFillError(Exception):
    """A table takes no row.

    Args:
        reason: The constraint or the database's message.
        hint: What to give so that it can be filled.
    """

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def database_words(error: Exception) -> str:
    """What the database or the user's code says of an error, in one line."""
    original = getattr(error, "orig", None) or error
    text = " ".join(str(original).split()) or type(original).__name__
    return text if isinstance(error, DBAPIError) else f"{type(original).__name__}: {text}"


def columns_in(text: str, rules: TableRules) -> list[str]:
    """The columns of a table that a text names, by themselves or by the name of a constraint."""
    named = [(each.name, each.columns) for each in rules.conditions]
    named += [(each.name, each.columns) for each in rules.unique]
    for name, columns in named:
        if name and name in text:
            return list(columns)
    for each in rules.unread:  # as "name: text"
        name, _, condition = each.partition(": ")
        if condition and name in text:
            text = condition
    quoted = set(re.findall(r"""['"`](\w+)['"`]""", text))
    if found := [each for each in rules.columns if each in quoted]:
        return found
    words = {*"".join(each if each.isalnum() or each == "_" else " " for each in text).split()}
    return [each for each in rules.columns if each in words]


def hint(
    rules: TableRules, columns: Sequence[str], reason: str = "", given: Collection[str] = ()
) -> str:
    """What to do about a table that takes no row.

    Args:
        rules: The table's rules.
        columns: The columns that the reason concerns, as far as they are known.
        reason: The reason.
        given: The columns whose values the user gives.
    """
    if _NO_RIGHT.search(reason):
        return "use a connection that may write to it"
    concerned = [each for each in columns if each in given] or [*given] * (not columns)
    if concerned:
        listed = ", ".join(f"{rules.name}.{each}" for each in concerned)
        return f"check the overrides of {listed}"
    if not columns:
        return f"give other values: overrides={{'{rules.name}.COLUMN': ...}}"
    return f"give its values: overrides={{'{rules.name}.{columns[0]}': ...}}"


_NO_RIGHT = re.compile(r"read.?only|denied|locked", re.IGNORECASE)
