"""Writes planned sections in one transaction: by INSERTs of many rows on SQLite, by COPY on
PostgreSQL.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection

from elspeth.core.landscape.database import LandscapeDB
from harness.generate.entities import TABLES, Section
from harness.generate.features.feature import Reorder

ENTITIES_PER_INSERT = 20_000
"""How many entities are collected before they are inserted; they take about 15 MiB."""

ROWS_PER_STATEMENT = 25
"""Rows of one INSERT on SQLite. One row takes nearly twice as long; more than 25 gain nothing."""

Insert: TypeAlias = Callable[[str, Sequence[Any]], None]
"""Stores entities in the table of a name."""

# A plan keeps all foreign keys by construction, and a process that is killed leaves a journal to
# roll back: neither checks nor flushes are needed. The cache is in KiB.
_PRAGMAS = {"foreign_keys": 0, "synchronous": 0, "cache_size": -65_536}


def write_in_bulk(
    db: LandscapeDB, sections: Iterable[Section], reorders: Sequence[Reorder] = ()
) -> None:
    """Store all sections in one transaction. An interruption stores nothing.

    Args:
        db: A database with the exported tables.
        sections: What to store, parents before children.
        reorders: Change the order of one table's entities before they are inserted, within every
            ENTITIES_PER_INSERT entities.
    """
    with db.engine.connect() as connection, _transaction(connection) as insert:
        for entities_by_table in _chunks(sections):
            for table, entities in entities_by_table.items():
                for reorder in reorders:
                    reorder(entities)
                insert(table, entities)


def _chunks(sections: Iterable[Section]) -> Iterator[dict[str, list[Any]]]:
    """Collect about ENTITIES_PER_INSERT entities at a time by table, parents before children."""
    chunk: dict[str, list[Any]] = {table: [] for table in TABLES}
    held = 0
    for section in sections:
        for table, entities in section.tables():
            chunk[table] += entities
            held += len(entities)
        if held >= ENTITIES_PER_INSERT:
            yield chunk
            chunk = {table: [] for table in TABLES}
            held = 0
    yield chunk


@contextmanager
def _transaction(connection: Connection) -> Iterator[Insert]:
    on_sqlite = connection.dialect.name == "sqlite"
    begin = _sqlite_transaction if on_sqlite else _postgresql_transaction
    # The driver's own connection: executemany over a generator and COPY are not in SQLAlchemy.
    with begin(connection.connection.driver_connection) as insert:
        yield insert


@contextmanager
def _sqlite_transaction(driver_connection: Any) -> Iterator[Insert]:
    def insert(table: str, entities: Sequence[Any]) -> None:
        if not entities:
            return
        whole = len(entities) // ROWS_PER_STATEMENT * ROWS_PER_STATEMENT
        driver_connection.executemany(
            _insert_statement(table, entities[0], ROWS_PER_STATEMENT),
            (
                tuple(chain.from_iterable(entities[start : start + ROWS_PER_STATEMENT]))
                for start in range(0, whole, ROWS_PER_STATEMENT)
            ),
        )
        driver_connection.executemany(_insert_statement(table, entities[0], 1), entities[whole:])

    with _journal(driver_connection), _pragmas(driver_connection), driver_connection:
        yield insert


def _insert_statement(table: str, entity: Any, rows: int) -> str:
    columns = entity._fields
    values = f"({', '.join('?' for _ in columns)})"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - names, not values
        f"VALUES {', '.join([values] * rows)}"
    )


@contextmanager
def _journal(driver_connection: Any) -> Iterator[None]:
    """Use a rollback journal for the first run of a database, unless another connection is open.

    A write-ahead log writes everything twice. It took 1.5 times as long and twice the space.
    """
    (before,) = driver_connection.execute("PRAGMA journal_mode").fetchone()
    (timeout_ms,) = driver_connection.execute("PRAGMA busy_timeout").fetchone()
    if driver_connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None:
        # The mode cannot change while another connection has the file open. The run is then
        # written through the log, without waiting for that connection.
        _set(driver_connection, {"busy_timeout": 0})
        with suppress(sqlite3.OperationalError):
            _set(driver_connection, {"journal_mode": "DELETE"})
        _set(driver_connection, {"busy_timeout": timeout_ms})
    try:
        yield
    finally:
        # When another connection has opened the file meanwhile, that one sets the mode again.
        with suppress(sqlite3.OperationalError):
            _set(driver_connection, {"journal_mode": before})


@contextmanager
def _pragmas(driver_connection: Any) -> Iterator[None]:
    before = {name: driver_connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS}
    try:
        _set(driver_connection, _PRAGMAS)
        yield
    finally:
        # The connection goes back into the pool.
        _set(driver_connection, before)


def _set(driver_connection: Any, pragmas: Mapping[str, int | str]) -> None:
    for name, value in pragmas.items():
        driver_connection.execute(f"PRAGMA {name}={value}")


@contextmanager
def _postgresql_transaction(driver_connection: Any) -> Iterator[Insert]:
    with driver_connection.transaction(), driver_connection.cursor() as cursor:
        # The timestamps of entities are UTC without an offset.
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")

        def insert(table: str, entities: Sequence[Any]) -> None:
            if not entities:
                return
            columns = ", ".join(entities[0]._fields)
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for entity in entities:
                    copy.write_row(entity)

        yield insert
