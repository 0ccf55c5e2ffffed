"""The pytest plugin: fixtures `count_queries` and `query_growth`, marker `query_budget`, a report.

Nothing is imported, attached or counted until a test asks for it. A failing test body always wins
over a broken budget.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

# This module is imported in every pytest run, so what needs SQLAlchemy is imported where it is
# used; the objects of `querygrowth.budget` therefore pass through here untyped.
_BUDGET = pytest.StashKey[Any]()
_COUNTS = pytest.StashKey[list[dict[str, str | int]]]()
_REPORTED = "query_counts"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--query-report` and the ini options."""
    group = parser.getgroup("queries", "counting SQLAlchemy queries")
    group.addoption(
        "--query-report",
        action="store_true",
        help="print the queries of every test that counts them or uses the engine fixture",
    )
    parser.addini("query_engine", "fixture that gives the engine to count on", default="engine")
    parser.addini("query_scales", "scales that query_growth tries on every axis", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "query_budget(total, *, per_table, transactions, engine): fail the test if its body sends "
        "more queries than that; per_table is a number, or a mapping of tables to numbers",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Read the budget of a marked test, and make sure its engine is set up."""
    marker = item.get_closest_marker("query_budget")
    if marker is None or not isinstance(item, pytest.Function):
        return
    from querygrowth.budget import budget

    arguments = {"engine": item.config.getini("query_engine"), **marker.kwargs}
    try:
        item.stash[_BUDGET] = budget(*marker.args, **arguments)
    except (TypeError, ValueError) as misuse:
        raise pytest.UsageError(f"{item.nodeid}: {misuse}") from None
    if arguments["engine"] not in item.fixturenames:
        item.fixturenames.append(arguments["engine"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count what the test's body sends, and judge it once the body has passed."""
    budget = item.stash.get(_BUDGET, None)
    fixture = budget.engine_fixture if budget else _reported_fixture(item)
    if fixture is None:
        return (yield)
    from querygrowth.budget import counts_of, engine_of
    from querygrowth.call_sites import Project
    from querygrowth.log import count_queries

    engine = engine_of(item.funcargs[fixture])  # type: ignore[attr-defined]  # a Function
    with count_queries(engine, project=Project(item.config.rootpath)) as log:
        result = yield
    if _COUNTS not in item.stash:  # else the test counted for itself
        _note(item, counts_of(log))
    broken = [each for each in budget.judge(log, item.name) if each.failed] if budget else []
    if broken:
        pytest.fail("\n\n".join(map(str, broken)), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the counts on the test's report, which is what a worker process hands over."""
    report = yield
    if report.when == "call" and _COUNTS in item.stash:
        setattr(report, _REPORTED, item.stash[_COUNTS])
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the report, most queries first."""
    if not config.getoption("--query-report"):
        return
    reports = [report for group in terminalreporter.stats.values() for report in group]
    lines = [
        (counts, report.nodeid) for report in reports for counts in getattr(report, _REPORTED, ())
    ]
    terminalreporter.section("queries")
    terminalreporter.write_line(f"{'queries':>8} {'transactions':>13} {'rows':>8}  test")
    for counts, nodeid in sorted(lines, key=lambda line: (-line[0]["queries"], line[1])):
        terminalreporter.write_line(
            f"{counts['queries']:>8} {counts['transactions']:>13} {counts['rows']:>8}  {nodeid}"
            f"  ({counts['tables'] or 'no table'})"
        )


@pytest.fixture
def count_queries(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`with count_queries(engine) as log:`; see `querygrowth.budget.Counter.count`."""
    counting: Callable[..., Any] = _counter(request).count
    return counting


@pytest.fixture
def query_growth(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`query_growth(action, populate, axes=...)`; see `budget.Counter.assert_growth`."""
    growth: Callable[..., Any] = _counter(request).assert_growth
    return growth


def _counter(request: pytest.FixtureRequest) -> Any:
    from querygrowth.budget import Counter
    from querygrowth.call_sites import Project

    item, config = request.node, request.config
    scales = tuple(int(scale) for scale in config.getini("query_scales"))
    return Counter(
        subject=item.name,
        project=Project(config.rootpath),
        default_scales=scales or None,
        report=lambda counts: _note(item, counts),
    )


def _reported_fixture(item: pytest.Item) -> str | None:
    """The engine fixture of an unmarked test, if the report was asked for."""
    if not item.config.getoption("--query-report"):
        return None
    fixture: str = item.config.getini("query_engine")
    return fixture if fixture in getattr(item, "funcargs", {}) else None


def _note(item: pytest.Item, counts: dict[str, str | int]) -> None:
    item.stash.setdefault(_COUNTS, []).append(counts)
