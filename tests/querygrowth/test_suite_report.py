"""`pytest --queries` finds patterns by place, and is silent about repaired code and about tests."""

import json
import re
from typing import Any

import pytest
from suite_project import write_project
from test_pytest_plugin import OPTIONS

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def findings(pytester: pytest.Pytester, *options: str, **outcomes: int) -> list[dict[str, Any]]:
    """Run the suite with `--queries`, and return its findings."""
    result = pytester.runpytest(*OPTIONS, "--queries", "--queries-json=found.json", *options)
    result.assert_outcomes(**outcomes)
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*not watched*")
    found: list[dict[str, Any]] = json.loads((pytester.path / "found.json").read_text())["findings"]
    return found


LAST = "ORDER BY items.id DESC LIMIT ? OFFSET ?"
ALL_FAULTS = """
    import faults
    import pytest

    NAMES = ["lazy_collection", "lazy_scalar", "lazy_through_map", "lookups", "refreshed",
             "deferred", "latest", "writes"]

    @pytest.mark.parametrize("name", NAMES)
    def test_fault(session, name):
        getattr(faults, name)(session)

    def test_again(session):
        faults.lazy_collection(session)
"""


def test_each_pattern_is_found_at_its_place_with_its_fix(pytester: pytest.Pytester) -> None:
    write_project(pytester, test_faults=ALL_FAULTS)
    found = findings(pytester, passed=9)
    assert [
        (each["rule"], each["about"], each["place"], each["loop"], each["most"]) for each in found
    ] == [
        ("lazy-load", "Order.items", "faults.py::lazy_collection", "", 3),
        ("lazy-load", "Order.customer", "faults.py::lazy_scalar", "", 3),
        ("lazy-load", "Order.customer", "faults.py::name_of", "", 3),
        (
            "repeated-statement",
            "SELECT ... FROM customers WHERE customers.id = ?",
            "faults.py::find",
            "faults.py::lookups",
            3,
        ),
        (
            "repeated-statement",
            f"SELECT ... FROM items WHERE items.order_id = ? {LAST}",
            "faults.py::latest",
            "",
            3,
        ),
        ("refreshed-attribute", "Order", "faults.py::refreshed", "", 3),
        ("deferred-attribute", "Order.note", "faults.py::deferred", "", 3),
        ("row-by-row-write", "INSERT INTO items", "faults.py::writes", "", 3),
    ]
    collection = found[0]
    assert collection["tests"] == [
        "test_faults.py::test_fault[lazy_collection]",
        "test_faults.py::test_again",
    ]
    assert (collection["test_count"], collection["line"]) == (2, 8)
    assert collection["evidence"][0].startswith("Order loaded at: faults.py:5 in all_orders")
    fixes = [each["fix"] for each in found]
    assert "add .options(selectinload(Order.items)) to the query at faults.py:5" in fixes[0]
    assert "joinedload(Order.customer)" in fixes[1]
    assert "with IN for id" in fixes[3]
    assert "undefer(Order.note)" in fixes[6]
    assert "insert(items)" in fixes[7] or "insert(Item)" in fixes[7]


def test_repaired_code_and_loops_of_tests_are_silent(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_repaired="""
        import faults, repaired
        import pytest
        from hypothesis import given, settings, strategies as st
        from models import Order
        from sqlalchemy import select

        NAMES = ["lazy_collection", "lazy_scalar", "lookups", "refreshed", "deferred", "writes",
                 "pages", "chunks", "waits"]

        @pytest.mark.parametrize("name", NAMES)
        def test_twin(session, name):
            getattr(repaired, name)(session)

        def test_a_loop_of_the_test(session):
            for key in (1, 2, 3):
                repaired.detail(session, key)
                faults.find(session, key)
            for _ in range(3):
                repaired.create(session)
            for order in session.scalars(select(Order)).all():
                faults.name_of(order)

        def test_lines_of_the_test(session):
            faults.find(session, 1)
            faults.find(session, 2)
            faults.find(session, 3)
            orders = faults.all_orders(session)
            assert faults.name_of(orders[0])
            assert faults.name_of(orders[1])
            assert faults.name_of(orders[2])

        made = []

        @pytest.fixture(scope="module", autouse=True)
        def closed():
            yield
            for session in made:
                session.close()
                session.get_bind().dispose()

        @settings(max_examples=5, database=None, deadline=None)
        @given(key=st.sampled_from([1, 2, 3]))
        def test_examples(key):
            from sqlalchemy import create_engine
            from sqlalchemy.orm import Session
            from conftest import Base, StaticPool, fill
            if not made:
                engine = create_engine("sqlite://", poolclass=StaticPool)
                Base.metadata.create_all(engine)
                made.append(Session(engine))
                fill(made[0])
            assert repaired.detail(made[0], key)
            made[0].expire_all()
        """,
    )
    assert [
        each for each in findings(pytester, passed=12) if each["rule"] != "row-by-row-write"
    ] == []


