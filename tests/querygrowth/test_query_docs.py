"""The documentation of querygrowth: its examples run, and their output is the output shown."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenarios import BAD, GOOD
from shown_output import as_pattern
from test_pytest_plugin import OPTIONS
from test_rewrite_docs import FEWER_DATABASES

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "query-counting.md"
README = ROOT / "src" / "querygrowth" / "README.md"
PEERS = ROOT / "docs" / "peers.md"
BLOCK = re.compile(r"^```(python|text|ini)\n(?:# (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILING = {
    GUIDE: {
        "test_in_a_loop",
        "test_misspelt",
        "test_it_does_not_grow",
        "test_it_grows_undeclared",
        "test_steps_of_the_database",
        "test_branches_of_python",
    },
    README: {
        "test_it_does_not_grow",
        "test_one_query_per_table",
        "test_filled_orders_do_not_grow",
        "test_an_override_that_cannot_be",
        "test_the_join_gives_the_same",
    },
}
RUNS: dict[Path, tuple[tuple[str, ...], ...]] = {
    GUIDE: ((),),
    # The report of the readme is on "the tests above", and other examples follow it.
    README: (
        ("test_shop.py",),
        ("test_filled_shop.py", "test_rewritten_shop.py", "-p", "fewer_databases"),
        ("test_grown_shop.py", "--queries=grow"),
    ),
}


def blocks(page: Path, kind: str) -> Iterator[tuple[str, str]]:
    for block in BLOCK.finditer(page.read_text()):
        if block[1] == kind:
            yield block[2], block[3]


def comparable(line: str) -> str:
    """The line without what differs between releases: labels of columns, and lines of functions."""
    line = re.sub(r"SELECT .*? FROM", "SELECT ... FROM", line)
    return re.sub(r"\.py:\d+", ".py:N", line)


@pytest.mark.parametrize("page", [GUIDE, README], ids=lambda page: page.name)
def test_the_examples_pass_and_fail_as_the_page_says(pytester: pytest.Pytester, page: Path) -> None:
    # The readme's examples use the shop of the guide.
    for name, content in [*blocks(GUIDE, "python"), *blocks(page, "python"), *blocks(page, "ini")]:
        if page == GUIDE or name in {"shop.py", "conftest.py"}.union(*RUNS[page]):
            (pytester.path / name).write_text(f"# {name}\n{content}")
    (pytester.path / "fewer_databases.py").write_text(FEWER_DATABASES)
    # In another process, because the example modules have the names of some modules here.
    outlines: list[str] = []
    for files in RUNS[page]:
        outlines += pytester.runpytest_subprocess(*OPTIONS, "--queries", "-rA", *files).outlines
    printed = "\n".join(outlines)
    assert set(re.findall(r"^FAILED \S+::(\w+)", printed, re.MULTILINE)) == FAILING[page]
    assert "ERROR" not in printed
    lines = pytest.LineMatcher([comparable(line) for line in outlines])
    for _, shown in blocks(page, "text"):
        lines.re_match_lines([as_pattern(comparable(line)) for line in shown.splitlines()])


@pytest.mark.parametrize(("page", "files"), [(GUIDE, 10), (README, 3)], ids=["guide", "readme"])
def test_every_example_is_part_of_the_project(page: Path, files: int) -> None:
    names = [name for name, _ in blocks(page, "python")]
    assert all(name.endswith(".py") for name in names)
    assert len(names) == len(set(names)) >= files


def test_the_matrix_on_the_page_is_of_the_present_corpus() -> None:
    matrix = PEERS.read_text().partition("bad: caught")[2].partition("```")[0]
    named = {line[:44].strip() for line in matrix.splitlines()}
    assert {each.name for each in (*BAD, *GOOD)} <= named


def test_the_readme_of_the_wheel_needs_no_directory() -> None:
    """It is read in an index or in site-packages, where a relative path leads nowhere."""
    text = README.read_text()
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    installed = re.findall(r"pip install (.*)", text)
    assert installed
    assert [target for target in installed if re.match(r"[\"']?\.", target)] == []


def test_the_comparison_names_the_scripts_that_write_it() -> None:
    text = PEERS.read_text()
    scripts = re.findall(r"<!-- run: (\S+) -->\n```text\n", text)
    assert len(scripts) == 3
    assert [each for each in scripts if not (ROOT / each).is_file()] == []
    assert re.search(r"<!-- measured -->\nMeasured on 20\d\d-\d\d-\d\d by `tox -e peers`", text)
