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

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


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
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {"key": KEY, "run_id": run_id})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("run ")
    assert printed[-1].startswith("manifest ")


def test_the_settings_example_asks_for_a_signed_export(tmp_path: Path) -> None:
    (example,) = blocks("yaml")
    path = tmp_path / "settings.yaml"
    path.write_text(example, encoding="utf-8")
    settings = load_settings(path, environ={})
    assert settings.landscape.export.sign
    assert settings.landscape.export.sink in settings.sinks
