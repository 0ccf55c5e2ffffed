"""The schema of a database as it is stored: its tables, columns, types and foreign keys."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from elspeth.core.landscape.export.snapshot import driver_errors

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")

# One message with two statements. It begins with SET, as it belongs to the opening of a snapshot
# and reads the catalogue only: a trace that counts queries does not count it.
_POSTGRESQL = """
SET LOCAL row_security TO off;
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, pg_table_is_visible(c.oid),
       c.relispartition AND NOT EXISTS (
           SELECT 1 FROM pg_inherits h
            WHERE h.inhrelid = c.oid AND to_jsonb(h)->>'inhdetachpending' = 'true'),
       concat_ws(',',
                 CASE current_setting('zero_damaged_pages', true)
                 WHEN 'on' THEN 'zero_damaged_pages' END,
                 CASE current_setting('ignore_checksum_failure', true)
                 WHEN 'on' THEN 'ignore_checksum_failure' END),
       a.attname, t.typname, t.typcategory::text,
       ARRAY(SELECT k.confrelid::bigint FROM pg_constraint k
              WHERE k.contype = 'f' AND k.conrelid = c.oid AND a.attnum = ANY (k.conkey)),
       NOT l.collisdeterministic, u.columns
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
  -- The unique indexes of a table, each as its columns between commas. The oid of a table that a
  -- user made is 16384 or greater.
  LEFT JOIN (
      SELECT i.indrelid, array_agg((
          SELECT string_agg(x.attname::text, ',') FROM pg_attribute x
           WHERE x.attrelid = i.indrelid
             AND x.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))) AS columns
        FROM pg_index i
       WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
         AND i.indrelid >= 16384
       GROUP BY i.indrelid) u ON u.indrelid = c.oid
 WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
 ORDER BY c.oid, a.attnum
"""
_POSTGRESQL_TABLES = ("r", "p", "f")
_POSTGRESQL_TYPES: Mapping[str, frozenset[str]] = {
    "int2": frozenset({"integer"}),
    "int4": frozenset({"integer"}),
    "int8": frozenset({"integer"}),
    "float4": frozenset({"number"}),
    "float8": frozenset({"number"}),
    "timestamptz": frozenset({"timestamp"}),
}
# The category of string types, and that of enums, which the driver returns as text.
_POSTGRESQL_TEXT = ("S", "E")

# The values that a column of SQLite keeps as they were written, by the affinity of its declared
# type. Another affinity changes them: a column of integers turns the id '007' into 7, and a column
# of text sorts 10 before 9.
_KEPT_BY_AFFINITY: Mapping[str, frozenset[str]] = {
    "TEXT": frozenset({"text", "timestamp"}),
    "INTEGER": frozenset({"integer", "number"}),
    "REAL": frozenset({"number"}),
    "NUMERIC": frozenset({"integer", "number", "timestamp"}),
    "BLOB": frozenset({"text", "integer", "number", "timestamp"}),
}


@dataclass(frozen=True)
class StoredColumn:
    """A column of a stored table.

    Attributes:
        name: Its name, as the database writes it.
        type: The declared type.
        keeps: What it stores unchanged: some of text, integer, number and timestamp.
    """

    name: str
    type: str
    keeps: frozenset[str]


@dataclass(frozen=True)
class StoredTable:
    """A table or view of a database.

    Attributes:
        key: The name by which other code finds it: in lower case on SQLite, which does not
            distinguish cases, and with its schema where the search path does not show it.
        name: The name to print, in quotes where it is not a plain name.
        columns: The columns in order.
        linked: The columns of its foreign keys, each with the key of the table that it refers to.
        unique: The sets of columns that a constraint or an index keeps unique.
        is_view: Whether it is a view, which stores nothing.
        is_part: Whether it is a partition of another table, and is not being detached from it.
        is_foreign: Whether another server holds its rows.
        bytewise: The columns that are equal to a text with the same bytes alone. On SQLite those
            of which an index says so: no PRAGMA tells the collation of another column.
        namespace: The schema of PostgreSQL that it is in; "main" on SQLite.
    """

    key: str
    name: str
    columns: Sequence[StoredColumn]
    # Sequences, since the work of an export is counted: a set has another order in every process.
    linked: Sequence[tuple[str, str]] = ()
    unique: Sequence[frozenset[str]] = ()
    is_view: bool = False
    is_part: bool = False
    is_foreign: bool = False
    bytewise: frozenset[str] = frozenset()
    namespace: str = "main"


@dataclass(frozen=True)
class StoredSchema:
    """The tables of a database by key, and SQLite's `user_version`, which is 0 elsewhere."""

    tables: Mapping[str, StoredTable]
    user_version: int = 0
    folds_case: bool = False
    """Whether names that differ in case alone are the same name."""
    reads_damage: str = ""
    """The settings by which PostgreSQL reads a damaged page without an error, between commas."""

    def fold(self, name: str) -> str:
        """Return a name in the form in which names are compared."""
        return name.lower() if self.folds_case else name


def quoted(name: str) -> str:
    """Return a name as it is, or in SQL's double quotes if it is not a plain name."""
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def read_schema(connection: Connection) -> StoredSchema:
    """Read the schema of a database, through the driver: no listener counts a query.

    Args:
        connection: A connection of SQLAlchemy. On PostgreSQL its transaction must be open.

    Raises:
        sqlalchemy.exc.DBAPIError: The database fails.
    """
    cursor = connection.connection.cursor()
    try:
        if connection.dialect.name == "sqlite":
            with driver_errors(connection, "PRAGMA table_list"):
                try:
                    return _read_sqlite(cursor)
                except UnicodeDecodeError as error:
                    # A name or a definition that was overwritten.
                    driver = connection.dialect.loaded_dbapi
                    raise driver.DatabaseError(
                        f"the database is damaged: its schema is not UTF-8 ({error.reason})"
                    ) from error
        with driver_errors(connection, _POSTGRESQL):
            return _read_postgresql(cursor)
    finally:
        cursor.close()


