"""Find missing indexes and bad query plans of an existing database; nothing is changed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy import Connection, Index, Table, UniqueConstraint, inspect
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import ReflectedIndex

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.queries import WHOLE, Partition, Statement, export_statements
from elspeth.core.landscape.export.record_types import RecordType
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

_SCAN = re.compile(r"SCAN (?:TABLE )?(\w+)|SEARCH (?:TABLE )?(\w+) USING AUTOMATIC")
"""An automatic index is a scan too: SQLite builds it for one statement and drops it."""
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
        """Whether the whole result is sorted before its first row.

        A sort within one parent's rows shows as RIGHT PART or LAST TERMS OF ORDER BY instead.
        """
        return any(map(_WHOLE_SORT.match, self.lines))

    @property
    def grows_with_the_run(self) -> bool:
        """Whether a statement of the row side costs more than in proportion to its rows.

        Nodes, edges, batches, batch members and artifacts are few, and may be sorted whole.
        """
        return self.record_type in ROW_SIDE and bool(self.scanned or self.sorts_everything)


def sqlite_plans(
    connection: Connection, run_id: str, partition: Partition = WHOLE
) -> Sequence[Plan]:
    """Ask SQLite for the plan of every statement of an export. The tables are not read.

    Args:
        connection: The database.
        run_id: The run.
        partition: The part of the run that is exported.
    """
    return [
        Plan(record_type, _explained(connection, statement))
        for record_type, statement in export_statements(run_id, partition).items()
    ]


def _explained(connection: Connection, statement: Statement) -> Sequence[str]:
    compiled = statement.compile(
        dialect=sqlite.dialect(paramstyle="named"), compile_kwargs={"literal_binds": True}
    )
    return [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]


_ANY_RUN = "any run"
"""The plans of all runs are the same."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A problem of a database: what it is, why it matters, and the SQL that would help."""

    problem: str
    why: str
    statement: str | None = None


def examine(db: LandscapeDB) -> Sequence[Advice]:
    """Compare a database's indexes with the schema's, and on SQLite check the export's plans.

    Reads the catalogue, not the tables.
    """
    with db.connection() as connection:
        advice = list(_missing_indexes(connection))
        if db.engine.dialect.name == "sqlite":
            advice += _bad_plans(sqlite_plans(connection, _ANY_RUN))
    return advice


def _missing_indexes(connection: Connection) -> Iterator[Advice]:
    """Yield advice for every index of the schema that no index of the database replaces."""
    inspector = inspect(connection)
    for table in EXPORTED_TABLES:
        found: list[Sequence[str | None]] = [
            *map(_columns_of, inspector.get_indexes(table.name)),
            *(each["column_names"] for each in inspector.get_unique_constraints(table.name)),
            inspector.get_pk_constraint(table.name)["constrained_columns"],
        ]
        for columns, statement in _wanted(table):
            if not any(list(each[: len(columns)]) == columns for each in found):
                yield Advice(
                    f"{table.name} has no index that begins with {', '.join(columns)}",
                    "finding the rows that belong together reads the whole table",
                    statement,
                )


def _wanted(table: Table) -> Iterator[tuple[list[str], str]]:
    """Yield the columns of the schema's indexes of a table, and the SQL that creates them."""
    for index in sorted(table.indexes, key=lambda each: str(each.name)):
        yield _named(index), f"CREATE INDEX {index.name} ON {table.name} ({_listed(index)})"
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            columns = _named(constraint)
            name = f"uq_{table.name}_{'_'.join(columns)}"
            yield columns, f"CREATE UNIQUE INDEX {name} ON {table.name} ({_listed(constraint)})"


def _named(index: Index | UniqueConstraint) -> list[str]:
    return [column.name for column in index.columns]


def _listed(index: Index | UniqueConstraint) -> str:
    return ", ".join(_named(index))


def _columns_of(index: ReflectedIndex) -> list[str | None]:
    return list(index["column_names"])


def _bad_plans(plans: Sequence[Plan]) -> Iterator[Advice]:
    for plan in filter(attrgetter("grows_with_the_run"), plans):
        does = f"scans the whole of {plan.scanned[0]}" if plan.scanned else "sorts the whole run"
        yield Advice(
            f"the export of {plan.record_type.table.name} {does}",
            "its cost grows with all runs together, and the first record has to wait",
            "ANALYZE",
        )
