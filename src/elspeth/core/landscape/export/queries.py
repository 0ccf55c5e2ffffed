"""The twelve SELECT statements of an export, one for each table, and the partitions of a run."""

# The statement of a child table sorts by the keys of its ancestors first. Parents and children
# therefore leave the database in the same order and can be merged without holding a table. Every
# order is total: the order of tied keys would change with an additional index or an ANALYZE. Text
# keys compare byte by byte on every backend, because collations differ.

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    func,
    literal,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.record_types import RecordType
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


def bytewise(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return an expression that orders or compares a text column by its UTF-8 bytes."""
    # SQLite compares bytes by default (BINARY) and has no collation "C". PostgreSQL uses the
    # database's collation by default.
    return _Bytewise(column)


class _Bytewise(FunctionElement[str]):
    inherit_cache = True
    type = String()


@compiles(_Bytewise)
def _without_collation(element: _Bytewise, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Bytewise, "postgresql")
def _with_collation(element: _Bytewise, compiler: SQLCompiler, **options: Any) -> str:
    return f'{compiler.process(element.clauses, **options)} COLLATE "C"'


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows of a run in a range of `row_index`, with everything below them.

    Consecutive partitions, joined, are the export. The partition without a first row opens the
    export with the run, its nodes and edges. The one without an end closes it with batches and
    artifacts.

    Attributes:
        first: The least `row_index` in it, or None.
        end: The `row_index` after the last one in it, or None.
    """

    first: int | None = None
    end: int | None = None

    @property
    def opens(self) -> bool:
        """Whether the export begins here."""
        return self.first is None

    @property
    def closes(self) -> bool:
        """Whether the export ends here."""
        return self.end is None

    def conditions(self) -> Sequence[ColumnElement[bool]]:
        """Return the conditions that restrict a query to its rows."""
        conditions = []
        if self.first is not None:
            conditions.append(rows_table.c.row_index >= self.first)
        if self.end is not None:
            conditions.append(rows_table.c.row_index < self.end)
        return conditions

    def __str__(self) -> str:
        first = "the first row" if self.first is None else f"row {self.first:,}"
        return f"{first} to {'the last' if self.end is None else f'before row {self.end:,}'}"


WHOLE = Partition()


def split_rows(connection: Connection, run_id: str, parts: int) -> Sequence[Partition]:
    """Split a run into partitions whose numbers of rows differ by one at most.

    Args:
        connection: The database.
        run_id: The run.
        parts: How many partitions. A run with fewer rows gets one for each row, an empty run one.

    Returns:
        The partitions in order. A run with a `row_index` that is not an integer is not split.
    """
    # One query, answered by the index on row_index. ntile counts rows, so gaps between indexes do
    # not make the parts uneven.
    share = func.ntile(parts).over(order_by=rows_table.c.row_index).label("share")
    index = rows_table.c.row_index.label("row_index")
    shared = select(index, share).where(rows_table.c.run_id == run_id).subquery()
    found = connection.execute(
        select(
            func.min(shared.c.row_index),
            func.count(),
            func.count(shared.c.row_index),
        )
        .group_by(shared.c.share)
        .order_by(shared.c.share)
    ).all()
    # SQLite can store text or NULL as an index, which ranges of integers would misplace. An export
    # in one part finds such a row and names it.
    if any(type(first) is not int or rows != known for first, rows, known in found):
        return (WHOLE,)
    borders: list[Any] = [None, *(first for first, _, _ in found[1:]), None]
    return tuple(Partition(first, end) for first, end in pairwise(borders))


Statement: TypeAlias = Select[Any]
OrderKey: TypeAlias = ColumnElement[Any]

BY_ROW: tuple[OrderKey, ...] = (rows_table.c.row_index,)
BY_TOKEN = (*BY_ROW, tokens_table.c.created_at, bytewise(tokens_table.c.token_id))
BY_STATE = (*BY_TOKEN, node_states_table.c.step_index, node_states_table.c.attempt)
BY_BATCH = (batches_table.c.created_at, bytewise(batches_table.c.batch_id))

TOKENS = rows_table.join(tokens_table, tokens_table.c.row_id == rows_table.c.row_id)
STATES = TOKENS.join(node_states_table, node_states_table.c.token_id == tokens_table.c.token_id)

# The condition is for SQLite's planner. After ANALYZE, when one run makes up most of the table, the
# planner may scan all rows and sort everything below them. With a range to search it uses the index
# on row_index, whose order is the needed one. tests/elspeth/landscape/test_plans.py checks the
# plans.
ANY_ROW = rows_table.c.row_index >= literal(-MAX_INTEGER, BigInteger)
"""True for every row that can be exported. The export refuses any other row."""


def export_statements(
    run_id: str | ColumnElement[str], partition: Partition = WHOLE
) -> dict[RecordType, Statement]:
    """Return the statement of every record type, which selects the type's columns.

    Args:
        run_id: The run; or the column of an outer query that names it.
        partition: Restricts rows and everything below rows, no other table.
    """

    def ordered(
        record_type: RecordType, source: FromClause, owner: FromClause, *keys: OrderKey
    ) -> Statement:
        statement = select(*record_type.columns).select_from(source)
        return statement.where(owner.c.run_id == run_id).order_by(*keys)

    def of_rows(record_type: RecordType, source: FromClause, *keys: OrderKey) -> Statement:
        # The rows themselves are read without ANY_ROW, so that a row outside of it is found.
        statement = ordered(record_type, source, rows_table, *keys).where(*partition.conditions())
        return statement if source is rows_table else statement.where(ANY_ROW)

    def of_run(record_type: RecordType, *keys: OrderKey) -> Statement:
        return ordered(record_type, record_type.table, record_type.table, *keys)

    # The last key of an order is unique below its parent: by a constraint of the schema, or because
    # it is an id. Children reach their run through joins, as they have no run id.
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
