"""Cost operators: the right records at a price that grows with the run or with other runs.

The price is queries, transactions, fetched rows, work or memory, per entity of one table.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, func, select

from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.export.exporter import Database
from elspeth.core.landscape.export.record_types import (
    RECORD_TYPES,
    RUN,
    RecordType,
    primary_key_columns,
)
from elspeth.core.landscape.export.snapshot import ReadSnapshot
from elspeth.core.landscape.schema import runs_table
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant
from harness.mutants.records import RowFault, Rows, TableRead, with_row_fault

THRESHOLDS = (0, 10, 100, 1_000)
"""An additional query per entity starts after this many entities of a table."""
BLOCKS = (100, 500, 1_000, 5_000)
"""An additional query is sent for every block of this many rows of a table."""

_KEPT_BYTES = 1_000
# Ten times the bytes for a design that may hold a run in memory.
_HELD_FACTOR = 10
_LEAK_BYTES = 1_000_000


def cost_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all cost operators over one design."""
    for kind in RECORD_TYPES:
        for name, description, fault in _table_faults(design, kind):
            operator, _, place = name.partition("/")
            part = f"{kind.table.name}/{place}" if place else kind.table.name
            change = partial(with_row_fault, fault=fault, record_type=kind)
            yield Mutant(operator, design.name, part, description, change)
    for operator, description, apply in _export_faults():
        yield Mutant(operator, design.name, "export", description, apply)


def _table_faults(design: Design, kind: RecordType) -> Iterator[tuple[str, str, RowFault]]:
    """Yield operator with place, description and fault of what can go wrong at one table."""
    yield "fetch-whole-table", "rows of all runs are fetched and dropped", _whole_table
    yield "work-cross-join", "one query joins the table with itself", _cross_join
    yield "transaction-per-table", "the table is read in a transaction apart", _own_transaction
    if kind is RUN:
        return  # A run has one entity of this type: nothing grows.
    for threshold in THRESHOLDS:
        yield (
            f"query-per-entity/after-{threshold}",
            f"one query more for every row after the first {threshold:,}",
            partial(_query_per_row, threshold, _on_snapshot),
        )
    for size in BLOCKS:
        yield (
            f"query-per-block/{size}",
            f"one query more for every {size:,} rows",
            partial(_query_per_block, size),
        )
    yield (
        "query-per-entity/another-engine",
        "one query for every row, on an engine that the exporter makes",
        partial(_query_per_row, 0, _on_another_engine),
    )
    yield (
        "query-per-entity/driver-connection",
        "one query for every row, on a connection of sqlite3",
        partial(_query_per_row, 0, _on_driver_connection),
    )
    yield "work-per-entity", "every row is looked for among all before it", _quadratic_work
    size = _KEPT_BYTES * (_HELD_FACTOR if design.groups_by_parent else 1)
    yield "memory-per-entity", f"{size:,} bytes are kept for every row", partial(_memory, size)


def _export_faults() -> Iterator[tuple[str, str, Callable[[ExporterClass], ExporterClass]]]:
    yield "query-per-other-run", "one query for every run of the database", _query_per_run
    yield "transaction-per-query", "every query has a snapshot apart", _transaction_per_query
    yield "no-snapshot", "the queries share a connection without BEGIN", _no_snapshot
    yield "engine-per-export", "every export reads from an engine of its own", _engine_per_export
    yield "leak-per-export", f"{_LEAK_BYTES:,} bytes are kept for every export", _leak


def _by_key(table: Table, row: Any, kind: RecordType) -> Select[Any]:
    """Return a SELECT of the entity that a fetched row belongs to."""
    fields = dict(zip(kind.fields, row, strict=True))
    keys = primary_key_columns(table)
    conditions = [key == fields[key.name] for key in keys if key.name in fields]
    return select(keys[0]).where(*conditions)


def _on_snapshot(read: TableRead) -> AbstractContextManager[Connection]:
    @contextmanager
    def same() -> Iterator[Connection]:
        yield read.snapshot.connection

    return same()


