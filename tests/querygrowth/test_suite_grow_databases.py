"""Growing runs on database files, in async sessions and on servers leave no row behind."""

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from grown_project import APPLICATION, MODELS, found, grown
from test_fill_on_servers import mariadb_url
from test_pytest_plugin import OPTIONS

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again
from querygrowth.suite.grow import process

pytest_plugins = ["pytester"]

FILE = """
    import application as app
    import pytest
    import sqlite3
    from models import Base, Post, Session, User, create_engine
    from sqlalchemy import event, select, text

    engine = create_engine("sqlite:///shop.db")

    @event.listens_for(engine, "connect")
    def _enforce(connection, _record):
        connection.execute("PRAGMA foreign_keys = ON")
        connection.isolation_level = None  # with what follows, transactions that can be rolled back

    @event.listens_for(engine, "begin")
    def _begin(connection):
        connection.exec_driver_sql("BEGIN")

    @pytest.fixture(scope="session", autouse=True)
    def tables():
        Base.metadata.create_all(engine)
        yield
        with engine.begin() as connection:
            left = connection.scalar(text("SELECT count(*) FROM users"))
        print(file=open("left.txt", "a"), end=f"{left} ")
        engine.dispose()

    @pytest.fixture
    def committed():
        with Session(engine) as session:
            user = User(name="ann", email="a@example.com", posts=[Post(slug="a"), Post(slug="b")])
            session.add(user)
            session.commit()
            yield
            session.delete(session.get(User, user.id).posts[0])
            session.delete(session.get(User, user.id).posts[1])
            session.delete(session.get(User, user.id))
            session.commit()

    @pytest.fixture
    def in_transaction():
        with engine.connect() as connection, connection.begin() as transaction:
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(User(name="bob", email="b@example.com", posts=[Post(slug="a")]))
                session.commit()
                yield session
            transaction.rollback()

    def test_committed(committed):
        with Session(engine) as session:
            assert app.authors_of_posts(session) == ["ann", "ann"]

    def test_in_transaction(in_transaction):
        app.authors_of_posts(in_transaction)
        in_transaction.commit()

    def test_locked(committed):
        other = sqlite3.connect("shop.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with Session(engine) as session:
                app.authors_of_posts(session)
        finally:
            other.execute("ROLLBACK")
            other.close()

    def test_that_fails(committed):
        with Session(engine) as session:
            app.authors_of_posts(session)
        assert False
"""


