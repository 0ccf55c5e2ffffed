"""The examples of the README run as shown."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sample_run import KEY, record_sample_run

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.settings import load_settings
from harness.bench.result_file import load_results
from harness.bench.targets import DEFAULT_TARGETS, load_targets
from harness.report.text import measurement_cells

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    """The fenced blocks of a page in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run in `audit.db` of the working directory, and a signing key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELSPETH_SIGNING_KEY", KEY.decode())
    with LandscapeDB("sqlite:///audit.db") as db:
        return record_sample_run(LandscapeRecorder(db)).run_id


@pytest.mark.usefixtures("run_id")
def test_a_run_is_listed_exported_and_verified_as_shown() -> None:
    commands = [line for line in "".join(blocks("bash")).splitlines() if line[:9] == "landscape"]
    assert [shlex.split(line)[1] for line in commands] == ["runs", "export", "verify"]
    for line in commands:
        program = [sys.executable, "-c", "from elspeth.cli.main import main; main()"]
        subprocess.run([*program, *shlex.split(line)[1:]], check=True, capture_output=True)
    assert Path("run.jsonl").exists()


def test_the_python_example_prints_every_record(
    run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, example = blocks("python")
    exec(compile(example, "README.md", "exec"), {"key": KEY, "run_id": run_id})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("run ")
    assert printed[-1].startswith("manifest ")


def test_the_settings_example_asks_for_a_signed_export(tmp_path: Path) -> None:
    (example,) = blocks("yaml", SETTINGS)
    path = tmp_path / "settings.yaml"
    path.write_text(example, encoding="utf-8")
    settings = load_settings(path, environ={})
    assert settings.landscape.export.sign
    assert settings.landscape.export.sink in settings.sinks


def test_the_example_of_growth_fails_as_shown(pytester: pytest.Pytester) -> None:
    example, _ = blocks("python")
    pytester.makepyfile(test_shop=example)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    (shown,) = blocks("text")
    result.stdout.fnmatch_lines([f"*{line.strip()}" for line in shown.splitlines()])
    sends = next(n for n, line in enumerate(example.splitlines(), 1) if "where(" in line)
    result.stdout.fnmatch_lines([f"*at: test_shop.py:{sends} in read_one_by_one*"])


def test_every_door_leads_to_one_tutorial() -> None:
    doors = re.findall(r"^## (I .*?)$(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    assert len(doors) == 3
    for title, text in doors:
        (tutorial,) = re.findall(r"^Tutorial: \*\*\[.*\]\((.*)\)\*\*", text, re.MULTILINE)
        assert (ROOT / tutorial).is_file(), title


def test_the_main_job_prints_the_figures_and_targets_that_are_shown() -> None:
    (shown,) = re.findall(r"<!-- output of: tox -e bench -->\n```\n(.*?)```", README, re.DOTALL)
    results = load_results(ROOT / "fixtures" / "results" / "passed.json")
    figures = measurement_cells(results.largest.candidate, results.largest.run.rows)
    table = shown.partition("speed-up")[0]
    assert re.findall(r"^(\w[\w /]*?)  +\S", table, re.MULTILINE) == list(figures)
    for target in load_targets(DEFAULT_TARGETS):
        if target.id <= "R6" and len(target.id) == 2:
            line = rf"passed +targets +{re.escape(f'{target.id} {target.title}')} +"
            assert re.search(line + re.escape(target.bound) + " ", shown), target.id


def test_every_link_of_a_page_for_visitors_leads_to_a_file() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (ROOT / link).exists(), f"{name}: {link}"
