"""The examples of docs/rewrites.md: the right rewrites pass, and the wrong ones fail as shown."""

import re
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from test_pytest_plugin import OPTIONS

pytestmark = pytest.mark.skipif(
    not hasattr(Session, "get_one"), reason="the examples need Session.get_one of SQLAlchemy 2.0.22"
)

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "rewrites.md"
BLOCK = re.compile(r"^```(python|text)\n(?:# (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
# A plugin for the examples. A hundred databases, as a user takes, need four times as long.
FEWER_DATABASES = """
from querygrowth.rewrites.comparison import compare_results

compare_results.__kwdefaults__["databases"] = 15
"""
WRONG = {
    "test_inner_join_drops",
    "test_duplicates_by_a_join",
    "test_order_lost",
    "test_ties_by_rank",
    "test_null_is_lost",
    "test_limit_with_a_join",
}


def test_the_examples_pass_and_fail_as_the_page_says(pytester: pytest.Pytester) -> None:
    shown = []
    for kind, name, content in BLOCK.findall(PAGE.read_text()):
        if kind == "python":
            (pytester.path / name).write_text(f"# {name}\n{content}")
        else:
            shown.append(content)
    (pytester.path / "fewer_databases.py").write_text(FEWER_DATABASES)
    result = pytester.runpytest_subprocess(*OPTIONS, "-p", "fewer_databases", "-rA")
    printed = "\n".join(result.outlines)
    assert set(re.findall(r"^FAILED \S+::(\w+)", printed, re.MULTILINE)) == WRONG
    assert "ERROR" not in printed
    assert len(re.findall(r"^PASSED", printed, re.MULTILINE)) == 6
    lines = [line.removeprefix("E").strip() for line in result.outlines]
    for content in shown:
        wanted = [line.strip() for line in content.splitlines()]
        assert [line for line in wanted if not any(line in seen for seen in lines)] == []
