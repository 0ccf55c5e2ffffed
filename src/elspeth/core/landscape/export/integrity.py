"""Finds the stored value that the driver could not decode."""

from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    LargeBinary,
    Select,
    Table,
    Text,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
)
from sqlalchemy.exc import DBAPIError

from elspeth.contracts.errors import (
    NOT_UTF8,
    CorruptAuditDataError,
    not_in_datetime_range,
)
from elspeth.core.landscape.export.record_types import primary_key_columns

# The years of Python's datetime, less a day at either end: psycopg converts a timestamp to the
# session's time zone, which may lie in another year than UTC.
_EARLIEST, _LATEST = "'0001-01-02Z'::timestamptz", "'9999-12-31Z'::timestamptz"


def locate(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Find the first value of a failed query's result that the driver cannot decode.

    Args:
        connection: The connection on which the query failed.
        table: The table of all selected columns.
        statement: The query. It may join other tables, but selects only columns of `table`.

    Returns:
        The error to raise, or None when every value can be decoded and the query failed for
        another reason.
    """
    # The driver's error names neither the row nor, in every release, the column. The query is sent
    # again in a form that always decodes: text as bytes on SQLite, timestamps as text on
    # PostgreSQL.
    if connection.dialect.name != "sqlite":
        return _locate_timestamp(connection, table, statement)
    return _locate_text(connection, table, statement)


def _locate_timestamp(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Find the first timestamp outside the range of Python's datetime, such as infinity."""
    if connection.invalidated or not _transaction_is_usable(connection):
        return None
    key = primary_key_columns(table)
    selected = [table.c[column.name] for column in statement.selected_columns]
    as_text = statement.with_only_columns(*key, *map(_text_if_out_of_range, selected))
    try:
        for row in connection.execute(as_text):
            for column, value in zip(selected, row[len(key) :], strict=True):
                if value is not None:
                    identity = dict(zip((part.name for part in key), row, strict=False))
                    problem = not_in_datetime_range(value)
                    return CorruptAuditDataError(table.name, identity, column.name, problem)
    except DBAPIError:
        # The caller then raises the error of its query, which explains more.
        return None
    return None


def _transaction_is_usable(connection: Connection) -> bool:
    """Whether the server answered the failed query, and only the driver failed to read it."""
    # After an error of the server, PostgreSQL refuses every query until the rollback. INTRANS is
    # libpq's name for a transaction without such an error; ACTIVE while a thread fetches the next
    # rows of another table, for which the driver waits.
    driver_connection: Any = connection.connection.driver_connection
    return driver_connection.info.transaction_status.name in ("INTRANS", "ACTIVE")


def _text_if_out_of_range(column: Column[Any]) -> Any:
    if not isinstance(column.type, DateTime):
        return null()
    is_out = or_(column < literal_column(_EARLIEST), column >= literal_column(_LATEST))
    return case((is_out, cast(column, Text)))


def _locate_text(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Find the first text that is not UTF-8, which SQLite stores and PostgreSQL refuses."""
    key = primary_key_columns(table)
    selected = [table.c[column.name] for column in statement.selected_columns]
    in_bytes = statement.with_only_columns(
        *(cast(column, LargeBinary) for column in key),
        # Only values stored as text: bytes stored as a blob are refused for another reason.
        *(case((func.typeof(column) == "text", cast(column, LargeBinary))) for column in selected),
    )
    for row in connection.execute(in_bytes):
        for column, value in zip(selected, row[len(key) :], strict=True):
            if value is not None and isinstance(_decode(value), bytes):
                names = (part.name for part in key)
                identity = dict(zip(names, map(_decode, row), strict=False))
                return CorruptAuditDataError(table.name, identity, column.name, NOT_UTF8)
    return None


def _decode(value: bytes) -> str | bytes:
    """Decode UTF-8; other bytes are returned unchanged."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
