"""Growth measured and judged: refused arguments, the words of a failure, the report."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scenarios.concurrent import async_join, async_loop
from scenarios.good import constant_lookups, joined_load, streaming
from scenarios.loops import core_loop, insert_one_by_one, lazy_load, lists_of_500
from scenarios.past_the_count import (
    cross_join,
    fetched_to_be_thrown_away,
    raw_cursor,
    savepoint_per_order,
)
from scenarios.shop import async_shop, shop
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from querygrowth.assertions import assert_query_growth
from querygrowth.contracts.contract import QueryContract
from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.counting.database import row_counts
from querygrowth.counting.watch import StepError
from querygrowth.counting.work import VM_STEPS
from querygrowth.growth.measure import _data, _Sample, measure_growth
from querygrowth.growth.trend import Growth
from querygrowth.growth.verdicts import judge_growth
from querygrowth.verdict import InconclusiveWarning, Outcome, VerdictError

SCALES = (2, 5, 9)


def test_the_message_shows_diagnosis_counts_shape_and_call_site() -> None:
    with pytest.raises(VerdictError) as failure:
        assert_query_growth(lists_of_500, shop, axes=["orders"], scales=(2, 20, 501))
    # Releases of SQLAlchemy label columns differently, and lines move.
    text = re.sub(r"SELECT items.*? FROM", "SELECT ... FROM", str(failure.value))
    # On 3.10 the code of a comprehension has no qualified name.
    text = text.replace("in <listcomp>", "in lists_of_500")
    text = re.sub(r"called by: .*", "called by: ...", text)  # differs between releases of CPython
    assert re.sub(r"loops\.py:\d+", "loops.py:N", text) == (
        "lists_of_500: queries grew with orders\n"
        "  orders  2, 6, 20, 100  2 queries\n"
        "  orders  501            3 queries   items 1 -> 2\n"
        "  orders  1002           4 queries   items 2 -> 3\n"
        "  orders  2004           6 queries   items 3 -> 5\n"
        "  items: 1, 1, 1, 1, 2, 3, 5 (stepwise, chunks of 401 to 500)\n"
        "    SELECT ... FROM items WHERE items.order_id IN (?) ORDER BY items.id\n"
        "    called by: ...\n"
        "at: tests/querygrowth/scenarios/loops.py:N in lists_of_500\n"
        "expected: the same count at every scale\n"
        "look at: IN lists split into chunks of 500; "
        "if it is meant, declare it: allow('items', chunk=500)"
    )


def test_every_shape_has_the_slope_of_every_segment() -> None:
    report = measure_growth(core_loop, shop, axes=["orders"], scales=SCALES)
    trends = {
        text.split(" FROM ")[1]: trend for text, trend in report.axes[0].shape_trends().items()
    }
    assert trends["orders"].growth is Growth.CONSTANT
    found = trends["items WHERE items.order_id = ?"]
    assert set(found.slopes) == {1.0}
    assert (found.growth, found.certain) == (Growth.LINEAR, True)


def test_one_axis_grows_at_a_time_from_its_base() -> None:
    seen: list[tuple[int, int]] = []

    def populate(orders: int, items: int):
        seen.append((orders, items))
        return shop(orders=orders, items=items)

    measure_growth(joined_load, populate, axes={"orders": 3, "items": 4}, scales={"orders": SCALES,
        "items": (1, 2, 3)}, together=(1, 2, 4))  # fmt: skip
    assert seen == [
        (2, 4), (5, 4), (9, 4),
        (3, 1), (3, 2), (3, 3),
        (1, 1), (2, 2), (4, 4),
    ]  # fmt: skip


def test_a_scale_may_be_zero() -> None:
    (axis,) = measure_growth(lazy_load, shop, axes=["orders"], scales=(0, 1, 2)).axes
    assert [act.queries for act in axis.activities][:3] == [1, 2, 3]


def test_a_loop_is_named_on_every_axis_it_grows_along_and_on_no_other() -> None:
    report = measure_growth(lazy_load, shop, axes=["orders", "items", "notes"], scales=SCALES)
    failed = [each.seen for each in judge_growth(report) if each.failed]
    assert failed == ["queries grew with orders"]


def test_failed_verdicts_come_first_and_every_judgement_is_there() -> None:
    report = measure_growth(core_loop, shop, axes=["orders"], scales=SCALES, work=[VM_STEPS])
    verdicts = judge_growth(report)
    assert verdicts[0].failed
    assert [each.seen for each in verdicts if each.passed] == [
        "did something",
        "transactions constant",
        "checkouts constant",
        "session statements constant",
        "other statements constant",
        "fetched rows linear, slope 1.50",
        "vm_steps linear, slope " + verdicts[-2].seen.rpartition(" ")[2],
        "no statement went past SQLAlchemy",
    ]


def test_an_async_action_is_measured_inside_a_running_loop() -> None:
    async def ask() -> None:
        assert_query_growth(async_join, async_shop, axes=["orders"], scales=SCALES)

    asyncio.run(ask())


def test_populate_may_return_a_plain_engine() -> None:
    engines: list[Engine] = []

    def populate(orders: int) -> Engine:
        manager = shop(orders=orders)
        engines.append(manager.__enter__())
        managers.append(manager)
        return engines[-1]

    managers: list[object] = []
    assert_query_growth(joined_load, populate, axes=["orders"], scales=SCALES)
    for manager in managers:
        manager.__exit__(None, None, None)
    assert len(engines) == 3


def test_a_populated_database_is_released_when_the_action_fails() -> None:
    released: list[bool] = []

    @contextmanager
    def populate(orders: int) -> Iterator[Engine]:
        with shop(orders=orders) as engine:
            try:
                yield engine
            finally:
                released.append(True)

    def broken(engine: Engine) -> None:
        raise LookupError("the test's own")

    with pytest.raises(StepError, match="the test's own") as failure:
        measure_growth(broken, populate, axes=["orders"], scales=SCALES)
    assert isinstance(failure.value.__cause__, LookupError)
    assert released == [True]


def never(*_engine: object, **_sizes: int) -> Engine:
    raise AssertionError("something ran")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"axes": ["orders"], "scales": (2, 20)}, "at least three scales"),
        ({"axes": ["orders"], "scales": (2, 20, 20)}, "scales must increase"),
        ({"axes": ["orders"], "scales": (20, 2, 1)}, "scales must increase"),
        ({"axes": ["orders"], "scales": (-1, 2, 3)}, "cannot be negative"),
        ({"axes": ["orders"], "together": (1, 2)}, "^together: at least three scales"),
        ({"axes": ["orders"], "scales": {"tokens": SCALES}}, "no such axis: tokens"),
        ({"axes": []}, "at least one axis"),
        ({"axes": "orders"}, r"^axes must be a list, such as axes=\[.orders.\], got 'orders'$"),
        ({"axes": 5}, "^axes must be a list"),
        ({"axes": None}, "^axes must be a list"),
        ({"axes": [5]}, "^axes must be names"),
        ({"axes": {"orders": None}}, "^the base size of orders: a size must be a whole number"),
        ({"axes": {"orders": -2}}, "^the base size of orders: a size cannot be negative"),
        (
            {"axes": ["orders"], "scales": "2 20 501"},
            r"^scales must be a list, such as scales=\(2, 20, 501\), got '2 20 501'$",
        ),
        ({"axes": ["orders"], "scales": 501}, "^scales must be a list"),
        ({"axes": ["orders"], "scales": {"orders": 501}}, r"^scales\['orders'\] must be a list"),
        ({"axes": ["orders"], "scales": (False, True, 2)}, "^orders: a size must be a whole"),
        ({"axes": ["orders"], "scales": ("2", "20", "501")}, "^orders: a size must be a whole"),
        ({"axes": ["orders"], "together": 5}, "^together must be a list"),
        ({"axes": ["orders"], "together": "abc"}, "^together must be a list"),
        ({"axes": ["orders"], "work": "vm_steps"}, "^work must be a list"),
    ],
)
def test_a_senseless_request_is_refused_before_anything_runs(arguments, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        measure_growth(joined_load, never, **arguments)


def test_an_axis_that_populate_does_not_have_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="populate does not take the axes orders, tokens"):
        measure_growth(joined_load, shop, axes=["orders", "tokens"], scales=SCALES)


def test_an_action_that_writes_is_refused_unless_it_may() -> None:
    with pytest.raises(ValueError, match="wrote to notes but should only read"):
        measure_growth(insert_one_by_one, shop, axes=["orders"], scales=SCALES)


def test_work_that_the_engine_cannot_count_is_refused_before_the_action_runs() -> None:
    pytest.importorskip("psycopg", reason="needs a driver of another database")

    def populate(orders: int) -> Engine:
        return create_engine("postgresql+psycopg://nobody@localhost/nothing")

    with pytest.raises(ValueError, match="SQLite only"):
        measure_growth(never, populate, axes=["orders"], scales=SCALES, work=[VM_STEPS])


def test_unknown_work_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of work 'seconds'"):
        measure_growth(joined_load, shop, axes=["orders"], scales=SCALES, work=["seconds"])


def test_populate_must_give_an_engine() -> None:
    with pytest.raises(ValueError, match="populate must return an SQLAlchemy engine"):
        measure_growth(joined_load, lambda orders: "sqlite://", axes=["orders"], scales=SCALES)


def test_a_broken_limit_is_reported_once_at_the_smallest_scale_that_breaks_it() -> None:
    report = measure_growth(constant_lookups, shop, axes=["orders"], scales=SCALES)
    failed = [each for each in judge_growth(report, QueryContract(per_table=1)) if each.failed]
    assert [each.seen for each in failed] == ["5 queries about customers"]


def one_shared(orders: int) -> Engine:
    """A database in memory with one connection for all, and one order at every size."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
        connection.execute(text("INSERT INTO orders VALUES (1)"))
    return engine


