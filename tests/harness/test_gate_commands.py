"""The commands about results: exit codes, one line for bad input, and nothing overwritten."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli.main import main

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "fixtures" / "results"


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: object
    out: str
    err: str


Harness = Callable[..., Said]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Harness:
    """Run the `harness` command in this process, from the root of the checkout."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(ended.value.code, *capsys.readouterr())

    return run


def test_saved_results_that_pass_are_rendered_and_exit_0(harness: Harness, tmp_path: Path) -> None:
    said = harness(
        "gate", "--results", str(SAVED / "passed.json"), "--output", str(tmp_path / "out")
    )
    assert said.code == 0, said.err
    assert str(tmp_path / "out" / "report.html") in said.out
    assert "::error" not in said.out


def test_saved_results_that_fail_exit_1_and_annotate_the_line_on_github(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # After the fixture, which sees to it that no other test annotates.
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    said = harness("gate", "--results", str(SAVED / "n_plus_one.json"), "--output", str(tmp_path))
    assert said.code == 1
    assert "::error file=fixtures/faulty_exporters/queries.py,line=" in said.out
    lines = said.out.splitlines()
    stopped = next(line for line in lines if line.startswith("::stop-commands::"))
    again = lines.index(f"::{stopped.removeprefix('::stop-commands::')}::")
    commands = [number for number, line in enumerate(lines) if line.startswith("::error ")]
    assert lines.index(stopped) == 0
    assert commands
    assert all(number > again for number in commands)


@pytest.mark.parametrize(
    "arguments",
    [
        ("gate", "--results", "empty.json"),
        ("gate", "--baseline", "empty.json"),
        ("gate", "--targets", "empty.json"),
        ("baseline", "--file", "absent.json"),
        ("compare", "no-such-revision"),
        ("history", "--file", "absent.jsonl"),
        ("history", "--file", "new.jsonl", "--add", "empty.json"),
        ("bench", "--rows", "10", "--candidate", "nonsense", "--src", "src"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_overwritten(
    harness: Harness, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "empty.json").write_text("")
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("earlier")
    where = {"empty.json", "absent.json", "absent.jsonl", "new.jsonl"}
    given = [str(tmp_path / word) if word in where else word for word in arguments]
    output = [] if arguments[0] in ("baseline", "history") else ["--output", str(out)]
    said = harness(*given, *output)
    assert said.code == 2, said.out
    lines = [line for line in said.err.splitlines() if not line.startswith("...")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert [path.name for path in out.iterdir()] == ["results.json"]
    assert (out / "results.json").read_text() == "earlier"
    assert not (tmp_path / "new.jsonl").exists()


def test_history_adds_and_shows_the_trend(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for _ in range(2):
        added = harness("history", "--file", str(file), "--add", str(SAVED / "passed.json"))
        assert added.code == 0, added.err
    assert len(file.read_text().splitlines()) == 2
    assert added.out.count("█") > 40
