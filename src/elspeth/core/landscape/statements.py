"""The twelve ordered statements of an export: one for each exported table.

A child's statement is ordered by its ancestors' keys first, so that parents and children leave
the database in step and merge without holding either. Text keys compare bytewise everywhere.
"""

from typing import Any, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, literal, select

from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.landscape import records
from elspeth.core.landscape.ordering import bytewise
from elspeth.core.landscape.partition import WHOLE, Partition
from elspeth.core.landscape.records import RecordType
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
    token_parents_table,
    tokens_table,
)

Statement: TypeAlias = Select[Any]
OrderKey: TypeAlias = ColumnElement[Any]

BY_ROW: tuple[OrderKey, ...] = (rows_table.c.row_index,)
BY_TOKEN = (*BY_ROW, tokens_table.c.created_at, bytewise(tokens_table.c.token_id))
BY_STATE = (*BY_TOKEN, node_states_table.c.step_index, node_states_table.c.attempt)
BY_BATCH = (batches_table.c.created_at, bytewise(batches_table.c.batch_id))

TOKENS = rows_table.join(tokens_table, tokens_table.c.row_id == rows_table.c.row_id)
STATES = TOKENS.join(node_states_table, node_states_table.c.token_id == tokens_table.c.token_id)

ANY_ROW = rows_table.c.row_index >= literal(-MAX_INTEGER, BigInteger)
"""True of every row that an export may carry; any other is refused when it is read itself.

Without it SQLite, once ANALYZE has told it that a run makes up most of the table, may scan all
rows and sort what is below them. With a range to look for it keeps to the index, in order.
"""


def export_statements(run_id: str, partition: Partition = WHOLE) -> dict[RecordType, Statement]:
    """Return the statement of every exported table for one run, with the columns of its type.

    Of rows, and of what is below them, those of the partition; of everything else, all.
    """

    def ordered(
        record_type: RecordType, source: FromClause, owner: FromClause, *keys: OrderKey
    ) -> Statement:
        statement = select(*record_type.columns).select_from(source)
        return statement.where(owner.c.run_id == run_id).order_by(*keys)

    def of_rows(record_type: RecordType, source: FromClause, *keys: OrderKey) -> Statement:
        statement = ordered(record_type, source, rows_table, *keys).where(*partition.condition())
        return statement if source is rows_table else statement.where(ANY_ROW)

    def of_run(record_type: RecordType, *keys: OrderKey) -> Statement:
        return ordered(record_type, record_type.table, record_type.table, *keys)

    parents, events, calls = token_parents_table.c, routing_events_table.c, calls_table.c
    states, members = node_states_table.c, batch_members_table.c
    return {
        records.RUN: of_run(records.RUN),
        records.NODE: of_run(
            records.NODE,
            nodes_table.c.sequence_in_pipeline.nulls_last(),
            nodes_table.c.registered_at,
            bytewise(nodes_table.c.node_id),
        ),
        records.EDGE: of_run(
            records.EDGE, edges_table.c.created_at, bytewise(edges_table.c.edge_id)
        ),
        records.ROW: of_rows(records.ROW, rows_table, *BY_ROW),
        records.TOKEN: of_rows(records.TOKEN, TOKENS, *BY_TOKEN),
        records.TOKEN_PARENT: of_rows(
            records.TOKEN_PARENT,
            TOKENS.join(token_parents_table, parents.token_id == tokens_table.c.token_id),
            *BY_TOKEN,
            parents.ordinal,
        ),
        records.NODE_STATE: of_rows(records.NODE_STATE, STATES, *BY_STATE),
        records.ROUTING_EVENT: of_rows(
            records.ROUTING_EVENT,
            STATES.join(routing_events_table, events.state_id == states.state_id),
            *BY_STATE,
            events.ordinal,
            bytewise(events.event_id),
        ),
        records.CALL: of_rows(
            records.CALL,
            STATES.join(calls_table, calls.state_id == states.state_id),
            *BY_STATE,
            calls.call_index,
        ),
        records.BATCH: of_run(records.BATCH, *BY_BATCH),
        records.BATCH_MEMBER: ordered(
            records.BATCH_MEMBER,
            batches_table.join(batch_members_table, members.batch_id == batches_table.c.batch_id),
            batches_table,
            *BY_BATCH,
            members.ordinal,
        ),
        records.ARTIFACT: of_run(
            records.ARTIFACT, artifacts_table.c.created_at, bytewise(artifacts_table.c.artifact_id)
        ),
    }
