"""The references by which an export finds child rows, and those by which a row leads to runs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, Connection, Select, null, select

from elspeth.core.landscape.export.snapshot import driver_errors
from elspeth.core.landscape.schema import (
    artifacts_table,
    batch_members_table,
    batches_table,
    calls_table,
    edges_table,
    node_states_table,
    nodes_table,
    routing_events_table,
    rows_table,
    runs_table,
    token_parents_table,
    tokens_table,
)

PARENTS: Mapping[Column[Any], Column[Any]] = MappingProxyType(
    {
        tokens_table.c.row_id: rows_table.c.row_id,
        token_parents_table.c.token_id: tokens_table.c.token_id,
        node_states_table.c.token_id: tokens_table.c.token_id,
        routing_events_table.c.state_id: node_states_table.c.state_id,
        calls_table.c.state_id: node_states_table.c.state_id,
        batch_members_table.c.batch_id: batches_table.c.batch_id,
    }
)
"""By column of a child through which an export reaches it: the key of the parent."""

RUNS: Mapping[Column[Any], Column[Any]] = MappingProxyType(
    {
        table.c.run_id: runs_table.c.run_id
        for table in (nodes_table, edges_table, rows_table, batches_table, artifacts_table)
    }
)
"""By column that names the run of a row: the key of the run."""


def _through_row(tokens: Any) -> Select[Any]:
    return select(rows_table.c.run_id).select_from(tokens.join(rows_table))


_OTHER = tokens_table.alias()
LEADS: Mapping[str, Sequence[Select[Any]]] = MappingProxyType(
    {
        tokens_table.name: (
            select(nodes_table.c.run_id).select_from(
                tokens_table.join(node_states_table).join(nodes_table)
            ),
            select(batches_table.c.run_id).select_from(
                tokens_table.join(batch_members_table).join(batches_table)
            ),
            *(
                select(rows_table.c.run_id).select_from(
                    tokens_table.join(
                        token_parents_table,
                        token_parents_table.c[mine] == tokens_table.c.token_id,
                    )
                    .join(_OTHER, token_parents_table.c[its] == _OTHER.c.token_id)
                    .join(rows_table, _OTHER.c.row_id == rows_table.c.row_id)
                )
                for mine, its in (
                    ("token_id", "parent_token_id"),
                    ("parent_token_id", "token_id"),
                )
            ),
        ),
        token_parents_table.name: (
            _through_row(
                token_parents_table.join(
                    tokens_table, token_parents_table.c.parent_token_id == tokens_table.c.token_id
                )
            ),
        ),
        node_states_table.name: (
            select(nodes_table.c.run_id).select_from(node_states_table.join(nodes_table)),
        ),
        routing_events_table.name: (
            select(edges_table.c.run_id).select_from(routing_events_table.join(edges_table)),
        ),
        # A call refers to its state alone.
        calls_table.name: (select(null().label("run_id")).select_from(calls_table),),
        batch_members_table.name: (_through_row(batch_members_table.join(tokens_table)),),
        nodes_table.name: (
            select(rows_table.c.run_id).select_from(nodes_table.join(rows_table)),
            select(batches_table.c.run_id).select_from(nodes_table.join(batches_table)),
            select(artifacts_table.c.run_id).select_from(nodes_table.join(artifacts_table)),
            *(
                select(edges_table.c.run_id).select_from(
                    nodes_table.join(edges_table, edges_table.c[end] == nodes_table.c.node_id)
                )
                for end in ("from_node_id", "to_node_id")
            ),
            select(rows_table.c.run_id).select_from(
                nodes_table.join(node_states_table)
                .join(tokens_table)
                .join(rows_table, rows_table.c.row_id == tokens_table.c.row_id)
            ),
        ),
        edges_table.name: (
            *(
                select(nodes_table.c.run_id).select_from(
                    edges_table.join(nodes_table, edges_table.c[end] == nodes_table.c.node_id)
                )
                for end in ("from_node_id", "to_node_id")
            ),
        ),
        rows_table.name: (
            select(nodes_table.c.run_id).select_from(rows_table.join(nodes_table)),
            select(nodes_table.c.run_id).select_from(
                rows_table.join(tokens_table)
                .join(node_states_table)
                .join(nodes_table, node_states_table.c.node_id == nodes_table.c.node_id)
            ),
        ),
        batches_table.name: (
            select(nodes_table.c.run_id).select_from(batches_table.join(nodes_table)),
            _through_row(batches_table.join(batch_members_table).join(tokens_table)),
        ),
        artifacts_table.name: (
            select(nodes_table.c.run_id).select_from(artifacts_table.join(nodes_table)),
            _through_row(artifacts_table.join(node_states_table).join(tokens_table)),
        ),
    }
)
"""By table: the queries for the runs that a row leads to, besides the one through its parent.

A token has no other reference, but others refer to it.
"""


# One message, which begins with SET: it belongs to the opening of a snapshot and reads the
# catalogue only, so a trace that counts queries does not count it.
_FOREIGN_KEYS = """
SET LOCAL row_security TO off;
SELECT a.attrelid::regclass::text, a.attname
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
  JOIN pg_attribute p ON p.attrelid = k.confrelid AND k.confkey = ARRAY[p.attnum]
 WHERE k.contype = 'f' AND k.convalidated AND a.attnotnull
   AND (k.conrelid, a.attname, k.confrelid, p.attname) IN ({references})
   AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
   AND (c.relkind = 'p' OR NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid))
"""


def foreign_keys_hold(connection: Connection, parents: Mapping[Column[Any], Column[Any]]) -> bool:
    """Whether PostgreSQL's catalogue says that every child has its parent.

    Args:
        connection: The database, in an open transaction.
        parents: By column of a child: the key of the parent.

    Raises:
        sqlalchemy.exc.DBAPIError: The database fails.
    """
    # Validated: checked for rows that were there before. NOT NULL: an empty reference violates no
    # foreign key. Only children of a table without heirs, whose rows it would not cover.
    if connection.dialect.name != "postgresql":
        return False
    references = ", ".join(
        f"('{child.table.name}'::regclass, '{child.name}', "
        f"'{parent.table.name}'::regclass, '{parent.name}')"
        for child, parent in parents.items()
    )
    statement = _FOREIGN_KEYS.format(references=references)
    cursor: Any = connection.connection.cursor()
    try:
        with driver_errors(connection, statement):
            cursor.execute(statement)
            # psycopg begins with the result of SET.
            if cursor.description is None:
                cursor.nextset()
            return len(set(map(tuple, cursor.fetchall()))) == len(parents)
    finally:
        cursor.close()
