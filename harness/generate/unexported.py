"""Stores what no export holds: rows of further tables, and long values of further columns.

An exporter that joins such a table loses or repeats records, and one that counts its rows exports
other values. Production has these rows: errors of rows and tokens, outputs of batches, checkpoints.
It has long values as well: configurations, contexts of node states, errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection, text

_OF_ROWS = (
    "SELECT run_id, source_node_id, source_data_hash, created_at, "
    "row_number() OVER (ORDER BY row_id) AS place FROM rows"
)
_OF_TOKENS = (
    "SELECT token_id, run_id, source_node_id, source_data_hash, tokens.created_at, "
    "row_number() OVER (ORDER BY token_id) AS place FROM tokens JOIN rows USING (row_id)"
)
_OF_BATCHES = "SELECT batch_id, row_number() OVER (ORDER BY batch_id) AS place FROM batches"

# By table: the entities that its rows refer to, each with a number, and the columns with their
# values. The copies of a row are numbered from 1.
_ROWS: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "batch_outputs": (
            _OF_BATCHES,
            {
                "batch_output_id": "'out-' || place || '-' || copy",
                "batch_id": "batch_id",
                "output_type": "'token'",
                "output_id": "'tok-' || copy",
            },
        ),
        "validation_errors": (
            _OF_ROWS,
            {
                "error_id": "'val-' || place || '-' || copy",
                "run_id": "run_id",
                "node_id": "source_node_id",
                "row_hash": "source_data_hash",
                "row_data_json": "'{}'",
                "error": "'refused'",
                "schema_mode": "'strict'",
                "destination": "'discard'",
                "created_at": "created_at",
            },
        ),
        "transform_errors": (
            _OF_TOKENS,
            {
                "error_id": "'tra-' || place || '-' || copy",
                "run_id": "run_id",
                "token_id": "token_id",
                "transform_id": "source_node_id",
                "row_hash": "source_data_hash",
                "error_details_json": "'{}'",
                "destination": "'discard'",
                "created_at": "created_at",
            },
        ),
        "checkpoints": (
            _OF_TOKENS,
            {
                "checkpoint_id": "'che-' || place || '-' || copy",
                "run_id": "run_id",
                "token_id": "token_id",
                "node_id": "source_node_id",
                "sequence_number": "copy",
                "created_at": "created_at",
            },
        ),
    }
)


LONG_COLUMNS = (
    "node_states.context_before_json",
    "node_states.context_after_json",
    "node_states.error_json",
    "calls.error_json",
    "nodes.config_json",
    "nodes.schema_fields_json",
    "runs.settings_json",
    "runs.export_error",
)
"""The columns of exported tables that no export holds, and that may hold long values."""


def store_unexported_rows(connection: Connection, for_each: int | None = None) -> None:
    """Fill the tables that no export holds, for all runs of a database.

    Args:
        connection: A database with runs, and without rows in these tables.
        for_each: The number of rows for each entity. Default: of three entities one gets no row,
            one gets one, and one gets two.
    """
    most, copies = (2, "place % 3") if for_each is None else (for_each, str(for_each))
    for table, (entities, columns) in _ROWS.items():
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - constants
                "WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies "
                f"WHERE copy < {most}) "
                f"SELECT {', '.join(columns.values())} FROM ({entities}) AS entities "
                f"JOIN copies ON copy <= {copies}"
            )
        )


@dataclass(frozen=True)
class RowsForEach:
    """Stores so many rows for each entity in every table that no export holds."""

    number: int

    def __call__(self, connection: Connection) -> None:
        """Store them."""
        store_unexported_rows(connection, self.number)


@dataclass(frozen=True)
class LongValues:
    """Makes the values that no export holds so many characters long, also where they are NULL."""

    characters: int

    def __call__(self, connection: Connection) -> None:
        """Store them."""
        long = "x" * self.characters
        for column in LONG_COLUMNS:
            table, _, name = column.partition(".")
            # The reader of nodes refuses other JSON than a list there.
            value = f'["{long}"]' if name == "schema_fields_json" else f'{{"long": "{long}"}}'
            statement = f"UPDATE {table} SET {name} = :value"  # noqa: S608 - constants
            connection.execute(text(statement), {"value": value})
