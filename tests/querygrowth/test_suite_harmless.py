"""`--queries` at level report changes no outcome, no output of tests, and no exit code."""

import re

import pytest
from suite_project import write_project
from test_pytest_plugin import OPTIONS

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


# Fixtures of the name `engine` in projects that have nothing to do with SQLAlchemy, or hide it.
STRANGERS = '''
from unittest.mock import MagicMock, create_autospec
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

class Repository:
    """A repository of a project: some attributes raise, and one is a session."""
    def __init__(self, session=None):
        self.session = session
    @property
    def engine(self):
        raise RuntimeError("no request")
    @property
    def bind(self):
        raise KeyError("bind")

class Greedy:
    """An object that has every attribute, and no equality."""
    def __getattr__(self, name):
        return Greedy()
    def __bool__(self):
        raise ValueError("no truth")
    def __eq__(self, other):
        raise ValueError("no equality")
    __hash__ = None

class Car:
    def start(self):
        raise AssertionError("a stranger started the engine")

def start():
    raise AssertionError("a stranger started the engine")

class Broken(Session):
    def get_bind(self, *args, **kwargs):
        raise LookupError("no tenant")

MAKE = {
    "text": lambda: "a steam engine",
    "nothing": lambda: None,
    "mock": MagicMock,
    "autospec": lambda: create_autospec(Engine),
    "autospec_of_an_object": lambda: create_autospec(Engine, instance=True),
    "mock_with_spec": lambda: MagicMock(spec=Engine),
    "autospec_of_a_session": lambda: create_autospec(Session, instance=True),
    "repository": Repository,
    "repository_with_a_session": lambda: Repository(Session()),
    "greedy": Greedy,
    "function": lambda: start,
    "method": lambda: Car().start,
    "class": lambda: Car,
    "generator": lambda: (each for each in ()),
    "unbound_session": Session,
    "broken_session": Broken,
}

@pytest.fixture(params=MAKE)
def engine(request):
    return MAKE[request.param]()

def test_uses_it(engine):
    pass

@pytest.mark.xfail(strict=True)
def test_fails_as_before(engine):
    assert engine is ...

def test_raises_stop_iteration_as_before(engine):
    with pytest.raises(StopIteration):
        next(iter(()))
'''


def test_no_test_of_a_project_with_another_engine_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(STRANGERS)
    result = pytester.runpytest(*OPTIONS, "-W", "error", "--queries")
    result.assert_outcomes(passed=32, xfailed=16)
    result.stdout.fnmatch_lines(["48 tests watched, 0 queries: 0 findings"])
    result.stdout.no_fnmatch_line("*not watched*")


EVERY_OUTCOME = """
    import logging, sys, unittest, warnings
    import faults, pytest

    def test_passes(session, capsys, caplog, recwarn):
        faults.lazy_collection(session)
        print("out"), logging.getLogger("app").warning("logged"), warnings.warn("warned")
        assert capsys.readouterr() == ("out\\n", "")
        assert [record.getMessage() for record in caplog.records] == ["logged"]
        assert [str(each.message) for each in recwarn] == ["warned"]

    def test_fails(session):
        print("printed by the test")
        faults.lookups(session)
        assert faults.find(session, 1) == "another"

    def test_errs(session): raise LookupError("of the test")
    def test_skips(session):
        faults.lookups(session)
        pytest.skip("of the test")
    @pytest.mark.xfail(strict=True)
    def test_xfails(session):
        faults.lazy_scalar(session)
        assert 0
    @pytest.mark.xfail
    def test_xpasses(session): faults.lazy_scalar(session)
    def test_warns(session):
        faults.writes(session)
        warnings.warn("of the test")
    def test_stops(session):
        with pytest.raises(StopIteration): next(iter(()))
    @pytest.fixture
    def broken(): raise OSError("of the fixture")
    def test_setup(broken): pass

    class TestOfUnittest(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _session(self, session): self.session = session
        def test_passes(self): faults.lazy_collection(self.session)
        def test_fails(self):
            faults.lookups(self.session)
            self.fail("of the case")
        def test_skips(self): self.skipTest("of the case")
        @unittest.expectedFailure
        def test_expected(self): self.fail("of the case")
        def test_subtests(self):
            for key in (1, 2):
                with self.subTest(key=key): faults.find(self.session, key)
"""


