"""Run ids made to harm: quotes, `%`, line breaks, paths, markup, formulas, thousands of characters.

They come from the database or the command line; nothing is executed, nothing written elsewhere, and
whatever is exported verifies.
"""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
from command_line import Command
from sample_run import KEY, SampleRun, record_sample_run
from shared_recordings import Record, put_recording

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.verification.verify import verify

HOSTILE = [
    "x'; DROP TABLE runs; --",
    'x"; DROP TABLE runs; --',
    "%s %(run_id)s %d :run_id ? $1",
    "../../escaped",
    "/etc/passwd",
    "a\nb\r\n::error::c",
    "<script>alert(1)</script>",
    "[red]bold[/red] [link=x]y[/link]",
    "`id` $(id) ${HOME} $((1+1))",
    "=cmd|' /C calc'!A0",
    "--help",
    "latest",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe",
    "\ufeffé 𝄞",
    "r" * 5000,
    " ",
]
every_id = pytest.mark.parametrize("run_id", HOSTILE, ids=lambda run_id: ascii(run_id[:20]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Deep enough that a path which leads out of it stays in the test's own folder."""
    path = tmp_path / "one" / "two" / "exports"
    path.mkdir(parents=True)
    return path


def recorded(url: str, run_id: str) -> str:
    with LandscapeDB(url) as db:
        put_recording(db, both_runs(run_id))
    return url


@cache
def both_runs(run_id: str) -> Record:
    def record(recorder: LandscapeRecorder) -> None:
        record_sample_run(recorder, run_id)
        record_sample_run(recorder, "a harmless run")

    return record


def as_option(run_id: str) -> str:
    """The value of --run for an id. The bare word "latest" asks for the newest run."""
    return "id:latest" if run_id == "latest" else run_id


def run_count(url: str) -> int:
    with LandscapeDB(url, create_tables=False, read_only=True) as db:
        return len(LandscapeRecorder(db).list_runs())


@every_id
@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_a_hostile_id_is_exported_verified_and_attested(
    landscape: Command, sqlite_url: str, tmp_path: Path, folder: Path, run_id: str, format_: str
) -> None:
    recorded(sqlite_url, run_id)
    target = folder / "run"
    # By `--run=`, for an id may look like an option.
    ended = landscape(
        *("export", "--db", sqlite_url, f"--run={as_option(run_id)}", "--output", target),
        *("--format", format_, "--sign", "--attest"),
    )
    assert ended.code == 0, ended.err
    assert all(char.isprintable() or char == "\n" for char in ended.out + ended.err)
    assert ended.out.count("\n") == 3, "the id is on one line"
    found = verify(target, KEY)
    assert (found.ok, found.run_id) == (True, run_id)
    assert found.record_count == SampleRun(run_id).records + 1
    assert landscape("verify", target, f"--run={run_id}", "--attestation").code == 0
    ended = landscape("verify", target, "--run", "another")
    assert ended.code == 1
    assert all(char.isprintable() or char == "\n" for char in ended.out)
    assert run_count(sqlite_url) == 2
    shutil.rmtree(tmp_path / "one")
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"audit.db", "audit.db-wal", "audit.db-shm"}, "nothing was written elsewhere"


@every_id
def test_a_hostile_id_is_exported_by_settings_and_its_status_is_recorded(
    landscape: Command, sqlite_url: str, tmp_path: Path, folder: Path, run_id: str
) -> None:
    recorded(sqlite_url, run_id)
    settings = folder / "settings.yaml"
    export = {"enabled": True, "sink": "s", "format": "json", "sign": True}
    sinks = {"s": {"plugin": "json", "options": {"path": str(folder / "run.jsonl")}}}
    settings.write_text(
        json.dumps({"landscape": {"url": sqlite_url, "export": export}, "sinks": sinks})
    )
    ended = landscape("export", "--settings", settings, f"--run={as_option(run_id)}")
    assert ended.code == 0, ended.err
    with LandscapeDB(sqlite_url) as db:
        statuses = {run.run_id: run.export_status for run in LandscapeRecorder(db).list_runs()}
    assert [name for name, status in statuses.items() if status] == [run_id]
    ended = landscape("reconcile", "--settings", settings)
    assert ended.out == "Nothing is pending.\n"


@every_id
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_unknown_hostile_id_is_refused_and_nothing_is_written(
    landscape: Command, sqlite: str, tmp_path: Path, folder: Path, run_id: str, jobs: int
) -> None:
    if run_id == "latest":
        run_id = "LATEST"
    ended = landscape(
        *("export", "--db", sqlite, f"--run={run_id}", "--output", folder / "run.jsonl"),
        *("--jobs", jobs),
    )
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: Run not found: ")
    assert ended.err.count("\n") == 1
    assert all(char.isprintable() for char in ended.err[:-1])
    assert list(folder.iterdir()) == []
    assert run_count(sqlite) == 1


@every_id
def test_a_hostile_id_is_listed_on_one_line(
    landscape: Command, sqlite_url: str, run_id: str
) -> None:
    recorded(sqlite_url, run_id)
    ended = landscape("runs", "--db", sqlite_url)
    assert ended.code == 0
    assert all(char.isprintable() or char == "\n" for char in ended.out)
    lines = ended.out.splitlines()
    assert len(lines) == 3 or len(run_id) > 900
