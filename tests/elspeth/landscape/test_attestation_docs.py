"""docs/attestation.md: its examples run and print what it shows, and its tables are complete."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import Command
from sample_run import KEY

from elspeth.core.landscape.attestation import AttestationReason
from elspeth.core.landscape.attestation.dsse import PURPOSE
from elspeth.core.landscape.attestation.statement import Predicate

PAGE = (Path(__file__).parents[3] / "docs" / "attestation.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def in_folder(sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds `audit.db` with a sample run."""
    monkeypatch.chdir(tmp_path)


def without_what_changes(printed: str) -> str:
    printed = re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "<moment>", printed)
    return re.sub(r"(?<=hmac-sha256:)[0-9a-f]{8}\b", "<key>", printed)


@pytest.mark.usefixtures("in_folder")
def test_the_examples_print_what_the_page_shows(landscape: Command) -> None:
    (console,) = blocks("console")
    for example in console.removeprefix("$ ").split("\n$ "):
        command, _, printed = example.partition("\n")
        ended = landscape(*shlex.split(command)[1:])
        assert (ended.code, ended.err) == (0, "")
        assert without_what_changes(ended.out).strip() == printed.strip()


@pytest.mark.usefixtures("in_folder")
def test_the_python_example_runs(landscape: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command = blocks("console")[0].splitlines()[0].removeprefix("$ ")
    landscape(*shlex.split(command)[1:])
    (example,) = blocks("python")
    exec(compile(example, "docs/attestation.md", "exec"), {"key": KEY})
    assert capsys.readouterr().out == "True 1\n"


def test_the_page_lists_every_reason_and_every_field() -> None:
    reasons = PAGE.partition("## Reasons")[2].partition("## ")[0]
    assert re.findall(r"^\| `([A-Z_]+)`", reasons, re.MULTILINE) == list(AttestationReason)
    fields = PAGE.partition("## Content of the file")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", fields, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(Predicate.model_fields)


def test_the_page_names_the_message_that_keys_are_derived_with() -> None:
    assert f"HMAC-SHA256 of `{PURPOSE.decode()}` with the signing key" in PAGE


def test_the_commands_of_the_page_exist(landscape: Command) -> None:
    known = landscape("verify", "--help").out + landscape("export", "--help").out
    for option in set(re.findall(r"(?<=[ `])--[a-z][a-z-]+", PAGE)):
        assert option in known, option
