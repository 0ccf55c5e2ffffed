"""Changes to a database that holds a run: of its query plans or form, or of one stored value.

A plan change leaves the contents alone, so an exporter with a total order writes the same bytes,
also where the tables were built otherwise. A corruption is one stored value that no export may
carry, so an exporter has to refuse the run.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
    select,
    text,
)

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import metadata
from harness.compare.records import path_to_run
from harness.exporters.database_access import execute_on_connect


@dataclass(frozen=True)
class PlanChange:
    """A change of how a database answers queries, which leaves its contents alone.

    Attributes:
        name: The change in a few words.
        dialect: The only backend that supports it; empty for both.
        feature: A feature to add to the run before it is generated; may be empty.
        apply: Changes the database once the run is stored.
    """

    name: str
    dialect: str = ""
    feature: str = ""
    apply: Callable[[LandscapeDB], None] | None = None

    def suits(self, dialect: str) -> bool:
        """Whether a backend supports this change."""
        return self.dialect in ("", dialect)


_MISLEADING_INDEXES = (
    "nodes (run_id, sequence_in_pipeline, node_id DESC)",
    "edges (run_id, edge_id DESC)",
    "rows (run_id, row_id DESC)",
    "tokens (row_id, token_id DESC)",
    "token_parents (token_id, parent_token_id DESC)",
    "node_states (token_id, step_index, state_id DESC)",
    "routing_events (state_id, event_id DESC)",
    "calls (state_id, call_id DESC)",
    "batches (run_id, batch_id DESC)",
    "batch_members (batch_id, token_id DESC)",
    "artifacts (run_id, artifact_id DESC)",
)
"""Indexes that suit a filter by run or by parent, and give ties in the opposite order."""


def _add_indexes(db: LandscapeDB) -> None:
    with db.connection() as connection:
        for number, index in enumerate(_MISLEADING_INDEXES):
            connection.execute(
                text(f"CREATE INDEX harness_plan_change_{number} ON {_covering(index)}")
            )
        # Without statistics planners keep to the indexes of the schema.
        connection.execute(text("ANALYZE"))


def _covering(index: str) -> str:
    """Add the table's other columns, so that the index alone answers a query."""
    # Planners prefer a covering index to that of a unique constraint, which has the right order.
    table = metadata.tables[index.partition(" ")[0]]
    others = [column.name for column in table.columns if column.name not in index]
    return f"{index.removesuffix(')')}, {', '.join(others)})" if others else index


def _reverse_unordered_selects(db: LandscapeDB) -> None:
    execute_on_connect(db, "PRAGMA reverse_unordered_selects = ON")


def _cluster(db: LandscapeDB) -> None:
    _add_indexes(db)
    with db.connection() as connection:
        for number, index in enumerate(_MISLEADING_INDEXES):
            table = index.partition(" ")[0]
            connection.execute(text(f"CLUSTER {table} USING harness_plan_change_{number}"))
        connection.execute(text("ANALYZE"))


def _rebuild(db: LandscapeDB) -> None:
    """Store the same contents in tables as other code or an older version may have made them.

    Their columns stand in another order, the indexes that no constraint needs are missing, texts
    are declared as TEXT, and on SQLite a table with a primary key has no rowid.
    """
    rebuilt = MetaData()
    for table in metadata.sorted_tables:
        constraints = [
            ForeignKeyConstraint(
                [each.parent.name for each in constraint.elements],
                [each.target_fullname for each in constraint.elements],
            )
            if isinstance(constraint, ForeignKeyConstraint)
            else type(constraint)(*constraint.columns.keys())
            for constraint in table.constraints
            if isinstance(
                constraint, (PrimaryKeyConstraint, UniqueConstraint, ForeignKeyConstraint)
            )
        ]
        Table(
            table.name,
            rebuilt,
            *(
                Column(
                    each.name,
                    Text() if isinstance(each.type, String) else each.type,
                    nullable=each.nullable,
                    autoincrement=each.autoincrement,
                )
                for each in reversed([*table.columns])
            ),
            *constraints,
            sqlite_with_rowid=not table.primary_key,
        )
    with db.connection() as connection:
        contents = {
            table: [row._asdict() for row in connection.execute(select(table))]
            for table in metadata.sorted_tables
        }
        metadata.drop_all(connection)
        rebuilt.create_all(connection)
        for table, rows in contents.items():
            if rows:
                connection.execute(table.insert(), rows)


