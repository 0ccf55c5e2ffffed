"""Questions that nothing could answer are refused or left undecided, and never answered "passed".

What else a command refuses is tested with the command: unknown parts, tables, operators, designs
and shards, files without targets, results, baselines, history or golden exports, and options
that would be ignored.
"""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785
from command_line import Command
from sample_run import KEY

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from harness.bench.environment import Checkout
from harness.bench.experiment import judge_sizes
from harness.bench.race import Race, run_race
from harness.bench.result_file import load_results
from harness.bench.results import Topic
from harness.cli import gate
from harness.cli.candidate import Candidate
from harness.exporters.manifest_time import ManifestTime, digest_lines
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, SubjectError
from querygrowth.verdict import Outcome

SAVED = Path("fixtures/results/passed.json")


@pytest.mark.parametrize("command", ["check", "bench", "gate"])
@pytest.mark.parametrize(
    "name", [CONTROL, "elspeth.core.landscape.legacy_exporter:LegacyLandscapeExporter"]
)
def test_the_control_is_no_candidate_unless_it_is_asked_for(
    harness_command: Command, command: str, name: str
) -> None:
    ended = harness_command(command, "--candidate", name)
    assert (ended.code, ended.out) == (2, "")
    assert f"{name} is the control, which always equals itself" in ended.err
    assert "allow it with --control" in ended.err


def test_the_control_is_judged_where_it_is_asked_for(harness_command: Command) -> None:
    ended = harness_command("check", "--candidate", CONTROL, "--control", "--part", "backends")
    assert ended.code == 1  # Asked for by its name, and there is no server.
    assert "inconclusive: LegacyLandscapeExporter: not compared with PostgreSQL" in ended.out


def test_a_stored_run_without_rows_is_not_decided(
    harness_command: Command, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody's checkout, whose exporter is judged with --src alone.
    (tmp_path / "src" / "elspeth").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with LandscapeDB(sqlite_url) as db:
        run = LandscapeRecorder(db).begin_run(config={}, canonical_version="v1")
    ended = harness_command("check", "--db", sqlite_url, "--run", run.run_id)
    assert ended.code == 1
    assert f"inconclusive: LandscapeExporter: the run {run.run_id} has no rows" in ended.out
    assert f", and not from {tmp_path / 'src'}: for that, --src" in " ".join(ended.err.split())


def test_a_database_without_the_tables_is_refused(harness_command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database, but long enough to look like none" * 20)
    for name, words in (
        ("empty.db", "is not a Landscape database: no table runs"),
        ("text.db", ""),
    ):
        ended = harness_command("check", "--db", f"sqlite:///{tmp_path}/{name}", "--run", "run")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(f"error: --db: sqlite:///{tmp_path}/{name} ")
        assert words in ended.err
        assert ended.err.count("\n") == 1


def test_growth_and_targets_are_not_judged_on_runs_without_rows() -> None:
    results = load_results(SAVED)
    empty = [replace(each, run=replace(each.run, rows=0)) for each in results.sizes]
    judged = judge_sizes(empty, results.targets)
    found = [each for each in judged if each.topic in (Topic.GROWTH, Topic.TARGETS)]
    assert [each.verdict.outcome for each in found] == [Outcome.INCONCLUSIVE] * 2
    assert all(empty[0].run.run_id in each.verdict.seen for each in found)


def test_a_revision_is_not_compared_with_itself(
    harness_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commit_a_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    ended = harness_command("compare", "HEAD")
    assert (ended.code, ended.out) == (2, "")
    assert "there is nothing to compare" in ended.err


def test_a_gate_does_not_race_a_revision_against_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _commit_a_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    with gate._race(Candidate(), "HEAD", tmp_path / "checkouts") as race:
        assert race is None
    assert "--base HEAD is the commit that is judged" in capsys.readouterr().err
    (tmp_path / "tracked.py").write_text("changed = True\n")
    with gate._race(Candidate(), "HEAD", tmp_path / "checkouts") as race:
        assert race is not None


def _commit_a_file(folder: Path) -> None:
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    (folder / "tracked.py").touch()
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first")):
        subprocess.run([*git, *command], cwd=folder, check=True)


def test_an_installed_exporter_does_not_stand_for_that_of_a_revision(tmp_path: Path) -> None:
    tree = Checkout("main", "0" * 40, tmp_path)
    race = Race(DEFAULT_CANDIDATE, tree, tree, sys.executable, rows=10, max_rounds=12)
    with pytest.raises(SubjectError, match=rf"of main is imported from .*, not from {tmp_path}"):
        run_race(race, tmp_path, lambda pairing, limit: None)


MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MANIFEST_TIME = ManifestTime(KEY, lambda: MOMENT)


def manifest(time: str, **changes: object) -> bytes:
    record = {"record_type": "manifest", "exported_at": time, **changes}
    signature = MANIFEST_TIME._signature(record)
    return rfc8785.dumps({**record, "signature": signature}) + b"\n"


def test_a_valid_time_and_signature_are_set_aside() -> None:
    fixed = manifest(MOMENT.isoformat())
    assert MANIFEST_TIME.set_aside(manifest("2026-11-27T10:00:00+00:00")) == fixed
    assert MANIFEST_TIME.set_aside(fixed) == fixed


@pytest.mark.parametrize(
    "line",
    [
        manifest("2026-11-27T10:00:00"),
        manifest("2026-11-27T10:00:00+01:00"),
        manifest("yesterday"),
        manifest("2026-11-27T10:00:00+00:00", record_type="row"),
        manifest("2026-11-27T10:00:00+00:00").replace(b'"exported_at"', b' "exported_at"'),
        manifest("2026-11-27T10:00:00+00:00").replace(b"10:00", b"11:00"),
        b"[]\n",
        b"\xff\n",
    ],
    ids=[
        "no offset",
        "offset",
        "no time",
        "a row",
        "not canonical",
        "another signature",
        "[]",
        "ff",
    ],
)
def test_any_other_last_line_keeps_its_bytes(line: bytes, tmp_path: Path) -> None:
    assert MANIFEST_TIME.set_aside(line) == line
    (tmp_path / "file").write_bytes(b"{}\n" + line)
    assert digest_lines(tmp_path / "file", MANIFEST_TIME) == digest_lines(tmp_path / "file")