class TestTablesOfAContract:
    """A contract that names a table that does not exist; `items` and `orders` are touched."""

    def refusal(self, action, populate, contract: QueryContract) -> str:
        with pytest.raises(VerdictError) as failure:
            assert_query_growth(action, populate, axes=["orders"], scales=SCALES, contract=contract)
        (verdict,) = failure.value.verdicts
        return verdict.seen

    def test_a_misspelt_table_is_the_only_failure(self) -> None:
        contract = QueryContract(total=0).allow("note", chunk=5)
        assert self.refusal(core_loop, shop, contract) == (
            "there is no table note, the nearest is notes"
        )

    def test_a_name_that_resembles_no_table_is_refused_too(self) -> None:
        contract = QueryContract().allow("bokos", chunk=5)
        for action, populate in ((joined_load, shop), (async_join, async_shop)):
            assert self.refusal(action, populate, contract).startswith("there is no table bokos, ")

    def test_the_database_behind_an_async_engine_is_asked(self) -> None:
        contract = QueryContract(per_table={"note": 1, "*": 9})
        assert self.refusal(async_join, async_shop, contract) == (
            "there is no table note, the nearest is notes"
        )

    def test_a_table_that_exists_and_is_not_touched_is_no_failure(self) -> None:
        contract = QueryContract(per_table={"notes": 0, "customers": 0, "*": 1})
        for action, populate in ((joined_load, shop), (async_join, async_shop)):
            assert_query_growth(action, populate, axes=["orders"], scales=SCALES, contract=contract)

    def test_a_shared_connection_is_not_asked(self) -> None:
        """The metadata that declares a touched table tells which tables exist."""

        @contextmanager
        def populate(orders: int) -> Iterator[Engine]:
            engine = create_engine("sqlite://", poolclass=StaticPool)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE orders (id INTEGER)"))
                connection.execute(text("INSERT INTO orders VALUES (1)"))
            yield engine
            engine.dispose()

        def read_orders(engine: Engine) -> int:
            with engine.connect() as connection:
                return len(connection.execute(text("SELECT id FROM orders")).all())

        assert self.refusal(read_orders, populate, QueryContract(per_table={"order": 1})) == (
            "there is no table order, the nearest is orders"
        )
        # The metadata of this process declares the orders, and no archive.
        assert self.refusal(
            read_orders, populate, QueryContract(per_table={"archive": 1})
        ).startswith("there is no table archive, the nearest is ")

    def test_listing_the_tables_is_not_counted(self) -> None:
        contract = QueryContract(per_table={"notes": 0, "*": 1})
        report = assert_query_growth(
            joined_load, shop, axes=["orders"], scales=SCALES, contract=contract
        )
        assert report.tables == {"customers", "orders", "items", "notes"}
        assert [act.queries for act in report.axes[0].activities] == [1, 1, 1]
        assert [act.checkouts for act in report.axes[0].activities] == [1, 1, 1]

    def test_a_report_of_other_measurements_is_not_judged_for_spelling(self) -> None:
        report = measure_growth(joined_load, shop, axes=["orders"], scales=SCALES)
        assert report.tables is None
        assert judge_growth(report, QueryContract().allow("note", chunk=5))[0].passed


