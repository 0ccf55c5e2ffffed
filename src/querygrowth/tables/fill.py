"""Put valid rows into the tables of any schema: `fill_tables`.

The flow: find the tables (`user_tables`), read what the database demands of them (`table_rules`),
order them and decide how many rows they get (`fill_plan`), make rows that satisfy the rules
(`row_values`, `column_values`), insert them in batches (`table_fill`).
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, scoped_session

from querygrowth.counting.engine import single_engine
from querygrowth.tables.fill_plan import ALL_OTHERS, FillPlan, Rows
from querygrowth.tables.fill_report import Filled, FillError
from querygrowth.tables.table_fill import TableFill
from querygrowth.tables.table_rules import Key, full_name
from querygrowth.tables.user_tables import user_tables


def fill_tables(
    source: object,
    tables: object = None,
    *,
    rows: Rows = 10,
    overrides: Mapping[Any, object] | None = None,
    seed: int | random.Random = 0,
    unusual: bool = False,
    partial: bool = False,
) -> Filled:
    """Add valid rows to the tables of a database.

    Every row satisfies the constraints of its table: NOT NULL, keys, foreign keys, enums, CHECKs.
    Rows that exist stay, and new ones may refer to them. Equal arguments on equal databases make
    equal rows, unless a default of the user's own columns draws other values.

    Args:
        source: An Engine, whose rows are committed, or a Connection or Session, whose transaction
            stays open. In async code: `await connection.run_sync(fill_tables, Base)`.
        tables: What to fill: models, a declarative base, MetaData, Table objects, names, or a list
            of these; by default all tables of the database. Models give the best rows, because a
            database does not show the classes of an inheritance or the types of Python. Tables that
            the rows have to refer to are filled too, with a few rows if they are empty.
        rows: The rows to add: a number for every table, or numbers by table; "*" stands for the
            tables that are not named.
        overrides: The values of columns, such as `{"users.email": ...}`: a value, a list to repeat,
            or a function without arguments or of the row's number. A key may be an attribute of a
            model.
        seed: Selects the values; a `random.Random` is used as it is, such as Hypothesis draws one.
        unusual: Whether to prefer NULLs, ties, extremes and unusual texts.
        partial: Whether to return although a table could not be filled.

    Returns:
        The rows added by table, and what fell short.

    Raises:
        FillError: A table could not be filled; the message names the constraint and the override to
            give. Nothing was added.
        ValueError: The arguments name a table or column that does not exist, or are of no use.
    """
    if not isinstance(overrides, Mapping | None):
        raise ValueError(
            f"overrides must be a mapping such as {{'users.email': ...}}, got {overrides!r}"
        )
    user = user_tables(tables)
    _check_rows(rows)
    with _transaction(source) as connection:
        plan = FillPlan(connection, user, rows, overrides or {})
        job = _filled(connection, plan, seed, unusual)
        filled = Filled(
            rows={full_name(key): job.added.get(key, 0) for key in plan.order.tables},
            limited={full_name(key): why for key, why in job.limited.items()},
            empty=tuple(job.empty),
            refused=tuple(job.refused.values()),
        )
        if filled.refused and not partial:
            raise FillError(filled)
    return filled


def _filled(
    connection: Connection, plan: FillPlan, seed: int | random.Random, unusual: bool
) -> TableFill:
    """Fill, again with fewer rows where a table took less than the keys planned for a cycle."""
    reasons: dict[Key, str] = {}
    while True:
        job = TableFill(connection, plan, seed, unusual)
        attempt = connection.begin_nested()
        _fill_in_order(job, plan, connection)
        short = job.fewer_than_planned()
        if not short:
            attempt.commit()
            job.limited = {**reasons, **job.limited}
            return job
        # Other rows refer to keys that no row got. Each attempt wants fewer rows than the last.
        attempt.rollback()
        reasons.update({key: why for key, why in job.limited.items() if key in short})
        plan.wanted.update(short)


def _fill_in_order(job: TableFill, plan: FillPlan, connection: Connection) -> None:
    """Fill all tables, then set the foreign keys that had to wait for a cycle."""
    at_the_end = {
        "sqlite": "PRAGMA defer_foreign_keys = ON",
        "postgresql": "SET CONSTRAINTS ALL DEFERRED",
    }.get(connection.dialect.name)
    if at_the_end and any(plan.order.planned.values()):
        connection.exec_driver_sql(at_the_end)
    for key in plan.order.tables:
        if plan.wanted.get(key):
            job.fill(key)
    for key, links in plan.order.updated.items():
        for link in links:
            if job.added.get(key):
                job.update(key, link)
    job.check_given_links()


def _check_rows(rows: Rows) -> None:
    numbers: Mapping[str, object] = rows if isinstance(rows, Mapping) else {ALL_OTHERS: rows}
    for table, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            where = "" if table == ALL_OTHERS else f" of {table}"
            raise ValueError(f"rows{where} must be a whole number, 0 or more, got {number!r}")


@contextmanager
def _transaction(source: object) -> Iterator[Connection]:
    """A connection in a transaction, of which an exception takes back what was added."""
    if isinstance(source, Session | scoped_session):
        source = source.connection()
    if isinstance(source, Connection):
        _begin_on_sqlite(source)
        with source.begin_nested():
            yield source
        return
    engine = single_engine(source)
    if not isinstance(engine, Engine):
        raise ValueError(
            "an async engine is filled through its connection: async with engine.begin() as "
            "connection: await connection.run_sync(fill_tables, Base)"
        )
    with engine.connect() as connection, connection.begin():
        _begin_on_sqlite(connection)
        yield connection


def _begin_on_sqlite(connection: Connection) -> None:
    """Begin on the driver too: with sqlite3, the end of the first savepoint commits otherwise."""
    if connection.dialect.name != "sqlite":
        return
    connection.exec_driver_sql("SELECT 1").close()  # lets the user's listener begin
    driver = connection.connection.driver_connection
    inside = getattr(driver, "in_transaction", None)
    if inside is False:
        connection.exec_driver_sql("BEGIN")