DRIVER = """
from sqlalchemy import MetaData, select
from models import Customer, Order

def steps(session, keys):
    names = []
    for key in keys:
        names.append((yield select(Customer.name).where(Customer.id == key)))
    return names

def drive(session, flow):
    answer = None
    try:
        while True:
            answer = session.scalar(flow.send(answer))
    except StopIteration as stop:
        return stop.value

def names(session, keys):
    return drive(session, steps(session, keys))

def name_of(order):
    return order.customer.name

def names_of(session):
    return [name_of(order) for order in session.scalars(select(Order)).all()]

def commit_each(session):
    found = []
    for customer in session.scalars(select(Customer.id)).all():
        found.append(session.scalar(select(Customer.name).where(Customer.id == customer)))
        session.commit()
    return found

def schema(session):
    found = MetaData()
    for name in ("customers", "orders", "items"):
        found.reflect(session.connection(), only=[name])
    return found
"""


def test_a_loop_that_drives_one_call_and_one_that_reads_the_schema(
    pytester: pytest.Pytester,
) -> None:
    write_project(
        pytester,
        driver=DRIVER,
        test_driven="""
        import driver

        def test_calls(session):
            for key in (1, 2, 3):
                assert driver.names(session, [key])
                session.rollback()

        def test_the_schema(session):
            driver.schema(session)
        """,
    )
    assert findings(pytester, passed=2) == []
    write_project(
        pytester,
        test_driven="""
        import driver

        def test_calls(session):
            for _ in range(2):
                assert driver.names(session, [1, 2, 3])
                session.rollback()

        def test_calls_that_commit_in_their_loop(session):
            for _ in range(2):
                assert len(driver.commit_each(session)) == 3
        """,
    )
    found = findings(pytester, passed=2)
    assert sorted(
        (each["rule"], each["place"].partition("::")[2], each["most"]) for each in found
    ) == [
        ("repeated-statement", "commit_each", 3),
        ("repeated-statement", "drive", 3),
    ]


def test_the_way_with_the_loop_is_shown_and_not_a_commoner_one(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        driver=DRIVER,
        test_ways="""
        import driver
        from models import Order
        from sqlalchemy import select

        def test_both_ways(session):
            driver.names_of(session)
            for _ in range(2):
                session.expunge_all()
                for order in session.scalars(select(Order)).all():
                    driver.name_of(order)
        """,
    )
    [found] = findings(pytester, passed=1)
    assert (found["rule"], found["most"]) == ("lazy-load", 3)
    assert any("in names_of" in line for line in found["evidence"])


def test_what_tests_send_themselves_is_listed_apart(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_own="""
        from models import Item, Order
        from sqlalchemy import select
        from testing.builders import states
        from walks import walk

        def test_reads(session):
            assert all(order.items for order in session.scalars(select(Order)))

        def make_items(session):
            for n in range(4):
                session.add(Item(order_id=1, product=str(n)))
                session.commit()

        def test_makes_rows(session):
            make_items(session)

        def summary(session):  # the application may stand in a test module
            return [order.customer.name for order in session.scalars(select(Order))]

        def test_summary(session):
            assert len(summary(session)) == 3

        def names(session):
            return [order.customer.name for order in session.scalars(select(Order))]

        def check_names(session):  # what asserts is a test, and so is what it calls
            assert len(names(session)) == 3

        def test_names(session):
            check_names(session)

        def test_states(session):
            assert states(session) == 3

        def test_walks(session):
            walk(session)
        """,
        walks="""
        from models import Order
        from sqlalchemy import select

        def walk(session):  # asks for another row each time, unlike a loop that waits
            key = 1
            while key is not None:
                key = session.scalar(select(Order.id + 1).where(Order.id == key))
        """,
        **{
            "testing/builders": """
            from models import Order
            from sqlalchemy import select

            def states(session):  # only tests use it
                return len([order.items for order in session.scalars(select(Order))])
            """
        },
    )
    found = findings(pytester, "--queries-level=error", passed=4, failed=2)
    assert [(each["place"], each["in_test_code"], each["level"]) for each in found] == [
        ("test_own.py::summary", False, "error"),
        ("walks.py::walk", False, "error"),
        ("test_own.py::names", True, "report"),
        ("test_own.py::test_reads", True, "report"),
        ("testing/builders.py::states", True, "report"),
        ("test_own.py::make_items", True, "report"),
    ]


