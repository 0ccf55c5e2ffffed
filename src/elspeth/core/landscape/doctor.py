"""Finds missing indexes, bad query plans, damage and orphans of a database; changes nothing."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy import Connection, Table, UniqueConstraint, union_all
from sqlalchemy.dialects import sqlite

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.completeness import (
    NOTHING,
    SchemaMismatchError,
    check_completeness,
)
from elspeth.core.landscape.export.damage import in_one_line, problems_of_structure
from elspeth.core.landscape.export.orphans import Orphan, find_orphans
from elspeth.core.landscape.export.queries import WHOLE, Partition, Statement, export_statements
from elspeth.core.landscape.export.record_types import RecordType
from elspeth.core.landscape.export.stored_schema import read_schema
from elspeth.core.landscape.schema import EXPORTED_TABLES

ROW_SIDE = (
    records.ROW,
    records.TOKEN,
    records.TOKEN_PARENT,
    records.NODE_STATE,
    records.ROUTING_EVENT,
    records.CALL,
)
"""The record types whose statements begin at the rows of a run, and grow with them."""

# SQLite before 3.36 writes SCAN TABLE. An automatic index is a scan too: SQLite builds it from the
# whole table for one statement and drops it.
_SCAN = re.compile(r"SCAN (?:TABLE )?(\w+)|SEARCH (?:TABLE )?(\w+) USING AUTOMATIC")
_WHOLE_SORT = re.compile(r"USE TEMP B-TREE FOR ORDER BY")


@dataclass(frozen=True, slots=True)
class Plan:
    """SQLite's plan of one statement: the lines of EXPLAIN QUERY PLAN."""

    record_type: RecordType
    lines: Sequence[str]

    @property
    def scanned(self) -> Sequence[str]:
        """The tables that are read from end to end, with the rows of all runs."""
        found = (_SCAN.match(line) for line in self.lines)
        return [match[1] or match[2] for match in found if match]

    @property
    def sorts_everything(self) -> bool:
        """Whether the whole result is sorted before its first row."""
        # A sort within one parent's rows reads RIGHT PART or LAST TERMS OF ORDER BY, so it does
        # not match.
        return any(map(_WHOLE_SORT.match, self.lines))

    @property
    def grows_with_the_run(self) -> bool:
        """Whether a statement of the row side costs more than in proportion to its rows."""
        # The other types may be sorted whole: their records are few, except batch members, which
        # SQLite sorts in a temporary file (docs/performance.md).
        return self.record_type in ROW_SIDE and bool(self.scanned or self.sorts_everything)


def sqlite_plans(
    connection: Connection, run_id: str, partition: Partition = WHOLE
) -> Sequence[Plan]:
    """Return SQLite's plan of every statement of an export, without reading the tables.

    Args:
        connection: the database.
        run_id: the run.
        partition: the part of the run that is exported.
    """
    return [
        Plan(record_type, _explain(connection, statement))
        for record_type, statement in export_statements(run_id, partition).items()
    ]


def _explain(connection: Connection, statement: Statement) -> Sequence[str]:
    compiled = statement.compile(
        dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"literal_binds": True}
    )
    return [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]


@dataclass(frozen=True, slots=True)
class Advice:
    """A problem of a database, the reason why it matters, and the SQL that solves it."""

    problem: str
    why: str
    statement: str | None = None


def examine(db: LandscapeDB) -> Sequence[Advice]:
    """Compare a database's indexes with the schema's, and on SQLite check plans and the file.

    Reads the catalogue; an SQLite file as a whole.
    """
    with db.connection() as connection:
        advice = list(_missing_indexes(connection))
        if db.engine.dialect.name == "sqlite":
            # SQLite plans a statement alike for every run, so the run need not exist.
            advice += _bad_plans(sqlite_plans(connection, "any run"))
            advice += _damage(connection)
        else:
            advice += _changed_collations(connection)
    return advice


def orphans(db: LandscapeDB) -> Iterator[Orphan]:
    """Yield every row whose parent row or run is missing, in the whole database.

    Reads the indexes of all child tables.
    """
    with db.connection() as connection:
        stored = read_schema(connection)
        try:
            left_out = check_completeness(stored)
        except SchemaMismatchError as error:
            # A row that belongs to a table of a newer version is not an orphan.
            try:
                left_out = check_completeness(stored, error.unknown)
            except SchemaMismatchError:
                left_out = NOTHING
        yield from find_orphans(connection, left_out)


@dataclass(frozen=True, slots=True)
class _Index:
    """An index of the database: its columns, and why it does not find every row."""

    name: str
    columns: Sequence[str]
    problem: str = ""


def _missing_indexes(connection: Connection) -> Iterator[Advice]:
    """Yield advice for every index of the schema that no index of the database replaces."""
    read = _sqlite_indexes if connection.dialect.name == "sqlite" else _postgresql_indexes
    for table in EXPORTED_TABLES:
        found = list(read(connection, table))
        for columns, statement in _expected_indexes(table):
            # An index finds rows by any leading part of its columns.
            alike = [each for each in found if list(each.columns[: len(columns)]) == columns]
            if any(not each.problem for each in alike):
                continue
            begins = f"begins with {', '.join(columns)}"
            problem = f"{table.name} has no index that {begins}"
            if alike:
                problem = f"{table.name} has no usable index that {begins}: " + ", ".join(
                    f"{each.name} {each.problem}" for each in alike
                )
            # An index of the same name would make the statement fail.
            in_the_way = [
                each.name for each in found if each.problem and f" {each.name} " in statement
            ]
            drop = "".join(f"DROP INDEX {name}; " for name in in_the_way)
            yield Advice(
                problem,
                "finding the rows that belong together reads the whole table",
                f"{drop}{statement}",
            )