class TestDataThatDoesNotGrow:
    """A population that ignores its axis makes every count constant, that of a loop too."""

    def ignores_its_axis(self, orders: int):
        return shop(orders=3)

    def takes_any_name(self, **sizes: int):
        return shop(orders=sizes.get("orders", 3))

    def test_a_loop_on_data_that_does_not_grow_is_inconclusive(self) -> None:
        for action, populate, axis in (
            (core_loop, self.ignores_its_axis, "orders"),
            (lazy_load, self.takes_any_name, "ordres"),
        ):
            report = measure_growth(action, populate, axes=[axis], scales=SCALES, work=[VM_STEPS])
            verdicts = judge_growth(report)
            # The others are about the action itself, and not about growth.
            assert [each.seen for each in verdicts if each.passed] == [
                "did something",
                "no statement went past SQLAlchemy",
            ]
            (verdict,) = [each for each in verdicts if not each.passed]
            assert verdict.outcome is Outcome.INCONCLUSIVE
            assert str(verdict) == (
                f"{action.__name__}: the data did not grow along {axis}\n"
                f"  {axis}  2, 5, 9  4 queries\n"
                "  every table had the same number of rows at every scale\n"
                f"expected: data that grows along {axis}\n"
                f"look at: whether populate uses {axis}, and returns a new database at every scale"
            )

    def test_the_same_engine_at_every_scale_is_inconclusive(self) -> None:
        with shop(orders=3) as engine:
            report = measure_growth(core_loop, lambda orders: engine, axes=["orders"])
        assert report.along("orders").same_data

    def test_an_async_engine_is_asked_too(self) -> None:
        report = measure_growth(
            async_loop, lambda orders: async_shop(orders=3), axes=["orders"], scales=SCALES
        )
        assert report.along("orders").same_data

    def test_only_the_axis_that_does_not_grow_is_inconclusive(self) -> None:
        report = measure_growth(
            joined_load,
            lambda orders, items: shop(orders=orders),
            axes=["orders", "items"],
            scales=SCALES,
        )
        seen = [each.seen for each in judge_growth(report) if each.outcome is Outcome.INCONCLUSIVE]
        assert seen == ["the data did not grow along items"]

    def test_the_limits_of_a_contract_still_hold(self) -> None:
        report = measure_growth(core_loop, self.ignores_its_axis, axes=["orders"], scales=SCALES)
        failed = [each for each in judge_growth(report, QueryContract(per_table=1)) if each.failed]
        assert [each.seen for each in failed] == ["3 queries about items"]

    @pytest.mark.parametrize("axis", ["orders", "items", "notes"])
    def test_a_constant_action_on_data_that_grows_passes(self, axis: str) -> None:
        """Along items and notes, no table grows that the action reads."""

        def one_order(engine: Engine) -> list[object]:
            with engine.connect() as connection:
                return list(connection.scalars(text("SELECT id FROM orders LIMIT 1")))

        for action, populate in ((one_order, shop), (async_constant, async_shop)):
            report = assert_query_growth(action, populate, axes=[axis], scales=SCALES)
            assert all(each.passed for each in judge_growth(report))
            # Counting the rows is not counted.
            assert [act.queries for act in report.axes[0].activities] == [1, 1, 1]
            assert [act.checkouts for act in report.axes[0].activities] == [1, 1, 1]

    def test_a_database_that_cannot_be_asked_is_judged_by_its_counts(self) -> None:
        def read_orders(engine: Engine) -> int:
            with engine.connect() as connection:
                found = len(connection.execute(text("SELECT id FROM orders")).all())
                driver = connection.connection.driver_connection
            assert driver is not None
            driver.close()
            return found

        report = measure_growth(read_orders, one_shared, axes=["orders"], scales=SCALES)
        assert all(each.passed for each in judge_growth(report))

    def test_the_rows_behind_a_shared_connection_are_counted_within_its_transaction(self) -> None:
        open_connections: list[Connection] = []

        def add_orders(engine: Engine) -> int:
            open_connections.append(engine.connect())
            open_connections[-1].execute(text("INSERT INTO orders VALUES (2)"))
            return 1

        def read_orders(engine: Engine) -> int:
            open_connections.append(engine.connect())
            return len(open_connections[-1].execute(text("SELECT id FROM orders")).all())

        for action, writes in ((read_orders, False), (add_orders, True)):
            arguments = {"axes": ["orders"], "scales": SCALES, "writes": writes}
            report = measure_growth(action, one_shared, **arguments)
            (axis,) = report.axes
            assert axis.same_data
            assert "data did not grow along orders" in str(judge_growth(report))
            assert all(each.in_transaction() for each in open_connections)
            count = text("SELECT count(*) FROM orders")
            assert {each.scalar(count) for each in open_connections} == {1 + writes}
            while open_connections:
                open_connections.pop().close()

    def test_postgresql_is_asked_for_the_rows_of_all_schemas(self, postgresql_url: str) -> None:
        @contextmanager
        def populate(orders: int) -> Iterator[Engine]:
            engine = create_engine(postgresql_url)
            with engine.begin() as connection:
                connection.execute(text('CREATE SCHEMA "a Shop"'))
                connection.execute(text('CREATE TABLE "a Shop"."Order" (id INTEGER)'))
                insert = text('INSERT INTO "a Shop"."Order" SELECT generate_series(1, :n)')
                connection.execute(insert, {"n": orders})
            yield engine
            with engine.begin() as connection:
                connection.execute(text('DROP SCHEMA "a Shop" CASCADE'))
            engine.dispose()

        def count_orders(engine: Engine) -> int:
            with engine.connect() as connection:
                connection.execute(text('SELECT id FROM "a Shop"."Order" LIMIT 1')).all()
                return 1

        for filled, same in ((populate, False), (lambda orders: populate(3), True)):
            report = measure_growth(count_orders, filled, axes=["orders"], scales=SCALES)
            assert report.along("orders").same_data is same

    def test_an_assertion_warns(self) -> None:
        with pytest.warns(InconclusiveWarning, match="the data did not grow along orders"):
            assert_query_growth(core_loop, self.ignores_its_axis, axes=["orders"], scales=SCALES)


