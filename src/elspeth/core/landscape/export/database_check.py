"""The check of a database before an export: what it holds besides, and rows that it finds wrongly.

A copy of a database without its constraints may hold a row twice: an export would repeat or lose
records, and not verify. A column with a collation such as NOCASE is equal to an id in another
spelling: an export of `run-1` would hold the rows of `RUN-1`, and verify.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, LargeBinary, cast, func, literal

from elspeth.contracts.errors import IS_NOT_UNIQUE, CorruptAuditDataError
from elspeth.core.landscape.export import record_types as records
from elspeth.core.landscape.export.completeness import LeftOut, check_completeness
from elspeth.core.landscape.export.queries import bytewise, export_statements
from elspeth.core.landscape.export.record_types import (
    RECORD_TYPES,
    RecordType,
    primary_key_columns,
)
from elspeth.core.landscape.export.reference_paths import PARENTS
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
    """Refuse a database of which an export would be incomplete, too large, or would not verify.

    Args:
        connection: The database, in the snapshot of the export.
        run_id: The run that is exported.
        leave_out: As in `check_completeness`.

    Returns:
        What is left out.

    Raises:
        LeaveOutError, SchemaMismatchError: As in `check_completeness`.
        CorruptAuditDataError: A row of the run is stored twice, or a query for the run finds a row
            that names another run or another parent.
    """
    stored = read_schema(connection)
    left_out = check_completeness(stored, leave_out)
    _refuse_duplicates(connection, run_id, stored)
    _refuse_other_spellings(connection, run_id, stored)
    return left_out


def _refuse_duplicates(connection: Connection, run_id: str, stored: StoredSchema) -> None:
    # The constraints of the schema answer this without a query. Only what they do not cover is
    # searched, by a query that reads the rows of the run.
    for record_type, names in _uncovered(stored):
        columns = [record_type.table.c[name] for name in names]
        found_by = export_statements(run_id)[record_type]
        repeated = found_by.with_only_columns(*columns, func.count())
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


def _refuse_other_spellings(connection: Connection, run_id: str, stored: StoredSchema) -> None:
    # Only where a column may have such a collation: the usual database answers without a query.
    def is_bytewise(column: ColumnElement[Any]) -> bool:
        if not isinstance(column, Column):
            return True
        table = stored.tables.get(column.table.name)
        return table is None or column.name in table.bytewise

    for record_type in RECORD_TYPES:
        for column, expected in _compared(record_type, run_id):
            if is_bytewise(column) and is_bytewise(expected):
                continue
            key = primary_key_columns(record_type.table)
            found_by = export_statements(run_id)[record_type]
            others = found_by.with_only_columns(*key, column, expected).where(
                _differ(connection, column, expected)
            )
            found = connection.execute(others.order_by(None).limit(1)).first()
            if found is not None:
                *values, held, named = found
                raise CorruptAuditDataError(
                    record_type.table.name,
                    dict(zip((part.name for part in key), values, strict=True)),
                    column.name,
                    f"holds {held!r}, which the collation of the column finds for {named!r}",
                )


def _compared(
    record_type: RecordType, run_id: str
) -> Iterator[tuple[Column[Any], ColumnElement[Any]]]:
    """Yield the columns by which a query finds the rows of a type, each with its expected value."""
    columns = record_type.table.c
    if "run_id" in columns:
        yield columns.run_id, literal(run_id)
    for child, parent in PARENTS.items():
        if child.table is record_type.table:
            yield child, parent


def _differ(
    connection: Connection, column: Column[Any], expected: ColumnElement[Any]
) -> ColumnElement[bool]:
    # Bytes have no collation.
    if connection.dialect.name == "sqlite":
        return cast(column, LargeBinary) != cast(expected, LargeBinary)
    return bytewise(column) != bytewise(expected)
