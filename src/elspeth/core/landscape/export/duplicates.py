"""The check of a database before an export: what it holds besides, and rows that are stored twice.

A copy of a database without its constraints may hold a row twice. An export would repeat or lose
records, and not verify.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection, func

from elspeth.contracts.errors import IS_NOT_UNIQUE, CorruptAuditDataError
from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.completeness import LeftOut, check_completeness
from elspeth.core.landscape.export.queries import export_statements
from elspeth.core.landscape.export.record_types import RECORD_TYPES, RecordType
from elspeth.core.landscape.export.stored_schema import StoredSchema, read_schema

_SORT_KEYS: Mapping[RecordType, Sequence[str]] = MappingProxyType(
    {
        records.ROW: ("run_id", "row_index"),
        records.TOKEN_PARENT: ("token_id", "ordinal"),
        records.NODE_STATE: ("token_id", "step_index", "attempt"),
        records.CALL: ("state_id", "call_index"),
        records.BATCH_MEMBER: ("batch_id", "ordinal"),
    }
)
"""The columns by which records ascend below their parent, without ties."""


def check_database(connection: Connection, run_id: str, leave_out: Iterable[str]) -> LeftOut:
    """Refuse a database of which an export would be incomplete, or would not verify.

    Args:
        connection: The database, in the snapshot of the export.
        run_id: The run that is exported.
        leave_out: As in `check_completeness`.

    Returns:
        What is left out.

    Raises:
        LeaveOutError, SchemaMismatchError: As in `check_completeness`.
        CorruptAuditDataError: A row of the run is stored twice.
    """
    stored = read_schema(connection)
    left_out = check_completeness(stored, leave_out)
    _refuse_duplicates(connection, run_id, stored)
    return left_out


def _refuse_duplicates(connection: Connection, run_id: str, stored: StoredSchema) -> None:
    # The constraints of the schema answer this without a query. Only what they do not cover is
    # searched, by a query that reads the rows of the run.
    statements = export_statements(run_id)
    for record_type, names in _uncovered(stored):
        columns = [record_type.table.c[name] for name in names]
        repeated = statements[record_type].with_only_columns(*columns, func.count())
        repeated = repeated.order_by(None).group_by(*columns).having(func.count() > 1)
        found = connection.execute(repeated.limit(1)).first()
        if found is not None:
            key = dict(zip(names, found, strict=False))
            raise CorruptAuditDataError(record_type.table.name, key, names[-1], IS_NOT_UNIQUE)


def _uncovered(stored: StoredSchema) -> Iterator[tuple[RecordType, Sequence[str]]]:
    """Yield the columns that no unique index of the database keeps unique, parents first."""
    for record_type in RECORD_TYPES:
        table = stored.tables.get(record_type.table.name)
        # The first query of a table that does not exist says so.
        unique = table.unique if table else ()
        for names in (record_type.primary_key, _SORT_KEYS.get(record_type)):
            if names is not None and not any(each.issubset(names) for each in unique):
                yield record_type, names
