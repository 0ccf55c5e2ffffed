"""Write and read the audit trail, one entity at a time."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Row, Select, Table, select

from elspeth.contracts import NodeStateStatus, RunStatus
from elspeth.core.canonical import canonical_json
from elspeth.core.landscape import schema
from elspeth.core.landscape.database import LandscapeDB


class LandscapeRecorder:
    """Records a run while it goes on, and reads what was recorded."""

    def __init__(self, db: LandscapeDB) -> None:
        """Record into `db`."""
        self._db = db

    def begin_run(self, config: dict[str, Any], run_id: str | None = None) -> str:
        """Record a new run and return its id."""
        settings = canonical_json(config)
        return self._insert(
            schema.runs_table,
            run_id=run_id or uuid4().hex,
            started_at=datetime.now(UTC),
            config_hash=sha256(settings.encode()).hexdigest(),
            settings_json=settings,
            canonical_version="v1",
            status=RunStatus.RUNNING.value,
        )

    def complete_run(self, run_id: str, status: RunStatus) -> None:
        """Record the end of a run."""
        runs = schema.runs_table
        ended = {"status": status.value, "completed_at": datetime.now(UTC)}
        with self._db.connection() as connection:
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(ended))

    def register_node(self, run_id: str, plugin_name: str, node_type: str, sequence: int) -> str:
        """Record a node of the pipeline and return its id."""
        return self._insert(
            schema.nodes_table,
            node_id=uuid4().hex,
            run_id=run_id,
            plugin_name=plugin_name,
            node_type=node_type,
            plugin_version="1.0",
            determinism="deterministic",
            config_hash=sha256(plugin_name.encode()).hexdigest(),
            config_json=json.dumps({}),
            sequence_in_pipeline=sequence,
            registered_at=datetime.now(UTC),
        )

    def create_row(self, run_id: str, source_node_id: str, row_index: int, data: Any) -> str:
        """Record a source row and return its id."""
        return self._insert(
            schema.rows_table,
            row_id=uuid4().hex,
            run_id=run_id,
            source_node_id=source_node_id,
            row_index=row_index,
            source_data_hash=sha256(canonical_json(data).encode()).hexdigest(),
            created_at=datetime.now(UTC),
        )

    def create_token(self, row_id: str) -> str:
        """Record a token of a row and return its id."""
        return self._insert(
            schema.tokens_table, token_id=uuid4().hex, row_id=row_id, created_at=datetime.now(UTC)
        )

    def complete_node_state(self, token_id: str, node_id: str, step: int, data: Any) -> str:
        """Record the finished work of a node on a token and return the id of the state."""
        digest = sha256(canonical_json(data).encode()).hexdigest()
        return self._insert(
            schema.node_states_table,
            state_id=uuid4().hex,
            token_id=token_id,
            node_id=node_id,
            step_index=step,
            attempt=0,
            status=NodeStateStatus.COMPLETED.value,
            input_hash=digest,
            output_hash=digest,
            duration_ms=1.5,
            started_at=datetime.now(UTC),
            completed_at=datetime.now(UTC),
        )

    def get_run(self, run_id: str) -> Row[Any] | None:
        """Return a run; None if there is none."""
        runs = schema.runs_table
        found = self._fetch_all(select(runs).where(runs.c.run_id == run_id))
        return found[0] if found else None

    def get_nodes(self, run_id: str) -> list[Row[Any]]:
        """Return the nodes of a run."""
        table = schema.nodes_table
        order = (table.c.sequence_in_pipeline.nulls_last(), table.c.registered_at, table.c.node_id)
        return self._children(table, table.c.run_id, run_id, *order)

    def get_edges(self, run_id: str) -> list[Row[Any]]:
        """Return the edges of a run."""
        table = schema.edges_table
        return self._children(table, table.c.run_id, run_id, table.c.created_at, table.c.edge_id)

    def get_rows(self, run_id: str) -> list[Row[Any]]:
        """Return the source rows of a run."""
        table = schema.rows_table
        return self._children(table, table.c.run_id, run_id, table.c.row_index)

    def get_tokens(self, row_id: str) -> list[Row[Any]]:
        """Return the tokens of a row."""
        table = schema.tokens_table
        return self._children(table, table.c.row_id, row_id, table.c.created_at, table.c.token_id)

    def get_token_parents(self, token_id: str) -> list[Row[Any]]:
        """Return the parents of a token."""
        table = schema.token_parents_table
        return self._children(table, table.c.token_id, token_id, table.c.ordinal)

    def get_node_states_for_token(self, token_id: str) -> list[Row[Any]]:
        """Return the states of the nodes that worked on a token."""
        table = schema.node_states_table
        order = (table.c.step_index, table.c.attempt)
        return self._children(table, table.c.token_id, token_id, *order)

    def get_routing_events(self, state_id: str) -> list[Row[Any]]:
        """Return the routing decisions of a state."""
        table = schema.routing_events_table
        return self._children(table, table.c.state_id, state_id, table.c.ordinal, table.c.event_id)

    def get_calls(self, state_id: str) -> list[Row[Any]]:
        """Return the external calls of a state."""
        table = schema.calls_table
        return self._children(table, table.c.state_id, state_id, table.c.call_index)

    def get_batches(self, run_id: str) -> list[Row[Any]]:
        """Return the batches of a run."""
        table = schema.batches_table
        return self._children(table, table.c.run_id, run_id, table.c.created_at, table.c.batch_id)

    def get_batch_members(self, batch_id: str) -> list[Row[Any]]:
        """Return the members of a batch."""
        table = schema.batch_members_table
        return self._children(table, table.c.batch_id, batch_id, table.c.ordinal)

    def get_artifacts(self, run_id: str) -> list[Row[Any]]:
        """Return the artifacts of a run."""
        table = schema.artifacts_table
        order = (table.c.created_at, table.c.artifact_id)
        return self._children(table, table.c.run_id, run_id, *order)

    def _children(
        self, table: Table, parent: ColumnElement[str], value: str, *order: Any
    ) -> list[Row[Any]]:
        return self._fetch_all(select(table).where(parent == value).order_by(*order))

    def _fetch_all(self, query: Select[Any]) -> list[Row[Any]]:
        # All reads pass through here: the line that asks is further up the stack.
        with self._db.connection() as connection:
            return list(connection.execute(query).fetchall())

    def _insert(self, table: Table, **values: Any) -> str:
        with self._db.connection() as connection:
            connection.execute(table.insert().values(**values))
        return str(next(iter(values.values())))