def test_every_engine_is_watched_in_threads_tasks_and_async_sessions(
    pytester: pytest.Pytester,
) -> None:
    write_project(
        pytester,
        services="""
        from models import Order
        from sqlalchemy import select
        from sqlalchemy.orm import selectinload

        async def names(session):
            found = []
            for order in await session.scalars(select(Order)):
                found.append(order.state)
            return found

        async def lookups(session):
            return [await session.scalar(select(Order.state).where(Order.id == key))
                    for key in (1, 2, 3)]

        async def eager(session):
            statement = select(Order).options(selectinload(Order.items))
            return [order.items for order in await session.scalars(statement)]
        """,
        pools="""
        from concurrent.futures import ThreadPoolExecutor
        import faults
        from models import Order
        from sqlalchemy import select
        from sqlalchemy.orm import joinedload

        def customer_name(order):
            return order.customer.name

        def names(session):
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(customer_name, faults.all_orders(session)))

        def names_eagerly(session):
            orders = session.scalars(select(Order).options(joinedload(Order.customer))).all()
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(customer_name, orders))
        """,
        web="""
        import faults

        def found_for_user(environ):
            return faults.find(environ["session"], 1)

        def application(environ, start_response):
            start_response("302 Found", [])
            return [found_for_user(environ)]

        def found_in_loop(environ):
            return faults.find(environ["session"], 2)

        def looping(environ, start_response):
            return list(map(found_in_loop, [environ] * 3))
        """,
        test_async="""
        import asyncio, threading
        import faults, pools, services, repaired, web
        from conftest import Base, StaticPool, fill
        from sqlalchemy import create_engine
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
        from sqlalchemy.orm import Session

        def in_new_database(action):
            async def run():
                engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
                async with engine.begin() as connection:
                    await connection.run_sync(Base.metadata.create_all)
                async with AsyncSession(engine) as session:
                    await session.run_sync(fill)
                    session.expunge_all()
                    result = await action(session)
                await engine.dispose()
                return result
            return asyncio.run(run())

        def test_async():
            assert len(in_new_database(services.lookups)) == 3

        def test_async_twin():
            assert len(in_new_database(services.eager)) == 3

        def test_sync_inside_of_async():
            async def action(session):
                return await session.run_sync(faults.lazy_collection)
            assert in_new_database(action) == [2, 2, 2]

        def new_session():
            engine = create_engine("sqlite://", poolclass=StaticPool,
                                   connect_args={"check_same_thread": False})
            Base.metadata.create_all(engine)
            session = Session(engine)
            fill(session)
            session.expunge_all()
            return session

        def close(session):
            session.close()
            session.get_bind().dispose()

        def in_threads(*calls):
            for call in calls:
                thread = threading.Thread(target=call)
                thread.start()
                thread.join()

        def test_thread():
            session = new_session()
            in_threads(lambda: faults.lookups(session))
            close(session)

        def test_calls_in_threads():
            session = new_session()
            in_threads(*[lambda: repaired.detail(session, key) for key in (1, 2, 3)])
            in_threads(*[lambda: faults.find(session, 1) for _ in range(3)])
            close(session)

        def test_pools():
            session = new_session()
            assert pools.names(session) == pools.names_eagerly(session)
            close(session)

        def test_requests():
            session = new_session()
            answers = [lambda status, headers: None for _ in range(3)]
            # A client makes further requests when it follows redirects.
            list(map(web.application, [{"session": session}] * 3, answers))
            web.looping({"session": session}, answers[0])
            close(session)

        def test_two_engines():
            first, second = new_session(), new_session()
            faults.lazy_scalar(first), faults.lazy_collection(second)
            close(first), close(second)
        """,
    )
    found = findings(pytester, passed=8)
    assert {(each["place"], each["loop"], each["test_count"]) for each in found} == {
        ("pools.py::customer_name", "", 1),
        ("faults.py::find", "", 1),
        ("services.py::lookups", "", 1),
        ("faults.py::lazy_collection", "", 2),
        ("faults.py::find", "faults.py::lookups", 1),
        ("faults.py::lazy_scalar", "", 1),
    }


