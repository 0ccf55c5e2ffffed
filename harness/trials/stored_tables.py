"""Stored tables: all that a database's exported tables hold, as text lines, and back."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, literal_column, select

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import EXPORTED_TABLES

_MOMENT = "%Y-%m-%d %H:%M:%S.%f"
"""How SQLite stores a timestamp, in UTC; PostgreSQL reads it in a session whose zone is UTC."""


def dump_tables(db: LandscapeDB, path: Path) -> None:
    """Write every row of every exported table to a file, as JSON lines of ASCII.

    A line `{"table": name, "columns": names}` opens a table, and an array of values follows for
    each of its rows. Infinity stands as Python writes it.
    """
    with db.connection() as connection, path.open("w", encoding="ascii", newline="\n") as file:
        for table in EXPORTED_TABLES:
            opening = {"table": table.name, "columns": table.columns.keys()}
            for line in (opening, *_rows(connection, table)):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")


def restore_tables(db: LandscapeDB, path: Path) -> None:
    """Insert what a file holds into empty tables; columns it does not name stay NULL."""
    connection = db.engine.raw_connection()
    is_sqlite = db.engine.dialect.name == "sqlite"
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = OFF" if is_sqlite else "SET TIME ZONE 'UTC'")
        statement = ""
        with path.open(encoding="ascii") as file:
            for line in map(json.loads, file):
                if isinstance(line, dict):
                    statement = _insert(line["table"], line["columns"], "?" if is_sqlite else "%s")
                else:
                    cursor.execute(statement, line)
        connection.commit()
        connection.invalidate()  # with the settings above
    finally:
        connection.close()


def _rows(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """Read a table's rows in the order in which they lie on disk."""
    place = "rowid" if connection.dialect.name == "sqlite" else "ctid"
    for row in connection.execute(select(table).order_by(literal_column(place))):
        yield [_as_text(value) for value in row]


def _as_text(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return (value.astimezone(UTC) if value.tzinfo else value).strftime(_MOMENT)


def _insert(table: str, columns: Sequence[str], placeholder: str) -> str:
    values = ", ".join([placeholder] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - our names