async def async_constant(engine: AsyncEngine) -> list[object]:
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT id FROM orders LIMIT 1")))


def test_fetched_rows_that_grow_while_records_do_not_are_over_fetching() -> None:
    report = measure_growth(fetched_to_be_thrown_away, shop, axes={"orders": 2}, scales=SCALES)
    failed = [each for each in judge_growth(report) if each.failed]
    assert [each.seen for each in failed] == [
        "fetched rows grew with orders (linear, slope 2.00 or n^0.62 to n^1.4)"
    ]


def test_a_bypass_that_does_not_grow_is_still_a_bypass() -> None:
    report = measure_growth(raw_cursor, shop, axes=["items"], scales=SCALES)
    assert [each.seen for each in judge_growth(report) if each.failed] == [
        "2 statements went past SQLAlchemy"
    ]


def test_the_report_keeps_what_was_measured() -> None:
    along = measure_growth(streaming, shop, axes=["orders"], scales=SCALES).along("orders")
    assert [act.rows_fetched for act in along.activities] == [4, 10, 18]
    assert [act.records for act in along.activities] == [4, 10, 18]
    assert [act.transactions for act in along.activities] == [1, 1, 1]


def test_a_query_that_only_larger_runs_need_is_not_growth() -> None:

    def notes_if_any(engine: Engine) -> list[str]:
        with engine.connect() as connection:
            orders = connection.execute(text("SELECT id FROM orders")).all()
            if len(orders) > 2:
                connection.execute(text("SELECT text FROM notes")).all()
            return [str(order) for (order,) in orders]

    assert_query_growth(notes_if_any, shop, axes={"orders": 2}, scales=SCALES)