def _read_sqlite(cursor: Any) -> StoredSchema:
    def rows(statement: str) -> list[Any]:
        return list(cursor.execute(statement).fetchall())

    tables = {}
    for name, kind in _sqlite_names(rows):
        # Tables of SQLite, and those in which a virtual table keeps its index.
        if name.lower().startswith("sqlite_") or kind == "shadow":
            continue
        literal = '"' + name.replace('"', '""') + '"'
        # table_xinfo lists generated columns too, table_info does not.
        columns = [
            StoredColumn(column[1], column[2] or "", _KEPT_BY_AFFINITY[_affinity(column[2] or "")])
            for column in rows(f"PRAGMA main.table_xinfo({literal})")
        ]
        linked = tuple(
            (str(row[3]), str(row[2]).lower())
            for row in rows(f"PRAGMA main.foreign_key_list({literal})")
        )
        key = name.lower()
        indexes = list(_sqlite_indexes(rows, literal))
        tables[key] = StoredTable(
            key,
            quoted(name),
            columns,
            linked,
            tuple(index.columns for index in indexes if index.is_unique),
            is_view=kind == "view",
            bytewise=_compared_by_bytes(indexes),
        )
    return StoredSchema(tables, int(rows("PRAGMA main.user_version")[0][0]), folds_case=True)


@dataclass(frozen=True)
class _SqliteIndex:
    """An index of a table, or that of a constraint: its columns and their collations."""

    collations: Sequence[tuple[str, str]]
    is_unique: bool

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(column for column, _ in self.collations)


def _sqlite_indexes(rows: Any, table: str) -> Iterator[_SqliteIndex]:
    for _, name, is_unique, _, is_partial in rows(f"PRAGMA main.index_list({table})"):
        literal = '"' + name.replace('"', '""') + '"'
        # Rows of index_xinfo: position, column, name, descending, collation, whether it is part of
        # the key. The name of an expression is null; "none" is the name of no exported column.
        parts = rows(f"PRAGMA main.index_xinfo({literal})")
        collations = [(str(each[2]).lower(), str(each[4]).upper()) for each in parts if each[5]]
        yield _SqliteIndex(collations, bool(is_unique and not is_partial))


def _compared_by_bytes(indexes: Iterable[_SqliteIndex]) -> frozenset[str]:
    found = [part for index in indexes for part in index.collations]
    others = {column for column, collation in found if collation != "BINARY"}
    return frozenset(column for column, _ in found) - others


def _sqlite_names(rows: Any) -> Iterable[tuple[str, str]]:
    """Yield the names of tables and views, and their kind."""
    if sqlite3.sqlite_version_info >= (3, 37):
        return [(row[1], row[2]) for row in rows("PRAGMA main.table_list") if row[0] == "main"]
    return [
        (row[0], row[1])
        for row in rows("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')")
    ]


def _affinity(declared: str) -> str:
    """Return the affinity of a declared type, by the rules of SQLite (datatype3.html)."""
    declared = declared.upper()
    if "INT" in declared:
        return "INTEGER"
    if any(part in declared for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if declared == "" or "BLOB" in declared:
        return "BLOB"
    return "REAL" if any(part in declared for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def _read_postgresql(cursor: Any) -> StoredSchema:
    cursor.execute(_POSTGRESQL)
    # psycopg begins with the result of SET. Drivers that keep the last result alone have no other.
    if cursor.description is None:
        cursor.nextset()
    keys: dict[int, str] = {}
    found: dict[int, list[Any]] = {}
    for row in cursor.fetchall():
        oid, namespace, name, _, is_visible, *_ = row
        # A visible table is found by its name alone, as a query finds it.
        keys[oid] = name if is_visible else f"{namespace}.{name}"
        found.setdefault(oid, []).append(row)
    tables = {}
    reads_damage = ""
    for oid, rows in found.items():
        _, namespace, name, kind, is_visible, is_part, reads_damage, *_ = rows[0]
        columns = [
            StoredColumn(column, type_name, _kept_on_postgresql(type_name, category))
            for *_, column, type_name, category, _, _, _ in rows
            if column is not None
        ]
        linked = tuple(
            (column, keys[target])
            for *_, column, _, _, targets, _, _ in rows
            for target in targets
            if target in keys
        )
        tables[keys[oid]] = StoredTable(
            keys[oid],
            quoted(name) if is_visible else f"{quoted(namespace)}.{quoted(name)}",
            columns,
            linked,
            tuple(frozenset(str(each).split(",")) for each in rows[0][-1] or ()),
            is_view=kind not in _POSTGRESQL_TABLES,
            is_part=bool(is_part),
            is_foreign=kind == "f",
            bytewise=frozenset(row[-6] for row in rows if not row[-2]),
            namespace=namespace,
        )
    return StoredSchema(tables, reads_damage=reads_damage)


def _kept_on_postgresql(type_name: str, category: str) -> frozenset[str]:
    if category in _POSTGRESQL_TEXT:
        return frozenset({"text"})
    return _POSTGRESQL_TYPES.get(type_name, frozenset())
