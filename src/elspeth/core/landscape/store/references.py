"""Find the run that an entity belongs to, and refuse references from one run to another."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Column, Connection, Select, Table, select

from elspeth.contracts.errors import RecordingError
from elspeth.core.landscape.schema import (
    batches_table,
    edges_table,
    node_states_table,
    nodes_table,
    rows_table,
    runs_table,
    tokens_table,
)

_KINDS = {
    runs_table: "run",
    nodes_table: "node",
    edges_table: "edge",
    rows_table: "row",
    tokens_table: "token",
    node_states_table: "node state",
    batches_table: "batch",
}


class Reference(NamedTuple):
    """An entity that a call of the recorder refers to. None refers to no entity."""

    table: Table
    entity_id: str | None

    def __str__(self) -> str:
        return f"{_KINDS[self.table]} {self.entity_id!r}"

    @property
    def run(self) -> Select[tuple[str]]:
        """A query for the id of the run that the entity belongs to; no row if it is unknown."""
        # Tokens and node states have no column for the run: it is that of their row.
        origin = rows_table
        if self.table in (runs_table, nodes_table, edges_table, rows_table, batches_table):
            return select(self.table.c.run_id).where(_id_column(self.table) == self.entity_id)
        joined = origin.join(tokens_table, tokens_table.c.row_id == origin.c.row_id)
        if self.table is node_states_table:
            joined = joined.join(
                node_states_table, node_states_table.c.token_id == tokens_table.c.token_id
            )
        statement = select(origin.c.run_id).select_from(joined)
        return statement.where(_id_column(self.table) == self.entity_id)


def refuse_mixed_runs(connection: Connection, references: Sequence[Reference]) -> None:
    """Refuse references to entities of several runs.

    An unknown entity is not refused here: where the table has a foreign key, the database refuses
    it, as in the original.

    Args:
        connection: The transaction of the write.
        references: What is referred to. The first one says which run the others have to be of.

    Raises:
        RecordingError: An entity belongs to another run than the first, or an id is not text.
    """
    given = [reference for reference in references if reference.entity_id is not None]
    for reference in given:
        # Typed as a text, but a caller may pass anything, and drivers refuse it in their own words.
        if not isinstance(reference.entity_id, str):
            raise RecordingError(f"{reference} is not named by a text")
    if len(given) < 2:
        return
    first = given[0]
    run_id, *others = _runs_of(connection, given)
    for reference, other in zip(given[1:], others, strict=True):
        if run_id is not None and other not in (None, run_id):
            owner = "" if first.table is runs_table else f", the run of {first}"
            raise RecordingError(f"{reference} belongs to run {other!r}, not to {run_id!r}{owner}")


def _runs_of(connection: Connection, references: Sequence[Reference]) -> list[str | None]:
    # SQLite allows 2,000 columns in a result; a join may have more parents.
    return [
        run_id
        for start in range(0, len(references), 500)
        for run_id in connection.execute(
            select(*(each.run.scalar_subquery() for each in references[start : start + 500]))
        ).one()
    ]


def _id_column(table: Table) -> Column[str]:
    return table.primary_key.columns[0]
