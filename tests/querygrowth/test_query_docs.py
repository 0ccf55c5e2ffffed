"""The page that teaches the plugin: its examples run, and print what it says they print."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenarios import BAD, GOOD
from shown_output import as_pattern
from test_pytest_plugin import OPTIONS

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "query-counting.md"
BLOCK = re.compile(r"^```(python|text|ini)\n(?:# (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILING = {
    "test_in_a_loop",
    "test_it_does_not_grow",
    "test_it_grows_undeclared",
    "test_steps_of_the_database",
    "test_branches_of_python",
}


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for block in BLOCK.finditer(PAGE.read_text()):
        if block[1] == kind:
            yield block[2], block[3]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    for name, content in [*blocks("python"), *blocks("ini")]:
        (pytester.path / name).write_text(content)
    return pytester


def test_the_examples_pass_and_fail_as_the_page_says(project: pytest.Pytester) -> None:
    # A process of its own, as the example modules are named like some of these.
    result = project.runpytest_subprocess(*OPTIONS, "--query-report", "-rA")
    lines = "\n".join(result.outlines)
    assert set(re.findall(r"^FAILED \S+::(\w+)", lines, re.MULTILINE)) == FAILING
    assert "ERROR" not in lines
    for _, shown in blocks("text"):
        result.stdout.re_match_lines([as_pattern(line) for line in shown.splitlines()])


def test_every_example_is_part_of_the_project() -> None:
    names = [name for name, _ in blocks("python")]
    assert all(name.endswith(".py") for name in names)
    assert len(names) == len(set(names)) >= 9


def test_the_matrix_on_the_page_is_of_the_present_corpus() -> None:
    matrix = PAGE.read_text().partition("bad: caught")[2].partition("```")[0]
    named = {line[:44].strip() for line in matrix.splitlines()}
    assert {each.name for each in (*BAD, *GOOD)} <= named
