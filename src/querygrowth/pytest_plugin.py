"""The pytest plugin: fixtures `count_queries` and `query_growth`, marker `query_budget`.

An error in one test, such as a marker with wrong arguments or a missing package, fails that test
alone.
"""

# pytest imports this module in every run of every suite where the package is installed. So it
# imports pytest and the standard library only; SQLAlchemy and sqlglot are imported through `_load`
# when a test first counts.

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import pytest

_COUNTS = pytest.StashKey[list[dict[str, str | int]]]()
_ADDED = pytest.StashKey[list[str]]()  # engines' fixtures that the test does not request
_UNCOUNTED = pytest.StashKey[str]()  # why the report does not show the counts of a test
# The attributes of a test report that hold its counts, or why it has none.
_REPORTED, _NOT_REPORTED = "query_counts", "queries_not_counted"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--query-report` and the settings."""
    group = parser.getgroup("queries", "counting SQLAlchemy queries")
    group.addoption(
        "--query-report",
        action="store_true",
        help="print the queries of every test that counts them or uses the engine fixture",
    )
    parser.addini("query_engine", "fixture that gives the engine to count on", default="engine")
    parser.addini("query_scales", "scales that query_growth tries on every axis", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and check the settings."""
    config.addinivalue_line(
        "markers",
        "query_budget(total, *, per_table, transactions, engine): fail the test if its body sends "
        "more queries than that; per_table is a number, or a mapping of tables to numbers",
    )
    _scales(config)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the engine's fixture to a marked test that does not request it."""
    marker = item.get_closest_marker("query_budget")
    if marker is None or not isinstance(item, pytest.Function):
        return
    for fixture in _fixtures(item, marker):
        if isinstance(fixture, str) and fixture not in item.fixturenames:
            item.fixturenames.append(fixture)
            item.stash.setdefault(_ADDED, []).append(fixture)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Name the marker or the setting where the fixture that it names does not exist."""
    try:
        return (yield)
    except pytest.FixtureLookupError as error:
        # The test itself does not request this fixture, so pytest's own message would show a name
        # that is nowhere in the test.
        if error.argname not in item.stash.get(_ADDED, []):
            raise
        marker = item.get_closest_marker("query_budget")
        named = marker is not None and "engine" in marker.kwargs
        reason = (
            f"query_budget: there is no fixture {error.argname!r} to count on; it is named in "
            + (
                f"query_budget(engine={error.argname!r})"
                if named
                else "the setting query_engine (default: engine)"
            )
            + "; name the fixture that gives the engine, as pytest --fixtures lists it"
        )
    raise pytest.fail.Exception(reason, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count what the test's body sends, and judge it once the body has passed."""
    # Only the body is counted. Fixtures are set up and torn down outside of this hook.
    marker = item.get_closest_marker("query_budget")
    if not isinstance(item, pytest.Function):
        return (yield)
    if marker is None:
        with _reported(item):
            return (yield)
    contract, sources = _marked(item, marker)
    counter = _counter(item)
    with _load("log").count_queries(*sources, project=counter.project) as log:
        result = yield  # an exception of the body leaves here: it wins over a broken budget
    if _COUNTS not in item.stash:  # otherwise the test counted for itself
        counter.report(_load("assertions").counts_of(log))
    verdicts = counter.judge(log, contract)
    broken = [found for found in verdicts if found.failed]
    if broken:
        pytest.fail("\n\n".join(map(str, broken)), pytrace=False)
    _load("assertions").warn_of_inconclusive(verdicts)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the counts to the test's report. An xdist worker sends it to the controller."""
    report = yield
    if report.when == "call" and _COUNTS in item.stash:
        setattr(report, _REPORTED, item.stash[_COUNTS])
    if report.when == "call" and _UNCOUNTED in item.stash:
        setattr(report, _NOT_REPORTED, item.stash[_UNCOUNTED])
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
    for report in reports:
        if reason := getattr(report, _NOT_REPORTED, ""):
            terminalreporter.write_line(f"not counted: {report.nodeid}: {reason}")


@pytest.fixture
def count_queries(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`with count_queries(engine) as log:`; see `querygrowth.assertions.QueryCounter.count`."""
    counting: Callable[..., Any] = _counter(request.node).count
    return counting


@pytest.fixture
def query_growth(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`query_growth(action, populate, axes=...)`; see `querygrowth.assert_query_growth`."""
    growth: Callable[..., Any] = _counter(request.node).assert_growth
    return growth


def _fixtures(item: pytest.Item, marker: pytest.Mark) -> tuple[Any, ...]:
    """The fixtures that give the engines of a budget, as the marker or the settings name them."""
    named = marker.kwargs.get("engine", item.config.getini("query_engine"))
    return tuple(named) if isinstance(named, list | tuple) else (named,)


def _marked(item: pytest.Function, marker: pytest.Mark) -> tuple[Any, tuple[Any, ...]]:
    """The contract of the marker, and the values of its fixtures. A wrong marker fails the test."""
    arguments = {"engine": item.config.getini("query_engine"), **marker.kwargs}
    try:
        contract = _load("assertions").query_budget(*marker.args, **arguments)
    except (TypeError, ValueError) as misuse:
        raise pytest.fail.Exception(str(misuse), pytrace=False) from None
    sources = tuple(item.funcargs[name] for name in _fixtures(item, marker))
    for source in sources:
        try:
            _load("engine").engines_of(source)
        except ValueError as refused:
            reason = (
                f"no SQLAlchemy engine in a value of type {type(source).__name__}: name a fixture "
                f"that gives an engine, or a session ({refused})"
            )
            raise pytest.fail.Exception(reason, pytrace=False) from None
    return contract, sources


@contextmanager
def _reported(item: pytest.Function) -> Generator[None, None, None]:
    """Count what an unmarked test sends, if `--query-report` is set and it uses the fixture.

    The report is an addition to a run. Nothing that goes wrong in counting changes an outcome, so
    that every error here is noted for the report, whatever its class.
    """
    fixture = item.config.getini("query_engine")
    if not item.config.getoption("--query-report") or fixture not in item.funcargs:
        yield
        return
    with ExitStack() as counting:
        log = None
        try:
            _load("engine").engines_of(item.funcargs[fixture])
            project = _counter(item).project
            log = counting.enter_context(
                _load("log").count_queries(item.funcargs[fixture], project=project)
            )
        except (Exception, pytest.fail.Exception) as error:
            item.stash[_UNCOUNTED] = _first_line(error)
        yield
    if log is not None and _COUNTS not in item.stash:  # otherwise the test counted for itself
        try:
            _counter(item).report(_load("assertions").counts_of(log))
        except (Exception, pytest.fail.Exception) as error:
            item.stash[_UNCOUNTED] = _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _counter(item: pytest.Item) -> Any:
    """The `QueryCounter` of a test."""
    call_sites = _load("call_sites")
    path, line, name = item.location
    return _load("assertions").QueryCounter(
        subject=item.name,
        site=call_sites.CallSite(str(item.config.rootpath / path), (line or 0) + 1, name),
        project=call_sites.Project(item.config.rootpath),
        default_scales=_scales(item.config) or None,
        report=lambda counts: item.stash.setdefault(_COUNTS, []).append(counts),
    )


def _scales(config: pytest.Config) -> tuple[int, ...]:
    scales = config.getini("query_scales")
    try:
        return tuple(int(scale) for scale in scales)
    except ValueError:
        raise pytest.UsageError(
            f"query_scales must be whole numbers, such as 2 20 501, got {' '.join(scales)!r}"
        ) from None


def _load(module: str) -> Any:
    """Import a module of this package. If it needs a package that is missing, the test fails."""
    try:
        # The first query imports it otherwise, in the middle of a test.
        import_module("querygrowth.sql_tree")
        return import_module(f"querygrowth.{module}")
    except ImportError as error:
        missing = (error.name or "querygrowth").partition(".")[0]
        raise pytest.fail.Exception(
            f"querygrowth cannot count queries: {error}; try: pip install {missing}", pytrace=False
        ) from None
