"""Generates the run of a spec into a database, in one transaction.

The flow: a spec is planned section by section, and a section is written as soon as it is planned.
Writing is by INSERTs of many rows on SQLite, and by COPY on PostgreSQL.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import select

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.schema import runs_table
from harness.generate.entities import TABLES, Section
from harness.generate.features.feature import Reorder
from harness.generate.plan import neighbours_of, plan
from harness.generate.spec import ImpossibleSpecError, RunSpec

ENTITIES_PER_INSERT = 20_000
"""The number of entities that are collected before they are inserted. They take about 15 MiB."""

# Measured on SQLite: one row for a statement takes nearly twice as long, more than 25 gain nothing.
ROWS_PER_STATEMENT = 25
"""Rows of one INSERT on SQLite."""

Write: TypeAlias = Callable[[LandscapeDB, Iterable[Section], Sequence[Reorder]], None]
"""Stores sections in one transaction, in the order that the reorders give."""
Progress: TypeAlias = Callable[[int, int], None]
"""Takes the number of source rows planned so far, and the number planned in the end."""
_Insert: TypeAlias = Callable[[str, Sequence[Any]], None]
"""Stores entities in the table of a name."""

# Foreign keys: a plan keeps them by construction. Flushes: a killed process leaves a journal that
# SQLite rolls back, and after a power failure a run can be generated again. The cache (in KiB) is
# larger than the default of 2 MiB, so that it holds the indexes that are being written.
_PRAGMAS = {"foreign_keys": 0, "synchronous": 0, "cache_size": -65_536}


class RunExistsError(ValueError):
    """The database already holds a run of that id. Nothing was written."""


@dataclass(frozen=True)
class Cardinalities:
    """The number of records of each type in an unsigned export of a run, by table."""

    runs: int = 0
    nodes: int = 0
    edges: int = 0
    rows: int = 0
    tokens: int = 0
    token_parents: int = 0
    node_states: int = 0
    routing_events: int = 0
    calls: int = 0
    batches: int = 0
    batch_members: int = 0
    artifacts: int = 0

    @property
    def records(self) -> int:
        """The number of records of all types."""
        return sum(getattr(self, table.name) for table in fields(self))


@dataclass(frozen=True)
class GeneratedRun:
    """A run that was stored completely, with its neighbours.

    `cardinalities` counts the run without its neighbours.
    """

    spec: RunSpec
    cardinalities: Cardinalities

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.spec.run_id


def write_in_bulk(
    db: LandscapeDB, sections: Iterable[Section], reorders: Sequence[Reorder] = ()
) -> None:
    """Store all sections in one transaction. An interruption stores nothing.

    Args:
        db: A database with the exported tables.
        sections: The sections to store, parents before children.
        reorders: Change the order of one table's entities before they are inserted, within every
            ENTITIES_PER_INSERT entities.
    """
    with db.engine.connect() as connection:
        begin = (
            _sqlite_transaction if connection.dialect.name == "sqlite" else _postgresql_transaction
        )
        # The driver's own connection: executemany over a generator and COPY are not in SQLAlchemy.
        with begin(connection.connection.driver_connection) as insert:
            for entities_by_table in _chunks(sections):
                for table, entities in entities_by_table.items():
                    for reorder in reorders:
                        reorder(entities)
                    if entities:
                        insert(table, entities)


def generate_run(
    db: LandscapeDB,
    spec: RunSpec,
    *,
    progress: Progress | None = None,
    write: Write = write_in_bulk,
) -> GeneratedRun:
    """Store the run of a spec and its neighbours in one transaction.

    An interruption stores nothing. Memory does not grow with the run.

    Args:
        db: The database, with all tables.
        spec: The run to generate.
        progress: Called after every source row.
        write: Stores the planned sections. Tests compare other ways of writing with the default.

    Raises:
        RunExistsError: The run id, or that of a neighbour, is taken.
        ImpossibleSpecError: The backend cannot hold a feature of the spec.
    """
    _check_backend(db, spec)
    _check_is_new(db, spec)
    # The plan is counted while it is written: planning twice would take twice as long, and counting
    # the stored tables would read the whole run again.
    counts = dict.fromkeys((field.name for field in fields(Cardinalities)), 0)
    reorders = [each.reorder for each in spec.active_features if each.reorder]
    write(db, _counted(spec, counts, progress), reorders)
    return GeneratedRun(spec, Cardinalities(**counts))


def _counted(spec: RunSpec, counts: dict[str, int], progress: Progress | None) -> Iterator[Section]:
    """Plan the run, and count its entities while they are written."""
    total = spec.rows + spec.neighbours * spec.neighbour_rows
    done = 0
    for section in plan(spec):
        if section.run_id == spec.run_id:
            for table, entities in section.tables():
                counts[table] += len(entities)
        yield section
        # After the yield, when the writer has taken the section: progress does not run ahead of it.
        if progress and section.rows:
            done += 1
            progress(done, total)


def _check_backend(db: LandscapeDB, spec: RunSpec) -> None:
    if db.engine.dialect.name != "sqlite" and not spec.is_portable:
        names = [each.name for each in spec.active_features if not each.portable]
        raise ImpossibleSpecError(
            f"{names[0]}: {db.engine.dialect.name} cannot hold it", field="features"
        )


def _check_is_new(db: LandscapeDB, spec: RunSpec) -> None:
    # Checked before writing: the driver's error about a violated key would not say what to do, and
    # neighbours take ids that a caller may not expect.
    run_ids = [spec.run_id, *(each.run_id for each in neighbours_of(spec))]
    with db.connection() as connection:
        taken = connection.scalars(
            select(runs_table.c.run_id).where(runs_table.c.run_id.in_(run_ids))
        ).all()
    if taken:
        raise RunExistsError(f"run {taken[0]!r} exists already in {db.masked_url}; choose another")


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
def _sqlite_transaction(driver_connection: Any) -> Iterator[_Insert]:
    def insert(table: str, entities: Sequence[Any]) -> None:
        whole = len(entities) // ROWS_PER_STATEMENT * ROWS_PER_STATEMENT
        driver_connection.executemany(
            _insert_statement(table, entities[0], ROWS_PER_STATEMENT),
            (
                tuple(chain.from_iterable(entities[start : start + ROWS_PER_STATEMENT]))
                for start in range(0, whole, ROWS_PER_STATEMENT)
            ),
        )
        driver_connection.executemany(_insert_statement(table, entities[0], 1), entities[whole:])

    # The pragmas and the journal mode have no effect inside a transaction, so it begins last. The
    # driver's own context manager commits, or rolls back on an error.
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
    """Use a rollback journal for the first run of a database, unless another connection is open."""
    (before,) = driver_connection.execute("PRAGMA journal_mode").fetchone()
    (timeout_ms,) = driver_connection.execute("PRAGMA busy_timeout").fetchone()
    # A write-ahead log writes everything twice: measured 1.5 times as long, and twice the space. A
    # rollback journal holds the old content of changed pages, and an empty database has none.
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
        # If another connection has opened the file meanwhile, that one sets the mode again.
        with suppress(sqlite3.OperationalError):
            _set(driver_connection, {"journal_mode": before})


@contextmanager
def _pragmas(driver_connection: Any) -> Iterator[None]:
    before = {name: driver_connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS}
    try:
        _set(driver_connection, _PRAGMAS)
        yield
    finally:
        # The connection goes back into the pool. Its next user expects foreign keys and flushes.
        _set(driver_connection, before)


def _set(driver_connection: Any, pragmas: Mapping[str, int | str]) -> None:
    for name, value in pragmas.items():
        driver_connection.execute(f"PRAGMA {name}={value}")


@contextmanager
def _postgresql_transaction(driver_connection: Any) -> Iterator[_Insert]:
    with driver_connection.transaction(), driver_connection.cursor() as cursor:
        # The timestamps of entities are UTC without an offset. LOCAL ends with the transaction.
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")

        def insert(table: str, entities: Sequence[Any]) -> None:
            columns = ", ".join(entities[0]._fields)
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for entity in entities:
                    copy.write_row(entity)

        yield insert
