"""Work counts are the same in every run, and in proportion to what is done."""

import asyncio
import sys
import threading
from collections.abc import Callable

import pytest
from scenarios.good import merge_by_dictionary, merged_streams
from scenarios.past_the_count import correlated_without_index, merge_by_nested_loops
from scenarios.shop import Item, async_shop, shop
from sqlalchemy import Engine, create_engine, select, text

from querygrowth.counting import work
from querygrowth.counting.work import count_branches, count_vm_steps
from querygrowth.places.call_sites import Project


def vm_steps(action: Callable[[Engine], object], orders: int) -> int:
    with shop(orders=orders) as engine, count_vm_steps(engine) as steps:
        action(engine)
    return steps.count


def branches(action: Callable[[Engine], object], orders: int) -> int:
    with shop(orders=orders) as engine, count_branches() as taken:
        action(engine)
    return taken.count


@pytest.mark.parametrize("count", [vm_steps, branches])
@pytest.mark.parametrize("action", [merged_streams, merge_by_nested_loops])
def test_two_runs_take_exactly_the_same_work(
    count: Callable[..., int], action: Callable[[Engine], object]
) -> None:
    counts = {count(action, 20) for _ in range(3)}
    assert len(counts) == 1
    assert counts.pop() > 100


def test_machine_steps_double_with_the_size_of_a_linear_query() -> None:
    assert vm_steps(merged_streams, 400) / vm_steps(merged_streams, 200) == pytest.approx(
        2, rel=0.03
    )


def test_machine_steps_quadruple_with_the_size_of_a_quadratic_query() -> None:
    grown = vm_steps(correlated_without_index, 200) / vm_steps(correlated_without_index, 100)
    assert grown == pytest.approx(4, rel=0.05)


def test_branches_double_for_a_linear_merge_and_quadruple_for_a_nested_one() -> None:
    linear = branches(merge_by_dictionary, 80) / branches(merge_by_dictionary, 40)
    nested = branches(merge_by_nested_loops, 80) / branches(merge_by_nested_loops, 40)
    assert linear == pytest.approx(2, rel=0.05)
    assert nested == pytest.approx(4, rel=0.1)


def test_branches_of_libraries_are_not_counted(tmp_path) -> None:
    with shop(orders=20) as engine, count_branches(Project(tmp_path)) as taken:
        merge_by_nested_loops(engine)
    assert taken.count == 0


def test_branches_in_threads_are_counted() -> None:
    def loop() -> None:
        for _ in range(1000):
            pass

    with count_branches() as taken:
        thread = threading.Thread(target=loop)
        thread.start()
        thread.join()
    assert taken.count >= 1000


def test_a_tracer_is_restored() -> None:
    def tracer(frame, event, arg):
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with count_branches():
            pass
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def test_machine_steps_stop_being_counted_at_the_end() -> None:
    with shop() as engine, engine.connect() as connection:
        with count_vm_steps(engine) as steps:
            connection.execute(select(Item.id)).all()
        counted = steps.count
        connection.execute(select(Item.id)).all()
    assert steps.count == counted > 0


def test_reading_the_steps_does_not_take_longer_with_every_connection_that_was_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    class Counter(work._StepCounter):
        def __init__(self, *given: work._FinishedSteps) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(work, "_StepCounter", Counter)
    engine = create_engine("sqlite://")
    with count_vm_steps(engine) as one, engine.connect() as connection:
        connection.scalar(text("SELECT 1"))
    with count_vm_steps(engine) as tally:
        for _ in range(20):
            with engine.connect() as connection:
                connection.scalar(text("SELECT 1"))
        assert len(made) == 21
        del made[0]
        counted = tally.read()
        for counter in made:
            counter.steps = None  # a counter that is read again would fail
        assert tally.read() == counted
    assert tally.count == 20 * one.count > 0


def test_machine_steps_of_an_async_engine_are_counted() -> None:
    async def ask() -> int:
        async with async_shop(orders=20) as engine:
            with count_vm_steps(engine) as steps:
                async with engine.connect() as connection:
                    (await connection.execute(select(Item.id))).all()
            return steps.count

    assert asyncio.run(ask()) == vm_steps(read_items, 20)


def read_items(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(select(Item.id)).all()


def test_machine_steps_of_another_database_are_refused() -> None:
    pytest.importorskip("psycopg", reason="needs a driver of another database")
    engine = create_engine("postgresql+psycopg://nobody@localhost/nothing")
    with pytest.raises(ValueError, match="SQLite only, not with psycopg"), count_vm_steps(engine):
        pytest.fail("the block was entered")