def fetched(engine: Engine, sql: str, **parameters: object) -> list[object]:
    with engine.connect() as connection:
        return list(connection.scalars(text(sql), parameters))


def through_one_function(engine: Engine) -> list[object]:
    orders = fetched(engine, "SELECT id FROM orders")
    products: list[object] = []
    for order in orders:
        products += fetched(engine, "SELECT product FROM items WHERE order_id = :o", o=order)
    return products


def test_the_line_is_the_caller_of_a_function_that_all_queries_go_through() -> None:
    report = measure_growth(through_one_function, shop, axes=["orders"], scales=SCALES)
    (failure,) = [each for each in judge_growth(report) if each.failed]
    assert failure.site is not None
    line = Path(failure.site.path).read_text().splitlines()[failure.site.line - 1]
    assert 'fetched(engine, "SELECT product' in line
    # The loop opens a connection and a transaction for every query. Those failures follow from it.
    assert [each.partition(" (")[0] for each in failure.evidence[-2:]] == [
        "as a result: transactions grew with orders",
        "as a result: checkouts grew with orders",
    ]


@pytest.mark.parametrize(
    ("action", "seen", "line"),
    [
        (savepoint_per_order, "session statements grew", "with connection.begin_nested()"),
        (fetched_to_be_thrown_away, "fetched rows grew", "connection.execute("),
        (cross_join, "fetched rows grew faster", "connection.execute("),
    ],
)
def test_the_line_behind_other_counts_is_known_too(action, seen: str, line: str) -> None:
    report = measure_growth(action, shop, axes=["orders"], scales=SCALES)
    (failure,) = [each for each in judge_growth(report) if each.failed]
    assert failure.seen.startswith(seen)
    assert failure.site is not None
    assert line in Path(failure.site.path).read_text().splitlines()[failure.site.line - 1]


