"""docs/exporting.md and the several exports of docs/verification.md: the examples run as shown."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import Command, recorded
from sample_run import record_sample_run

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder

DOCS = Path(__file__).parents[3] / "docs"


def examples(page: str, language: str = "console") -> list[tuple[str, list[str]]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    calls = [call for block in blocks for call in block.split("$ ")[1:]]
    return [(lines[0], lines[1:]) for lines in (call.splitlines() for call in calls)]


def without_what_changes(printed: str) -> list[str]:
    printed = re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "<moment>", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", printed)
    printed = re.sub(r"\b(?:[0-9a-f]{32}|id-\d{3})\b", "ID", printed)
    return re.sub(r"(?<=hmac-sha256:)[0-9a-f]{8}\b", "<key>", printed).splitlines()


@pytest.fixture
def in_folder(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSPETH_LANDSCAPE__URL", recorded(sqlite_url))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_folder")
def test_the_examples_of_exporting_print_what_the_page_shows(landscape: Command) -> None:
    for command, shown in examples("exporting.md"):
        row_id = ""
        if "--id" in command:
            ids = re.findall(r"row_id: (\S+)", landscape("show", "run.jsonl", "--type", "row").out)
            row_id = ids[0]
        ended = landscape(*shlex.split(command.replace("--id ID", f"--id {row_id}"))[1:])
        assert (ended.code, ended.err) == (0, "")
        assert without_what_changes(ended.out) == shown


@pytest.mark.usefixtures("in_folder")
def test_the_examples_of_several_exports_print_what_the_page_shows(landscape: Command) -> None:
    landscape("export", "--all", "--output", "exports", "--sign", "--attest")
    with LandscapeDB("sqlite:///audit.db") as db:
        record_sample_run(LandscapeRecorder(db), "run-2")
    Path("exports/notes.txt").write_text("hello")
    command, shown = examples("verification.md", "text")[0]
    ended = landscape(*shlex.split(command)[1:])
    assert (ended.code, without_what_changes(ended.out)) == (1, shown)
