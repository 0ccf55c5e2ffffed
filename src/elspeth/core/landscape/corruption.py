"""Finds the text that SQLite holds and no driver can decode."""

from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, Select, Table, case, cast, func

from elspeth.contracts.errors import NOT_UTF8, CorruptAuditDataError


def primary_key_columns(table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that identify a row; batch_members declares none, but has such a pair."""
    return tuple(table.primary_key) or (table.c.batch_id, table.c.token_id)


def locate(
    connection: Connection, table: Table, statement: Select[Any]
) -> CorruptAuditDataError | None:
    """Name the first value of a query's result that is stored as text and is not UTF-8.

    For a query that the driver gave up on: sqlite3 says neither which row it was at nor, in every
    release, which column. `statement` selects columns of `table` alone, whatever it joins. It is
    sent once more, with bytes in the place of text. None when every text is sound, or when the
    backend refuses to store any other (PostgreSQL).
    """
    if connection.dialect.name != "sqlite":
        return None
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
