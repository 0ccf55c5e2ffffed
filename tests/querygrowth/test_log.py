"""Counting: queries and other statements are separate, and no listener stays attached."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scenarios.shop import Base, Customer, Item, Order, shop
from sqlalchemy import Engine, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from querygrowth.counting.log import count_queries
from querygrowth.counting.statements import StatementKind
from querygrowth.places.call_sites import Project


@pytest.fixture
def engine() -> Iterator[Engine]:
    with shop(orders=3, items=2) as engine:
        yield engine


def test_each_execution_of_a_statement_is_one_query(engine: Engine) -> None:
    with count_queries(engine) as log, engine.begin() as connection:
        connection.execute(select(Order.id)).all()
        connection.execute(insert(Customer).values(id=99, name="new"))
        connection.execute(update(Customer).values(name="same"))
        connection.execute(delete(Customer).where(Customer.id == 99))
    assert [each.operation for each in log.queries] == ["SELECT", "INSERT", "UPDATE", "DELETE"]
    assert log.total == 4
    assert log.by_table == {"orders": 1, "customers": 3}


def test_executemany_is_one_query_with_its_batch_size(engine: Engine) -> None:
    rows = [{"id": number, "name": "new"} for number in range(50, 60)]
    with count_queries(engine) as log, engine.begin() as connection:
        connection.execute(insert(Customer), rows)
    assert [(each.batch_size, each.parameter_count) for each in log.queries] == [(10, 0)]


def test_a_statement_that_raises_counts(engine: Engine) -> None:
    with count_queries(engine) as log, engine.connect() as connection:
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))
        connection.execute(select(Order.id)).all()
    assert [each.failed for each in log.queries] == [True, False]


def test_session_statements_and_definitions_are_counted_separately(engine: Engine) -> None:
    with count_queries(engine) as log, engine.begin() as connection:
        connection.exec_driver_sql("/* note */ PRAGMA foreign_keys = ON")
        connection.exec_driver_sql("CREATE TABLE extra (id INTEGER)")
        with connection.begin_nested():
            connection.execute(select(Order.id)).all()
    assert (log.total, log.session_statements, log.other_statements) == (1, 3, 1)
    assert [each.kind for each in log.statements].count(StatementKind.SESSION) == 3


def test_transactions_and_checkouts_are_counted_even_when_nothing_is_sent(engine: Engine) -> None:
    with count_queries(engine) as log:
        with engine.begin():
            pass
        with engine.connect() as connection:
            connection.begin().rollback()
        engine.connect().close()
    assert (log.transactions_begun, log.commits, log.rollbacks) == (2, 1, 1)
    assert (log.checkouts, log.total) == (3, 0)


def test_transactions_in_two_phases_are_counted_like_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite has none: its transactions are those that its driver begins by itself.
    for name in ("begin", "commit", "rollback"):
        monkeypatch.setattr(engine.dialect, f"do_{name}_twophase", lambda *_, **__: None)
    with count_queries(engine) as log, engine.connect() as connection:
        for ending in ("commit", "rollback", "rollback"):
            transaction = connection.begin_twophase()
            connection.execute(select(Order.id)).all()
            getattr(transaction, ending)()
    assert (log.transactions_begun, log.commits, log.rollbacks) == (3, 1, 2)
    assert [each.transaction for each in log.queries] == [1, 2, 3]


def test_a_query_has_the_numbers_of_its_checkout_and_transaction(engine: Engine) -> None:
    with count_queries(engine) as log:
        for _ in range(2):
            with engine.begin() as connection:
                connection.execute(select(Order.id)).all()
                connection.execute(select(Item.id)).all()
    assert [(each.checkout, each.transaction) for each in log.queries] == [
        (1, 1), (1, 1), (2, 2), (2, 2),
    ]  # fmt: skip


def test_a_transaction_begun_before_counting_has_no_number(engine: Engine) -> None:
    with engine.begin() as connection, count_queries(engine) as log:
        connection.execute(select(Order.id)).all()
    assert (log.queries[0].transaction, log.queries[0].checkout) == (None, None)


@pytest.mark.parametrize(
    ("fetch", "rows"),
    [
        (lambda result: result.all(), 6),
        (lambda result: result.fetchmany(4), 4),
        (lambda result: result.first(), 1),
        (lambda result: list(result), 6),
        (lambda result: list(result.cursor), 6),
        (lambda result: [next(result.cursor), next(result.cursor)], 2),
        (lambda result: result.cursor.fetchall(), 6),
        (lambda result: [result.cursor.fetchone()], 1),
        (lambda result: result.cursor.fetchmany(5), 5),
        (lambda result: list(result.yield_per(2)), 6),
    ],
)
def test_rows_are_counted_with_every_way_of_fetching(engine: Engine, fetch, rows: int) -> None:
    with count_queries(engine) as log, engine.connect() as connection:
        fetch(connection.execute(select(Item.id)))
    assert log.rows_fetched == rows


def test_other_attributes_of_a_cursor_are_those_of_the_driver(engine: Engine) -> None:
    with count_queries(engine), engine.connect() as connection:
        cursor = connection.execute(select(Item.id)).cursor
        cursor.arraysize = 5
        assert len(cursor.fetchmany()) == 5
        assert cursor.description[0][0] == "id"
        assert cursor.rowcount == -1


def test_a_query_lasts_until_its_last_row_is_fetched(engine: Engine) -> None:
    with count_queries(engine) as log, engine.connect() as connection:
        result = connection.execute(select(Item.id))
        assert log.queries[0].seconds is None
        result.all()
        assert log.queries[0].seconds is not None
        half_read = connection.execute(select(Item.id))
        half_read.fetchone()
        assert log.queries[1].seconds is None
        half_read.close()
        assert log.queries[1].seconds is not None


def test_parameter_values_are_kept_only_on_request(engine: Engine) -> None:
    for keep in (False, True):
        with count_queries(engine, keep_parameters=keep) as log, engine.connect() as connection:
            connection.execute(select(Item.id).where(Item.product == "a secret")).all()
        assert ("a secret" in repr(log.statements)) is keep


def test_the_shape_is_the_same_for_other_values_and_longer_lists(engine: Engine) -> None:
    with count_queries(engine) as log, engine.connect() as connection:
        for wanted in ([1], [1, 2, 3], list(range(200))):
            connection.execute(select(Item.id).where(Item.order_id.in_(wanted))).all()
    assert list(log.by_shape.values()) == [3]
    assert [each.parameter_count for each in log.queries] == [1, 3, 200]


def test_the_call_site_is_the_line_that_sent_the_query(engine: Engine) -> None:
    with count_queries(engine) as log, Session(engine) as session:
        order = session.get(Order, 1)  # get_one came with SQLAlchemy 2.0.22
        assert order is not None
        products = [item.product for item in order.items]
    assert len(products) == 2
    assert [each.site.function for each in log.queries if each.site] == [
        "test_the_call_site_is_the_line_that_sent_the_query"
    ] * 2
    assert list(log.by_call_site.values()) == [1, 1]


def test_the_project_site_may_be_further_out_than_the_caller(
    engine: Engine, tmp_path: Path
) -> None:
    """The query is sent by a library; the line that called the library is in the project."""
    library = tmp_path / "library.py"
    library.write_text(
        "def names(connection, query):\n    return connection.scalars(query).all()\n"
    )
    names: dict[str, object] = {}
    exec(compile(library.read_text(), str(library), "exec"), names)
    with (
        count_queries(engine, project=Project(Path(__file__).parent)) as log,
        engine.connect() as connection,
    ):
        names["names"](connection, select(Customer.name))
    query = log.queries[0]
    assert query.sent_from.path == str(library)
    assert query.project_site.path == __file__


def test_without_call_sites_none_are_taken(engine: Engine) -> None:
    with count_queries(engine, call_sites=False) as log, engine.connect() as connection:
        connection.execute(select(Order.id)).all()
    assert log.queries[0].site is None
    assert log.by_call_site == {}


def test_only_the_given_engine_is_counted(engine: Engine) -> None:
    with shop() as other, count_queries(engine) as log:
        for each in (engine, other, other):
            with each.connect() as connection:
                connection.execute(select(Order.id)).all()
    assert (log.total, log.checkouts) == (1, 1)


def test_options_of_the_same_engine_are_counted(engine: Engine) -> None:
    autocommitting = engine.execution_options(isolation_level="AUTOCOMMIT")
    with count_queries(engine) as log, autocommitting.connect() as connection:
        connection.execute(select(Order.id)).all()
    assert log.total == 1


def test_counting_may_be_nested(engine: Engine) -> None:
    with count_queries(engine) as outer, engine.connect() as connection:
        connection.execute(select(Order.id)).all()
        with count_queries(engine) as inner:
            connection.execute(select(Item.id)).all()
        connection.execute(select(Order.id)).all()
    assert (outer.total, inner.total) == (3, 1)
    assert (outer.rows_fetched, inner.rows_fetched) == (12, 6)


def test_every_thread_is_counted(engine: Engine) -> None:
    def ask(_number: int) -> int:
        with engine.connect() as connection:
            return len(connection.execute(select(Item.id)).all())

    with count_queries(engine) as log, ThreadPoolExecutor(max_workers=8) as pool:
        assert sum(pool.map(ask, range(200))) == 1200
    assert (log.total, log.transactions_begun, log.checkouts) == (200, 200, 200)
    assert log.rows_fetched == 1200
    assert [each.number for each in log.queries] == list(range(1, 201))


def test_an_async_engine_is_counted_with_its_call_site(tmp_path: Path) -> None:
    async def ask() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'async.db'}")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        with count_queries(engine) as log:
            async with engine.connect() as connection:
                await connection.scalar(select(func.count()).select_from(Order))
        await engine.dispose()
        assert (log.total, log.rows_fetched, log.transactions_begun) == (1, 1, 1)
        assert log.queries[0].site.path == __file__
        assert log.queries[0].site.function.endswith("ask")

    asyncio.run(ask())


@pytest.mark.parametrize("leave", ["normally", "by an error"])
def test_no_listener_stays_attached(engine: Engine, leave: str) -> None:
    def listeners() -> list[int]:
        names = ("before_cursor_execute", "after_cursor_execute", "begin", "commit", "rollback")
        return [
            *(len(list(getattr(engine.dispatch, name))) for name in names),
            len(list(engine.pool.dispatch.checkout)),
        ]

    before = listeners()
    try:
        with count_queries(engine) as log:
            assert listeners() != before
            if leave == "by an error":
                raise LookupError
    except LookupError:
        pass
    assert listeners() == before
    with engine.connect() as connection:
        connection.execute(select(Order.id)).all()
    assert log.total == 0


def test_a_pool_that_was_replaced_is_detached_from_too(engine: Engine) -> None:
    with count_queries(engine) as log:
        engine.dispose()
        engine.connect().close()
    engine.connect().close()
    assert log.checkouts == 1


def test_a_listener_that_rewrites_statements_is_left_alone(engine: Engine) -> None:
    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def rewrite(connection, cursor, statement, parameters, context, executemany):
        return statement + " -- seen", parameters

    with count_queries(engine) as log, engine.connect() as connection:
        assert len(connection.execute(select(Order.id)).all()) == 3
    assert (log.total, log.rows_fetched) == (1, 3)


@pytest.mark.parametrize("wrong", ["sqlite://", None, object()])
def test_anything_but_an_engine_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected an SQLAlchemy Engine"), count_queries(wrong):
        pass


@pytest.mark.parametrize("several", [list, tuple, dict.fromkeys])
def test_a_collection_of_engines_is_refused_with_the_right_call(
    engine: Engine, several: Callable[[list[Engine]], object]
) -> None:
    words = r"one by one, as in count_queries\(primary, replica\)$"
    with pytest.raises(ValueError, match=words), count_queries(several([engine, engine])):
        pass


def test_executions_do_not_keep_their_connections_alive(engine: Engine) -> None:
    with count_queries(engine) as log, engine.connect() as connection:
        connection.execute(select(Order.id)).all()
        driver = connection.connection.driver_connection
    engine.dispose()
    holders = [
        each for each in gc.get_referrers(driver) if type(each).__module__.startswith("querygrowth")
    ]
    assert (log.total, holders) == (1, [])


def test_the_first_connection_of_a_postgresql_engine_adds_no_query(postgresql_url: str) -> None:
    """SQLAlchemy asks the server for its version first, and does not report that as a query."""
    engine = create_engine(postgresql_url)
    with count_queries(engine) as log, engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    engine.dispose()
    assert [each.sql for each in log.statements] == ["SELECT 1"]


def test_rows_of_a_server_side_cursor_are_counted_as_they_come(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    numbers = text("SELECT n FROM generate_series(1, 1000) AS n")
    with count_queries(engine) as log, engine.connect() as connection:
        streamed = connection.execution_options(yield_per=100).execute(numbers)
        assert next(iter(streamed)) == (1,)
        assert 1 <= log.rows_fetched <= 100
        assert len(streamed.all()) == 999
    engine.dispose()
    assert (log.total, log.rows_fetched) == (1, 1000)
