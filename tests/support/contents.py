"""A digest of the contents of all exported tables that is the same on every backend."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, Select, Table, select

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.queries import bytewise
from elspeth.core.landscape.schema import EXPORTED_TABLES, batch_members_table

ROWS_PER_FETCH = 1000


def contents_digest(db: LandscapeDB) -> str:
    """Return the SHA-256 of every value of every exported table, in hex.

    Rows are read in the order of their keys, so the order in which they were written makes no
    difference. Times are in UTC, and -0.0 counts as 0.0, which SQLite stores for it.
    """
    digest = hashlib.sha256()
    with db.connection() as connection:
        for table in EXPORTED_TABLES:
            digest.update(f"{table.name}\n".encode())
            for line in _lines(connection, table):
                digest.update(line.encode())
    return digest.hexdigest()


def _lines(connection: Connection, table: Table) -> Iterator[str]:
    rows = connection.execution_options(yield_per=ROWS_PER_FETCH).execute(_in_order(table))
    # JSON in ASCII, because the repr of text depends on the interpreter's Unicode version.
    return (f"{json.dumps([_plain(value) for value in row])}\n" for row in rows)


def _in_order(table: Table) -> Select[tuple[object, ...]]:
    # batch_members has no primary key, but these columns are unique.
    members = table is batch_members_table
    key = (table.c.batch_id, table.c.token_id) if members else table.primary_key.columns
    return select(table).order_by(*(bytewise(column) for column in key))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None).isoformat()
    return value + 0.0 if isinstance(value, float) else value