def test_levels_warn_and_fail_and_a_failed_body_wins(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_levels="""
        import faults

        def test_lazy(session): faults.lazy_collection(session)
        def test_lazy_again(session): faults.lazy_collection(session)
        def test_two(session): faults.deferred(session), faults.lookups(session)
        def test_body(session):
            faults.lookups(session)
            raise KeyError("the body")
        def test_right(session): faults.find(session, 1)
        """,
    )
    pytester.makefile(
        ".toml",
        pyproject="""
        [tool.querygrowth]
        level = "error"
        [tool.querygrowth.rules]
        lazy-load = "warn"
        deferred-attribute = {level = "off"}
        """,
    )
    result = pytester.runpytest(*OPTIONS, "--queries", "-W", "default")
    result.assert_outcomes(passed=3, failed=2, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "repeated-statement: SELECT ... FROM customers WHERE customers.id = ?, 3 in one call",
            "  sent at: faults.py:23 in find",
            "  in the loop at: faults.py:26 in lookups",
            "  fix: *",
            "E * KeyError: 'the body'",
            "*QueryPatternWarning: lazy-load: Order.items, 3 in one call",
        ]
    )
    # On the command line, a level is that of all rules that are not off.
    result = pytester.runpytest(*OPTIONS, "--queries", "--queries-level=error")
    result.assert_outcomes(passed=1, failed=4)
    result = pytester.runpytest(*OPTIONS, "--queries", "--queries-level=report", "-W", "error")
    result.assert_outcomes(passed=4, failed=1)


def test_queries_are_allowed_by_block_decorator_and_marker(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_allowed="""
        import faults, pytest
        from querygrowth import allow_queries

        def test_block(session):
            with allow_queries("three at most"):
                faults.lookups(session)

        @allow_queries("three at most")
        def lookups(session): faults.lookups(session)
        def test_decorator(session): lookups(session)

        @allow_queries("three at most")
        def generated(session):
            yield from faults.lookups(session)
        def test_generator(session): assert list(generated(session))

        @pytest.mark.allow_queries("three at most")
        def test_marker(session): faults.lookups(session)

        @pytest.mark.allow_queries
        def test_marker_without_reason(session): faults.lazy_scalar(session)

        def test_no_reason():
            for wrong in ("", "  ", None, print):
                with pytest.raises(ValueError, match="allow_queries needs a reason"):
                    allow_queries(wrong)

        def test_after_the_block(session):
            with allow_queries("three at most"):
                faults.lookups(session)
            faults.lazy_collection(session)
        """,
    )
    result = pytester.runpytest(*OPTIONS, "--queries", "--strict-markers")
    result.assert_outcomes(passed=7)
    titles = [line for line in result.outlines if re.match(r"[a-z]+-[a-z-]+: ", line)]
    assert titles == [
        "lazy-load: Order.items, 3 in one call",
        "lazy-load: Order.customer, 3 in one call",
    ]
    result.stdout.fnmatch_lines(
        ["test_allowed.py::test_marker_without_reason: the marker allow_queries needs a reason*"]
    )
    pytester.runpytest(*OPTIONS, "--strict-markers", "-W", "error").assert_outcomes(passed=7)


def test_growth_that_a_test_proves_is_called_proven(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_shop_growth="""
        import faults
        from contextlib import contextmanager
        from conftest import Base, Customer, Item, Order, StaticPool
        from sqlalchemy import create_engine
        from sqlalchemy.orm import Session

        @contextmanager
        def filled(orders):
            engine = create_engine("sqlite://", poolclass=StaticPool)
            Base.metadata.create_all(engine)
            with Session(engine) as session:
                session.add(Customer(id=1, name="one"))
                session.add_all([Order(customer_id=1) for _ in range(orders)])
                session.commit()
                session.expunge_all()
            yield engine
            engine.dispose()

        def action(engine):
            with Session(engine) as session:
                faults.lazy_collection(session)

        def test_grows(query_growth):
            query_growth(action, filled, axes=["orders"], scales=(2, 5, 9), together=())

        def test_pattern(session):
            faults.lazy_collection(session)
        """,
    )
    (found,) = findings(pytester, passed=1, failed=1)
    assert found["proven_by"] == ["test_shop_growth.py::test_grows"]
    assert found["tests"] == ["test_shop_growth.py::test_pattern"]


