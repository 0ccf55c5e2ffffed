"""Corruptions: one planted in a run at a time, which an export has to refuse (SQLite)."""

from dataclasses import dataclass

from elspeth.core.landscape import LandscapeDB


@dataclass(frozen=True)
class Corruption:
    """What is wrong, and the SQL that makes it so in some row of the run `:run_id`."""

    name: str
    sql: str

    def plant(self, db: LandscapeDB, run_id: str) -> None:
        """Corrupt one stored row. ValueError if the run holds none of the kind."""
        driver_connection = db.engine.raw_connection()
        try:
            cursor = driver_connection.cursor()
            cursor.execute(self.sql, {"run_id": run_id})
            if cursor.rowcount != 1:
                raise ValueError(f"{self.name}: {cursor.rowcount} rows corrupted instead of one")
            driver_connection.commit()
        finally:
            driver_connection.close()


# Put together from the constants below alone.
_ROWS = "SELECT row_id FROM rows WHERE run_id = :run_id"
_TOKENS = f"SELECT token_id FROM tokens WHERE row_id IN ({_ROWS})"  # noqa: S608
_STATES = f"SELECT state_id FROM node_states WHERE token_id IN ({_TOKENS})"  # noqa: S608
_IN_RUN = {
    "runs": "run_id = :run_id",
    "nodes": "run_id = :run_id",
    "edges": "run_id = :run_id",
    "rows": "run_id = :run_id",
    "batches": "run_id = :run_id",
    "artifacts": "run_id = :run_id",
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
"""Every way in which a stored value may be none that an export carries."""
