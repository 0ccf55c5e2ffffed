"""Exceptions of populate and of the action: the step, the sizes and the axis stand first."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from unittest import SkipTest

import pytest
from scenarios.shop import shop
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.pool import SingletonThreadPool

from querygrowth.counting.watch import StepError
from querygrowth.growth.measure import measure_growth


def filled(orders: int = 2) -> Engine:
    # Closed at the end of the test, also where an async test has made it in another thread.
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
        for _ in range(orders):
            connection.execute(text("INSERT INTO orders DEFAULT VALUES"))
    return engine


def reads(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT id FROM orders")))


def fails_at_seven(orders: int = 2) -> Engine:
    if orders == 7:
        raise KeyError("seven")
    return filled(orders)


@contextmanager
def fails_at_its_end(orders: int = 2) -> Iterator[Engine]:
    yield filled(orders)
    raise OSError("still open")


async def async_populate(orders: int = 2) -> Engine:
    raise ConnectionError


def generates(orders: int = 2) -> Iterator[Engine]:
    yield filled(orders)


async def generates_async(orders: int = 2) -> AsyncIterator[Engine]:
    yield filled(orders)


def several(orders: int = 2) -> tuple[Engine, Engine]:
    return filled(orders), filled()


def reads_the_first(engines: tuple[Engine, ...]) -> list[int]:
    return reads(engines[0])


@pytest.mark.parametrize(
    ("populate", "action"),
    [(generates, reads), (generates_async, reads), (several, reads_the_first)],
)
def test_populate_may_be_a_generator_or_return_several_engines(populate, action) -> None:
    report = measure_growth(action, populate, axes=["orders"], scales=(2, 3, 4))
    assert [each.records for each in report.axes] == [(2, 3, 4)]


@pytest.mark.parametrize(
    ("action", "populate", "axes", "message"),
    [
        ([1], filled, ["orders"], "the action must be a function, got list: pass the function"),
        (reads, filled(2), ["orders"], "populate must be a function, got Engine: pass the"),
        (filled, reads, ["orders"], "the order is query_growth(action, populate)"),
        (lambda: 1, filled, ["orders"], "the action must take one argument, what populate returns"),
        (reads, filled, ["orders", "orders"], "axes names an axis twice: orders, orders"),
        (reads, lambda orders: None, ["orders"], "returned None: is its return or yield missing?"),
    ],
)
def test_wrong_arguments_are_refused_in_words_that_say_what_to_pass(
    action, populate, axes, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_growth(action, populate, axes=axes, scales=(2, 3, 4))


@asynccontextmanager
async def async_end(orders: int = 2) -> AsyncIterator[Engine]:
    yield filled(orders)
    raise OSError("still open")


def refuses(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM missing"))


async def awaits(_engine: Engine) -> None:
    raise ValueError("first line\nsecond line")


def needs_a_loop(_engine: Engine) -> None:
    asyncio.get_running_loop()


async def starts_a_loop(_engine: Engine) -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


def asserts(engine: Engine) -> None:
    assert reads(engine) == []


@pytest.mark.parametrize(
    ("action", "populate", "message", "cause"),
    [
        (reads, fails_at_seven, r"populate failed at orders=7 \(axis orders\): KeyError: 'seven'",
            KeyError),
        (reads, fails_at_its_end, r"the end of populate failed at orders=2 .*: OSError: still open",
            OSError),
        (reads, async_end, r"the end of populate failed at orders=2", OSError),
        (reads, async_populate, r"populate failed at orders=2 \(axis orders\): ConnectionError$",
            ConnectionError),
        (refuses, filled, r"the action failed at orders=2 .*: OperationalError: .*table: missing",
            Exception),
        (awaits, filled, r"the action failed at orders=2 \(axis orders\): ValueError: first line$",
            ValueError),
        (needs_a_loop, filled, r"the action failed at .* no running event loop\n.*as `async def`",
            RuntimeError),
        (starts_a_loop, filled, r"the action failed at .* running event loop\n.*`async def` and aw",
            RuntimeError),
        (asserts, filled, r"the action failed at orders=2 .*: AssertionError: assert",
            AssertionError),
    ],
    ids=lambda value: getattr(value, "__name__", "message"),
)  # fmt: skip
def test_the_step_its_sizes_and_its_axis_stand_first(
    action: Callable[..., object],
    populate: Callable[..., object],
    message: str,
    cause: type[Exception],
) -> None:
    with pytest.raises(StepError, match=rf"^{message}") as failure:
        measure_growth(action, populate, axes=["orders"], scales=(2, 7, 23))
    assert isinstance(failure.value.__cause__, cause)
    # A failure of the user's code is not shown as one that happened while another was handled.
    assert failure.value.__cause__.__context__ is None or action is refuses


@pytest.mark.asyncio
async def test_the_message_is_the_same_in_an_async_test() -> None:
    with pytest.raises(StepError, match="the action failed at orders=2"):
        measure_growth(refuses, filled, axes=["orders"])


def test_tables_that_another_thread_does_not_have_are_explained() -> None:
    def elsewhere(engine: Engine) -> None:
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(count, engine).result()

    def count(engine: Engine) -> None:
        with engine.connect() as connection:
            connection.scalar(text("SELECT count(*) FROM orders"))

    @contextmanager
    def in_this_thread(orders: int) -> Iterator[Engine]:
        engine = create_engine("sqlite://", poolclass=SingletonThreadPool)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE orders (id INTEGER)"))
        yield engine
        engine.dispose()

    with pytest.raises(StepError, match=r"no such table: orders\n.*poolclass=StaticPool"):
        measure_growth(elsewhere, in_this_thread, axes=["orders"])


def test_a_lazy_load_without_await_is_explained() -> None:
    def lazy(_engine: Engine) -> None:
        raise MissingGreenlet("greenlet_spawn has not been called; can't call await_only() here.")

    with pytest.raises(StepError, match=r"MissingGreenlet: .*\n  something is loaded without"):
        measure_growth(lazy, filled, axes=["orders"])


@pytest.mark.parametrize("skipped", [SkipTest("not here"), pytest.skip.Exception("not here")])
def test_an_action_may_skip_the_test(skipped: BaseException) -> None:
    def skips(_engine: Engine) -> None:
        raise skipped

    with pytest.raises(type(skipped), match="not here"):
        measure_growth(skips, shop, axes=["orders"])


def test_a_refusal_of_ours_is_not_an_error_of_a_step() -> None:
    def writes(engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM items"))

    with pytest.raises(ValueError, match="pass writes=True"):
        measure_growth(writes, shop, axes=["orders"])
    with pytest.raises(ValueError, match="populate must return"):
        measure_growth(reads, lambda orders: orders, axes=["orders"])
