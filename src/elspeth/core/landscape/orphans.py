"""Looks for children without a parent, which an export that walks from parents would leave out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, Connection, Select, exists, literal, select, union_all

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape.corruption import primary_key_columns
from elspeth.core.landscape.schema import (
    batch_members_table,
    batches_table,
    calls_table,
    node_states_table,
    routing_events_table,
    rows_table,
    token_parents_table,
    tokens_table,
)

_PARENTS: Mapping[Column[Any], Column[Any]] = MappingProxyType(
    {
        tokens_table.c.row_id: rows_table.c.row_id,
        token_parents_table.c.token_id: tokens_table.c.token_id,
        node_states_table.c.token_id: tokens_table.c.token_id,
        routing_events_table.c.state_id: node_states_table.c.state_id,
        calls_table.c.state_id: node_states_table.c.state_id,
        batch_members_table.c.batch_id: batches_table.c.batch_id,
    }
)
"""The columns through which an export reaches a child, and what they name."""


def refuse_orphans(connection: Connection) -> None:
    """Raise CorruptAuditDataError for a child that names no parent, in any run of the database.

    These tables carry no run id: a child without a parent may have been any run's. Foreign keys
    forbid it, but SQLite checks them only for connections that ask it to. Sends one query, which
    reads the indexes over the columns alone, and one more to name what it finds.
    """
    found = connection.execute(union_all(*map(_orphan, _PARENTS)).limit(1)).first()
    if found is None:
        return
    name, parent = found
    column = next(column for column in _PARENTS if column.table.name == name)
    key = primary_key_columns(column.table)
    child = connection.execute(select(*key).where(column == parent).order_by(*key).limit(1)).one()
    identity = dict(zip((part.name for part in key), child, strict=True))
    problem = f"names {parent!r}, which is not among the {_PARENTS[column].table.name}"
    raise CorruptAuditDataError(name, identity, column.name, problem)


def _orphan(column: Column[Any]) -> Select[Any]:
    parent = _PARENTS[column]
    # Only the column itself is read, so that an index over it is all that it takes.
    return select(literal(column.table.name), column).where(
        ~exists(select(1).select_from(parent.table).where(parent == column))
    )
