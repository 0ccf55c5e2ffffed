"""`--query-report` changes no outcome, and a budget counts what a project has as its engine.

Every project here is one run of pytest, since starting one costs more than its tests.
"""

import pytest

pytest_plugins = ["pytester"]

OPTIONS = (
    "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:faker", "-p", "no:benchmark",
    "-o", "asyncio_default_fixture_loop_scope=function",
    "-W", "error",
)  # fmt: skip

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


def test_the_report_fails_no_test_of_a_project_with_another_engine(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(STRANGERS)
    without = pytester.runpytest(*OPTIONS).parseoutcomes()
    result = pytester.runpytest(*OPTIONS, "--query-report")
    assert result.parseoutcomes() == without == {"passed": 32, "xfailed": 16}
    result.stdout.fnmatch_lines(
        ["not counted: *uses_it?text? and 2 more: expected an SQLAlchemy Engine, got str*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_report_fails_no_test_whose_counts_cannot_be_read(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import create_engine, text

        @pytest.fixture
        def engine(monkeypatch):
            import querygrowth.log
            def broken(*_):
                raise ZeroDivisionError("in the counting")
            monkeypatch.setattr(querygrowth.log.QueryLog, "by_table", property(broken))
            return create_engine("sqlite://")

        def test_counted(engine):
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT 1")) == 1
        """
    )
    result = pytester.runpytest(*OPTIONS, "--query-report")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not counted: *test_counted: in the counting"])


def test_a_budget_counts_sessions_several_engines_and_any_engine(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session, sessionmaker

        def ask(engine, times=1):
            for _ in range(times):
                with engine.connect() as connection:
                    connection.execute(text("SELECT 1")).all()

        @pytest.fixture
        def primary():
            return create_engine("sqlite://")

        @pytest.fixture
        def replica():
            return create_engine("sqlite://")

        @pytest.fixture
        def session(primary):
            with Session(primary) as session:
                yield session

        @pytest.fixture
        def maker(primary):
            return sessionmaker(primary)

        @pytest.fixture
        def number():
            return 7

        @pytest.mark.query_budget(1, engine="session")
        def test_a_session(session):
            session.execute(text("SELECT 1"))
            session.execute(text("SELECT 2"))

        @pytest.mark.query_budget(2, engine="maker")
        def test_a_sessionmaker(primary):
            ask(primary, 2)

        @pytest.mark.query_budget(3, engine=["primary", "replica"])
        def test_two_engines(primary, replica):
            ask(primary, 2)
            ask(replica, 2)

        @pytest.mark.query_budget(2)
        def test_any_engine():
            ask(create_engine("sqlite://"), 3)

        @pytest.mark.query_budget(3)
        def test_any_engine_that_is_kept(replica):
            ask(replica, 3)

        @pytest.mark.query_budget(1, engine="number")
        def test_no_engine():
            pass

        @pytest.mark.query_budget(1, engine=["primary", 5])
        def test_no_name():
            pass

        def test_the_fixture(count_queries, primary, replica):
            with count_queries(primary, replica) as log:
                ask(primary)
                ask(replica, 2)
            assert (log.total, log.of(replica).total) == (3, 2)
            with count_queries() as log:
                ask(create_engine("sqlite://"))
            assert log.total == 1
        """
    )
    result = pytester.runpytest(*OPTIONS)
    result.assert_outcomes(passed=3, failed=5)
    result.stdout.fnmatch_lines(
        [
            "test_a_session: 2 queries",
            "test_two_engines: 4 queries",
            "test_any_engine: 3 queries",
            "no SQLAlchemy engine in a value of type int: name a fixture that gives an engine*",
            "query_budget: engine must be the name of a fixture, got ?'primary', 5?",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
