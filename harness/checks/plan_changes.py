"""Shaking: change how a database answers queries, and nothing that it holds.

An exporter whose order is not total gives other bytes afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, text

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.export.record_types import RECORD_TYPES


@dataclass(frozen=True)
class Shake:
    """A change of plan."""

    name: str
    dialect: str = ""
    """The only backend that it can be done on."""
    feature: str = ""
    """What the run is generated with."""
    act: Callable[[LandscapeDB], None] | None = None
    """What is done to the database once the run is there."""

    def suits(self, dialect: str) -> bool:
        """Whether this can be done on a backend."""
        return self.dialect in ("", dialect)


_TEMPTING_ORDERS = (
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
"""Indexes that help whoever filters by run or by parent, and that end the other way round."""


def _add_indexes(db: LandscapeDB) -> None:
    with db.connection() as connection:
        for number, order in enumerate(_TEMPTING_ORDERS):
            connection.execute(text(f"CREATE INDEX harness_shake_{number} ON {_covering(order)}"))
        connection.execute(text("ANALYZE"))


def _covering(order: str) -> str:
    """Add what else is exported of the table, so that the index answers without it.

    Planners prefer such an index to the one of a unique constraint, whose order is right.
    """
    (kind,) = (kind for kind in RECORD_TYPES if kind.table.name == order.partition(" ")[0])
    others = [name for name in kind.fields if name not in order]
    return f"{order.removesuffix(')')}, {', '.join(others)})" if others else order


def _reverse_unordered_selects(db: LandscapeDB) -> None:
    @event.listens_for(db.engine, "connect")
    def reverse(driver_connection: Any, _: object) -> None:
        driver_connection.execute("PRAGMA reverse_unordered_selects = ON")

    db.engine.dispose()


def _cluster(db: LandscapeDB) -> None:
    _add_indexes(db)
    with db.connection() as connection:
        for number, order in enumerate(_TEMPTING_ORDERS):
            table = order.partition(" ")[0]
            connection.execute(text(f"CLUSTER {table} USING harness_shake_{number}"))
        connection.execute(text("ANALYZE"))


SHAKES = (
    Shake("none"),
    Shake("shuffled physical order", feature="shuffled_insertion"),
    Shake("extra indexes and ANALYZE", act=_add_indexes),
    Shake("reverse_unordered_selects", dialect="sqlite", act=_reverse_unordered_selects),
    Shake("CLUSTER", dialect="postgresql", act=_cluster),
)
"""Every change of plan; the first changes nothing, so that the others are seen against it."""
