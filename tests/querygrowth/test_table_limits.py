"""A limit by table names a table that exists, and counts every query that it is meant for."""

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest
from scenarios.shop import Base, Item, Order
from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    StaticPool,
    Table,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session, selectinload

from querygrowth.assertions import QueryCounter
from querygrowth.contracts.contract import QueryContract
from querygrowth.contracts.table_limits import declared_tables
from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.counting.shapes import shape_of
from querygrowth.counting.table_names import (
    TableNames,
    are_same,
    bare_name,
    is_named,
    qualified_names,
)
from querygrowth.places.call_sites import CallSite, Project
from querygrowth.verdict import InconclusiveWarning, Outcome, VerdictError

Send = Callable[[Connection], object]
COUNTER = QueryCounter("test", CallSite("test.py", 1, "test"), Project(), None)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(insert(Order), [{"id": n, "customer_id": 1} for n in range(3)])
        connection.execute(
            insert(Item),
            [{"order_id": n, "unindexed_order": n, "product": "p"} for n in range(3)],
        )
        connection.exec_driver_sql("ATTACH ':memory:' AS archive")
        connection.exec_driver_sql("CREATE TABLE archive.items (id INTEGER)")
        connection.exec_driver_sql("CREATE TABLE archive.letters (id INTEGER)")
    yield engine
    engine.dispose()


def broken(engine: Engine, contract: QueryContract, send: Send) -> str:
    """What a contract says about what is sent; empty if it is kept."""
    try:
        with COUNTER.count(engine, contract=contract), engine.connect() as connection:
            send(connection)
    except VerdictError as failure:
        return "; ".join(each.seen for each in failure.verdicts)
    return ""


def three_items(connection: Connection) -> None:
    for order in range(3):
        connection.execute(select(Item.id).where(Item.order_id == order)).all()


@pytest.mark.parametrize(
    "name",
    ["items", "Items", "ITEMS", "main.items", "Main.Items", '"items"', '"main"."items"', "[items]"],
)
def test_a_table_has_its_limit_however_it_is_written(engine: Engine, name: str) -> None:
    limit = QueryContract(per_table={name: 2})
    assert broken(engine, limit, three_items) == f"3 queries about {name}"
    assert broken(engine, QueryContract(per_table={name: 3}), three_items) == ""


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("item", "items"),
        ("itmes", "items"),
        ("public.items", "archive.items"),
        ("archive.orders", "main.orders"),
        ("order_items", "orders"),
    ],
)
def test_a_name_of_no_table_fails_with_the_nearest(engine: Engine, name: str, nearest: str) -> None:
    seen = broken(engine, QueryContract(per_table={name: 9}), three_items)
    assert seen == f"there is no table {name}, the nearest is {nearest}"


@pytest.mark.parametrize(
    "contract",
    [
        QueryContract(per_table={"itmes": 0, "*": 9}),
        QueryContract(per_table={"items": 3, "itmes": 9}),
        QueryContract(total=9).allow("itmes", chunk=5),
    ],
    ids=["beside a limit for all tables", "beside a right name", "in an allowance"],
)
def test_a_name_of_no_table_fails_wherever_it_stands(
    engine: Engine, contract: QueryContract
) -> None:
    seen = broken(engine, contract, three_items)
    assert seen == "there is no table itmes, the nearest is items"


def test_the_tables_of_frozen_models_are_known() -> None:
    frozen_before = gc.get_freeze_count()
    gc.freeze()
    try:
        assert {"orders", "items", "customers"} <= declared_tables({"orders"})
        assert declared_tables({"no such table"}) == frozenset()
    finally:
        if not frozen_before:
            gc.unfreeze()


def test_a_table_that_was_not_touched_may_be_named(engine: Engine) -> None:
    for name in ("notes", "Notes", "archive.letters", "letters"):
        assert broken(engine, QueryContract(per_table={name: 0, "items": 3}), three_items) == ""


@pytest.mark.parametrize(
    "sql", ["SELECT id FROM ITEMS", 'SELECT id FROM "Items"', "SELECT id FROM main.items"]
)
def test_a_statement_counts_however_it_writes_the_table(engine: Engine, sql: str) -> None:
    def send(connection: Connection) -> None:
        for _ in range(3):
            connection.execute(text(sql)).all()

    assert broken(engine, QueryContract(per_table={"items": 2}), send) == "3 queries about items"


