"""Looks for children without a parent, which an export that walks from parents would leave out."""

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

from elspeth.contracts.errors import NOT_UTF8, CorruptAuditDataError
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

# Finds what a database holds and no driver can read: text on SQLite, moments on PostgreSQL.


_EARLIEST, _LATEST = "'0001-01-02Z'::timestamptz", "'9999-12-31Z'::timestamptz"
"""Of Python's years, less a day at either end for the session's time zone."""


def primary_key_columns(table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that identify a row; batch_members declares none, but has such a pair."""
    return tuple(table.primary_key) or (table.c.batch_id, table.c.token_id)


def locate(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Name the first value of a query's result that the driver cannot read.

    For a query that the driver gave up on: it says neither which row it was at nor, in every
    release, which column. `statement` selects columns of `table` alone, whatever it joins. It is
    sent once more, with text in the place of moments, or on SQLite bytes in the place of text. None
    when all of that is sound, so that the query failed of something else.
    """
    if connection.dialect.name != "sqlite":
        return _locate_moment(connection, table, statement)
    return _locate_text(connection, table, statement)


def _locate_moment(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Name the first moment that Python has no datetime for: infinity, or a year out of range."""
    if connection.invalidated or not _is_answering(connection):
        return None
    key = primary_key_columns(table)
    selected = [table.c[column.name] for column in statement.selected_columns]
    as_text = statement.with_only_columns(*key, *map(_moment_out_of_range, selected))
    try:
        for row in connection.execute(as_text):
            for column, value in zip(selected, row[len(key) :], strict=True):
                if value is not None:
                    identity = dict(zip((part.name for part in key), row, strict=False))
                    problem = f"holds {value!r}, which is no moment of the years 1 to 9999"
                    return CorruptAuditDataError(table.name, identity, column.name, problem)
    except DBAPIError:
        # What the query failed of is the better reason.
        return None
    return None


def _is_answering(connection: Connection) -> bool:
    """Whether the transaction goes on: the server has sent what the driver could not read."""
    driver_connection: Any = connection.connection.driver_connection
    return bool(driver_connection.info.transaction_status.name == "INTRANS")


def _moment_out_of_range(column: Column[Any]) -> Any:
    if not isinstance(column.type, DateTime):
        return null()
    is_out = or_(column < literal_column(_EARLIEST), column >= literal_column(_LATEST))
    return case((is_out, cast(column, Text)))


def _locate_text(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Name the first text that is not UTF-8, which PostgreSQL would refuse to store."""
    key = primary_key_columns(table)
    selected = [table.c[column.name] for column in statement.selected_columns]
    in_bytes = statement.with_only_columns(
        *(cast(column, LargeBinary) for column in key),
        *(_text_as_bytes(column) for column in selected),
    )
    for row in connection.execute(in_bytes):
        for column, value in zip(selected, row[len(key) :], strict=True):
            if not _is_utf8(value):
                names = (part.name for part in key)
                identity = dict(zip(names, map(_readable, row), strict=False))
                return CorruptAuditDataError(table.name, identity, column.name, NOT_UTF8)
    return None


def _text_as_bytes(column: Column[Any]) -> Any:
    return case((func.typeof(column) == "text", cast(column, LargeBinary)))


def _is_utf8(value: bytes | None) -> bool:
    return value is None or isinstance(_readable(value), str)


def _readable(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


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
"""The columns through which an export reaches a child, and what they name."""


def refuse_orphans(connection: Connection) -> None:
    """Raise CorruptAuditDataError for a child that names no parent, in any run of the database.

    These tables carry no run id: a child without a parent may have been any run's. Foreign keys
    forbid it, but SQLite checks them only for connections that ask it to. Sends one query, which
    reads the indexes over the columns alone, and one more to name what it finds.
    """
    found = connection.execute(union_all(*map(_orphan, _PARENTS)).limit(1)).first()
    if found is None:
        return
    name, parent = found
    column = next(column for column in _PARENTS if column.table.name == name)
    key = primary_key_columns(column.table)
    child = connection.execute(select(*key).where(column == parent).order_by(*key).limit(1)).one()
    identity = dict(zip((part.name for part in key), child, strict=True))
    problem = f"names {parent!r}, which is not among the {_PARENTS[column].table.name}"
    raise CorruptAuditDataError(name, identity, column.name, problem)


def _orphan(column: Column[Any]) -> Select[Any]:
    parent = _PARENTS[column]
    # Only the column itself is read, so that an index over it is all that it takes.
    return select(literal(column.table.name), column).where(
        ~exists(select(1).select_from(parent.table).where(parent == column))
    )
