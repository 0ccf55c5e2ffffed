"""What an export refuses besides wrong values: orphans, and values the driver cannot decode."""

from collections.abc import Mapping
from types import MappingProxyType
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
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.exc import DBAPIError

from elspeth.contracts.errors import NOT_UTF8, CorruptAuditDataError, not_in_datetime_range
from elspeth.core.landscape.schema import (
    batch_members_table,
    batches_table,
    calls_table,
    node_states_table,
    routing_events_table,
    rows_table,
    token_parents_table,
    tokens_table,
)

_EARLIEST, _LATEST = "'0001-01-02Z'::timestamptz", "'9999-12-31Z'::timestamptz"
"""The years of Python's datetime, less a day at either end for the session's time zone."""

_PARENTS: Mapping[Column[Any], Column[Any]] = MappingProxyType(
    {
        tokens_table.c.row_id: rows_table.c.row_id,
        token_parents_table.c.token_id: tokens_table.c.token_id,
        node_states_table.c.token_id: tokens_table.c.token_id,
        routing_events_table.c.state_id: node_states_table.c.state_id,
        calls_table.c.state_id: node_states_table.c.state_id,
        batch_members_table.c.batch_id: batches_table.c.batch_id,
    }
)
"""By column through which an export reaches a child: the parent's key that it names."""


def primary_key_columns(table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that identify a row. batch_members declares no key, but has one."""
    return tuple(table.primary_key) or (table.c.batch_id, table.c.token_id)


def refuse_orphans(connection: Connection) -> None:
    """Refuse a database in which a child names a parent that is not there.

    An export walks from parents to children, so it would leave such a child out without a word.
    The child tables carry no run id: the child may have been of any run, so all runs are checked.
    Foreign keys forbid orphans, but SQLite checks them only on connections that ask for it.

    One query reads the indexes over the columns alone; a second one names what was found.

    Raises:
        CorruptAuditDataError: There is an orphan; the error names the first one.
    """
    found = connection.execute(union_all(*map(_orphans, _PARENTS)).limit(1)).first()
    if found is None:
        return
    name, parent = found
    column = next(column for column in _PARENTS if column.table.name == name)
    key = primary_key_columns(column.table)
    child = connection.execute(select(*key).where(column == parent).order_by(*key).limit(1)).one()
    identity = dict(zip((part.name for part in key), child, strict=True))
    problem = f"names {parent!r}, which is not among the {_PARENTS[column].table.name}"
    raise CorruptAuditDataError(name, identity, column.name, problem)


def _orphans(column: Column[Any]) -> Select[Any]:
    # Only the column itself is selected, so that an index over it answers the whole query.
    parent = _PARENTS[column]
    return select(literal(column.table.name), column).where(
        ~exists(select(1).select_from(parent.table).where(parent == column))
    )


def locate(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Find the first value of a query's result that the driver cannot decode.

    For use after a query has failed: the driver names neither the row nor, in every release, the
    column. The query is sent once more, on SQLite with bytes in the place of text, on PostgreSQL
    with text in the place of timestamps.

    Args:
        connection: The connection that the query has failed on.
        table: The table of all selected columns.
        statement: The query. It may join other tables, but selects columns of `table` alone.

    Returns:
        The error to raise, or None when every value can be decoded: then the query has failed of
        something else.
    """
    if connection.dialect.name != "sqlite":
        return _locate_timestamp(connection, table, statement)
    return _locate_text(connection, table, statement)


def _locate_timestamp(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Find the first timestamp that Python has no datetime for: infinity, or another year."""
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
        # The caller raises the error of its own query, which is the better reason.
        return None
    return None


def _transaction_is_usable(connection: Connection) -> bool:
    """Whether the server has answered the failed query, and only the driver could not read it."""
    driver_connection: Any = connection.connection.driver_connection
    return bool(driver_connection.info.transaction_status.name == "INTRANS")


def _text_if_out_of_range(column: Column[Any]) -> Any:
    if not isinstance(column.type, DateTime):
        return null()
    is_out = or_(column < literal_column(_EARLIEST), column >= literal_column(_LATEST))
    return case((is_out, cast(column, Text)))


def _locate_text(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Find the first text that is not UTF-8. PostgreSQL refuses to store such text, SQLite not."""
    key = primary_key_columns(table)
    selected = [table.c[column.name] for column in statement.selected_columns]
    in_bytes = statement.with_only_columns(
        *(cast(column, LargeBinary) for column in key),
        # Values of other types stay out: bytes stored as such are another problem.
        *(case((func.typeof(each) == "text", cast(each, LargeBinary))) for each in selected),
    )
    for row in connection.execute(in_bytes):
        for column, value in zip(selected, row[len(key) :], strict=True):
            if value is not None and isinstance(_decode(value), bytes):
                names = (part.name for part in key)
                identity = dict(zip(names, map(_decode, row), strict=False))
                return CorruptAuditDataError(table.name, identity, column.name, NOT_UTF8)
    return None


def _decode(value: bytes) -> str | bytes:
    """Decode UTF-8; bytes that are not stay bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
