"""A suite that does not use querygrowth runs the same with it installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_pytest_plugin import OPTIONS, Run, run  # noqa: F401  # `run` is a fixture

pytest_plugins = ["pytester"]

STRICT = ("--strict-markers", "--strict-config", "-W", "error", "--import-mode=importlib")


def test_names_that_a_project_uses_itself_stay_the_projects(
    pytester: pytest.Pytester,
) -> None:
    """All of these stand in public suites: the fixture above all, the marker as a bare label."""
    pytester.makeini("[pytest]\nmarkers =\n    query_budget: tests that count queries\n")
    pytester.makeconftest(
        """
        import pytest
        from contextlib import contextmanager

        @pytest.fixture
        def count_queries():
            return contextmanager(lambda: iter([["the project's"]]))

        @pytest.fixture(name="query_growth")
        def growth():
            return "the project's"
        """
    )
    pytester.makepyfile(
        """
        import pytest
        pytestmark = pytest.mark.query_budget

        def test_of_the_conftest(count_queries, query_growth):
            with count_queries() as statements:
                assert statements == ["the project's"]
            assert query_growth == "the project's"

        @pytest.mark.query_budget(max_queries=5)
        def test_of_another_plugin(): pass

        class TestOwn:
            @pytest.fixture
            def count_queries(self):
                return "the class's"

            def test_of_the_class(self, count_queries):
                assert count_queries == "the class's"
        """
    )
    pytester.runpytest(*OPTIONS, *STRICT).assert_outcomes(passed=3)


def test_a_fixture_of_another_plugin_wins_in_any_order_of_loading(
    pytester: pytest.Pytester,
) -> None:
    fixture = "import pytest\n@pytest.fixture\ndef {name}({parent}):\n    return {value}\n"
    pytester.makepyfile(
        # `-p` loads a plugin before installed ones, `pytest_plugins` after them.
        loaded_early=fixture.format(name="count_queries", parent="", value="'early'"),
        loaded_late=fixture.format(
            name="query_growth", parent="query_growth", value="('late', query_growth)"
        ),
        test_both="""
        def test_both(count_queries, query_growth):
            assert count_queries == "early"
            assert query_growth[0] == "late"
            assert query_growth[1].__name__ == "assert_growth"  # it may extend ours
        """,
    )
    pytester.makeconftest('pytest_plugins = ["loaded_late"]')
    pytester.syspathinsert()
    pytester.runpytest(*OPTIONS, "-p", "loaded_early").assert_outcomes(passed=1)


def test_an_unregistered_marker_of_that_name_says_how_to_keep_it(run: Run) -> None:  # noqa: F811
    result = run(
        """
        import pytest

        @pytest.mark.query_budget
        def test_label(): pass

        @pytest.mark.query_budget(max_queries=5)
        def test_other(): pass
        """
    )
    # No fixture `engine` is needed to say so.
    result.assert_outcomes(failed=2)
    hint = "if yours has the same name, register it under `markers` in the settings of pytest"
    result.stdout.fnmatch_lines([f"query_budget*{hint}*"] * 2)


def test_it_may_be_imported_before_pytest_rewrites_assertions(pytester: pytest.Pytester) -> None:
    # An installed plugin is marked for rewriting at start; an editable one is not.
    pytester.makeconftest(
        "import pytest, querygrowth\npytest.register_assert_rewrite('querygrowth')"
    )
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest(*OPTIONS, *STRICT).assert_outcomes(passed=1)


def test_engines_of_the_suite_have_no_listener(run: Run) -> None:  # noqa: F811
    run(
        """
        def test_untouched(engine, ask):
            ask("users")
            # The listeners of the engine, and those of every engine.
            for name in ("before_cursor_execute", "after_cursor_execute", "begin"):
                assert not list(getattr(engine.dispatch, name))
        """,
        *STRICT,
    ).assert_outcomes(passed=1)


@pytest.mark.parametrize("disabled", ["querygrowth", "terminal", "junitxml", "fixtures_of_nobody"])
def test_it_runs_with_plugins_disabled(pytester: pytest.Pytester, disabled: str) -> None:
    pytester.makepyfile(
        """
        def test_that_passes(): pass
        def test_that_fails(): assert 0
        """
    )
    counted = pytester.inline_run(*OPTIONS, "-p", f"no:{disabled}")
    assert [len(outcome) for outcome in counted.listoutcomes()] == [1, 0, 1]


LOADED = """
    import sys

    def pytest_unconfigure():
        ours = [name for name in sys.modules if name.split(".")[0] == "querygrowth"]
        others = {"sqlalchemy", "sqlglot", "greenlet", "hypothesis", "sqlite3"} & set(sys.modules)
        print("loaded:", sorted(ours), sorted(others))
"""


@pytest.mark.parametrize("options", [(), ("--queries", "--queries-record")], ids=["", "watched"])
def test_a_suite_without_sqlalchemy_does_not_import_it(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    """With tests of unittest, too. Without the options, two modules of this package are loaded."""
    pytester.makeconftest(LOADED)
    pytester.makepyfile(
        """
        import unittest

        class TestCase(unittest.TestCase):
            def test_nothing(self): pass

        def test_nothing(): pass
        """
    )
    command = [sys.executable, "-m", "pytest", "-s", "-p", "querygrowth.pytest_plugin", *STRICT]
    ran = subprocess.run(
        [*command, "-p", "no:cacheprovider", *options],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONWARNINGS": "error"},
        cwd=Path(pytester.path),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    loaded = re.findall(r"loaded: (\[.*?\]) \[\]", ran.stdout)[0]
    if not options:
        assert loaded == "['querygrowth', 'querygrowth.pytest_plugin']"
