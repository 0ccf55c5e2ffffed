"""`pytest --queries=grow` finds lines whose statements grow, and is silent about those that do not.

Most tests run the plugin of the growing process in this process, which is cheaper.
"""

import json
from typing import Any

import pytest
from suite_project import OPTIONS, write_project

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again
from querygrowth.suite.grow.runner import GrowRunner

pytest_plugins = ["pytester"]
Results = dict[str, dict[str, Any]]


def grown(pytester: pytest.Pytester, *options: str) -> Results:
    """Run the suite as the growing process does, and return what each test shows, by its name."""
    path = pytester.path / "results.jsonl"
    path.unlink(missing_ok=True)
    pytester.inline_run(*OPTIONS, *options, plugins=[GrowRunner(None, path)])
    results = [json.loads(line) for line in path.read_text().splitlines()]
    return {each["test"].rpartition("::")[2]: each for each in results}


def found(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The findings of a test: rule, about, function, and the counts."""
    assert result.get("judged"), result
    return [
        (
            each["finding"]["rule"],
            each["finding"]["about"],
            each["finding"]["place"].rpartition("::")[2],
            (each["control"], each["one"], each["three"]),
        )
        for each in result["found"]
    ]


def test_rows_of_fixtures_grow_and_repaired_code_is_silent(pytester: pytest.Pytester) -> None:
    write_project(
        pytester,
        test_shop_grows="""
        import faults
        import pytest
        import repaired

        @pytest.mark.parametrize("name", ["lazy_collection", "lazy_scalar", "lazy_through_map",
            "lookups", "refreshed", "deferred", "latest", "writes"])
        def test_fault(session, name):
            getattr(faults, name)(session)

        @pytest.mark.parametrize("name", ["lazy_collection", "lazy_scalar", "lookups",
            "refreshed", "deferred", "writes", "pages", "chunks", "create"])
        def test_repaired(session, name):
            getattr(repaired, name)(session)

        def test_detail(session):
            assert repaired.detail(session, 1) == (["a", "b"], "customer 0")

        @pytest.mark.allow_queries("three at most")
        def test_allowed(session):
            faults.lazy_collection(session)

        def test_nothing_is_sent():
            pass
        """,
    )
    results = grown(pytester)
    lazy = (3, 6, 12)
    assert {
        name: found(each) for name, each in results.items() if name.startswith("test_fault")
    } == {
        "test_fault[lazy_collection]": [("lazy-load", "Order.items", "lazy_collection", lazy)],
        "test_fault[lazy_scalar]": [("lazy-load", "Order.customer", "lazy_scalar", lazy)],
        "test_fault[lazy_through_map]": [("lazy-load", "Order.customer", "name_of", lazy)],
        "test_fault[lookups]": [],  # three keys, however many rows there are
        "test_fault[refreshed]": [("refreshed-attribute", "Order", "refreshed", lazy)],
        "test_fault[deferred]": [("deferred-attribute", "Order.note", "deferred", lazy)],
        "test_fault[latest]": [],
        "test_fault[writes]": [("row-by-row-write", "INSERT INTO items", "writes", lazy)],
    }
    silent = [each for name, each in results.items() if "repaired" in name or "detail" in name]
    assert [found(each) for each in silent] == [[]] * 10
    assert results["test_allowed"]["reason"] == "has the marker allow_queries"
    assert results["test_nothing_is_sent"]["reason"] == "its application sends no SELECT"


MODELS = """
    from datetime import datetime
    from sqlalchemy import Boolean, Column, ForeignKey, Table, UniqueConstraint, create_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

    class Base(DeclarativeBase):
        pass

    links = Table("links", Base.metadata, Column("post_id", ForeignKey("posts.id")),
                  Column("tag_id", ForeignKey("tags.id")))

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(unique=True)
        name: Mapped[str]
        is_default: Mapped[bool] = mapped_column(default=False)
        posts: Mapped[list["Post"]] = relationship(back_populates="author", order_by="Post.id")
        profile: Mapped["Profile"] = relationship(uselist=False)

    class Profile(Base):
        __tablename__ = "profiles"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))

    class Post(Base):
        __tablename__ = "posts"
        __table_args__ = (UniqueConstraint("author_id", "slug"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        parent_id: Mapped[int | None] = mapped_column(ForeignKey("posts.id"))
        slug: Mapped[str]
        author: Mapped[User] = relationship(back_populates="posts")
        replies: Mapped[list["Post"]] = relationship()
        tags: Mapped[list["Tag"]] = relationship(secondary=links)

    class Tag(Base):
        __tablename__ = "tags"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(unique=True)
"""
APPLICATION = """
    import random
    from models import Post, Profile, Tag, User
    from sqlalchemy import func, select
    from sqlalchemy.orm import selectinload

    def authors_of_posts(session):
        return [post.author.name for post in session.scalars(select(Post))]

    def tags_of_posts(session):
        return [[tag.name for tag in post.tags] for post in session.scalars(select(Post))]

    def replies(session, post_id):
        return [len(reply.replies) for reply in session.get(Post, post_id).replies]

    def counts_of_posts(session, name):
        user = session.scalars(select(User).where(User.name == name)).one_or_none()
        return [
            session.scalar(select(func.count()).where(Post.parent_id == post.id))
            for post in user.posts
        ]

    def default_profile(session):
        user = session.scalars(select(User).where(User.is_default)).one()
        return session.scalars(select(Profile).where(Profile.user_id == user.id)).one()

    def newest(session):
        posts = session.scalars(select(Post).order_by(Post.id.desc()).limit(3))
        return [post.author.name for post in posts]

    def post(session, post_id):
        return session.get(Post, post_id).slug

    def all_of_one(session, name):
        user = session.scalar(select(User).where(User.name == name))
        return [post.slug for post in user.posts]

    KNOWN = {}

    def known_names(session):
        for each in session.scalars(select(User.id)).all():
            if each not in KNOWN:
                KNOWN[each] = session.scalar(select(User.name).where(User.id == each))
        return KNOWN

    CHANCE = random.Random(3)  # 5 with one copy, 4 without, 7 with three, then 9 without

    def by_chance(session):
        for _ in range(CHANCE.randint(2, 9)):
            session.scalar(select(func.count()).select_from(User))

    def explodes(session):
        try:
            return session.scalars(select(User)).one()
        except Exception:
            for _ in range(3):
                session.scalar(select(func.count()).select_from(User))

    def eager(session):
        posts = session.scalars(select(Post).options(selectinload(Post.tags)))
        return [[tag.name for tag in post.tags] for post in posts]

    def user_and_posts(session, name):
        return session.scalars(select(User).where(User.name == name)).one(), newest(session)
"""
BODIES = """
    import application as app
    import pytest
    from models import Base, Post, Profile, Session, Tag, User, create_engine
    from sqlalchemy import select
    from sqlalchemy.pool import StaticPool

    @pytest.fixture
    def session():
        engine = create_engine("sqlite://", poolclass=StaticPool)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            yield session
        engine.dispose()

    def make(session, posts=2):
        user = User(name="ann", email="ann@example.com", is_default=True, profile=Profile())
        tag = Tag(name="red")
        user.posts = [Post(slug=f"s{n}", tags=[tag]) for n in range(posts)]
        session.add(user)
        session.commit()
        return user

    def test_authors(session):
        make(session)
        assert app.authors_of_posts(session) == ["ann", "ann"]

    def test_association(session):
        make(session)
        app.tags_of_posts(session)

    def test_tree(session):
        user = make(session, posts=1)
        session.add_all([Post(slug=f"r{n}", author_id=1, parent_id=1) for n in range(2)])
        session.commit()
        assert app.replies(session, 1) == [0, 0]

    def test_children_of_one_parent(session):
        make(session)
        app.counts_of_posts(session, "ann")

    def test_what_is_there_once(session):
        make(session)
        assert app.default_profile(session).user_id == 1

    def test_limit(session):
        make(session, posts=2)
        app.newest(session)

    def test_calls_in_a_loop(session):
        make(session)
        for post in session.scalars(select(Post)):
            app.post(session, post.id)

    def test_reads_in_a_loop(session):
        make(session)
        for key in session.scalars(select(Post.id)).all():
            app.post(session, key)

    def test_children_are_loaded_at_once(session):
        make(session)
        app.all_of_one(session, "ann")

    def test_cache(session):
        make(session)
        app.known_names(session)

    def test_chance(session):
        make(session)
        app.by_chance(session)

    def test_error(session):
        make(session)
        app.explodes(session)

    def test_eager(session):
        make(session)
        app.eager(session)

    def test_two_calls(session):
        make(session)
        app.eager(session)
        session.add(User(name="bob", email="bob@example.com", posts=[Post(slug="b")]))
        session.commit()
        assert len(app.authors_of_posts(session)) == 3

    def test_the_body_itself(session):
        make(session)
        assert [len(post.tags) for post in session.scalars(select(Post))] == [1, 1]

    def test_the_last_assertion(session):
        make(session)
        users = session.scalars(select(User)).all()
        app.eager(session)
        session.expire_all()
        assert session.scalar(select(User.id)) == 1
        assert [post.author.name for post in session.scalars(select(Post))] == ["ann"] * 2
"""


def test_rows_of_bodies_grow(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(models=MODELS, application=APPLICATION, test_bodies_grow=BODIES)
    pytester.syspathinsert()
    results = grown(pytester)
    count = "SELECT count(*) AS count_1 WHERE posts.parent_id = ?"
    for name in ("test_the_body_itself", "test_calls_in_a_loop"):  # the test has loaded the posts
        assert results.pop(name)["reason"] == "its application sends no SELECT"
    shown = {name: found(each) for name, each in results.items() if each.get("found") != []}
    counted = shown.pop("test_children_of_one_parent")
    assert [(each[0], each[2], each[3]) for each in counted] == [
        ("repeated-statement", "counts_of_posts", (2, 4, 8))
    ], count
    assert shown == {
        "test_authors": [("lazy-load", "Post.author", "authors_of_posts", (1, 2, 4))],
        "test_association": [("lazy-load", "Post.tags", "tags_of_posts", (2, 4, 8))],
        "test_tree": [("lazy-load", "Post.replies", "replies", (3, 5, 9))],
        "test_limit": [("lazy-load", "Post.author", "newest", (1, 2, 3))],
        "test_two_calls": [("lazy-load", "Post.author", "authors_of_posts", (2, 4, 8))],
    }
    assert results["test_tree"]["found"][0]["rows"] == "rows below posts"


@pytest.mark.parametrize("name", ["test_authors", "test_tree"])
def test_a_test_to_paste_runs_fails_and_passes_once_repaired(
    pytester: pytest.Pytester, name: str
) -> None:
    pytester.makepyfile(models=MODELS, application=APPLICATION, test_bodies_grow=BODIES)
    pytester.syspathinsert()
    [shown] = grown(pytester, "-k", name)[name]["found"]
    pasted = shown["test_to_paste"]
    module = pytester.path / "test_bodies_grow.py"
    module.write_text(f"{module.read_text()}\n\n{pasted}")
    result = pytester.runpytest(*OPTIONS, "-k", "does_not_grow")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*action: queries grew with copies"])
    application = pytester.path / "application.py"
    repaired = application.read_text()
    for before, after in {
        "select(Post))]": "select(Post).options(selectinload(Post.author)))]",
        "session.get(Post, post_id).replies]": "session.scalars(select(Post).where(Post.id == "
        "post_id).options(selectinload(Post.replies).selectinload(Post.replies))).one().replies]",
    }.items():
        repaired = repaired.replace(before, after)
    application.write_text(repaired)
    pytester.runpytest(*OPTIONS, "-k", "does_not_grow").assert_outcomes(passed=1)


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
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(models=MODELS, application=APPLICATION, test_file_grows=FILE)
    result = pytester.runpytest_subprocess(
        *OPTIONS, "--queries=grow", "--queries-json=found.json", "--junitxml=junit.xml", "-n1"
    )
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


ASYNC = """
    import pytest
    from models import Base, Post, User
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    @pytest.fixture
    def engine(tmp_path):
        return create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")

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


POSTGRESQL = """
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
            assert session.scalar(select(func.count()).select_from(User)) == 0
        engine.dispose()

    @pytest.fixture
    def session(engine):
        with engine.connect() as connection, connection.begin() as transaction:
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(User(name="bob", email="b@example.com", posts=[Post(slug="a")]))
                session.commit()
                yield session
            transaction.rollback()

    def test_in_transaction(session):
        app.authors_of_posts(session)
        session.add(User(name="new", email="new"))
        session.commit()

    def test_committed(engine):
        with Session(engine) as session:
            session.add(User(name="bob", email="b@example.com", posts=[Post(slug="a")]))
            session.commit()
        try:
            with Session(engine) as session:
                app.authors_of_posts(session)
        finally:
            with Session(engine) as session:
                user = session.scalars(select(User).where(User.name == "bob")).one()
                session.delete(user.posts[0])
                session.flush()
                session.expire_all()
                session.delete(user)
                session.commit()
"""


def test_postgresql_grows_inside_the_transaction_of_the_fixtures(
    postgresql_url: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWN_URL", postgresql_url)
    pytester.makepyfile(models=MODELS, application=APPLICATION, test_postgresql_grows=POSTGRESQL)
    pytester.syspathinsert()
    lazy = [("lazy-load", "Post.author", "authors_of_posts", (1, 2, 4))]
    results = grown(pytester)
    assert {name: found(each) for name, each in results.items()} == {
        "test_in_transaction": lazy,
        "test_committed": lazy,
    }
