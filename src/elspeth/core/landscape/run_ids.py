"""Checks the run ids of a database, by which an export could lose rows, or hold those of others.

A row whose run is missing is lost, with everything below it. A column with a collation such as
NOCASE is equal to a run id in another spelling: an export of `run-1` would hold the rows of
`RUN-1`. Both exports would verify.
"""

from sqlalchemy import Connection, LargeBinary, Table, cast, func, literal, select, text

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.orphans import AcceptOrphan, refuse_rows_without_run
from elspeth.core.landscape.export.record_types import primary_key_columns
from elspeth.core.landscape.schema import EXPORTED_TABLES

# The tables of which a query compares run_id in another way than by bytes: on SQLite those whose
# statement names a collation, since no PRAGMA tells that of a column without an index.
_SQLITE = text(
    "SELECT lower(name) FROM sqlite_master WHERE type = 'table' AND sql LIKE '%collate%'"
)
_POSTGRESQL = text("""
SELECT c.relname
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_collation l ON l.oid = a.attcollation
 WHERE NOT l.collisdeterministic AND a.attname = 'run_id' AND pg_table_is_visible(c.oid)
""")


def check_run_ids(db: LandscapeDB, run_id: str, accept: AcceptOrphan | None = None) -> None:
    """Refuse rows that an export of a run would lose, or would hold though they name another run.

    Args:
        db: The audit trail.
        run_id: The run that is exported.
        accept: Called with every row whose run is missing, in place of the error.

    Raises:
        CorruptAuditDataError: A row leads to this run and names one that is missing; or a row names
            another run, and a query for this one finds it.
        sqlalchemy.exc.DBAPIError: The database fails.
    """
    with db.read_snapshot() as snapshot:
        connection = snapshot.connection
        refuse_rows_without_run(connection, run_id, accept)
        on_sqlite = connection.dialect.name == "sqlite"
        names = set(connection.execute(_SQLITE if on_sqlite else _POSTGRESQL).scalars())
        for table in EXPORTED_TABLES:
            if table.name in names and "run_id" in table.c:
                _refuse_other_spelling(connection, table, run_id, on_sqlite=on_sqlite)


def _refuse_other_spelling(
    connection: Connection, table: Table, run_id: str, *, on_sqlite: bool
) -> None:
    stored = table.c.run_id
    # Bytes have no collation.
    is_other = (
        cast(stored, LargeBinary) != cast(literal(run_id), LargeBinary)
        if on_sqlite
        else func.convert_to(stored, "UTF8") != func.convert_to(literal(run_id), "UTF8")
    )
    key = primary_key_columns(table)
    found = connection.execute(
        select(*key, stored.label("found")).where(stored == run_id, is_other).limit(1)
    ).first()
    if found is not None:
        names = [column.name for column in key]
        raise CorruptAuditDataError(
            table.name,
            dict(zip(names, found, strict=False)),
            "run_id",
            f"holds {found.found!r}, which the collation of the column finds for {run_id!r}",
        )
