"""The commands about results: exit codes, one line for bad input, and nothing overwritten."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from elspeth.core.extras import extra_hint
from harness.cli.main import COMMANDS, main
from harness.cli.packages import EXTRA_PACKAGES, REPORT_PACKAGES

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "fixtures" / "results"
TYPO = '[[target]]\nid = "R1"\ntitle = "queries"\nmetric = "querys"\nat_most = 13\n'
HUGE = "9" * 23
# Runs commands in a new process, in which some packages cannot be imported.
WITHOUT_PACKAGES = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

packages, commands = map(json.loads, sys.argv[1:])
sys.modules.update(dict.fromkeys(packages))
from harness.cli.main import main

ended = []
for command in commands:
    sys.argv = ["harness", *command]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            ended.append([end.code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""


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
    saved = ("gate", "--results", str(SAVED / "passed.json"), "--nightly")
    said = harness(*saved, "--output", str(tmp_path / "out"))
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
    ("option", "value"),
    [
        ("--candidate", "elspeth.core.landscape:LandscapeExporter"),
        ("--base", "HEAD"),
        ("--rows", "2000"),
        ("--src", "src"),
        ("--python", sys.executable),
        ("--baseline", "fixtures/baseline.json"),
        ("--targets", "fixtures/targets.toml"),
    ],
)
def test_an_option_that_saved_results_would_ignore_is_refused(
    harness: Harness, option: str, value: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    saved = ("gate", "--results", str(SAVED / "passed.json"), "--nightly", "--output", str(out))
    said = harness(*saved, option, value)
    assert said.code == 2
    assert said.err == (
        f"error: {option} does not go with --results: saved results are judged already\n"
    )
    assert not out.exists()


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
        ("bench", "--rows", "9"),
        ("bench", "--rounds", "0"),
        ("bench", "--targets", "typo.toml"),
        ("bench", "--output", "empty.json"),
        ("compare", "HEAD", "--max-rounds", "11"),
        ("gate", "--targets", "typo.toml"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_overwritten(
    harness: Harness, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "typo.toml").write_text(TYPO)
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("earlier")
    where = {"empty.json", "typo.toml", "absent.json", "absent.jsonl", "new.jsonl"}
    given = [str(tmp_path / word) if word in where else word for word in arguments]
    names_its_output = arguments[0] in ("baseline", "history") or "--output" in arguments
    output = [] if names_its_output else ["--output", str(out)]
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "--rows", "1"), ("'--rows'", "10")),
        (("gate", "--rows", "1"), ("'--rows'", "10")),
        (("compare", "HEAD", "--rows", "1"), ("'--rows'", "10")),
        (("compare", "HEAD", "--max-rounds", "1"), ("'--max-rounds'", "12")),
        (("bench", "--rows", HUGE), ("'--rows'", "20000000")),
        (("gate", "--rows", HUGE), ("'--rows'", "20000000")),
        (("compare", "HEAD", "--rows", HUGE), ("'--rows'", "20000000")),
        (("bench", "--rounds", HUGE), ("'--rounds'", "1000")),
        (("generate", "--db", "sqlite://", "--rows", HUGE), ("'--rows'", "1000000000")),
        (("bench", "--targets", "typo.toml"), ("typo.toml", "'querys'", "mean 'queries'")),
    ],
)
def test_a_wrong_value_is_told_by_its_option_and_what_would_be_right(
    harness: Harness, arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "typo.toml").write_text(TYPO)
    said = harness(*(str(tmp_path / word) if word == "typo.toml" else word for word in arguments))
    assert said.code == 2
    assert all(word in said.err for word in words), said.err


def test_a_baseline_of_an_exporter_that_raises_is_a_failure_with_its_line(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising.py").write_text(
        "from elspeth.core.landscape import LandscapeExporter\n"
        "class Raises(LandscapeExporter):\n"
        "    def _iter_records(self, run_id):\n"
        "        raise ValueError('boom')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = harness("baseline", "--candidate", "raising:Raises")
    assert said.code == 1
    assert "it raised ValueError: boom" in said.out
    assert "raising.py:4" in said.out


def run_without(packages: Iterable[str], *commands: tuple[str, ...]) -> list[Said]:
    given = map(json.dumps, (sorted(packages), commands))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Said(*each) for each in json.loads(done.stdout)]


def test_help_works_without_the_extras_and_a_command_says_how_to_install_them() -> None:
    first_needed: dict[tuple[str, ...], str] = {
        ("check", "--all"): "hypothesis",
        ("selftest",): "hypothesis",
        ("gate",): "hypothesis",
        ("bench", "--rows", "10"): "jinja2",
        ("compare", "HEAD"): "jinja2",
        ("history", "--output", "out"): "jinja2",
    }
    help_page, *refused = run_without(EXTRA_PACKAGES, ("--help",), *first_needed)
    assert (help_page.code, help_page.err) == (0, "")
    listed = re.findall(r"^\W*(\w+)  ", help_page.out, re.MULTILINE)
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)
    for said, package in zip(refused, first_needed.values(), strict=True):
        install = f"{package} is not installed: {extra_hint('harness')}"
        assert (said.code, said.err) == (2, f"error: {install}\n")


@pytest.mark.parametrize(
    ("command", "package"),
    [
        *((("gate",), package) for package in (*REPORT_PACKAGES, "hypothesis")),
        (("bench", "--rows", "10"), REPORT_PACKAGES[-1]),
        (("compare", "HEAD"), REPORT_PACKAGES[-1]),
    ],
)
def test_every_single_missing_package_is_told_before_any_work(
    harness: Harness,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: tuple[str, ...],
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = harness(*command, "--output", str(tmp_path))
    install = f"{package} is not installed: {extra_hint('harness')}"
    assert (said.code, said.err) == (2, f"error: {install}\n")


@pytest.mark.parametrize(
    ("missing", "commands"),
    [
        (EXTRA_PACKAGES - {*REPORT_PACKAGES, "hypothesis"}, [("gate", "--rows", "0")]),
        (
            ["hypothesis"],
            [("bench", "--rows", "10", "--rounds", "0"), ("compare", "HEAD", "--rows", "0")],
        ),
    ],
    ids=["gate", "bench and compare"],
)
def test_no_command_needs_the_packages_of_others(
    missing: Iterable[str], commands: list[tuple[str, ...]]
) -> None:
    # Rounds and rows that do not exist end a command that lacks nothing.
    for said in run_without(missing, *commands):
        assert said.code == 2
        assert "is not installed" not in said.err
        assert "Traceback" not in said.err
        assert re.search("'--(rounds|rows)'", said.err), said.err


def test_a_misspelt_command_is_a_usage_error(harness: Harness) -> None:
    assert harness("bensh").code == 2
