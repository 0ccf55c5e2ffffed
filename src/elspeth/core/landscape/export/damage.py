"""Damage of an SQLite file, by which an export would lose rows without an error.

SQLite finds rows through indexes. A page that was overwritten, or an index that lacks entries or
has others than its table, hides rows, and no query fails. PostgreSQL has checksums of pages.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError

from elspeth.core.landscape.export.record_types import TABLES

DAMAGE = "damage"
"""The column of the queries that describes what is damaged."""

# What SQLite's checks say about values. An export judges those of its own run, and names the row.
_OF_VALUES = ("% value in %", "CHECK constraint %")


def problems_of_structure(table: str) -> Select[Any]:
    """Return the query for what SQLite's own check finds in a table, besides unsuitable values.

    Args:
        table: The table, whose indexes are checked as well. An SQLite before 3.33 checks all.
    """
    # Not quick_check, which takes a third of the time: it does not compare indexes with their rows.
    # One overwritten byte in an index of runs hid half of the records, and no query failed.
    found: ColumnElement[Any] = literal_column("integrity_check")
    return (
        select(found.label(DAMAGE))
        .select_from(text(f"pragma_integrity_check('{table}')"))
        .where(found != "ok", *map(found.not_like, _OF_VALUES))
    )


def damage_queries(dialect: str) -> Iterator[Select[Any]]:
    """Yield queries for `DAMAGE` and a null, which find something in a damaged SQLite file alone.

    They read every page of the exported tables and their indexes, and find every row in every
    index: 10 % of an export of 92,000 records, 17 % where ids are random.

    Args:
        dialect: The name of the dialect of SQLAlchemy. Only "sqlite" has such queries.
    """
    if dialect == "sqlite":
        # Table by table: those of others may need functions or collations that are unknown here.
        for table in TABLES:
            yield problems_of_structure(table.name).add_columns(null())


def damaged(connection: Connection, problem: str) -> DatabaseError:
    """Return the error that refuses a damaged file: that of the driver for one."""
    driver = connection.dialect.loaded_dbapi
    error = driver.DatabaseError(
        f"the database is damaged, and an export could lose rows: {in_one_line(problem)}. Restore "
        "a copy of it; REINDEX repairs an index, and not a row whose key was overwritten "
        "(`landscape doctor` lists what is damaged)"
    )
    return DatabaseError("PRAGMA integrity_check", None, error)


def in_one_line(problem: str) -> str:
    """Return a message of SQLite's checks without its heading and line breaks."""
    return "; ".join(line for line in problem.splitlines() if not line.startswith("***"))
