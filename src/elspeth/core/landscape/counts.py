"""Counts of a run in the database: records by type, and rows by table."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, FromClause, func, inspect, literal, select, union_all

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.completeness import check_completeness
from elspeth.core.landscape.export.orphans import count_orphans
from elspeth.core.landscape.export.queries import export_statements
from elspeth.core.landscape.export.stored_schema import read_schema
from elspeth.core.landscape.schema import (
    batch_outputs_table,
    batches_table,
    checkpoints_table,
    runs_table,
    transform_errors_table,
    validation_errors_table,
)


def has_runs(db: LandscapeDB) -> bool:
    """Whether the database holds a run."""
    with db.connection() as connection:
        return connection.execute(select(runs_table.c.run_id).limit(1)).first() is not None


def count_records(connection: Connection, run_id: str) -> Mapping[str, int]:
    """Count the records of an unsigned export of a run, in one query.

    Returns:
        The count by record type, in emission order. A signed export has a manifest besides.
    """
    # Without the ORDER BY, which would make the database sort what is only counted.
    counts = [
        select(literal(record_type.name), func.count()).select_from(
            statement.order_by(None).subquery()
        )
        for record_type, statement in export_statements(run_id).items()
    ]
    # One statement sees one state of the database, whichever isolation level the connection has.
    # Not dict(result): a result has keys(), so dict would take it for a mapping.
    found = {row[0]: row[1] for row in connection.execute(union_all(*counts))}
    return {record_type.name: found[record_type.name] for record_type in export_statements(run_id)}


def count_records_of_all(connection: Connection) -> Mapping[str, Mapping[str, int]]:
    """Count the records of an unsigned export of every run, in one query.

    Returns:
        The counts by run id, and for a run by record type, in emission order.
    """
    # A subquery for each count, and not one GROUP BY for each table: the statements are those of an
    # export, so that both reach the same records, and each of them uses the index on its run.
    runs = runs_table.alias()
    counts = [
        statement.with_only_columns(func.count(), maintain_column_froms=True)
        .order_by(None)
        .correlate(runs)
        .scalar_subquery()
        .label(record_type.name)
        for record_type, statement in export_statements(runs.c.run_id).items()
    ]
    found = connection.execute(select(runs.c.run_id, *counts))
    names = [count.name for count in counts]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in found}


def count_tables(connection: Connection, run_id: str) -> Mapping[str, int]:
    """Count the rows of a run in every table, also in those that are not exported.

    Returns:
        The count by table name. A table that is neither exported nor in the database is left out.
    """
    records = count_records(connection, run_id)
    counts = {
        record_type.table.name: records[record_type.name]
        for record_type in export_statements(run_id)
    }
    # A database of an older version may lack these; `check_schema` asks only for exported tables.
    present = inspect(connection).get_table_names()
    # Batch outputs have no run_id; their batch has.
    batches = batches_table.join(batch_outputs_table)
    unexported: tuple[tuple[str, FromClause, FromClause], ...] = (
        (batch_outputs_table.name, batches, batches_table),
        *(
            (table.name, table, table)
            for table in (validation_errors_table, transform_errors_table, checkpoints_table)
        ),
    )
    for name, source, owner in unexported:
        if name in present:
            statement = select(func.count()).select_from(source).where(owner.c.run_id == run_id)
            counts[name] = connection.execute(statement).scalar_one()
    return counts


def count_orphans_of_run(db: LandscapeDB, run_id: str, leave_out: Iterable[str]) -> int:
    """Count the children without a parent that may belong to a run.

    Args:
        db: the database.
        run_id: the run.
        leave_out: as in `LandscapeDB.check_schema`, which says what is raised.
    """
    with db.read_snapshot() as snapshot:
        left_out = check_completeness(read_schema(snapshot.connection), leave_out)
        return count_orphans(snapshot.connection, run_id, left_out)


def count_tables_in_snapshot(db: LandscapeDB, run_id: str) -> Mapping[str, int]:
    """Count the rows of a run by table, in a snapshot taken now."""
    with db.read_snapshot() as snapshot:
        return count_tables(snapshot.connection, run_id)
