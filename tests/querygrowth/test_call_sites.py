"""Call sites: the files that are the user's own, and the line that caused a statement."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from scenarios.library import Author, library
from sqlalchemy import Connection, Engine, create_engine, select, text
from sqlalchemy.orm import Session

import querygrowth
from querygrowth.counting.causes import causes_by_shape, origins_by_shape
from querygrowth.counting.log import count_queries
from querygrowth.places.call_sites import CallSite, Project, call_site, distinct_sites
from querygrowth.places.stack import StackWalker

HERE = Path(__file__).parent


@pytest.fixture
def engine() -> Iterator[Engine]:
    opened = create_engine("sqlite://")
    yield opened
    opened.dispose()


def send(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))  # every statement goes through this line


def ask_for_one(connection: Connection) -> None:
    send(connection, "SELECT 1")


def ask_for_two(connection: Connection) -> None:
    send(connection, "SELECT 2")


def chains(engine: Engine, project: Project, *actions: object) -> dict[str, Sequence[CallSite]]:
    with count_queries(engine, project=project) as log, engine.connect() as connection:
        for action in actions:
            action(connection)  # type: ignore[operator]
    return {query.sql: query.callers for query in log.statements}


def lines(engine: Engine, *actions: object) -> dict[str, str]:
    found = distinct_sites(chains(engine, Project(HERE), *actions))
    return {sql: site.function for sql, site in found.items()}


def test_the_site_is_outside_the_function_that_sends_all_statements(engine: Engine) -> None:
    assert lines(engine, ask_for_one, ask_for_two) == {
        "SELECT 1": "ask_for_one",
        "SELECT 2": "ask_for_two",
    }


def test_a_single_statement_has_its_innermost_line(engine: Engine) -> None:
    assert lines(engine, ask_for_one) == {"SELECT 1": "send"}


def test_a_statement_from_outside_the_project_has_no_line(engine: Engine, tmp_path: Path) -> None:
    assert distinct_sites(chains(engine, Project(tmp_path), ask_for_one)) == {}


@pytest.mark.parametrize(
    ("filename", "contained"),
    [
        ("app/models.py", True),
        ("tool/runner.py", False),
        ("tool_of_ours/runner.py", True),
        (".venv/lib/python3.12/site-packages/library/module.py", False),
        ("../elsewhere/models.py", False),
    ],
)
def test_a_project_consists_of_the_files_below_its_root(
    tmp_path: Path, filename: str, contained: bool
) -> None:
    project = Project(tmp_path / "root", passed_over=[tmp_path / "root" / "tool"])
    path = (tmp_path / "root" / filename).resolve()
    assert project.contains(str(path)) is contained


def test_packages_that_pip_installed_into_a_folder_of_the_project_are_not_the_users(
    tmp_path: Path,
) -> None:
    (tmp_path / "vendor" / "library-1.0.dist-info").mkdir(parents=True)
    project = Project(tmp_path)
    assert not project.contains(str(tmp_path / "vendor" / "library" / "module.py"))
    assert project.contains(str(tmp_path / "shop" / "module.py"))


def test_frames_of_a_directory_that_is_passed_over_are_never_call_sites() -> None:
    frame = sys._getframe()
    everything = StackWalker(Project(HERE)).callers(frame)
    assert everything.nearest == everything.project
    assert everything.site.path == __file__
    without = StackWalker(Project(HERE, passed_over=[HERE])).callers(frame)
    assert without.project is None
    assert without.nearest is None or call_site(without.nearest).path != __file__


def test_no_module_of_this_package_is_a_call_site_even_below_the_root() -> None:
    package = Path(querygrowth.__file__).parent
    project = Project(package.parent)
    modules = [*map(str, package.rglob("*.py"))]
    assert [each for each in modules if not project.passes_over(each)] == []
    assert not any(map(project.contains, modules))


def test_libraries_named_like_sqlalchemy_can_be_call_sites() -> None:
    import sqlalchemy

    folder = Path(sqlalchemy.__file__).parent
    project = Project()
    assert project.passes_over(str(folder / "engine" / "base.py"))
    assert not project.passes_over(f"{folder}_utils/functions.py")


def test_modules_of_the_user_named_like_intermediaries_can_be_call_sites(tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "threading_of_ours", "sys": sys}
    filename = str(tmp_path / "threading_of_ours.py")
    exec(compile("def ask():\n    return sys._getframe()\n", filename, "exec"), names)
    found = StackWalker(Project(tmp_path)).callers(names["ask"]())
    assert found.site.path == filename


def test_call_sites_and_verdicts_are_imported_without_sqlalchemy() -> None:
    code = "import sys, querygrowth.verdict; print('sqlalchemy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_lazy_load_keeps_the_line_that_it_shares_with_the_query_of_its_objects() -> None:
    # As in a route that returns the objects of a query, which are read after its thread has ended.
    here, further_out = CallSite("shop.py", 3, "orders"), CallSite("client.py", 9, "get")
    with library(size=2) as engine, count_queries(engine) as log, Session(engine) as session:
        assert [author.books for author in session.scalars(select(Author))]
    sent = [
        replace(
            query, project_site=here, callers=(here, further_out) if query.load.needs else (here,)
        )
        for query in log.queries
    ]
    assert {cause.site for cause in causes_by_shape(origins_by_shape(sent)).values()} == {here}


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        ("report", "report"),
        ("report.<locals>.<listcomp>", "report"),
        ("Shop.report.<locals>.<listcomp>.<locals>.<genexpr>", "Shop.report"),
        ("report.<locals>.row", "report.<locals>.row"),
        ("<listcomp>", "<listcomp>"),  # of a module, or before CPython 3.11
    ],
)
def test_a_comprehension_is_shown_by_the_name_of_its_function(function: str, shown: str) -> None:
    assert str(CallSite("/elsewhere/shop.py", 3, function)) == f"/elsewhere/shop.py:3 in {shown}"