def _sqlite_indexes(connection: Connection, table: Table) -> Iterator[_Index]:
    """Yield the indexes of a table on SQLite, with those of its constraints."""
    for _, name, _, _, is_partial in connection.exec_driver_sql(
        f'PRAGMA index_list("{table.name}")'
    ).all():
        quoted = name.replace('"', '""')
        parts = [
            # Rows of index_xinfo: position, column, name, descending, collation, whether it is
            # part of the key. The name of an expression is null.
            (str(part[2]).lower(), part[4])
            for part in connection.exec_driver_sql(f'PRAGMA index_xinfo("{quoted}")')
            if part[5]
        ]
        problem = "holds some of the rows only (WHERE)" if is_partial else ""
        # The queries compare by bytes, as the columns do.
        if any(str(collation).upper() != "BINARY" for _, collation in parts):
            problem = "has another collation than the column"
        yield _Index(name, [column for column, _ in parts], problem)


_POSTGRESQL_INDEXES = """
SELECT x.relname, i.indisvalid AND i.indisready AND i.indislive, i.indpred IS NOT NULL,
       m.amname,
       ARRAY(SELECT coalesce(a.attname, '')
             FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)::text[]
  FROM pg_index i
  JOIN pg_class x ON x.oid = i.indexrelid
  JOIN pg_am m ON m.oid = x.relam
 WHERE i.indrelid = '{table}'::regclass
"""


def _postgresql_indexes(connection: Connection, table: Table) -> Iterator[_Index]:
    """Yield the indexes of a table on PostgreSQL, with those of its constraints."""
    statement = _POSTGRESQL_INDEXES.format(table=table.name)
    for name, is_valid, is_partial, method, columns in connection.exec_driver_sql(statement):
        problem = ""
        if method not in ("btree", "hash"):
            problem = f"is of the kind {method}"
        if is_partial:
            problem = "holds some of the rows only (WHERE)"
        if not is_valid:
            problem = "is invalid: its creation was cut off, and no query uses it"
        yield _Index(name, columns, problem)


def _expected_indexes(table: Table) -> Iterator[tuple[list[str], str]]:
    """Yield the columns of the schema's indexes of a table, and the SQL that creates them."""
    # A database that was copied without its constraints lacks the key too.
    key = [column.name for column in table.primary_key.columns]
    if key:
        yield key, f"CREATE UNIQUE INDEX pk_{table.name} ON {table.name} ({', '.join(key)})"
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        columns = [column.name for column in index.columns]
        yield columns, f"CREATE INDEX {index.name} ON {table.name} ({', '.join(columns)})"
    # SQLAlchemy keeps the constraints in a set, whose order changes with the process.
    unique = (each for each in table.constraints if isinstance(each, UniqueConstraint))
    for columns in sorted([column.name for column in each.columns] for each in unique):
        # SQLite cannot add a constraint to a table; a unique index does the same.
        name = f"uq_{table.name}_{'_'.join(columns)}"
        yield columns, f"CREATE UNIQUE INDEX {name} ON {table.name} ({', '.join(columns)})"


def _bad_plans(plans: Sequence[Plan]) -> Iterator[Advice]:
    for plan in filter(attrgetter("grows_with_the_run"), plans):
        action = f"scans the whole of {plan.scanned[0]}" if plan.scanned else "sorts the whole run"
        yield Advice(
            f"the export of {plan.record_type.table.name} {action}",
            "its cost grows with all runs together, and the first record has to wait",
            "ANALYZE",
        )


def _damage(connection: Connection) -> Iterator[Advice]:
    """Yield what SQLite finds damaged in the file, indexes compared with their rows included."""
    checks = (problems_of_structure(table.name) for table in EXPORTED_TABLES)
    for problem in connection.execute(union_all(*checks)).scalars():
        repair = "REINDEX" if " index " in problem else None
        yield Advice(in_one_line(problem), "an export could lose rows, or is refused", repair)


_COLLATIONS = """
SELECT DISTINCT l.collname
  FROM pg_attribute a
  JOIN pg_collation l ON l.oid = a.attcollation
 WHERE a.attrelid IN ({tables}) AND NOT a.attisdropped
   AND l.collversion <> pg_collation_actual_version(l.oid)
"""
_DATABASE_COLLATION = """
SELECT quote_ident(d.datname)
  FROM (SELECT oid, datname, to_jsonb(pg_database)->>'datcollversion' AS version
          FROM pg_database WHERE datname = current_database()) d
 WHERE d.version <> pg_database_collation_actual_version(d.oid)
"""
_DATABASE_COLLATION_SINCE = (15,)


def _changed_collations(connection: Connection) -> Iterator[Advice]:
    """Yield the collations whose order another version of the operating system has changed."""
    why = "an index of text that was built in another order may not find its rows"
    tables = ", ".join(f"'{table.name}'::regclass" for table in EXPORTED_TABLES)
    for name in connection.exec_driver_sql(_COLLATIONS.format(tables=tables)).scalars():
        yield Advice(
            f"the collation {name} has changed with the operating system",
            why,
            f'REINDEX the tables, then ALTER COLLATION "{name}" REFRESH VERSION',
        )
    version = getattr(connection.dialect, "server_version_info", None) or ()
    if version >= _DATABASE_COLLATION_SINCE:
        for name in connection.exec_driver_sql(_DATABASE_COLLATION).scalars():
            yield Advice(
                f"the collation of the database {name} has changed with the operating system",
                why,
                f"REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION",
            )