def comparable(lines: list[str]) -> list[str]:
    """The output without the report, times and addresses."""
    text = "\n".join(lines)
    text = re.sub(r"=+ queries =+\n.*?\n(?==)", "", text, flags=re.DOTALL)
    text = re.sub(r" in [\d.]+s\b|0x[0-9a-f]+|\[\d+ms\]", "", text)
    return text.splitlines()


def test_the_output_of_every_outcome_is_the_same(pytester: pytest.Pytester) -> None:
    write_project(pytester, test_outcomes=EVERY_OUTCOME)
    options = (*OPTIONS, "-rA", "-W", "default", "-p", "no:xdist")
    without = pytester.runpytest(*options)
    watched = pytester.runpytest(*options, "--queries")
    assert watched.ret == without.ret == 1
    assert comparable(watched.outlines) == comparable(without.outlines)
    assert watched.errlines == without.errlines
    watched.stdout.fnmatch_lines(["13 tests watched, 32 queries: 4 findings in * places"])


def test_nothing_is_watched_while_tests_are_only_collected(pytester: pytest.Pytester) -> None:
    write_project(pytester, test_outcomes=EVERY_OUTCOME)
    options = ("--queries", "--queries-record", "--queries-baseline=write", "--queries-json=x.json")
    result = pytester.runpytest(*OPTIONS, *options, "--co", "-q")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*= queries =*")
    assert sorted(path.name for path in pytester.path.glob("*.json")) == []


def test_an_error_of_the_watcher_is_a_line_of_the_report(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_broken="""
        import faults, pytest, querygrowth.suite.watcher

        @pytest.fixture(autouse=True, params=["patterns_in", "log_of_every_engine"])
        def broken(monkeypatch, request):
            def broken(*_): raise ZeroDivisionError("in the watcher")
            monkeypatch.setattr(querygrowth.suite.watcher, request.param, broken)

        def test_passes(session): faults.lookups(session)
        def test_fails(session): assert faults.lookups(session) == []
        """,
    )
    result = pytester.runpytest(*OPTIONS, "-W", "error", "--queries", "--queries-level=error")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*::test_*: not watched: in the watcher"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


RERUN = """
    import pytest
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        for _ in range(2):  # as pytest-rerunfailures does
            item._initrequest()
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        return True
"""


def test_a_test_that_runs_again_counts_once(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        reruns=RERUN,
        test_again="""
        import faults
        times = iter([faults.lookups, faults.all_orders])
        def test_better_the_second_time(session): next(times)(session)
        """,
    )
    result = pytester.runpytest(*OPTIONS, "--queries", "-p", "reruns")
    result.stdout.fnmatch_lines(["1 test watched, 1 query: 0 findings"])


def test_a_suite_that_runs_pytest_itself_is_watched_in_both(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_outer="""
        import faults, pytest
        from querygrowth import allow_queries
        pytest_plugins = ["pytester"]

        def test_outer(session, pytester):
            with allow_queries("known"):
                faults.lookups(session)
            pytester.makepyfile(test_inner="def test_inner(): pass")
            pytester.runpytest("-p", "no:asyncio", "--queries").assert_outcomes(passed=1)
            faults.lazy_collection(session)
        """,
    )
    result = pytester.runpytest(*OPTIONS, "--queries")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 test watched, 7 queries: 1 finding in 1 place"])


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        ("xdist", ("-n", "1")),
        ("pytest_randomly", ("-p", "randomly")),
        ("pytest_rerunfailures", ("--reruns", "1")),
    ],
)
def test_findings_are_the_same_under_other_plugins(
    pytester: pytest.Pytester, plugin: str, options: tuple[str, ...]
) -> None:
    pytest.importorskip(plugin)
    write_project(
        pytester,
        test_some="""
        import faults
        def test_one(session): faults.lazy_collection(session)
        def test_two(session):
            faults.lazy_collection(session)
            assert 0
        """,
    )
    result = pytester.runpytest(*OPTIONS, "-p", "no:asyncio", *options, "--queries")
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"]) == (1, 1)
    result.stdout.fnmatch_lines(
        ["2 tests watched, 8 queries: 1 finding in 1 place", "  2 tests: *"]
    )
