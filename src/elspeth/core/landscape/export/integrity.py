"""Checks of stored data besides single values: orphans, and values that the driver cannot decode.

An orphan is a child row whose parent row is missing.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
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
from sqlalchemy import column as column_named
from sqlalchemy.exc import DBAPIError

from elspeth.contracts.errors import (
    IS_NULL,
    NOT_UTF8,
    CorruptAuditDataError,
    not_in_datetime_range,
)
from elspeth.core.landscape.export.completeness import NOTHING, LeftOut
from elspeth.core.landscape.export.record_types import primary_key_columns
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

# The years of Python's datetime, less a day at either end: psycopg converts a timestamp to the
# session's time zone, which may lie in another year than UTC.
_EARLIEST, _LATEST = "'0001-01-02Z'::timestamptz", "'9999-12-31Z'::timestamptz"

# By column of a child through which an export reaches it: the key of the parent.
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


def refuse_orphans(connection: Connection, left_out: LeftOut = NOTHING) -> None:
    """Refuse a database that holds an orphan.

    Args:
        connection: The database.
        left_out: What the export leaves out. A row that belongs to a left-out table in place of
            its usual parent is left out with that table.

    Raises:
        CorruptAuditDataError: There is an orphan; the error names the first one.
    """
    # An export goes from parents to children and would leave an orphan out without an error. Child
    # tables have no run id, so an orphan can belong to any run and all runs are checked. Foreign
    # keys forbid orphans, but SQLite checks them only on connections that turn the check on. The
    # usual cost is one query on indexes, 3 % of an export of 2.3 million records.
    orphans = (
        _orphans(key, [column_named(name) for name in left_out.parents.get(key.table.name, ())])
        for key in _PARENTS
    )
    found = connection.execute(union_all(*orphans).limit(1)).first()
    if found is None:
        return
    name, parent = found
    reference = next(each for each in _PARENTS if each.table.name == name)
    key = primary_key_columns(reference.table)
    is_orphan = reference.is_(None) if parent is None else reference == parent
    child = connection.execute(select(*key).where(is_orphan).order_by(*key).limit(1)).one()
    identity = dict(zip((part.name for part in key), child, strict=True))
    problem = f"names {parent!r}, which is not among the {_PARENTS[reference].table.name}"
    if parent is None:
        problem = IS_NULL
    raise CorruptAuditDataError(name, identity, reference.name, problem)


def _orphans(reference: Column[Any], other_parents: Sequence[ColumnElement[Any]]) -> Select[Any]:
    # Only the column itself is selected, so that an index on it answers the whole query.
    parent = _PARENTS[reference]
    orphans = select(literal(reference.table.name), reference).where(
        ~exists(select(1).select_from(parent.table).where(parent == reference))
    )
    for other in other_parents:
        orphans = orphans.where(~and_(reference.is_(None), other.is_not(None)))
    return orphans


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
    # libpq's name for a transaction without such an error.
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