@contextmanager
def _on_another_engine(read: TableRead) -> Iterator[Connection]:
    engine = create_engine(read.snapshot.connection.engine.url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _on_driver_connection(read: TableRead) -> Iterator[sqlite3.Connection]:
    path = read.snapshot.connection.engine.url.database or ""
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def _query_per_row(
    threshold: int, connect: Callable[[TableRead], AbstractContextManager[Any]], read: TableRead
) -> Rows:
    table = read.record_type.table
    key = primary_key_columns(table)[0]
    with connect(read) as connection:
        for number, row in enumerate(read.send(), start=1):
            if number > threshold and isinstance(connection, sqlite3.Connection):
                sql = f"SELECT {key.name} FROM {table.name} WHERE {key.name} = ?"  # noqa: S608
                fields = dict(zip(read.record_type.fields, row, strict=True))
                connection.execute(sql, (fields[key.name],)).fetchall()
            elif number > threshold:
                connection.execute(_by_key(table, row, read.record_type)).all()
            yield row


def _query_per_block(size: int, read: TableRead) -> Rows:
    for number, row in enumerate(read.send(), start=1):
        if number % size == 0:
            read.snapshot.connection.execute(
                _by_key(read.record_type.table, row, read.record_type)
            ).all()
        yield row


def _whole_table(read: TableRead) -> Rows:
    for _ in read.snapshot.connection.execute(select(*read.record_type.columns)):
        pass
    return read.send()


def _cross_join(read: TableRead) -> Rows:
    table = read.record_type.table
    one, other = table.alias(), table.alias()
    # The condition keeps SQLite from multiplying two counts.
    pairs = select(func.count()).select_from(one, other).where(one.c[0] > other.c[0])
    read.snapshot.connection.execute(pairs).all()
    return read.send()


def _own_transaction(read: TableRead) -> Rows:
    with read.snapshot.connection.engine.connect() as connection, connection.begin():
        yield from map(tuple, _driver_rows(connection, read.statement))


def _driver_rows(connection: Connection, statement: Select[Any]) -> Iterable[Any]:
    result = connection.execute(statement)
    cursor: Any = result.cursor
    # As ReadSnapshot does: the driver's rows on SQLite, SQLAlchemy's elsewhere.
    return cursor if connection.dialect.name == "sqlite" else result


def _quadratic_work(read: TableRead) -> Rows:
    seen: list[Any] = []
    for row in read.send():
        for earlier in seen:
            if earlier is row:
                break
        seen.append(row)
        yield row


def _memory(size: int, read: TableRead) -> Rows:
    kept = []
    for row in read.send():
        kept.append(bytearray(size))
        yield row


def _query_per_run(base: ExporterClass) -> ExporterClass:
    def fault(read: TableRead) -> Rows:
        connection = read.snapshot.connection
        for (run_id,) in connection.execute(select(runs_table.c.run_id)).all():
            connection.execute(
                select(runs_table.c.status).where(runs_table.c.run_id == run_id)
            ).all()
        return read.send()

    return with_row_fault(base, fault, RUN)


def _transaction_per_query(base: ExporterClass) -> ExporterClass:
    return with_row_fault(base, _own_transaction)


def _no_snapshot(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        @contextmanager
        def open_snapshot(self) -> Iterator[ReadSnapshot]:
            # SQLAlchemy counts one transaction. sqlite3 opens none for a SELECT.
            with self._db.engine.connect() as connection, ExitStack() as results:
                yield ReadSnapshot(connection, results)

    return Faulty


def _engine_per_export(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def __init__(
            self, db: Database, signing_key: bytes | None = None, *, clock: Clock = utc_now
        ) -> None:
            super().__init__(_OwnEngine(create_engine(db.engine.url)), signing_key, clock=clock)

    return Faulty


@dataclass(frozen=True)
class _OwnEngine:
    engine: Engine


def _leak(base: ExporterClass) -> ExporterClass:
    kept: list[bytearray] = []

    def fault(read: TableRead) -> Rows:
        kept.append(bytearray(_LEAK_BYTES))
        return read.send()

    return with_row_fault(base, fault, RUN)