def test_findings_of_one_loop_are_shown_together(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        work="""
        import faults
        from models import Item, Order

        def close(session, key):
            order = session.get(Order, key)
            assert order.customer.name and order.items
            order.state = "closed"
            session.flush()

        def close_all(session):
            for key in (1, 2, 3):
                close(session, key)
        """,
        test_shop_work="import work\ndef test_work(session): work.close_all(session)",
    )
    result = pytester.runpytest(*OPTIONS, "--queries")
    result.stdout.fnmatch_lines(
        [
            "1 test watched, 12 queries: 4 findings in 1 place",
            "lazy-load: Order.customer, 3 in one call",
            "  in the loop at: work.py:12 in close_all",
            "  also in this loop:",
            "    lazy-load: Order.items, 3 in one call (work.py:6 in close)",
            "    repeated-statement: SELECT ... FROM orders WHERE orders.id = ?, 3 in one call (*",
            "    row-by-row-write: UPDATE orders SET ... WHERE orders.id = ?, 3 in one call (*",
        ]
    )


def test_filters_without_an_index_are_found_on_request(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        search="""
        from models import Customer, Item, Order
        from sqlalchemy import or_, select, update

        def found(session):
            query = select(Order).where(Order.state == "new", Order.note != "x")
            return session.scalars(query).all()

        def range_of(session):
            return session.scalars(select(Customer).where(Customer.name.in_(["a", "b"]))).all()

        def written(session):
            session.execute(update(Order).where(Order.state == "new").values(state="old"))

        def right(session):
            session.scalars(select(Order).where(Order.id > 1, Order.state == "new")).all()
            session.scalars(select(Item).where(Item.order_id == 1)).all()
            session.scalars(select(Order).where(or_(Order.id == 1, Order.state == "new"))).all()
            session.scalars(select(Order)).all()
        """,
        test_shop_search="""
        import search
        def test_all(session):
            search.found(session), search.range_of(session), search.written(session)
            search.right(session)
        """,
    )
    pytester.makefile(".toml", pyproject="[tool.querygrowth.rules]\nunindexed-filter = 'report'")
    found = findings(pytester, passed=1)
    assert [(each["rule"], each["about"], each["place"]) for each in found] == [
        ("unindexed-filter", "orders by state", "search.py::found"),
        ("unindexed-filter", "customers by name", "search.py::range_of"),
        ("unindexed-filter", "orders by state", "search.py::written"),
    ]
    assert found[0]["fix"].startswith("no index of orders begins with state: add index=True")


def test_eager_loads_that_no_test_reads_are_found_on_request(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        eager="""
        from models import Order
        from sqlalchemy import select
        from sqlalchemy.orm import selectinload

        def unused(session):
            return session.scalars(select(Order).options(selectinload(Order.items))).all()

        def used(session):
            return session.scalars(select(Order).options(selectinload(Order.items))).all()
        """,
        test_eager="""
        import eager
        def test_read_by_none(session): assert eager.unused(session)[0].state
        def test_read_by_one(session): assert eager.used(session)[0].items
        def test_not_read_here(session): eager.used(session), eager.unused(session)
        """,
    )
    pytester.makefile(".toml", pyproject="[tool.querygrowth.rules]\nunused-eager-load = 'report'")
    (found,) = findings(pytester, passed=3)
    assert (found["rule"], found["about"], found["place"], found["test_count"]) == (
        "unused-eager-load",
        "Order.items",
        "eager.py::unused",
        2,
    )
    # SQLAlchemy is as it was.
    from sqlalchemy.orm import InstrumentedAttribute

    assert InstrumentedAttribute.__get__.__module__ == "sqlalchemy.orm.attributes"
    assert not hasattr(InstrumentedAttribute.__get__, "__wrapped__")
