"""docs/questions.md: DuckDB and pandas give the answers of the page."""

import re
from pathlib import Path

import pytest
from sample_run import KEY

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.generate.generator import generate_run
from harness.generate.presets import preset

PAGE = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
PARTS = {"duckdb": "## With DuckDB", "pandas": "## With pandas"}


def examples(heading: str) -> list[str]:
    part = PAGE.partition(f"{heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("package", PARTS)
def test_the_answers_are_those_of_the_page(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    with LandscapeDB("sqlite:///audit.db") as db:
        generate_run(db, preset("typical", 20, run_id="run"))
        LandscapeExporter(db, KEY).write_jsonl("run", Path("run.jsonl"), sign=True)
    names: dict[str, object] = {}
    for example in examples(PARTS[package]):
        exec(compile(example, "questions.md", "exec"), names)
        answers = re.findall(r"^# (.*)$", example, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == answers


def test_both_parts_ask_three_questions_with_the_same_answers() -> None:
    answers = [
        re.findall(r"^# (.*)$", "".join(examples(each)), re.MULTILINE) for each in PARTS.values()
    ]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 3
