"""The scenarios as an ordinary test suite for another tool: one test for a scenario and axis.

The environment variable PEER names the tool. It runs with its best settings: detection switched on,
a budget equal to the count at the smallest scale (like a budget copied from a small fixture), and
the test at the largest scale. Where a scenario declares chunks or pages, they are declared to the
tool too, and the budget is the count at the largest scale.
"""

import asyncio
import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from scenarios import BAD, GOOD
from scenarios.scenario import Scenario
from sqlalchemy import Engine, event


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("scenario", "axis"),
        [
            pytest.param(scenario, axis, id=f"{scenario}|{axis}", marks=marks(scenario, axis))
            for scenario in (*BAD, *GOOD)
            for axis in scenario.axes
        ],
    )


def test_scenario(scenario: Scenario, axis: str, engine: Engine) -> None:
    act(scenario, engine)


@pytest.fixture
def engine(scenario: Scenario, axis: str) -> Iterator[Engine]:
    with populated(scenario, axis, scenario.scales[-1]) as engine:
        yield engine


def marks(scenario: Scenario, axis: str) -> list[pytest.MarkDecorator]:
    """The tool's own markers for this scenario."""
    declared = bool(scenario.allowed)
    budget = statements(scenario, axis, scenario.scales[-1 if declared else 0])
    match os.environ["PEER"]:
        case "queryguard":
            allowed = [pytest.mark.allow_nplusone()] if declared else []
            return [pytest.mark.max_queries(budget), *allowed]
        case "querycount":
            strict = [] if declared else [pytest.mark.no_n_plus_one]
            return [pytest.mark.max_queries(budget), *strict]
        case "queryspy":
            return [pytest.mark.queryspy(max_queries=budget, allow_n_plus_one=declared)]
        case peer:
            raise ValueError(f"unknown peer {peer!r}")


def statements(scenario: Scenario, axis: str, scale: int) -> int:
    """How many statements SQLAlchemy reports at one scale."""
    seen: list[str] = []
    with populated(scenario, axis, scale) as engine:
        target = getattr(engine, "sync_engine", engine)
        event.listen(target, "before_cursor_execute", lambda *event: seen.append(event[2]))
        act(scenario, engine)
    return len(seen)


def act(scenario: Scenario, engine: Engine) -> None:
    result = scenario.action(engine)
    if inspect.isawaitable(result):
        loop().run_until_complete(result)


@contextmanager
def populated(scenario: Scenario, axis: str, scale: int) -> Iterator[Engine]:
    shop = scenario.populate(**{**scenario.axes, axis: scale})
    if isinstance(shop, AbstractContextManager):
        with shop as engine:
            yield engine
        return
    engine = loop().run_until_complete(shop.__aenter__())
    yield engine
    loop().run_until_complete(shop.__aexit__(None, None, None))


def loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())
        return asyncio.get_event_loop_policy().get_event_loop()
