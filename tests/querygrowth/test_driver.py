"""The driver reports statements that went past SQLAlchemy, and no others."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scenarios.shop import Item, Note, Order, async_shop, shop
from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from querygrowth.counting.driver import trace_driver


@pytest.fixture
def engine() -> Iterator[Engine]:
    with shop(orders=3, items=2) as engine:
        yield engine


@pytest.fixture
def postgres(postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(postgresql_url)
    yield engine
    engine.dispose()


def test_statements_sent_through_sqlalchemy_are_not_bypasses(engine: Engine) -> None:
    with trace_driver(engine) as trace, engine.begin() as connection:
        connection.execute(select(Item.id)).all()
        connection.execute(insert(Note), [{"order_id": 1, "text": "new"} for _ in range(30)])
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))
        with connection.begin_nested():
            connection.execute(select(Item.id)).all()
    assert trace.bypassed == ()


def test_a_raw_cursor_is_a_bypass_without_its_values(engine: Engine) -> None:
    with trace_driver(engine) as trace, engine.connect() as connection:
        connection.execute(select(Item.id)).all()
        cursor = connection.connection.cursor()
        cursor.execute("SELECT id FROM items WHERE product = ?", ("a secret",))
    assert trace.bypassed == ("SELECT id FROM items WHERE product = ?",)


def test_a_raw_connection_is_a_bypass(engine: Engine) -> None:
    with trace_driver(engine) as trace, closing(engine.raw_connection()) as connection:
        connection.cursor().execute("SELECT 1")
        connection.cursor().execute("PRAGMA foreign_keys")
    assert trace.bypassed == ("SELECT ?",)
    assert trace.session_statements == 1


def test_a_failed_statement_does_not_hide_the_bypass_after_it(engine: Engine) -> None:
    with trace_driver(engine) as trace, engine.connect() as connection:
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))
        connection.connection.cursor().execute("SELECT 1")
    assert trace.bypassed == ("SELECT ?",)


def test_the_steps_of_a_trigger_are_not_bypasses(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER noted AFTER INSERT ON notes "
            "BEGIN UPDATE orders SET remark = 'noted' WHERE id = NEW.order_id; END"
        )
    with trace_driver(engine) as trace, engine.begin() as connection:
        connection.execute(insert(Note).values(order_id=1, text="new"))
    assert trace.bypassed == ()


def test_a_connection_checked_out_before_is_traced_from_its_next_statement(engine: Engine) -> None:
    with engine.connect() as connection, trace_driver(engine) as trace:
        connection.execute(select(Order.id)).all()
        connection.connection.cursor().execute("SELECT 1")
    assert trace.bypassed == ("SELECT ?",)


def test_nothing_is_traced_after_the_end(engine: Engine) -> None:
    with engine.connect() as connection:
        with trace_driver(engine) as trace:
            connection.execute(select(Order.id)).all()
        connection.connection.cursor().execute("SELECT 1")
    assert trace.bypassed == ()


def test_an_async_engine_is_traced() -> None:
    async def ask() -> tuple[str, ...]:
        async with async_shop() as engine:
            with trace_driver(engine) as trace:
                async with engine.connect() as connection:
                    await connection.execute(select(Item.id))
                    raw = await connection.get_raw_connection()
                    await raw.driver_connection.execute("SELECT 1")
                async with engine.connect() as connection:
                    await connection.execute(select(Item.id))
            return trace.bypassed

    assert asyncio.run(ask()) == ("SELECT ?",)


def test_only_raw_cursors_of_psycopg_are_bypasses(postgres: Engine) -> None:
    with trace_driver(postgres) as trace, postgres.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE numbers (n INTEGER)"))
        connection.execute(text("INSERT INTO numbers VALUES (:n)"), [{"n": 1}, {"n": 2}])
        connection.execute(text("SELECT n FROM numbers")).all()
        cursor = connection.connection.cursor()
        cursor.execute("LOCK TABLE numbers IN ACCESS SHARE MODE")
        cursor.execute("SELECT n FROM numbers WHERE n = %s", (1,))
        cursor.executemany("INSERT INTO numbers VALUES (%s)", [(3,), (4,)])
    assert trace.bypassed == (
        "SELECT n FROM numbers WHERE n = ?",
        "INSERT INTO numbers VALUES (?)",
    )
    assert trace.session_statements == 1


def test_fetches_of_a_server_side_cursor_are_counted_apart(postgres: Engine) -> None:
    numbers = text("SELECT n FROM generate_series(1, 1000) AS n")
    with trace_driver(postgres) as trace, postgres.connect() as connection:
        rows = connection.execution_options(stream_results=True, max_row_buffer=100).execute(
            numbers
        )
        assert len(rows.fetchmany(1000)) == 1000
        rows.close()
        connection.execute(text("SELECT 1")).all()
    assert trace.cursor_fetches > 1
    assert trace.bypassed == ()


def test_the_cursor_classes_of_psycopg_are_restored(postgres: Engine) -> None:
    with closing(postgres.raw_connection()) as connection:
        driver = connection.driver_connection
        before = (driver.cursor_factory, driver.server_cursor_factory)
    with trace_driver(postgres), postgres.connect() as connection:
        assert driver.cursor_factory is not before[0]
    assert (driver.cursor_factory, driver.server_cursor_factory) == before


def test_an_unsupported_driver_is_refused_before_anything_runs(
    tmp_path: Path, postgresql_url: str
) -> None:
    engine = create_async_engine(postgresql_url)
    with (
        pytest.raises(ValueError, match="the driver psycopg cannot be traced"),
        trace_driver(engine),
    ):
        pytest.fail("the block was entered")


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'stored.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER)"))
    yield engine
    engine.dispose()


def test_statements_on_connections_of_others_are_reported_on_request(stored: Engine) -> None:
    path = str(stored.url.database)
    with closing(sqlite3.connect(path)) as earlier:
        with trace_driver(stored, all_connections=True) as trace:
            with stored.connect() as connection:
                connection.execute(text("SELECT count(*) FROM things")).all()
            earlier.execute("SELECT id FROM things")
            with closing(sqlite3.connect(path)) as new:
                new.execute("SELECT id, id FROM things")
            other = create_engine(stored.url)
            with other.connect() as connection:
                connection.execute(text("SELECT id, 1 FROM things")).all()
            other.dispose()
        with trace_driver(stored) as unasked, closing(sqlite3.connect(path)) as new:
            new.execute("SELECT id FROM things")
    assert trace.bypassed == (
        "SELECT id FROM things",
        "SELECT id, id FROM things",
        "SELECT id, ? FROM things",
    )
    assert unasked.bypassed == ()


def test_a_connection_of_another_thread_is_traced(stored: Engine) -> None:
    def read() -> None:
        with closing(sqlite3.connect(str(stored.url.database))) as connection:
            connection.execute("SELECT id FROM things")

    with trace_driver(stored, all_connections=True) as trace:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert trace.bypassed == ("SELECT id FROM things",)


def test_what_cannot_be_counted_is_named(stored: Engine) -> None:
    path = Path(str(stored.url.database))
    with trace_driver(stored, all_connections=True) as trace:
        path.read_bytes()
        sqlite3.Connection(str(path)).close()  # past the function that is replaced
    assert trace.bypassed == (
        "a connection of sqlite3 that is not traced",
        "the database file, opened past its driver",
    )


def test_a_connection_of_psycopg_is_traced(postgres: Engine) -> None:
    import psycopg

    url = postgres.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with trace_driver(postgres, all_connections=True) as trace, psycopg.connect(url) as connection:
        connection.execute("SELECT 1, 2").fetchall()
    assert trace.bypassed == ("SELECT ?, ?",)
