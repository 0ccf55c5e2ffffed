"""`pytest --queries=grow` finds lines whose statements grow, and is silent about those that do not.

Most tests run the plugin of the growing process in this process, which is cheaper.
"""

import pytest
from grown_project import APPLICATION, MODELS, found, grown
from suite_project import write_project
from test_pytest_plugin import OPTIONS

import querygrowth.suite.watcher  # noqa: F401  # otherwise every inner suite imports it again
from querygrowth.suite.grow.counts import grows

pytest_plugins = ["pytester"]


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

    class TestInAClass:
        @pytest.fixture(autouse=True)
        def _session(self, session):
            self.session = session

        def test_method(self):
            make(self.session)
            assert len(app.authors_of_posts(self.session)) == 2

    @pytest.fixture(scope="module", params=["sqlite://", "sqlite:///left.db"])
    def wide_engine(request):
        options = {} if "left" in request.param else {"poolclass": StaticPool}
        engine = create_engine(request.param, **options)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add(Tag(name="of all tests"))
            session.commit()
        yield engine
        engine.dispose()

    def test_what_is_left(wide_engine):
        with Session(wide_engine) as session:
            assert make(session).id == 1
            session.scalars(select(Tag).where(Tag.name == "of all tests")).one().name = "changed"
            session.commit()
            app.authors_of_posts(session)

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
        "test_what_is_left[sqlite://]": [
            ("lazy-load", "Post.author", "authors_of_posts", (1, 2, 4))
        ],
        "test_what_is_left[sqlite:///left.db]": [
            ("lazy-load", "Post.author", "authors_of_posts", (1, 2, 4))
        ],
        "test_method": [("lazy-load", "Post.author", "authors_of_posts", (1, 2, 4))],
        "test_two_calls": [("lazy-load", "Post.author", "authors_of_posts", (2, 4, 8))],
    }
    assert results["test_tree"]["found"][0]["rows"] == "rows below posts"
    assert "copied_rows(self.session)" in results["test_method"]["found"][0]["test_to_paste"]


def test_a_jump_that_stays_is_growth_only_where_a_limit_explains_it() -> None:
    for counts in ((1, 2, 4), (0, 2, 3), (43, 44, 46), (1, 2, 3)):
        assert grows(*counts, limited=False), counts
    for counts in ((2, 3, 3), (3, 5, 5)):
        assert (grows(*counts, limited=True), grows(*counts, limited=False)) == (True, False)
    for counts in ((1, 2, 2), (2, 5, 5), (2, 2, 3), (3, 2, 1), (2, 3, 2)):
        assert not grows(*counts, limited=True), counts


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
