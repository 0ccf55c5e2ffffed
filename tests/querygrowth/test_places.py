"""The line that is blamed for a query, where frameworks stand between it and the user's code.

A marker comment in the source names the line: the query that is meant must be placed there.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from time import sleep
from types import FrameType, ModuleType

import pytest
import pytest_asyncio
from scenarios.library import Author, Base, Book
from sqlalchemy import Engine, StaticPool, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from test_pytest_plugin import OPTIONS

from querygrowth.counting.log import count_queries
from querygrowth.counting.query import Query
from querygrowth.places.call_sites import CallSite, Project
from querygrowth.places.off_stack import waiting_frames

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent


@pytest.fixture
def engine() -> Iterator[Engine]:
    # One connection for all threads, since a database in memory belongs to its connection.
    opened = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    Base.metadata.create_all(opened)
    with Session(opened) as session:
        session.add_all(Author(name=f"author {n}", books=[Book(title="t")]) for n in range(3))
        session.commit()
    yield opened
    opened.dispose()


@pytest_asyncio.fixture
async def async_engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    opened = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'library.db'}")
    async with opened.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(opened) as session:
        session.add_all(Author(name=f"author {n}", books=[Book(title="t")]) for n in range(3))
        await session.commit()
    yield opened
    await opened.dispose()


def line_of(marker: str, path: Path = Path(__file__)) -> int:
    """The only line of a file that ends with a marker comment."""
    lines = path.read_text().splitlines()
    (found,) = [n for n, line in enumerate(lines, start=1) if line.rstrip().endswith(f"# {marker}")]
    return found


def about(table: str, queries: tuple[Query, ...]) -> Query:
    """The last query about a table."""
    return [query for query in queries if query.shape.table == table][-1]


def module_of(path: Path, source: str, name: str) -> ModuleType:
    """Write a module, and run it as an import of that name does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source))
    module = ModuleType(name)
    module.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module


def placed_at(query: Query, marker: str) -> bool:
    assert query.site is not None
    return (query.site.path, query.site.line) == (__file__, line_of(marker))


class TestTemplates:
    def test_the_line_of_a_template_file_is_blamed_and_not_the_generated_code(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        jinja2 = pytest.importorskip("jinja2")
        template = tmp_path / "authors.html"
        template.write_text(
            "<ul>\n{% for a in authors %}\n{% if a.id %}\n<li>{{ a.books|length }}\n"
            "{% endif %}{% endfor %}\n"
        )
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(tmp_path))
        with count_queries(engine, project=Project(tmp_path)) as log, Session(engine) as session:
            authors = session.scalars(select(Author)).all()
            environment.get_template("authors.html").render(authors=authors)
        site = about("books", log.queries).site
        assert site is not None
        assert (site.path, site.line, site.function) == (str(template), 4, "the template")

    def test_blocks_and_included_templates_are_named_from_the_test_inwards(
        self, engine: Engine
    ) -> None:
        jinja2 = pytest.importorskip("jinja2")
        sources = {
            "base.html": "<html>\n{% block body %}{% endblock %}",
            "page.html": "{% extends 'base.html' %}\n{% block body %}\n"
            "{% for a in authors %}{% include 'row.html' %}{% endfor %}{% endblock %}",
            "row.html": "\n\n{{ a.books[0].title }}",
        }
        environment = jinja2.Environment(loader=jinja2.DictLoader(sources))
        with count_queries(engine, project=Project(HERE)) as log, Session(engine) as session:
            authors = session.scalars(select(Author)).all()
            environment.get_template("page.html").render(authors=authors)  # renders
        callers = about("books", log.queries).callers
        assert callers[:4] == (
            CallSite("row.html", 3, "the template"),
            CallSite("page.html", 3, "block body"),
            CallSite("base.html", 2, "the template"),
            CallSite("page.html", 1, "the template"),
        )
        assert callers[4].line == line_of("renders")

    @pytest.mark.parametrize(
        "text",
        [
            "\n{% for a in authors %}\n\n{{ a.books[0].title }}{% endfor %}",
            "{% macro title(a) %}\n\n\n{{ a.books[0].title }}{% endmacro %}{{ title(authors[0]) }}",
            "{% block all %}{% for a in authors %}\n\n\n{{ a.books }}{% endfor %}{% endblock %}",
        ],
        ids=["loop", "macro", "block"],
    )
    def test_a_template_from_a_string_is_placed_where_it_is_rendered(
        self, engine: Engine, text: str
    ) -> None:
        jinja2 = pytest.importorskip("jinja2")
        template = jinja2.Template(text)
        with count_queries(engine, project=Project(HERE)) as log, Session(engine) as session:
            template.render(authors=session.scalars(select(Author)).all())  # renders a string
        query = about("books", log.queries)
        assert placed_at(query, "renders a string")
        assert query.site is not None
        assert query.site.function.endswith(", line 4 of a template")
        assert [each for each in query.callers if "template>" in each.path] == []

    def test_the_template_of_a_library_is_not_the_users_code(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        jinja2 = pytest.importorskip("jinja2")
        (tmp_path / "list.html").write_text("{% for a in authors %}{{ a.books[0] }}{% endfor %}")
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(tmp_path))
        with count_queries(engine, project=Project(HERE)) as log, Session(engine) as session:
            authors = session.scalars(select(Author)).all()
            environment.get_template("list.html").render(authors=authors)  # renders for a library
        assert placed_at(about("books", log.queries), "renders for a library")


