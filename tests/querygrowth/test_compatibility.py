"""The same exact counts on every driver, and budgets under other pytest plugins.

`tox -e compat-...` runs this file with the versions in docs/compatibility.md. The environment
variables QUERYGROWTH_POSTGRESQL and QUERYGROWTH_MYSQL give the URL of an empty database, such as
`postgresql://postgres@localhost/test`; without them these drivers are skipped, except for psycopg
in the suite of the whole repository, which starts a PostgreSQL.
"""

import asyncio
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ForeignKey,
    create_engine,
    func,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.pool import NullPool
from test_pytest_plugin import OPTIONS

from querygrowth import (
    QueryLog,
    StatementKind,
    VerdictError,
    activity_of,
    assert_query_growth,
    count_queries,
)

pytest_plugins = ["pytester"]

SYNC, ASYNC = create_engine, create_async_engine

# Driver, the module that it needs, and how its engine is made. psycopg is both.
DRIVERS: Mapping[str, tuple[str, str, Callable[..., Any]]] = {
    "sqlite": ("sqlite+pysqlite", "sqlite3", SYNC),
    "aiosqlite": ("sqlite+aiosqlite", "aiosqlite", ASYNC),
    "psycopg": ("postgresql+psycopg", "psycopg", SYNC),
    "psycopg, async": ("postgresql+psycopg", "psycopg", ASYNC),
    "psycopg2": ("postgresql+psycopg2", "psycopg2", SYNC),
    "asyncpg": ("postgresql+asyncpg", "asyncpg", ASYNC),
    "pymysql": ("mysql+pymysql", "pymysql", SYNC),
    "asyncmy": ("mysql+asyncmy", "asyncmy", ASYNC),
}


# The workers of pytest-xdist share the database that is given.
PARENTS, CHILDREN = (
    f"compat_{each}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    for each in ("parents", "children")
)


class Base(DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = PARENTS
    id: Mapped[int] = mapped_column(primary_key=True)
    children: Mapped[list["Child"]] = relationship()


class Child(Base):
    __tablename__ = CHILDREN
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey(Parent.id))


@pytest.fixture(params=DRIVERS)
def new_engine(request: pytest.FixtureRequest, tmp_path: Any) -> Callable[[], Any]:
    """Make an engine of the driver, on a database that the test has for itself."""
    drivername, module, create = DRIVERS[request.param]
    importlib.import_module(module) if module == "sqlite3" else pytest.importorskip(module)
    url = database(request, drivername, tmp_path).set(drivername=drivername)
    # Connections of an event loop that has ended cannot be closed later.
    return lambda: create(url, poolclass=NullPool)


def database(request: pytest.FixtureRequest, drivername: str, tmp_path: Any) -> URL:
    backend = drivername.partition("+")[0]
    if backend == "sqlite":
        return make_url(f"sqlite:///{tmp_path / 'compat.db'}")
    given = os.environ.get(f"QUERYGROWTH_{backend.upper()}")
    if given:
        return make_url(given)
    if drivername == "postgresql+psycopg":
        return make_url(request.getfixturevalue("postgresql_url"))
    pytest.skip(f"QUERYGROWTH_{backend.upper()} names no database")


@contextmanager
def counted(engine: Engine | AsyncEngine) -> Iterator[tuple[QueryLog, Callable[..., None]]]:
    """Count, and give a function that runs a function in one transaction on either engine."""

    def run(work: Callable[[Connection], None]) -> None:
        if isinstance(engine, Engine):
            with engine.begin() as connection:
                work(connection)
        else:
            asyncio.run(run_async(work))

    async def run_async(work: Callable[[Connection], None]) -> None:
        assert isinstance(engine, AsyncEngine)
        async with engine.begin() as connection:
            await connection.run_sync(work)

    run(lambda connection: fill(connection, parents=3))
    with count_queries(engine) as log:
        yield log, run


