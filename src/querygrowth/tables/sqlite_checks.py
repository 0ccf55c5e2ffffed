"""Read the CHECKs in a CREATE TABLE statement of SQLite, and let SQLite evaluate one.

SQLite has no catalogue of them, and releases of SQLAlchemy differ in what they find in the text.
"""

import datetime as dt
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|\S""", re.DOTALL
)
_QUOTED = {'"': '"', "`": "`", "[": "]"}


def checks_in(statement: str) -> Iterator[tuple[str, str]]:
    """The names and conditions of the CHECKs, in their order; a name may be empty.

    Args:
        statement: The statement, as `sqlite_master` has it.
    """
    name, previous, depth, first = "", "", 0, 0
    for token in _TOKEN.finditer(statement):
        word = token[0]
        if word.startswith(("--", "/*")):
            continue
        if depth:  # inside of a CHECK
            depth += {"(": 1, ")": -1}.get(word, 0)
            if not depth:
                yield name, " ".join(statement[first : token.start()].split())
                name = ""
        elif word == "(" and previous.upper() == "CHECK":
            depth, first = 1, token.end()
        elif previous.upper() == "CONSTRAINT":
            closing = _QUOTED.get(word[0])
            name = word[1:-1] if closing and word.endswith(closing) else word
        elif word.upper() != "CHECK":
            name = ""
        previous = word


def evaluated_by_sqlite(text: str, columns: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    """What evaluates a condition on a row by means of a database in memory.

    Args:
        text: The condition, in SQLite's syntax.
        columns: The columns that it names.

    Returns:
        A function of the row. It returns None where the condition has what SQLite alone does not
        know, such as a function of the user.
    """
    named = ", ".join('? AS "{}"'.format(each.replace('"', '""')) for each in columns)
    statement = f"SELECT ({text}) FROM (SELECT {named})"  # noqa: S608 - the schema's own text

    def evaluate(row: Mapping[str, Any]) -> Any:
        values = [_stored(row[each]) for each in columns]
        with closing(sqlite3.connect(":memory:")) as connection:
            try:
                return connection.execute(statement, values).fetchone()[0]
            except (sqlite3.Error, OverflowError):
                return None

    return evaluate


def _stored(value: Any) -> Any:
    """A value in the form in which SQLAlchemy stores it."""
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "microseconds")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
