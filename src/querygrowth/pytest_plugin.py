"""The pytest plugin: its fixtures, the marker `query_budget`, and the options.

The fixtures are `count_queries`, `query_growth` and `same_results`. `querygrowth.suite.plugin` has
the hooks of the options `--queries` and `--queries-record`.

An error in one test, such as a marker with wrong arguments or a missing package, fails that test
alone.
"""

# pytest imports this module in every run of every suite where the package is installed. So it
# imports pytest and the standard library only; SQLAlchemy and sqlglot are imported through `_load`
# when a test first counts.

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any

import pytest

_PROJECT = pytest.StashKey[Any]()  # what counts as the user's code; learns the files it has seen
_ADDED = pytest.StashKey[list[str]]()  # engines' fixtures that the test does not request
_DEFAULT_ENGINE = "engine"

_MARKER = (
    "query_budget(total, *, per_table, transactions, engine): fail the test if its body sends "
    "more queries than that; per_table is a number, or a mapping of tables to numbers"
)
_ALLOW_MARKER = "allow_queries(reason): leave the test out of the report of --queries"
# No value is optional, because `--queries tests/` would take the path for it. An option that may
# have a value is two options.
_OPTIONS: dict[str, dict[str, Any]] = {
    "--queries": {"action": "store_true", "help": "report N+1 patterns of all tests, by place"},
    "--queries=grow": {
        "action": "store_true",
        "dest": "queries_grow",
        "help": "also run the tests again with their rows copied, and report what grows",
    },
    "--queries-level": {
        "choices": ("report", "warn", "error"),
        "help": "what a finding does: a line of the report, a warning, a failed test",
    },
    "--queries-baseline": {
        "choices": ("write",),
        "help": "accept the findings of this run, so that only new ones count from now on",
    },
    "--queries-json": {"metavar": "FILE", "help": "write the report as JSON"},
    "--queries-sarif": {"metavar": "FILE", "help": "write the findings as SARIF 2.1.0"},
    "--queries-markdown": {"metavar": "FILE", "help": "write the report as Markdown"},
    "--queries-record": {
        "action": "store_true",
        "help": "compare each test's statements with the record beside it",
    },
    "--queries-record=write": {
        "action": "store_true",
        "dest": "queries_record_write",
        "help": "record the statements of each test again",
    },
}
_NOT_OURS = (
    "this is querygrowth's marker; if yours has the same name, register it under `markers` in the "
    "settings of pytest, and it is left alone"
)
_LIMITS = {"total", "per_table", "transactions"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and the settings."""
    group = parser.getgroup("queries", "counting SQLAlchemy queries")
    for option, attributes in _OPTIONS.items():
        group.addoption(option, **attributes)
    parser.addini(
        "query_engine", "fixture that gives the engine to count on", default=_DEFAULT_ENGINE
    )
    # Not appended to a default list, which all runs of one process would share.
    group.addoption(
        "--query-project",
        action="append",
        metavar="NAME",
        help="an installed package, or a path, that is the project's code too; may be repeated",
    )
    parser.addini(
        "query_project", "installed packages and paths that are the project's code", type="args"
    )
    parser.addini("query_scales", "scales that query_growth tries on every axis", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, check the settings, and register what the options ask for."""
    config.addinivalue_line("markers", _MARKER)
    config.addinivalue_line("markers", _ALLOW_MARKER)
    _scales(config)
    grows = config.pluginmanager.get_plugin("querygrowth-grow")
    if grows is not None:  # in the process that `--queries=grow` has started
        grows.project = lambda: _project(config)
    if any(value for name, value in vars(config.option).items() if name.startswith("queries")):
        import_module("querygrowth.suite.plugin").register(config, lambda: _project(config))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the engine's fixture to a marked test that does not request it."""
    marker = _budget(item)
    if marker is None or not isinstance(item, pytest.Function) or not _is_plausible(marker):
        return  # a wrong marker fails its test in the call, and needs no fixture for that
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
    if not isinstance(item, pytest.Function):
        return (yield)
    marker = _budget(item)
    if marker is None:
        return (yield)
    _check_markers(item)
    # Most budgets are plain numbers and are kept: then no contract is built, and rows need not be
    # counted.
    plain = _load("contracts.budget").plain_budget(marker.args, marker.kwargs)
    contract = None if plain else _contract(item, marker)
    sources = _sources(item, marker)
    with _load("counting.standby").count_test(sources, _project(item.config)) as log:
        result = yield  # an exception of the body leaves here: it wins over a broken budget
    if plain and _load("contracts.budget").is_plainly_kept(plain, log):
        return result
    verdicts = _parsed(lambda: _counter(item).judge(log, contract or _contract(item, marker)))
    broken = [found for found in verdicts if found.failed]
    if broken:
        pytest.fail("\n\n".join(map(str, broken)), pytrace=False)
    _load("assertions").warn_of_inconclusive(verdicts)
    return result


def pytest_unconfigure() -> None:
    """Leave no listener attached."""
    standby = sys.modules.get("querygrowth.counting.standby")
    if standby is not None:
        standby.detach_all()


@pytest.fixture
def count_queries(request: pytest.FixtureRequest) -> Any:
    """`with count_queries(engine) as log:`; see `querygrowth.assertions.QueryCounter.count`."""
    return _unless_overridden(request, lambda: _counter(request.node).count)


@pytest.fixture
def query_growth(request: pytest.FixtureRequest) -> Any:
    """`query_growth(action, populate, axes=...)`; see `querygrowth.assert_query_growth`."""
    _load("counting.sql_tree")  # here, and not between two measured actions
    return _unless_overridden(request, lambda: _counter(request.node).assert_growth)


@pytest.fixture
def same_results(request: pytest.FixtureRequest) -> Any:
    """`same_results(old, new, models=[...])`; see `querygrowth.assert_same_results`."""

    def compared(*functions: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        report = _load("rewrites").assert_same_results(*functions, **options)
        request.node.user_properties.append(("same_results", str(report)))
        return report

    return _unless_overridden(request, lambda: compared)


def _unless_overridden(request: pytest.FixtureRequest, own: Callable[[], Any]) -> Any:
    """The plugin's own value, or that of another plugin's fixture of the same name.

    A conftest.py or a test module overrides the fixtures here. Between plugins, the one that was
    loaded last wins. This one must not replace the `count_queries` of pytest-django-queries, or of
    a project that loads its fixtures with `-p`. So it asks for the fixture that it overrides.
    """
    name = request.fixturename
    try:
        return request.getfixturevalue(str(name))
    except pytest.FixtureLookupError as error:
        if error.argname != name:
            raise  # the other fixture needs one that does not exist
    return own()


def _budget(item: pytest.Item) -> pytest.Mark | None:
    """The marker `query_budget` of a test, unless it belongs to the project or to another plugin.

    Projects use this name as a label, and other plugins with other arguments. They have registered
    it too, and then arguments that do not fit here are not an error.
    """
    markers = _markers(item)
    if not all(map(_is_plausible, markers)) and _is_registered_elsewhere(item.config):
        return None
    if len(markers) < 2:
        return markers[0] if markers else None
    # Several markers of one test hold together.
    limits = {name: value for each in markers for name, value in _arguments(each).items()}
    merged: pytest.Mark = pytest.mark.query_budget(**limits).mark
    return merged


def _markers(item: pytest.Item) -> list[pytest.Mark]:
    """The markers of the test itself, or else of its class, or else of its module."""
    found = list(item.iter_markers_with_node("query_budget"))
    return [marker for node, marker in found if node is found[0][0]]


def _arguments(marker: pytest.Mark) -> dict[str, Any]:
    return {**dict(zip(("total",), marker.args, strict=False)), **marker.kwargs}


def _check_markers(item: pytest.Item) -> None:
    """Fail a test with two markers that set one limit, or limits of different engines."""
    first, *others = map(_arguments, _markers(item))
    for other in others:
        engines = {str(each.get("engine", _DEFAULT_ENGINE)) for each in (first, other)}
        twice = (first.keys() & other.keys()) - {"engine"}
        if len(engines) > 1 or twice:
            what = f"set {min(twice)}" if twice else f"name {' and '.join(sorted(engines))}"
            reason = (
                f"query_budget: two markers of this test {what}: write one marker, and for another "
                "engine count in the test: with count_queries(engine, contract=...)"
            )
            raise pytest.fail.Exception(reason, pytrace=False)


def _is_plausible(marker: pytest.Mark) -> bool:
    """Whether the arguments can be those of this plugin: a limit, and no other name."""
    names = marker.kwargs.keys()
    limited = len(marker.args) == 1 or (not marker.args and bool(names & _LIMITS))
    return limited and names <= _LIMITS | {"engine"}


def _is_registered_elsewhere(config: pytest.Config) -> bool:
    lines = (line for line in config.getini("markers") if line != _MARKER)
    return any(line.partition(":")[0].partition("(")[0].strip() == "query_budget" for line in lines)


def _fixtures(item: pytest.Item, marker: pytest.Mark) -> tuple[Any, ...]:
    """The fixtures that give the engines of a budget, as the marker or the settings name them.

    There is none in a project without a fixture of the default name. All engines are counted then.
    """
    named = marker.kwargs.get("engine", item.config.getini("query_engine"))
    known = named in getattr(item, "funcargs", ()) if isinstance(named, str) else False
    if named == _DEFAULT_ENGINE and "engine" not in marker.kwargs and not known:
        # pytest has no public function for this. The method is there from 8.2 to 9.2.
        manager = getattr(item.session, "_fixturemanager", None)
        if manager is not None and not manager.getfixturedefs(named, item):
            return ()
    return tuple(named) if isinstance(named, list | tuple) else (named,)


def _contract(item: pytest.Item, marker: pytest.Mark) -> Any:
    """The contract of the marker. A wrong marker fails the test."""
    arguments = {"engine": item.config.getini("query_engine"), **marker.kwargs}
    try:
        return _load("assertions").query_budget(*marker.args, **arguments)
    except (TypeError, ValueError) as misuse:
        if not _is_plausible(marker):
            raise pytest.fail.Exception(f"{misuse}; {_NOT_OURS}", pytrace=False) from None
        raise pytest.fail.Exception(str(misuse), pytrace=False) from None


def _sources(item: pytest.Function, marker: pytest.Mark) -> tuple[Any, ...]:
    """The engines of a budget; none for all engines of the process."""
    engines: list[Any] = []
    for name in _fixtures(item, marker):
        source = item.funcargs[name]
        try:
            found = _load("counting.engine").engines_of(source)
        except ValueError as refused:
            reason = (
                f"no SQLAlchemy engine in a value of type {type(source).__name__}: name a fixture "
                f"that gives an engine, or a session ({refused})"
            )
            raise pytest.fail.Exception(reason, pytrace=False) from None
        if found is None:
            return ()  # any engine of the process may be used
        engines += found
    return tuple(engines)


def _counter(item: pytest.Item) -> Any:
    """The `QueryCounter` of a test."""
    call_sites = _load("places.call_sites")
    path, line, name = item.location
    config = item.config
    return _load("assertions").QueryCounter(
        subject=item.name,
        site=call_sites.CallSite(str(config.rootpath / path), (line or 0) + 1, name),
        project=_project(config),
        default_scales=_scales(config) or None,
    )


def _project(config: pytest.Config) -> Any:
    """What counts as the user's code. A name that does not exist fails the test."""
    if _PROJECT not in config.stash:
        names = [*config.getini("query_project"), *(config.getoption("--query-project") or ())]
        packages = [config.rootpath / name if "/" in name else name for name in names]
        try:
            project = _load("places.call_sites").Project(config.rootpath, packages=packages)
        except ValueError as misuse:
            raise pytest.fail.Exception(f"query_project: {misuse}", pytrace=False) from None
        config.stash[_PROJECT] = project
    return config.stash[_PROJECT]


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
    name = f"querygrowth.{module}"
    return sys.modules.get(name) or _parsed(lambda: import_module(name))


def _parsed(read: Callable[[], Any]) -> Any:
    """What `read` returns. If it needs a package that is missing, the test fails.

    sqlglot is imported when the first statement is parsed, which many tests never need.
    """
    try:
        return read()
    except ImportError as error:
        missing = (error.name or "querygrowth").partition(".")[0]
        raise pytest.fail.Exception(
            f"querygrowth cannot count queries: {error}; try: pip install {missing}", pytrace=False
        ) from None