class TestFastAPI:
    @pytest.fixture
    def call(self, engine: Engine) -> Callable[[object, str], tuple[Query, ...]]:
        testclient = pytest.importorskip("fastapi.testclient")

        def get(application: object, path: str) -> tuple[Query, ...]:
            with (
                count_queries(engine, project=Project(HERE)) as log,
                testclient.TestClient(application) as client,
            ):
                assert client.get(path).status_code == 200
            return log.queries

        return get

    @pytest.fixture
    def application(self, engine: Engine) -> object:
        fastapi = pytest.importorskip("fastapi")
        pydantic = pytest.importorskip("pydantic")

        class BookOut(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(from_attributes=True)
            title: str

        class AuthorOut(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(from_attributes=True)
            books: list[BookOut]

        application = fastapi.FastAPI()
        session = Session(engine)

        @application.get("/sync", response_model=list[AuthorOut])
        def sync_route():
            return session.scalars(select(Author)).all()  # the only return of the sync route

        @application.get("/async", response_model=list[AuthorOut])
        async def async_route():
            return session.scalars(select(Author)).all()  # the only return of the async route

        @application.get("/two", response_model=list[AuthorOut])  # a route with two returns
        async def two_returns(empty: bool = False):
            if empty:
                return []
            return session.scalars(select(Author)).all()

        @application.get("/body")
        async def body() -> list[str]:
            return [a.books[0].title for a in session.scalars(select(Author))]  # in the body

        return application

    @pytest.mark.parametrize(
        ("path", "marker"),
        [
            ("/sync", "the only return of the sync route"),
            ("/async", "the only return of the async route"),
            ("/two", "a route with two returns"),
            ("/body", "in the body"),
        ],
    )
    def test_a_response_model_blames_the_route_that_returned_the_object(
        self, application, call, path: str, marker: str
    ) -> None:
        assert placed_at(about("books", call(application, path)), marker)

    # One request for a session: its objects would be loaded already for a second one.
    @pytest.mark.parametrize("route", ["sync", "async"])
    def test_the_route_is_blamed_through_middleware_of_the_user(
        self, application, call, route: str
    ) -> None:
        class Middleware:
            def __init__(self, app) -> None:
                self.app = app

            async def __call__(self, scope, receive, send) -> None:
                await self.app(scope, receive, send)

        application.add_middleware(Middleware)

        @application.middleware("http")
        async def timed(request, call_next):
            return await call_next(request)

        queries = call(application, f"/{route}")
        assert placed_at(about("books", queries), f"the only return of the {route} route")


@pytest.mark.asyncio
class TestAsync:
    async def test_an_awaited_query_is_placed(self, async_engine: AsyncEngine) -> None:
        with count_queries(async_engine, project=Project(HERE)) as log:
            async with AsyncSession(async_engine) as session:
                await session.scalars(select(Author))  # awaited
        assert placed_at(about("authors", log.queries), "awaited")

    async def test_a_lazy_load_in_run_sync_is_placed(self, async_engine: AsyncEngine) -> None:
        def titles(session: Session) -> list[str]:
            authors = session.scalars(select(Author)).all()
            return [a.books[0].title for a in authors]  # in run_sync

        with count_queries(async_engine, project=Project(HERE)) as log:
            async with AsyncSession(async_engine) as session:
                await session.run_sync(titles)  # runs it
        query = about("books", log.queries)
        assert placed_at(query, "in run_sync")
        assert query.callers[-1].line == line_of("runs it")

    async def test_coroutines_of_the_library_that_run_as_tasks_are_placed(
        self, async_engine: AsyncEngine
    ) -> None:
        sessions = [AsyncSession(async_engine) for _ in range(2)]
        with count_queries(async_engine, project=Project(HERE)) as log:
            await asyncio.gather(*(each.scalars(select(Author)) for each in sessions))  # gathers
        assert len(log.queries) == 2
        assert all(placed_at(query, "gathers") for query in log.queries)
        for each in sessions:
            await each.close()

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in CPython 3.11")
    async def test_tasks_of_a_group_are_placed(self, async_engine: AsyncEngine) -> None:
        with count_queries(async_engine, project=Project(HERE)) as log:
            session = AsyncSession(async_engine)
            async with asyncio.TaskGroup() as group:  # the group
                group.create_task(session.scalars(select(Author)))
            await session.close()
        assert placed_at(about("authors", log.queries), "the group")

    async def test_a_raw_cursor_of_an_async_driver_is_placed(
        self, async_engine: AsyncEngine
    ) -> None:
        from querygrowth.counting.driver import trace_driver

        with trace_driver(async_engine, project=Project(HERE)) as trace:
            async with async_engine.connect() as connection:
                raw = await connection.get_raw_connection()
                await raw.driver_connection.execute("SELECT 1")  # on the driver
        ((site, _),) = trace.bypass_causes
        assert site is not None
        assert site.line == line_of("on the driver")


class TestThreads:
    def test_the_function_that_runs_in_the_thread_is_placed(self, engine: Engine) -> None:
        def names(number: int) -> list[str]:
            with Session(engine) as session:
                return list(session.scalars(select(Author.name).where(Author.id == number)))  # pool

        with count_queries(engine, project=Project(HERE)) as log, ThreadPoolExecutor(1) as pool:
            list(pool.map(names, range(3)))
        assert all(placed_at(query, "pool") for query in log.queries)

    def test_a_thread_knows_the_code_that_waits_for_it(self) -> None:
        waits = threading.Barrier(2)

        class Library(threading.Thread):
            def run(self) -> None:
                waits.wait()
                # The thread of the test waits from now on, or will in its next steps.
                while not (found := functions_in(waiting_frames(None))):
                    sleep(0)
                self.found = found

        def functions_in(frames: Iterable[FrameType]) -> list[str]:
            return [each.f_code.co_name for each in frames if each.f_code.co_name == ours]

        ours = sys._getframe().f_code.co_name
        thread = Library()
        thread.start()
        waits.wait()
        thread.join()
        assert thread.found == [ours]


class TestFrameworks:
    def test_a_flask_view_is_placed_and_the_test_is_outermost(self, engine: Engine) -> None:
        flask = pytest.importorskip("flask")
        application = flask.Flask(__name__)

        @application.before_request
        def before() -> None:
            return None

        @application.get("/")
        def view():
            with Session(engine) as session:
                authors = session.scalars(select(Author)).all()
                text = "{% for a in authors %}\n{{ a.books[0].title }}{% endfor %}"
                return flask.render_template_string(text, authors=authors)  # renders in flask

        with count_queries(engine, project=Project(HERE)) as log:
            application.test_client().get("/")  # calls flask
        callers = about("books", log.queries).callers
        assert callers[0].line == line_of("renders in flask")
        assert callers[0].function.endswith("view, line 2 of a template")
        assert callers[-1].line == line_of("calls flask")

    def test_a_view_behind_middleware_is_placed(self, engine: Engine) -> None:
        def middleware(get_response):
            def process(request):
                return get_response(request)  # the middleware

            return process

        def view(request):
            with engine.connect() as connection:
                return connection.execute(text("SELECT id FROM authors")).all()  # the view

        with count_queries(engine, project=Project(HERE)) as log:
            middleware(middleware(view))(None)  # the request
        (query,) = log.queries
        assert placed_at(query, "the view")
        assert [site.line for site in query.callers] == [
            line_of("the view"),
            *[line_of("the middleware")] * 2,
            line_of("the request"),
        ]

    def test_an_eager_celery_task_is_placed(self, engine: Engine) -> None:
        celery = pytest.importorskip("celery")
        application = celery.Celery("tasks", broker="memory://")
        application.conf.task_always_eager = True

        @application.task
        def count() -> int:
            with Session(engine) as session:
                return len(session.scalars(select(Author)).all())  # the task

        with count_queries(engine, project=Project(HERE)) as log:
            count.delay()  # delays
        (query,) = log.queries
        assert placed_at(query, "the task")
        assert query.callers[-1].line == line_of("delays")


SENDS = """
    from sqlalchemy import text

    def send(connection):
        connection.execute(text("SELECT 1"))
"""


class TestInstalledApplications:
    @pytest.fixture
    def placed(self, engine: Engine, tmp_path: Path) -> Callable[[Path, Project], str]:
        def place(path: Path, project: Project) -> str:
            module = module_of(path, SENDS, "shop.orders")
            with count_queries(engine, project=project) as log, engine.connect() as connection:
                module.send(connection)
            site = log.statements[0].site
            assert site is not None
            return site.path

        return place

    def test_a_package_with_its_source_in_the_project_is_the_users(self, placed, tmp_path) -> None:
        source = tmp_path / "project" / "src" / "shop" / "__init__.py"
        source.parent.mkdir(parents=True)
        source.touch()
        installed = tmp_path / "venv" / "site-packages" / "shop" / "orders.py"
        assert placed(installed, Project(tmp_path / "project")) == str(installed)

    def test_another_installed_package_is_not(self, placed, tmp_path: Path) -> None:
        project = Project(tmp_path / "project")
        installed = tmp_path / "venv" / "site-packages" / "shop" / "orders.py"
        assert not project.contains(str(installed))

    def test_a_package_that_is_named_is_the_users(
        self, placed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed = tmp_path / "site-packages" / "shop_of_ours" / "orders.py"
        installed.parent.mkdir(parents=True)
        (installed.parent / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
        for name in ("shop_of_ours", "shop_of_ours.orders"):
            assert placed(installed, Project(HERE, packages=[name])) == str(installed)
        assert not Project(HERE, packages=["shop_of_ours"]).contains(
            str(tmp_path / "site-packages" / "shop_of_ours_too" / "orders.py")
        )

    @pytest.mark.parametrize("name", ["no_such_package", "", "json.no_such_module", ".shop"])
    def test_a_package_that_does_not_exist_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="which is to count as the user's code"):
            Project(HERE, packages=[name])

    def test_a_folder_outside_of_the_root_is_the_users_if_it_is_named(self, tmp_path: Path) -> None:
        shared = tmp_path / "shared"
        shared.mkdir()
        project = Project(tmp_path / "project", packages=[shared])
        assert project.contains(str(shared / "models.py"))
        assert not project.contains(str(tmp_path / "shared_too" / "models.py"))
        with pytest.raises(ValueError, match=r"there is no .*, which is to count"):
            Project(tmp_path, packages=[tmp_path / "missing"])

    @pytest.mark.parametrize("option", [(), ("--query-project", "shop_of_ours")])
    def test_the_setting_and_the_option_name_packages(
        self, pytester: pytest.Pytester, option: tuple[str, ...]
    ) -> None:
        package = pytester.path.parent / "site-packages" / "shop_of_ours"
        module_of(package / "orders.py", SENDS, "shop_of_ours.orders")
        (package / "__init__.py").touch()
        pytester.makeini(
            "[pytest]\n" + ("" if option else f"query_project = {package.parent}/shop_of_ours")
        )
        pytester.syspathinsert(package.parent)
        pytester.makepyfile(
            """
            from shop_of_ours.orders import send
            from sqlalchemy import create_engine

            def test_the_place(count_queries):
                engine = create_engine("sqlite://")
                with count_queries(engine) as log, engine.connect() as connection:
                    send(connection)
                assert log.statements[0].site.path.endswith("orders.py")
            """
        )
        result = pytester.runpytest_inprocess(*OPTIONS, *option)
        result.assert_outcomes(passed=1)
