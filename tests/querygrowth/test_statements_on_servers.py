"""Statements on PostgreSQL and MariaDB, as every driver reports them.

The drivers are tested where they are installed. MariaDB is tested with pymysql where the
environment variable `QUERYGROWTH_MYSQL` gives the URL of an empty database.
"""

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from querygrowth.counting.log import count_queries
from querygrowth.counting.query import Query
from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.statements import StatementKind

Act = Callable[[Connection], object]
Count = Callable[[Act], QueryLog]
CREATE = "CREATE TABLE items (id INTEGER PRIMARY KEY, a INTEGER)"
# The first column of a text is sent to the database. The others are what is expected of it.
READS = (StatementKind.QUERY, "SELECT", ("items",), ())
WRITES = (StatementKind.QUERY, "INSERT", (), ("items",))


@pytest.fixture(params=["psycopg", "psycopg2", "asyncpg"])
def on_postgresql(request: pytest.FixtureRequest, postgresql_url: str) -> Iterator[Count]:
    """Counts what a function sends through a driver, in one transaction."""
    driver = request.param
    pytest.importorskip(driver)
    url = make_url(postgresql_url).set(drivername=f"postgresql+{driver}")
    if driver == "asyncpg":
        yield lambda act: asyncio.run(counted_async(url.render_as_string(False), act))
        return
    engine = create_engine(url)
    yield lambda act: counted(engine, act)
    engine.dispose()


def counted(engine: Engine, act: Act) -> QueryLog:
    with engine.connect() as connection:  # what it creates is rolled back on PostgreSQL
        return counted_on(connection, engine, act)


def counted_on(connection: Connection, engine: Engine, act: Act) -> QueryLog:
    connection.exec_driver_sql(CREATE)
    connection.exec_driver_sql("INSERT INTO items (id, a) VALUES (1, 10), (2, 20), (3, 30)")
    with count_queries(engine) as log:
        act(connection)
    return log


async def counted_async(url: str, act: Act) -> QueryLog:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(counted_on, engine.sync_engine, act)
    finally:
        await engine.dispose()


def facts(query: Query) -> tuple[StatementKind, str, tuple[str, ...], tuple[str, ...]]:
    return query.kind, query.operation, query.shape.tables_read, query.shape.tables_written


def test_what_a_statement_is_on_postgresql(on_postgresql: Count) -> None:
    statements = {
        "WITH new AS (INSERT INTO items (id) VALUES (7) RETURNING id) SELECT * FROM new": WRITES,
        "WITH old AS (DELETE FROM public.items RETURNING *) SELECT count(*) FROM old": (
            (StatementKind.QUERY, "DELETE", (), ("items",))
        ),
        "TABLE items": READS,
        'SELECT * FROM Public.ITEMS AS "x"': READS,
        "VALUES (1), (2)": (StatementKind.QUERY, "SELECT", (), ()),
        "PREPARE one AS SELECT * FROM items": (StatementKind.SESSION, "PREPARE", (), ()),
        "EXECUTE one": (StatementKind.QUERY, "EXECUTE", (), ()),
        "DEALLOCATE one": (StatementKind.SESSION, "DEALLOCATE", (), ()),
        "DECLARE rows CURSOR FOR SELECT * FROM items": (StatementKind.OTHER, "DECLARE", (), ()),
        "FETCH 2 FROM rows": (StatementKind.QUERY, "FETCH", (), ()),
        "CLOSE rows": (StatementKind.SESSION, "CLOSE", (), ()),
        "DO $$ BEGIN PERFORM 1; PERFORM 2; END $$": (StatementKind.OTHER, "DO", (), ()),
        "EXPLAIN SELECT * FROM items": (StatementKind.OTHER, "EXPLAIN", ("items",), ()),
        "EXPLAIN ANALYZE INSERT INTO items (id) VALUES (9)": WRITES,
        "SHOW server_version": (StatementKind.SESSION, "SHOW", (), ()),
        "TRUNCATE items": (StatementKind.QUERY, "TRUNCATE", (), ("items",)),
    }

    def act(connection: Connection) -> None:
        for sql in statements:
            connection.exec_driver_sql(sql)

    log = on_postgresql(act)
    assert {each.sql: facts(each) for each in log.statements} == statements
    assert log.total == len([each for each in statements.values() if each[0] == "query"])


