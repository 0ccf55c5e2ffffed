"""Stores rows in the tables that no export holds: none to two for each entity that they refer to.

An exporter that joins such a table loses or repeats records, and one that counts its rows exports
other values. Production has these rows: errors of rows and tokens, outputs of batches, checkpoints.
"""

from collections.abc import Mapping
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
# values. The copies of a row have the numbers 1 and 2.
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


def store_unexported_rows(connection: Connection) -> None:
    """Fill the tables that no export holds, for all runs of a database.

    Of three entities one gets no row, one gets one, and one gets two.

    Args:
        connection: A database with runs, and without rows in these tables.
    """
    for table, (entities, columns) in _ROWS.items():
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - constants
                f"SELECT {', '.join(columns.values())} FROM ({entities}) AS entities "
                "JOIN (SELECT 1 AS copy UNION ALL SELECT 2) AS copies ON copy <= place % 3"
            )
        )
