"""The commands about checks: `check`, `golden` and `selftest`, by exit code and message."""

import sys
from pathlib import Path

import pytest
from command_line import Command

from elspeth.core.landscape import LandscapeDB
from harness.generate.generator import generate_run
from harness.generate.presets import preset


@pytest.fixture
def stored(sqlite_url: str) -> str:
    """The URL of an SQLite file with the run `run`."""
    with LandscapeDB(sqlite_url) as db:
        generate_run(db, preset("tiny", run_id="run"))
    return sqlite_url


@pytest.mark.parametrize("run", ["run", "latest"])
def test_a_stored_run_is_compared(harness_command: Command, stored: str, run: str) -> None:
    ended = harness_command("check", "--db", stored, "--run", run)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("passed  records  sqlite  LandscapeExporter  the same export")


def test_a_misspelt_run_is_refused_with_the_nearest(harness_command: Command, stored: str) -> None:
    ended = harness_command("check", "--db", stored, "--run", "rnu")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("audit.db has no run 'rnu'; the nearest is 'run'\n")


@pytest.mark.parametrize("run", ["run", "latest"])
def test_a_database_without_runs_is_refused(
    harness_command: Command, sqlite_url: str, run: str
) -> None:
    LandscapeDB(sqlite_url).close()
    ended = harness_command("check", "--db", sqlite_url, "--run", run)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("audit.db holds no runs\n")


def test_the_limit_of_records_holds_on_a_stored_run(harness_command: Command, stored: str) -> None:
    ended = harness_command("check", "--db", stored, "--run", "run", "--max-records", 1)
    assert ended.code == 2
    assert "LandscapeExporter yields more than 1 records" in ended.err


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("check", "--db", "STORED", "--run", "run", "--check", "memory"), "--check"),
        (("check", "--db", "STORED", "--run", "run", "--all"), "--all"),
        (("check", "--db", "STORED", "--run", "run", "--postgresql", "URL"), "--postgresql"),
        (("check", "--check", "memory", "--all"), "--all"),
        (("selftest", "--short", "--postgresql", "URL"), "--postgresql"),
        (("golden", "--update", "--candidate", "mine:Exporter"), "--candidate"),
        (("history", "--output", "out"), "--add"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else each,
)
def test_an_option_that_would_be_ignored_is_refused(
    harness_command: Command, stored: str, arguments: tuple[str, ...], option: str, tmp_path: Path
) -> None:
    names = {"STORED": stored, "URL": "postgresql://localhost/unused", "out": str(tmp_path)}
    ended = harness_command(*(names.get(each, each) for each in arguments))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert option in ended.err
    assert ended.err.count("\n") == 1


def test_a_check_that_needs_a_server_is_skipped_without_one(harness_command: Command) -> None:
    ended = harness_command("check", "--check", "backends")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("skipped  backends  sqlite  LandscapeExporter  not compared with")


@pytest.mark.parametrize("command", ["bench", "gate"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--src", "nosuchdir"), ("'--src'", "'nosuchdir'", "does not exist")),
        (("--src", "HERE"), ("elspeth.core.landscape:LandscapeExporter", "/src/elspeth/", "HERE")),
        (("--python", "nosuch"), ("nosuch cannot be run",)),
        (("--python", "PYTHON", "--candidate", "nosuch:Exporter"), ("No module named 'nosuch'",)),
    ],
    ids=lambda each: " ".join(each),
)
def test_an_exporter_of_another_place_is_looked_up_before_any_work(
    harness_command: Command,
    command: str,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
) -> None:
    names = {"HERE": str(tmp_path), "PYTHON": sys.executable}
    given = [names.get(each, each) for each in arguments]
    ended = harness_command(command, *given, "--output", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    # No step of the work was announced before.
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert all(names.get(word, word) in ended.err for word in words), ended.err