UNCHANGED = PlanChange("none")
REBUILT = PlanChange("rebuilt tables", apply=_rebuild)
PLAN_CHANGES = (
    UNCHANGED,
    PlanChange("shuffled physical order", feature="shuffled_insertion"),
    PlanChange("extra indexes and ANALYZE", apply=_add_indexes),
    PlanChange("reverse_unordered_selects", dialect="sqlite", apply=_reverse_unordered_selects),
    PlanChange("CLUSTER", dialect="postgresql", apply=_cluster),
    REBUILT,
)
"""All plan changes. The first changes nothing; the others are compared with it."""


@dataclass(frozen=True)
class Corruption:
    """One bad value in one stored row of an SQLite database.

    Attributes:
        table: The table of the row.
        column: The column that gets the value.
        value: The value as SQL.
        where: A condition, as SQL, on the rows that can take the value.
    """

    table: str
    column: str
    value: str
    where: str = "1"

    @property
    def name(self) -> str:
        """The corruption in a few words."""
        return f"{self.table}.{self.column} = {self.value}"

    def apply(self, db: LandscapeDB, run_id: str) -> None:
        """Store the value in the last row of a run that can take it.

        Raises:
            ValueError: The run has no such row.
        """
        # The last row: an exporter that streams has yielded most records before it has to refuse.
        source, run_of_row = path_to_run(metadata.tables[self.table])
        last: Select[tuple[int]] = (
            select(func.max(literal_column(f"{self.table}.rowid")))
            .select_from(source)
            .where(run_of_row == run_id, text(self.where))
        )
        # SQL of constants only. As text, because the value has the wrong type for its column.
        statement = f"UPDATE {self.table} SET {self.column} = {self.value} WHERE rowid = ?"  # noqa: S608
        with db.connection() as connection:
            row = connection.execute(last).scalar()
            changed = connection.exec_driver_sql(statement, (row,)).rowcount
        if changed != 1:
            raise ValueError(f"{self.name}: {changed} rows corrupted instead of one")


_COMPLETED, _FAILED = "node_states.status = 'completed'", "node_states.status = 'failed'"
_OPEN = "node_states.status = 'open'"

_ENUMS = (
    ("runs", "status"),
    ("nodes", "node_type"),
    ("edges", "default_mode"),
    ("node_states", "status"),
    ("routing_events", "mode"),
    ("calls", "call_type"),
    ("calls", "status"),
    ("batches", "status"),
)

CORRUPTIONS = (
    # Members that an enum does not have: another word, another case, and blanks at the ends.
    *(
        Corruption(table, column, value.format(column=column))
        for table, column in _ENUMS
        for value in ("'mystery'", "upper({column})", "' ' || {column} || ' '")
    ),
    # Values that the status of a node state requires.
    Corruption("node_states", "output_hash", "NULL", where=_COMPLETED),
    Corruption("node_states", "duration_ms", "NULL", where=_COMPLETED),
    Corruption("node_states", "duration_ms", "NULL", where=_FAILED),
    Corruption("node_states", "completed_at", "NULL", where=_COMPLETED),
    # Values that an open node state must not have yet: written as null, they would be lost.
    Corruption("node_states", "output_hash", "'stray'", where=_OPEN),
    Corruption("node_states", "duration_ms", "1.0", where=_OPEN),
    Corruption("node_states", "completed_at", "'2026-01-01 00:00:00.000000'", where=_OPEN),
    # SQLite reads 9e999 as infinity. Canonical JSON (RFC 8785, section 3.2.2.3) holds neither that
    # nor an integer from 2**53 on, which a double cannot tell from its neighbour.
    Corruption("node_states", "duration_ms", "9e999", where=_COMPLETED),
    Corruption("calls", "latency_ms", "-9e999"),
    Corruption("artifacts", "size_bytes", str(2**53)),
    # SQLite stores a value of any type in any column.
    Corruption("calls", "latency_ms", "'soon'"),
    Corruption("artifacts", "size_bytes", "1.5"),
    Corruption("rows", "row_index", "'second'"),
    Corruption("token_parents", "ordinal", "x'00'"),
    Corruption("rows", "source_data_hash", "x'00ff'"),
    # Text that is not UTF-8.
    Corruption("tokens", "branch_name", "CAST(x'ff' AS TEXT)"),
    Corruption("nodes", "plugin_name", "CAST(x'c328' AS TEXT)"),
    # Timestamps that SQLAlchemy cannot read.
    Corruption("runs", "completed_at", "'yesterday'"),
    Corruption("batches", "created_at", "x'00'"),
)
"""Stored values that no export may carry, at least one of each kind."""