def test_fetched_rows_are_counted_by_what_reads_them(on_postgresql: Count) -> None:
    def act(connection: Connection) -> None:
        connection.exec_driver_sql("PREPARE two AS SELECT * FROM items LIMIT 2")
        assert len(connection.exec_driver_sql("EXECUTE two").all()) == 2
        assert len(connection.execute(text("SELECT * FROM items")).all()) == 3
        inserted = "WITH new AS (INSERT INTO items (id) VALUES (8) RETURNING id) SELECT id FROM new"
        assert connection.execute(text(inserted)).scalar() == 8
        connection.exec_driver_sql("DEALLOCATE two")

    assert [each.rows_fetched for each in on_postgresql(act).queries] == [2, 3, 1]


@pytest.mark.parametrize("read", ["iterate", "partitions", "first"])
def test_streamed_rows_are_counted(on_postgresql: Count, read: str) -> None:
    def act(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO items (id) SELECT n FROM generate_series(4, 200) n")
        result = connection.execute(
            text("SELECT id FROM items"),
            execution_options={"stream_results": True, "yield_per": 50},
        )
        if read == "first":
            assert result.first() is not None
        elif read == "partitions":
            assert sum(map(len, result.partitions())) == 200
        else:
            assert sum(1 for _ in result) == 200

    query = on_postgresql(act).queries[-1]
    assert query.shape.tables_read == ("items",)
    if read == "first":
        assert 1 <= query.rows_fetched <= 50
    else:
        assert query.rows_fetched == 200


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_every_statement_of_one_text_counts(postgresql_url: str, driver: str) -> None:
    """asyncpg refuses such a text."""
    pytest.importorskip(driver)
    engine = create_engine(make_url(postgresql_url).set(drivername=f"postgresql+{driver}"))

    def act(connection: Connection) -> None:
        connection.exec_driver_sql(
            "INSERT INTO items (id, a) VALUES (7, 0); -- and then; \n"
            "UPDATE items SET a = 1; SELECT ';' FROM items; SET LOCAL work_mem = '4MB';"
        )

    log = counted(engine, act)
    engine.dispose()
    assert [(each.operation, str(each.kind)) for each in log.statements] == [
        ("INSERT", "query"),
        ("UPDATE", "query"),
        ("SELECT", "query"),
        ("SET", "session statement"),
    ]
    assert (log.total, log.by_table) == (3, {"items": 3})
    assert [each.number for each in log.statements] == [1, 2, 3, 4]


@pytest.fixture
def mariadb() -> Iterator[Engine]:
    url = os.environ.get("QUERYGROWTH_MYSQL")
    if not url:
        pytest.skip("needs QUERYGROWTH_MYSQL, the URL of a MariaDB or MySQL database")
    pytest.importorskip("pymysql")
    engine = create_engine(make_url(url).set(drivername="mysql+pymysql"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS items")
    yield engine
    engine.dispose()


def test_what_a_statement_is_on_mariadb(mariadb: Engine) -> None:
    statements = {
        "REPLACE INTO items (id, a) VALUES (1, 1)": WRITES,
        "REPLACE items SET id = 1, a = 2": WRITES,
        "INSERT INTO items (id) VALUES (1) ON DUPLICATE KEY UPDATE a = 2": WRITES,
        "SELECT 'it\\'s; one', a FROM items # not; two": READS,
        "UPDATE items JOIN (SELECT 1 AS n) x ON x.n = items.id SET items.a = 3": (
            (StatementKind.QUERY, "UPDATE", (), ("items",))
        ),
        "DELETE x FROM items x WHERE x.id = 1": (StatementKind.QUERY, "DELETE", (), ("items",)),
        "SHOW TABLES": (StatementKind.SESSION, "SHOW", (), ()),
        "DESCRIBE items": (StatementKind.OTHER, "DESCRIBE", (), ()),
        "CREATE OR REPLACE PROCEDURE two() BEGIN INSERT INTO items (id) VALUES (9); "
        "SELECT * FROM items; END": (StatementKind.OTHER, "CREATE", (), ()),
        "CALL two()": (StatementKind.QUERY, "CALL", (), ()),
        "DROP PROCEDURE two": (StatementKind.OTHER, "DROP", (), ()),
    }

    def act(connection: Connection) -> None:
        for sql in statements:
            connection.exec_driver_sql(sql)

    log = counted(mariadb, act)
    assert {each.sql: facts(each) for each in log.statements} == statements


def test_streamed_rows_are_counted_on_mariadb(mariadb: Engine) -> None:
    def act(connection: Connection) -> None:
        streaming = connection.execution_options(stream_results=True)
        assert len(streaming.execute(text("SELECT * FROM items")).all()) == 3

    assert counted(mariadb, act).rows_fetched == 3
