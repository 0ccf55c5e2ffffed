"""Changes to a stored run's database before it is exported: other query plans, or one bad value.

A plan change leaves the contents alone, so an exporter with a total order writes the same bytes. A
corruption is one stored value that no export may carry, so an exporter has to refuse the run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, text

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import metadata


@dataclass(frozen=True)
class PlanChange:
    """A change of how a database answers queries, and not of what it holds.

    `dialect` names the only backend that supports it; empty for both. `feature` is added to the
    run before it is generated. `apply` changes the database once the run is stored.
    """

    name: str
    dialect: str = ""
    feature: str = ""
    apply: Callable[[LandscapeDB], None] | None = None

    def suits(self, dialect: str) -> bool:
        """Whether the backend supports it."""
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
        connection.execute(text("ANALYZE"))


def _covering(index: str) -> str:
    """Add the table's other columns, so that the index alone answers a query.

    Planners prefer a covering index to the index of a unique constraint, whose order is the right
    one.
    """
    table = metadata.tables[index.partition(" ")[0]]
    others = [column.name for column in table.columns if column.name not in index]
    return f"{index.removesuffix(')')}, {', '.join(others)})" if others else index


def _reverse_unordered_selects(db: LandscapeDB) -> None:
    @event.listens_for(db.engine, "connect")
    def reverse(driver_connection: Any, _: object) -> None:
        driver_connection.execute("PRAGMA reverse_unordered_selects = ON")

    # Connections of the pool were opened without the pragma.
    db.engine.dispose()


def _cluster(db: LandscapeDB) -> None:
    _add_indexes(db)
    with db.connection() as connection:
        for number, index in enumerate(_MISLEADING_INDEXES):
            table = index.partition(" ")[0]
            connection.execute(text(f"CLUSTER {table} USING harness_plan_change_{number}"))
        connection.execute(text("ANALYZE"))


UNCHANGED = PlanChange("none")
PLAN_CHANGES = (
    UNCHANGED,
    PlanChange("shuffled physical order", feature="shuffled_insertion"),
    PlanChange("extra indexes and ANALYZE", apply=_add_indexes),
    PlanChange("reverse_unordered_selects", dialect="sqlite", apply=_reverse_unordered_selects),
    PlanChange("CLUSTER", dialect="postgresql", apply=_cluster),
)
"""All plan changes. The first changes nothing: the case that the others are compared with."""


@dataclass(frozen=True)
class Corruption:
    """One bad value, and the SQL that stores it in one row of the run `:run_id` (SQLite)."""

    name: str
    sql: str

    def apply(self, db: LandscapeDB, run_id: str) -> None:
        """Corrupt one stored row. Raises ValueError if the run has no such row."""
        driver_connection = db.engine.raw_connection()
        try:
            cursor = driver_connection.cursor()
            cursor.execute(self.sql, {"run_id": run_id})
            if cursor.rowcount != 1:
                raise ValueError(f"{self.name}: {cursor.rowcount} rows corrupted instead of one")
            driver_connection.commit()
        finally:
            driver_connection.close()


# The SQL below is composed of constants only.
_ROWS = "SELECT row_id FROM rows WHERE run_id = :run_id"
_TOKENS = f"SELECT token_id FROM tokens WHERE row_id IN ({_ROWS})"  # noqa: S608
_STATES = f"SELECT state_id FROM node_states WHERE token_id IN ({_TOKENS})"  # noqa: S608
_IN_RUN = {
    **dict.fromkeys(("runs", "nodes", "edges", "rows", "batches", "artifacts"), "run_id = :run_id"),
    "tokens": f"row_id IN ({_ROWS})",
    "token_parents": f"token_id IN ({_TOKENS})",
    "node_states": f"token_id IN ({_TOKENS})",
    "routing_events": f"state_id IN ({_STATES})",
    "calls": f"state_id IN ({_STATES})",
    "batch_members": "batch_id IN (SELECT batch_id FROM batches WHERE run_id = :run_id)",
}


def _set(table: str, column: str, value: str, *, where: str = "1") -> Corruption:
    chosen = f"SELECT max(rowid) FROM {table} WHERE {_IN_RUN[table]} AND {where}"  # noqa: S608
    return Corruption(
        f"{table}.{column} = {value}",
        f"UPDATE {table} SET {column} = {value} WHERE rowid = ({chosen})",  # noqa: S608
    )


_COMPLETED, _FAILED = "status = 'completed'", "status = 'failed'"

CORRUPTIONS = (
    _set("runs", "status", "'mystery'"),
    _set("nodes", "node_type", "'mystery'"),
    _set("edges", "default_mode", "'mystery'"),
    _set("node_states", "status", "'mystery'"),
    _set("routing_events", "mode", "'mystery'"),
    _set("calls", "call_type", "'mystery'"),
    _set("calls", "status", "'mystery'"),
    _set("batches", "status", "'mystery'"),
    _set("node_states", "output_hash", "NULL", where=_COMPLETED),
    _set("node_states", "duration_ms", "NULL", where=_COMPLETED),
    _set("node_states", "duration_ms", "NULL", where=_FAILED),
    _set("node_states", "completed_at", "NULL", where=_COMPLETED),
    _set("node_states", "duration_ms", "9e999", where=_COMPLETED),
    _set("calls", "latency_ms", "-9e999"),
    _set("calls", "latency_ms", "'soon'"),
    _set("artifacts", "size_bytes", str(2**53)),
    _set("artifacts", "size_bytes", "1.5"),
    _set("rows", "row_index", "'second'"),
    _set("token_parents", "ordinal", "x'00'"),
    _set("rows", "source_data_hash", "x'00ff'"),
    _set("tokens", "branch_name", "CAST(x'ff' AS TEXT)"),
    _set("nodes", "plugin_name", "CAST(x'c328' AS TEXT)"),
    _set("runs", "completed_at", "'yesterday'"),
    _set("batches", "created_at", "x'00'"),
)
"""Every way in which a stored value can be one that no export may carry."""
