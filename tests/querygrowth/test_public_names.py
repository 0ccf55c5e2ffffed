"""The public names: all of them work, and importing the package imports no other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import querygrowth

# The dependencies of querygrowth, and those of its extras and tests.
HEAVY = ("sqlalchemy", "sqlglot", "greenlet", "hypothesis")

CONFTEST = f"""
import sys

def pytest_sessionfinish():
    print("imported:", sorted(set(sys.modules) & {set(HEAVY)!r}))
    print("ours:", sorted(name for name in sys.modules if name.startswith("querygrowth")))
"""


@pytest.mark.parametrize("name", querygrowth.__all__)
def test_a_public_name_is_defined_by_its_module(name: str) -> None:
    value = getattr(querygrowth, name)
    assert value.__name__ == name
    assert value.__module__.startswith("querygrowth.")


def test_type_checkers_see_the_names_that_are_imported_when_used() -> None:
    tree = ast.parse(Path(querygrowth.__file__).read_text())
    imported = {
        node.module.removeprefix("querygrowth."): tuple(alias.name for alias in node.names)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("querygrowth.")
    }
    assert imported == querygrowth._MODULES
    assert sorted(name for names in imported.values() for name in names) == querygrowth.__all__


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'count_querys'"):
        querygrowth.count_querys  # noqa: B018
    assert set(querygrowth.__all__) <= set(dir(querygrowth))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, querygrowth; print(sorted(set(sys.modules) & {set(HEAVY)!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_suite_that_counts_nothing_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_empty.py").write_text("def test_empty():\n    pass\n")
    # Other plugins may import anything, so this is the only one that is loaded.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "querygrowth.pytest_plugin"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert "imported: []" in run.stdout
    assert "ours: ['querygrowth', 'querygrowth.pytest_plugin']" in run.stdout


def test_a_step_that_fails_can_be_caught_by_its_public_name() -> None:
    import querygrowth
    from querygrowth.counting.watch import StepError

    assert querygrowth.StepError is StepError
