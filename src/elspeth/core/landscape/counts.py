"""How many records of each type an export of a run holds, counted by the database."""

from collections.abc import Mapping

from sqlalchemy import Connection, func, literal, select, union_all

from elspeth.core.landscape.statements import export_statements


def count_records(connection: Connection, run_id: str) -> Mapping[str, int]:
    """Return the number of records of each type in an unsigned export of the run, in one query.

    Keys are record types in emission order. A signed export has one record more: its manifest.
    """
    counts = [
        select(literal(record_type.name), func.count()).select_from(
            statement.order_by(None).subquery()
        )
        for record_type, statement in export_statements(run_id).items()
    ]
    # Not dict(result): a result has keys(), and so passes for a mapping.
    found = {row[0]: row[1] for row in connection.execute(union_all(*counts))}
    return {record_type.name: found[record_type.name] for record_type in export_statements(run_id)}