def test_a_database_file_is_left_as_it_was_and_no_outcome_changes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(models=MODELS, application=APPLICATION, test_file_grows=FILE)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    files = ("--queries-json=found.json", "--queries-sarif=found.sarif", "--junitxml=junit.xml")
    result = pytester.runpytest(*OPTIONS, "--queries=grow", *files, "-n1")
    assert result.ret == 1
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "running 3 tests again with their rows copied ...",
            "3 tests run again with rows copied, 2 judged: statements grow at 1 place",
            "grows: lazy-load: Post.author, 4 in one call",
            "  statements in one call: 1 -> 2 -> 4 with every row there once, twice, four times",
            "  2 tests: *::test_committed, *::test_in_transaction",
            "  a test that holds it, to paste beside *",
            "not judged, 1 test: rows could not be copied: (sqlite3.OperationalError) *locked*",
            "Growth is reported here. It changes no outcome and no exit code.",
        ]
    )
    assert (pytester.path / "left.txt").read_text() == "0 0 "
    content = json.loads((pytester.path / "found.json").read_text())["grown"]
    assert (content["tests"], content["judged"]) == (3, 2)
    assert [(each["about"], each["three"]) for each in content["findings"]] == [("Post.author", 4)]
    assert "test_that_fails" in (pytester.path / "junit.xml").read_text()
    sarif = json.loads((pytester.path / "found.sarif").read_text())["runs"][0]
    grown = [each for each in sarif["results"] if each["ruleId"] == "growth"]
    assert [each["level"] for each in grown] == ["note"]
    assert "lazy-load: Post.author grows, 1 -> 2 -> 4" in grown[0]["message"]["text"]
    place = grown[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place == "application.py"
    result.stdout.fnmatch_lines(["::notice file=application.py,line=*,title=growth%3A lazy-load*"])
    summary = (pytester.path / "summary.md").read_text()
    row = next(line for line in summary.splitlines() if line.startswith("| lazy"))
    assert row.replace("\\", "").split(" | ")[1:4] == ["Post.author", "1 -> 2 -> 4", "every row"]
    assert "    query_growth(action, copied_rows(" in summary


class Terminal:
    """A reporter that is no terminal, and acts when the first test is done."""

    isatty = False

    def __init__(self, signalled: signal.Signals) -> None:
        self.lines: list[str] = []
        self._signalled = signalled

    def write_line(self, line: str) -> None:
        self.lines.append(line.strip())
        if len(self.lines) == 2:
            signal.raise_signal(self._signalled)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the test's process, also where a shell started it in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_growing_process_and_leaves_no_folder(
    signalled: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own_signals: list[int] = []
    monkeypatch.setattr(process, "_raise_again", own_signals.append)
    waits = (
        "print(1, file=open(os.environ['QUERYGROWTH_GROW'] + '/results.jsonl', 'a'), flush=True)"
    )
    monkeypatch.setattr(process, "_CODE", f"import os, time\n{waits}\ntime.sleep(600)")
    terminal = Terminal(signalled)
    growing = process.GrowingProcess(pytestconfig)
    if signalled is signal.SIGTERM:
        with pytest.raises(process.TerminatedError):
            growing.run(["a", "b"], terminal)
        assert own_signals == [signal.SIGTERM]
    else:
        assert growing.run(["a", "b"], terminal).failure == "interrupted"
    assert terminal.lines[1] == "1 of 2 tests run again"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


ASYNC = """
    import pytest
    from models import Base, Post, User
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    from sqlalchemy.pool import NullPool

    @pytest.fixture
    def engine(tmp_path):
        # Without a pool, no connection outlives its session.
        url = f"sqlite+aiosqlite:///{tmp_path}/shop.db"
        return create_async_engine(url, poolclass=NullPool)

    async def filled(engine):
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(User(name="a", email="a", posts=[Post(slug="a"), Post(slug="b")]))
            await session.commit()

    @pytest.mark.asyncio
    async def test_loop(engine):
        from asynchronous import slugs
        await filled(engine)
        async with AsyncSession(engine) as session:
            found = await slugs(session)
            assert found == ["a", "b"]
        await engine.dispose()

    @pytest.mark.asyncio
    async def test_calls(engine):
        from asynchronous import slug
        await filled(engine)
        async with AsyncSession(engine) as session:
            for key in (await session.scalars(select(Post.id))).all():
                await slug(session, key)
        await engine.dispose()
"""
ASYNCHRONOUS = """
    from models import Post
    from sqlalchemy import select

    async def slug(session, key):
        return await session.scalar(select(Post.slug).where(Post.id == key))

    async def slugs(session):
        keys = (await session.scalars(select(Post.id).order_by(Post.id))).all()
        return [await slug(session, key) for key in keys]
"""


def test_async_sessions_grow(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytest.importorskip("aiosqlite")
    pytester.makepyfile(models=MODELS, asynchronous=ASYNCHRONOUS, test_async_grows=ASYNC)
    pytester.syspathinsert()
    results = grown(pytester)
    [shown] = found(results["test_loop"])
    assert (shown[0], shown[2], shown[3]) == ("repeated-statement", "slug", (2, 4, 8))
    assert found(results["test_calls"]) == []
    module = pytester.path / "test_async_grows.py"
    pasted = results["test_loop"]["found"][0]["test_to_paste"]
    module.write_text(f"{module.read_text()}\n\n{pasted}")
    result = pytester.runpytest(*OPTIONS, "-k", "does_not_grow")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*queries grew with copies*"])


SERVER = """
    import application as app
    import os
    import pytest
    from models import Base, Post, Session, User, create_engine
    from sqlalchemy import func, select

    @pytest.fixture(scope="module")
    def engine():
        engine = create_engine(os.environ["GROWN_URL"])
        Base.metadata.create_all(engine)
        yield engine
        with Session(engine) as session:
            assert session.scalar(select(func.count()).select_from(User)) == 1
        Base.metadata.drop_all(engine)
        engine.dispose()

    ids = set()

    @pytest.fixture
    def session(engine):
        with engine.connect() as connection, connection.begin() as transaction:
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(User(name="bob", email="b@example.com", posts=[Post(slug="a")]))
                session.commit()
                yield session
            transaction.rollback()

    def test_in_transaction(session):
        ids.add(session.scalar(select(User.id)))
        assert len(ids) == 1  # a rollback alone does not take numbers of a sequence back
        app.authors_of_posts(session)
        session.add(User(name="new", email="new"))
        session.commit()

    def test_what_is_committed_is_there_once_in_each_run(engine):
        with Session(engine) as session:
            session.add(User(name="bob", email="b@example.com", posts=[Post(slug="a")]))
            session.commit()
        with Session(engine) as session:
            app.authors_of_posts(session)
            session.scalars(select(User).where(User.name == "bob")).one().name = "tom"
            session.commit()
"""


def test_postgresql_grows_inside_the_transaction_of_the_fixtures(
    postgresql_url: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWN_URL", postgresql_url)
    _grows_on_a_server(pytester)


def test_mariadb_grows_as_postgresql_does(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mariadb_url().render_as_string(hide_password=False)
    monkeypatch.setenv("GROWN_URL", url)
    _grows_on_a_server(pytester)


def _grows_on_a_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=MODELS, application=APPLICATION, test_server_grows=SERVER)
    pytester.syspathinsert()
    lazy = [("lazy-load", "Post.author", "authors_of_posts", (1, 2, 4))]
    results = grown(pytester)
    assert {name: found(each) for name, each in results.items()} == {
        "test_in_transaction": lazy,
        "test_what_is_committed_is_there_once_in_each_run": lazy,
    }