def test_tables_of_two_schemas_have_limits_of_their_own(engine: Engine) -> None:
    def send(connection: Connection) -> None:
        for sql in ("SELECT id FROM archive.items", "SELECT id FROM main.items"):
            connection.execute(text(sql)).all()
        connection.execute(text("SELECT id FROM archive.items WHERE id > 1")).all()

    assert broken(engine, QueryContract(per_table={"archive.items": 1}), send) == (
        "2 queries about archive.items"
    )
    assert broken(engine, QueryContract(per_table={"main.items": 1}), send) == ""
    assert broken(engine, QueryContract(per_table={"items": 2}), send) == "3 queries about items"
    both = QueryContract(per_table={"items": 1, "archive.items": 2})
    assert broken(engine, both, send) == ""


def test_a_table_with_two_limits_is_refused() -> None:
    with pytest.raises(ValueError, match="limits one table twice: 'items', 'Items'"):
        QueryContract(per_table={"items": 1, "Items": 2})


class TestJoins:
    def test_a_loop_over_a_join_counts_for_a_joined_table(self, engine: Engine) -> None:
        def send(connection: Connection) -> None:
            for order in range(3):
                joined = select(Order.id).join(Item).where(Order.id == order)
                connection.execute(joined).all()

        assert broken(engine, QueryContract(per_table={"items": 2}), send) == (
            "3 queries that read items"
        )
        assert broken(engine, QueryContract(per_table={"items": 3}), send) == ""
        # A limit for the table that the queries are about is the one that holds.
        assert broken(engine, QueryContract(per_table={"items": 1, "orders": 3}), send) == ""

    def test_a_loop_hides_behind_no_single_query(self, engine: Engine) -> None:
        def send(connection: Connection) -> None:
            connection.execute(select(Item.id)).all()
            for order in range(3):
                connection.execute(select(Order.id).join(Item).where(Order.id == order)).all()

        seen = broken(engine, QueryContract(per_table={"items": 1}), send)
        assert seen == "4 queries about items"

    def test_an_eager_load_that_joins_the_parents_is_no_query_about_them(self) -> None:
        parents = ShapeActivity(shape_of("SELECT posts.id FROM posts", "sqlite"), 1)
        eager = (
            "SELECT posts_1.id, tags.id, tags.name, tags.kind FROM posts AS posts_1 "
            "JOIN post_tags AS t ON posts_1.id = t.post_id JOIN tags ON tags.id = t.tag_id "
            "WHERE posts_1.id IN (1, 2)"
        )
        activity = Activity((parents, ShapeActivity(shape_of(eager, "sqlite"), 1)))
        for limits in ({"posts": 1}, {"posts": 1, "tags": 1}, {"posts": 1, "post_tags": 1}):
            (verdict,) = QueryContract(per_table=limits).judge(activity, "eager")
            assert verdict.outcome is Outcome.PASSED

    def test_a_join_in_a_subquery_or_a_write_counts(self, engine: Engine) -> None:
        def send(connection: Connection) -> None:
            within = "DELETE FROM notes WHERE order_id IN (SELECT order_id FROM items) AND id = {}"
            for n in range(3):
                connection.execute(text(within.format(n)))

        assert broken(engine, QueryContract(per_table={"items": 2}), send) == (
            "3 queries that read items"
        )
        assert (
            broken(engine, QueryContract(per_table={"notes": 2}), send) == "3 queries about notes"
        )

    def test_the_real_eager_load_keeps_its_budget(self, engine: Engine) -> None:
        def send(connection: Connection) -> None:
            with Session(connection) as session:
                orders = session.scalars(select(Order).options(selectinload(Order.items))).all()
                assert [len(order.items) for order in orders] == [1, 1, 1]

        assert broken(engine, QueryContract(per_table={"orders": 1, "items": 1}), send) == ""


def test_an_allowance_finds_its_table_however_it_is_written(engine: Engine) -> None:
    def send(connection: Connection) -> None:
        for start in (0, 2):
            connection.execute(select(Item.id).where(Item.order_id.in_([start, start + 1]))).all()

    for name in ("items", "Items", "main.items"):
        assert broken(engine, QueryContract(per_table=1).allow(name, chunk=2), send) == ""
        assert (
            broken(engine, QueryContract(per_table={name: 1}).allow("ITEMS", chunk=2), send) == ""
        )