@pytest.mark.parametrize(
    ("axes", "arguments", "runs"),
    [
        (["orders"], {}, 3),
        (["orders", "items"], {}, 7),
        (["orders", "items", "notes"], {}, 9),
        (["orders", "items"], {"together": ()}, 5),
    ],
)
def test_a_passing_test_takes_few_runs(axes: list[str], arguments, runs: int) -> None:
    report = measure_growth(constant_lookups, shop, axes=axes, scales=(2, 20, 60), **arguments)
    assert report.runs == runs


def test_a_population_that_knows_the_first_scales_only_is_still_judged() -> None:
    """A further scale that it refuses is left out."""
    known = {2: 2, 5: 5, 9: 9}
    report = measure_growth(
        core_loop, lambda orders: shop(orders=known[orders]), axes=["orders"], scales=SCALES
    )
    assert report.axes[0].scales == SCALES
    assert [each.seen for each in judge_growth(report) if each.failed] == [
        "queries grew with orders"
    ]


def test_no_lock_is_kept_when_the_rows_of_the_tables_are_counted() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE first (id INTEGER)")
        connection.exec_driver_sql("CREATE TABLE second (id INTEGER)")
    begun: list[Connection] = []
    event.listen(engine, "begin", begun.append)
    with engine.connect() as connection:
        assert row_counts(connection) == {("main", "first"): 0, ("main", "second"): 0}
        assert not connection.in_transaction()
    assert len(begun) > 1  # the second table was counted in a transaction of its own


@pytest.mark.parametrize(
    ("rows", "data"),
    [
        # The table that grows most by its ratio, and not the largest; the larger one of two alike.
        ([{"a": 500, "b": 1}, {"a": 600, "b": 2}, {"a": 700, "b": 4}], (1, 2, 4)),
        ([{"a": 1, "b": 10}, {"a": 2, "b": 20}, {"a": 4, "b": 40}], (10, 20, 40)),
        ([{"a": 5}, {"a": 5, "b": 3}, {"a": 5, "b": 6}], (0, 3, 6)),
        ([{"a": 1, "other": 1}, {"a": 2, "other": 9}, {"a": 3, "other": 99}], (1, 2, 3)),
        ([{"other": 1}, {"other": 9}, {"other": 99}], (0, 0, 0)),
        ([{"a": 1}, None, {"a": 3}], None),
    ],
)
def test_data_along_several_axes_are_the_rows_of_the_touched_table_that_grows_most(
    rows: list[dict[str, int] | None], data: tuple[int, ...] | None
) -> None:
    touched = Activity(
        shapes=tuple(ShapeActivity.named(table, f"SELECT id FROM {table}", 1) for table in "ab")
    )
    samples = [
        _Sample(touched, None if each is None else {("main", t): n for t, n in each.items()})
        for each in rows
    ]
    assert _data(samples) == data
