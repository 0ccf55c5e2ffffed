"""Tests are counted apart from each other although the listeners stay attached between them."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from querygrowth import Project, QueryLog
from querygrowth.contracts.budget import Budget, is_plainly_kept, plain_budget
from querygrowth.counting.standby import count_test, detach_all

PROJECT = Project()


@pytest.fixture(autouse=True)
def no_listeners_left() -> Iterator[None]:
    yield
    detach_all()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    yield engine
    engine.dispose()


def ask(engine: Engine, times: int = 1) -> None:
    with engine.connect() as connection:
        for _ in range(times):
            connection.execute(text("SELECT 1 UNION SELECT 2")).all()


def listeners_on(engine: Engine) -> int:
    return len(engine.dispatch.before_cursor_execute) + len(engine.pool.dispatch.checkout)


def figures(log: QueryLog) -> tuple[int, int, int]:
    return log.total, log.transactions_begun, log.checkouts


@pytest.mark.parametrize("every_engine", [False, True])
def test_a_test_is_counted_without_what_came_before_it(engine: Engine, every_engine: bool) -> None:
    sources = [] if every_engine else [engine]
    with count_test(sources, PROJECT) as log:
        ask(engine, 3)
    assert figures(log) == (3, 1, 1)
    ask(engine, 5)
    assert figures(log) == (3, 1, 1)
    with count_test(sources, PROJECT) as log:
        ask(engine)
    assert figures(log) == (1, 1, 1)
    assert log.queries[0].site is not None
    assert log.queries[0].site.function == "ask"


def test_the_listeners_are_attached_once_and_detached_at_the_end(engine: Engine) -> None:
    before = listeners_on(engine)
    for _ in range(3):
        with count_test([engine], PROJECT):
            ask(engine)
        assert listeners_on(engine) == before + 2
    detach_all()
    assert listeners_on(engine) == before


def test_a_test_that_fails_leaves_nothing_counting(engine: Engine) -> None:
    with pytest.raises(KeyError), count_test([engine], PROJECT) as log:
        raise KeyError
    ask(engine)
    assert figures(log) == (0, 0, 0)


def test_an_engine_with_another_pool_is_counted(engine: Engine) -> None:
    for _ in range(2):
        with count_test([engine], PROJECT) as log:
            ask(engine)
        engine.dispose()
        assert figures(log) == (1, 1, 1)


@pytest.mark.parametrize("every_engine", [False, True])
def test_a_test_inside_of_a_test_is_counted_in_both(engine: Engine, every_engine: bool) -> None:
    sources = [] if every_engine else [engine]
    with count_test(sources, PROJECT) as outer:
        ask(engine)
        with count_test(sources, PROJECT) as inner:
            ask(engine)
        detach_all()
        ask(engine)
    assert (outer.total, inner.total) == (3, 1)


@pytest.mark.parametrize("every_engine", [False, True])
def test_an_engine_is_not_kept_alive(every_engine: bool) -> None:
    gc.freeze()  # a search of all objects of this process takes 0.2 seconds
    engine = create_engine("sqlite://")
    with count_test([] if every_engine else [engine], PROJECT) as log:
        ask(engine)
    engine.dispose()
    known = weakref.ref(engine)
    del engine, log
    gc.collect()
    gc.unfreeze()
    assert known() is None


def test_transactions_that_span_a_test_are_left_out(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        with count_test([engine], PROJECT) as log:
            connection.execute(text("SELECT 1")).all()
    with count_test([engine], PROJECT):
        pass
    assert log.statements == ()  # its log is valid until the next test begins


@pytest.mark.parametrize(
    ("args", "kwargs", "budget"),
    [
        ((5,), {}, Budget(5)),
        ((), {"total": 5, "transactions": 1}, Budget(5, None, 1)),
        ((), {"per_table": 1, "engine": ["primary", "replica"]}, Budget(None, 1)),
        ((), {}, None),
        ((True,), {}, None),
        ((-1,), {}, None),
        ((5, 3), {}, None),
        ((5,), {"total": 5}, None),
        ((5,), {"per_table": None}, None),
        ((), {"per_table": {"items": 1}}, None),
        ((5,), {"limit": 1}, None),
        ((5,), {"engine": 3}, None),
        ((), {"engine": "engine"}, None),
    ],
)
def test_only_a_right_budget_of_numbers_is_plain(
    args: tuple[object, ...], kwargs: dict[str, object], budget: Budget | None
) -> None:
    assert plain_budget(args, kwargs) == budget


@pytest.mark.parametrize(
    ("budget", "kept"),
    [
        (Budget(2), True),
        (Budget(1), False),
        (Budget(per_table=2), True),
        (Budget(per_table=1), False),
        (Budget(2, transactions=1), True),
        (Budget(2, transactions=0), False),
    ],
)
def test_a_budget_is_plainly_kept_up_to_its_limits(
    engine: Engine, budget: Budget, kept: bool
) -> None:
    with count_test([engine], PROJECT) as log:
        ask(engine, 2)
    assert is_plainly_kept(budget, log) is kept


def test_a_budget_is_not_plainly_kept_by_a_test_that_sends_no_query(engine: Engine) -> None:
    with count_test([engine], PROJECT) as log, engine.connect() as connection:
        connection.execute(text("PRAGMA foreign_keys"))
    assert not is_plainly_kept(Budget(5), log)