def test_an_allowance_of_one_shape_grants_nothing_to_another(engine: Engine) -> None:
    def send(connection: Connection) -> None:
        connection.execute(select(Item.id).where(Item.order_id.in_(range(3)))).all()
        three_items(connection)

    limit = QueryContract(per_table={"items": 2}).allow("items", chunk=1, containing=" IN ")
    assert broken(engine, limit, send) == "4 queries about items"


class TestWhereNothingTells:
    """The database cannot be asked, as behind an async driver, and no metadata declares it."""

    def judged(self, contract: QueryContract, table: str = "ledgers") -> str:
        async def run() -> str:
            engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
            try:
                async with engine.begin() as connection:
                    await connection.execute(text(f"CREATE TABLE {table} (id INTEGER)"))
                    with COUNTER.count(engine, contract=contract):
                        await connection.execute(text(f"SELECT id FROM {table}"))
            except VerdictError as failure:
                return failure.verdicts[0].seen
            finally:
                await engine.dispose()
            return ""

        return asyncio.run(run())

    def test_a_name_that_resembles_a_touched_table_fails(self) -> None:
        assert self.judged(QueryContract(per_table={"ledger": 1})) == (
            "there is no table ledger, the nearest is ledgers"
        )

    def test_another_name_is_inconclusive(self) -> None:
        with pytest.warns(InconclusiveWarning, match="not known whether there is a table secrets"):
            assert self.judged(QueryContract(per_table={"secrets": 0})) == ""

    def test_a_touched_table_raises_no_doubt(self) -> None:
        assert self.judged(QueryContract(per_table={"Ledgers": 1, "*": 0})) == ""

    def test_metadata_tells_which_tables_exist(self) -> None:
        metadata = MetaData()
        Table("ledgers_of_a_model", metadata)
        Table("bookings", metadata, schema="finance")
        for name in ("finance.bookings", "Bookings"):
            assert self.judged(QueryContract(per_table={name: 0}), "ledgers_of_a_model") == ""
        seen = self.judged(QueryContract(per_table={"public.bookings": 0}), "ledgers_of_a_model")
        assert seen.startswith("there is no table public.bookings, the nearest is ")


def test_the_tables_of_postgresql_have_schemas(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA tenant")
        connection.exec_driver_sql("CREATE TABLE tenant.bills (id INTEGER)")
        connection.exec_driver_sql("CREATE TABLE public.bills (id INTEGER)")
        connection.exec_driver_sql('CREATE TABLE "Mixed Case" (id INTEGER)')
        connection.exec_driver_sql("CREATE MATERIALIZED VIEW totals AS SELECT 1 AS n")

    def send(connection: Connection) -> None:
        for sql in ("SELECT id FROM Bills", "SELECT id FROM tenant.bills"):
            connection.execute(text(sql)).all()

    for name in ("totals", "Mixed Case", '"Mixed Case"', "public.totals"):
        assert broken(engine, QueryContract(per_table={name: 0, "bills": 2}), send) == ""
    assert broken(engine, QueryContract(per_table={"tenant.bills": 0}), send) == (
        "2 queries about tenant.bills"  # the schema of an unqualified table is not known
    )
    assert broken(engine, QueryContract(per_table={"other.bills": 9}), send) == (
        "there is no table other.bills, the nearest is public.bills"
    )
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "table", "qualified", "same"),
    [
        ("items", "items", (), True),
        ("Items", "items", ("main.items",), True),
        ("main.items", "items", (), True),
        ("main.items", "items", ("other.items",), False),
        ("main.items", "items", ("other.orders",), True),
        ("db.main.items", "items", ("main.items",), True),
        ("items", "orders", (), False),
        ('"a.b"', "a.b", (), True),
        ("*", "items", (), False),
    ],
)
def test_a_name_means_a_table(
    name: str, table: str, qualified: tuple[str, ...], same: bool
) -> None:
    assert is_named(name, table, qualified) is same


def test_names_are_taken_apart() -> None:
    assert bare_name('"My Schema"."My Table"') == "My Table"
    assert qualified_names(["items", "a.items", '"a"."items"', "c.b.x"]) == ("a.items", "b.x")
    assert are_same('"A".b', "a.B")
    assert not are_same("a.b", "b")
    known = TableNames(["items", "a.orders", "b.orders"])
    assert [known.knows(each) for each in ("items", "x.items", "orders", "c.orders")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert known.nearest("ordes") == "orders"
    assert known.nearest("c.orders") == "a.orders"
