"""Damage of an SQLite file, by which an export would lose rows without an error.

SQLite finds rows through indexes. A page that was overwritten, or an index that lacks entries,
hides rows, and no query fails. PostgreSQL has checksums of pages for this.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    literal,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError

from elspeth.core.landscape.export.record_types import TABLES
from elspeth.core.landscape.export.snapshot import driver_errors

DAMAGE = "damage"
"""The column of the queries that describes what is damaged."""

# What SQLite's checks say about values. An export judges those of its own run, and names the row.
_OF_VALUES = ("% value in %", "CHECK constraint %")


def problems_of_structure(table: str, check: str) -> Select[Any]:
    """Return the query for what a check of SQLite finds in a table, besides unsuitable values.

    Args:
        table: The table, whose indexes are checked as well. An SQLite before 3.33 checks all.
        check: "quick_check", or "integrity_check", which compares indexes with rows as well and
            takes three times as long: 13 % of an export of 460,000 records in place of 4 %.
    """
    found: ColumnElement[Any] = literal_column(check)
    return (
        select(found.label(DAMAGE))
        .select_from(text(f"pragma_{check}('{table}')"))
        .where(found != "ok", *map(found.not_like, _OF_VALUES))
    )


def damage_queries(indexes: Iterable[tuple[str, str]] | None) -> Iterator[Select[Any]]:
    """Yield queries for `DAMAGE` and a null, which find something in a damaged SQLite file alone.

    They read every page of the exported tables and their indexes: 5 % of an export of 460,000
    records.

    Args:
        indexes: As `whole_indexes` returns them; there is no query for None.
    """
    if indexes is None:
        return
    # Table by table: those of others may need functions or collations that are unknown here.
    for table in TABLES:
        yield problems_of_structure(table.name, "quick_check").add_columns(null())
    # quick_check does not notice an index that lacks entries. Without the WHERE, SQLite counts the
    # entries of its smallest index in place of the one that is named.
    for owner, index in indexes:
        quoted = '"' + index.replace('"', '""') + '"'
        counts = text(
            f"(SELECT count(*) FROM {owner} NOT INDEXED)"  # noqa: S608 - quoted names
            f" <> (SELECT count(*) FROM {owner} INDEXED BY {quoted} WHERE 1)"
        )
        problem = f"the index {index} has not as many entries as {owner} has rows"
        named: ColumnElement[Any] = literal(problem)
        yield select(named.label(DAMAGE), null()).where(counts)


def damaged(connection: Connection, problem: str) -> DatabaseError:
    """Return the error that refuses a damaged file: that of the driver for one."""
    driver = connection.dialect.loaded_dbapi
    error = driver.DatabaseError(
        f"the database is damaged, and an export could lose rows: {in_one_line(problem)}. Restore "
        "a copy of it, or look at `landscape doctor`: REINDEX repairs indexes"
    )
    return DatabaseError("PRAGMA quick_check", None, error)


def in_one_line(problem: str) -> str:
    """Return a message of SQLite's checks without its heading and line breaks."""
    return "; ".join(line for line in problem.splitlines() if not line.startswith("***"))


def whole_indexes(connection: Connection) -> tuple[tuple[str, str], ...] | None:
    """Return the tables and names of SQLite's indexes that have an entry for every row of a table.

    Returns:
        None on another backend.

    Raises:
        sqlalchemy.exc.DBAPIError: The database fails.
    """
    if connection.dialect.name != "sqlite":
        return None
    # On the driver's cursor, like every read of the catalogue: listeners do not count it.
    with driver_errors(connection, "PRAGMA main.index_list"):
        cursor: Any = connection.connection.cursor()
        try:
            return tuple(
                (table.name, name)
                for table in TABLES
                for _, name, _, _, is_partial in cursor.execute(
                    f"PRAGMA main.index_list({table.name})"
                ).fetchall()
                if not is_partial
            )
        finally:
            cursor.close()