def fill(connection: Connection, parents: int) -> None:
    Base.metadata.drop_all(connection)
    Base.metadata.create_all(connection)
    connection.execute(insert(Parent), [{"id": n} for n in range(1, parents + 1)])
    connection.execute(insert(Child), [{"parent_id": n // 2 + 1} for n in range(2 * parents)])


def everyday_work(connection: Connection) -> None:
    with Session(connection) as session:
        assert sum(len(each.children) for each in session.scalars(select(Parent))) == 6
    connection.execute(insert(Child), [{"parent_id": 1}, {"parent_id": 2}])
    connection.execute(update(Child).values(parent_id=3).where(Child.parent_id == 1))
    with connection.begin_nested():
        assert connection.execute(select(func.count()).select_from(Child)).scalar() == 8
    assert [len(part) for part in connection.execute(select(Parent.id)).partitions(2)] == [2, 1]


def test_every_driver_gives_the_same_counts(new_engine: Callable[[], Any]) -> None:
    with counted(new_engine()) as (log, run):
        run(everyday_work)
    assert log.by_table == {PARENTS: 2, CHILDREN: 6}
    assert log.total == 8
    assert log.rows_fetched == 3 + 6 + 1 + 3
    # psycopg2 sends the two rows in one statement with all values, and not as an executemany.
    inserted = [sent for sent in activity_of(log).shapes if sent.shape.operation == "INSERT"]
    assert [(sent.count, sent.rows_sent) for sent in inserted] == [(1, 2)]
    assert log.session_statements == 2  # SAVEPOINT, RELEASE
    assert (log.transactions_begun, log.commits, log.rollbacks) == (1, 1, 0)
    assert log.checkouts == 1
    assert not any(sent.failed for sent in log.statements)
    sites = {sent.site.function.rpartition(".")[2] for sent in log.queries if sent.site}
    assert sites <= {"everyday_work", "<genexpr>"}
    assert {sent.kind for sent in log.statements} == {StatementKind.QUERY, StatementKind.SESSION}


def test_every_driver_shows_growth(new_engine: Callable[[], Any]) -> None:
    first = new_engine()
    populate, lazily, eagerly = (
        (in_loop_of(new_engine)) if isinstance(first, AsyncEngine) else (directly(new_engine))
    )
    assert_query_growth(eagerly, populate, axes=["parents"], scales=(2, 9, 20))
    with pytest.raises(VerdictError) as raised:
        assert_query_growth(lazily, populate, axes=["parents"], scales=(2, 9, 20))
    message = str(raised.value)
    assert "queries grew with parents" in message
    assert CHILDREN in message
    assert "test_compatibility.py:" in message


def loaded(session: Session, *options: Any) -> int:
    parents = session.scalars(select(Parent).options(*options))
    return sum(len(parent.children) for parent in parents)


def directly(new_engine: Callable[[], Engine]) -> tuple[Any, Any, Any]:
    def populate(parents: int) -> Engine:
        engine = new_engine()
        with engine.begin() as connection:
            fill(connection, parents)
        return engine

    def lazily(engine: Engine) -> int:
        with Session(engine) as session:
            return loaded(session)

    def eagerly(engine: Engine) -> int:
        with Session(engine) as session:
            return loaded(session, selectinload(Parent.children))

    return populate, lazily, eagerly


def in_loop_of(new_engine: Callable[[], AsyncEngine]) -> tuple[Any, Any, Any]:
    async def populate(parents: int) -> AsyncEngine:
        engine = new_engine()
        async with engine.begin() as connection:
            await connection.run_sync(fill, parents)
        return engine

    async def lazily(engine: AsyncEngine) -> int:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: loaded(Session(sync)))

    async def eagerly(engine: AsyncEngine) -> int:
        option = selectinload(Parent.children)
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: loaded(Session(sync), option))

    return populate, lazily, eagerly


PROJECT = """
    import pytest
    from sqlalchemy import create_engine, text

    @pytest.fixture
    def engine():
        engine = create_engine("sqlite://")
        yield engine
        engine.dispose()

    @pytest.fixture
    def ask(engine):
        def ask(times):
            with engine.connect() as connection:
                for _ in range(times):
                    connection.execute(text("SELECT 1")).all()
        return ask
"""

TESTS = """
    import unittest
    import pytest

    times = iter([3, 1])

    @pytest.mark.query_budget(1)
    def test_kept(ask): ask(1)

    @pytest.mark.query_budget(1)
    def test_broken(ask): ask(2)

    @pytest.mark.query_budget(1)
    class TestOfUnittest(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _ask(self, ask): self.ask = ask

        def test_kept(self): self.ask(1)
        def test_broken(self): self.ask(2)
        def test_that_fails_itself(self):
            self.ask(2)
            self.fail("the body")
        def test_skipped(self): self.skipTest("not today")
        @unittest.expectedFailure
        def test_expected(self):
            self.ask(2)
            self.fail("the body")

    class TestAsync(unittest.IsolatedAsyncioTestCase):
        @pytest.fixture(autouse=True)
        def _ask(self, ask): self.ask = ask

        @pytest.mark.query_budget(1)
        async def test_broken(self): self.ask(2)
"""


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        ("_pytest.unittest", ()),
        ("xdist", ("-n", "1")),
        ("pytest_randomly", ("-p", "randomly")),
        ("pytest_rerunfailures", ("--reruns", "1")),
    ],
)
def test_budgets_hold_under_other_plugins(
    pytester: pytest.Pytester, plugin: str, options: tuple[str, ...]
) -> None:
    pytest.importorskip(plugin)
    pytester.makeconftest(PROJECT)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest(*OPTIONS, "-p", "no:asyncio", *options, "--queries")
    outcomes = result.parseoutcomes()
    for other in ("rerun", "warnings"):  # pytest may not know the options of absent plugins
        outcomes.pop(other, None)
    assert outcomes == {"passed": 2, "failed": 4, "skipped": 1, "xfailed": 1}
    result.stdout.fnmatch_lines(["*AssertionError: the body"])
    result.stdout.fnmatch_lines(["test_broken: 2 queries"] * 2)
    # Each test once, however often it ran. A skipped test was watched up to there.
    result.stdout.fnmatch_lines(["8 tests watched, 12 queries: 0 findings"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_test_that_keeps_its_budget_the_second_time_passes(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_rerunfailures")
    pytester.makeconftest(PROJECT)
    pytester.makepyfile(
        """
        import pytest
        times = iter([3, 1])

        @pytest.mark.query_budget(1)
        def test_flaky(ask): ask(next(times))
        """
    )
    result = pytester.runpytest(*OPTIONS, "--reruns", "1", "-p", "no:xdist")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}


def test_tests_of_anyio_are_counted(pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip("aiosqlite")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        @pytest.fixture
        async def engine(anyio_backend):
            engine = create_async_engine("sqlite+aiosqlite://")
            yield engine
            await engine.dispose()

        async def ask(engine, times):
            async with engine.connect() as connection:
                for _ in range(times):
                    await connection.execute(text("SELECT 1"))

        @pytest.mark.query_budget(1)
        async def test_kept(engine): await ask(engine, 1)

        @pytest.mark.query_budget(1)
        async def test_broken(engine): await ask(engine, 2)

        async def test_counting(engine, count_queries):
            with count_queries(engine) as log:
                await ask(engine, 3)
            assert log.total == 3
        """
    )
    result = pytester.runpytest(*OPTIONS, "-p", "no:asyncio", "-p", "anyio")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["test_broken: 2 queries", "at: *.py:* in ask"])
