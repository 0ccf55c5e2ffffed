"""Writes a plan in bulk: many rows a statement on SQLite, COPY on PostgreSQL, one transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection

from elspeth.core.landscape.database import LandscapeDB
from harness.generate.features.feature import Arrange
from harness.generate.rows import TABLES, Chapter

CHUNK = 20_000
"""Facts held before they are inserted: about 15 MiB."""

ROWS_PER_STATEMENT = 25
"""One row a statement takes nearly twice as long; more than this gain nothing."""

Insert: TypeAlias = Callable[[str, Sequence[Any]], None]
"""Stores facts of one table."""

_PRAGMAS = {"foreign_keys": 0, "synchronous": 0, "cache_size": -65_536}
"""Off: what a plan keeps by construction, and what a rollback does not need. Cache in KiB."""


def write_in_bulk(db: LandscapeDB, chapters: Iterable[Chapter], arrange: Sequence[Arrange]) -> None:
    """Store all chapters in one transaction: when it is interrupted, nothing is stored.

    `arrange` reorders the facts of one table before they are inserted, up to CHUNK at a time.
    """
    with db.engine.connect() as connection, _transaction(connection) as insert:
        for chunk in _chunks(chapters):
            for table, facts in chunk.items():
                for rearrange in arrange:
                    rearrange(facts)
                insert(table, facts)


def _chunks(chapters: Iterable[Chapter]) -> Iterator[dict[str, list[Any]]]:
    """Gather facts by table, parents before children, about CHUNK at a time."""
    chunk: dict[str, list[Any]] = {table: [] for table in TABLES}
    held = 0
    for chapter in chapters:
        for table, facts in chapter.tables():
            chunk[table] += facts
            held += len(facts)
        if held >= CHUNK:
            yield chunk
            chunk = {table: [] for table in TABLES}
            held = 0
    yield chunk


@contextmanager
def _transaction(connection: Connection) -> Iterator[Insert]:
    on_sqlite = connection.dialect.name == "sqlite"
    begin = _sqlite_transaction if on_sqlite else _postgresql_transaction
    with begin(connection.connection.driver_connection) as insert:
        yield insert


@contextmanager
def _sqlite_transaction(driver_connection: Any) -> Iterator[Insert]:
    def insert(table: str, facts: Sequence[Any]) -> None:
        if not facts:
            return
        whole = len(facts) // ROWS_PER_STATEMENT * ROWS_PER_STATEMENT
        driver_connection.executemany(
            _insert_statement(table, facts[0], ROWS_PER_STATEMENT),
            (
                tuple(chain.from_iterable(facts[start : start + ROWS_PER_STATEMENT]))
                for start in range(0, whole, ROWS_PER_STATEMENT)
            ),
        )
        driver_connection.executemany(_insert_statement(table, facts[0], 1), facts[whole:])

    with _journal(driver_connection), _pragmas(driver_connection), driver_connection:
        yield insert


def _insert_statement(table: str, fact: Any, rows: int) -> str:
    columns = fact._fields
    values = f"({', '.join('?' for _ in columns)})"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - names, not values
        f"VALUES {', '.join([values] * rows)}"
    )


@contextmanager
def _journal(driver_connection: Any) -> Iterator[None]:
    """Keep a rollback journal while the first run is written, if no one else has the file open.

    A write-ahead log writes everything twice: it took 1.5 times as long and twice the space.
    """
    (before,) = driver_connection.execute("PRAGMA journal_mode").fetchone()
    (patience,) = driver_connection.execute("PRAGMA busy_timeout").fetchone()
    if driver_connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None:
        _set(driver_connection, {"busy_timeout": 0})
        with suppress(sqlite3.OperationalError):
            _set(driver_connection, {"journal_mode": "DELETE"})
        _set(driver_connection, {"busy_timeout": patience})
    try:
        yield
    finally:
        # Where someone else has it open by now, their connection or the next sets the mode.
        with suppress(sqlite3.OperationalError):
            _set(driver_connection, {"journal_mode": before})


@contextmanager
def _pragmas(driver_connection: Any) -> Iterator[None]:
    before = {name: driver_connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS}
    try:
        _set(driver_connection, _PRAGMAS)
        yield
    finally:
        _set(driver_connection, before)


def _set(driver_connection: Any, pragmas: Mapping[str, int | str]) -> None:
    for name, value in pragmas.items():
        driver_connection.execute(f"PRAGMA {name}={value}")


@contextmanager
def _postgresql_transaction(driver_connection: Any) -> Iterator[Insert]:
    with driver_connection.transaction(), driver_connection.cursor() as cursor:
        # Facts hold UTC without saying so.
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")

        def insert(table: str, facts: Sequence[Any]) -> None:
            if not facts:
                return
            columns = ", ".join(facts[0]._fields)
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for fact in facts:
                    copy.write_row(fact)

        yield insert
