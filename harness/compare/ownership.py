"""Ownership: which run of a database a record belongs to, along the path an export follows."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, FromClause, Table, select

from elspeth.core.landscape import schema
from elspeth.core.landscape.database import LandscapeDB
from harness.compare.difference import Owner
from harness.compare.record_types import type_of

_TABLES: Mapping[str, Table] = {
    "node": schema.nodes_table,
    "edge": schema.edges_table,
    "row": schema.rows_table,
    "token": schema.tokens_table,
    "token_parent": schema.token_parents_table,
    "node_state": schema.node_states_table,
    "routing_event": schema.routing_events_table,
    "call": schema.calls_table,
    "batch": schema.batches_table,
    "batch_member": schema.batch_members_table,
    "artifact": schema.artifacts_table,
}
_PARENTS: Mapping[str, Column[Any]] = {
    "tokens": schema.rows_table.c.row_id,
    "token_parents": schema.tokens_table.c.token_id,
    "node_states": schema.tokens_table.c.token_id,
    "routing_events": schema.node_states_table.c.state_id,
    "calls": schema.node_states_table.c.state_id,
    "batch_members": schema.batches_table.c.batch_id,
}
"""For a table without `run_id`: the key of the table through which it belongs to a run."""


def owner_in(db: LandscapeDB) -> Owner:
    """Return the function that finds a record's run in this database."""

    def owner(record: Mapping[str, Any]) -> str | None:
        table = _TABLES.get(str(record.get("record_type")))
        if table is None:
            return None
        source, run_id = _path_to_run(table)
        key = [table.c[name] == record.get(name) for name in type_of(record).key]
        with db.connection() as connection:
            found = connection.execute(select(run_id).select_from(source).where(*key)).scalar()
        return None if found is None else str(found)

    return owner


def _path_to_run(table: Table) -> tuple[FromClause, Column[Any]]:
    source: FromClause = table
    while table.name in _PARENTS:
        parent = _PARENTS[table.name]
        source = source.join(parent.table, table.c[parent.name] == parent)
        table = parent.table
    return source, table.c.run_id
