"""Several runs exported and several exports verified: resumed, summed up, and what is missing."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Command, Ended
from sample_run import KEY, record_sample_run
from sqlalchemy import make_url

from elspeth.cli.export import ExportForm, ExportOptions
from elspeth.cli.run_choice import Selection
from elspeth.cli.runtime import CommandTimeoutError
from elspeth.cli.several_runs import SeveralExports
from elspeth.contracts.enums import RunStatus
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.attestation import Attester, HmacSigner
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.output.lock import hidden_beside, target_lock

HOSTILE = "../x/é\n" + "y" * 300


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a run of 2020, two later ones and one that goes on, and exports of three."""
    folder = tmp_path_factory.mktemp("template")
    url = f"sqlite:///{folder / 'audit.db'}"
    with LandscapeDB(url) as db:
        old = LandscapeRecorder(db, clock=lambda: datetime(2020, 5, 1, 12, tzinfo=UTC))
        record_sample_run(old, "old")
        for run_id in ("new", HOSTILE):
            record_sample_run(LandscapeRecorder(db), run_id)
        LandscapeRecorder(db).begin_run({}, "v1", run_id="going")
    form = ExportForm(signing_key=KEY, attester=Attester(HmacSigner(KEY)))
    completed = Selection(status=RunStatus.COMPLETED)
    SeveralExports(url, folder / "exports", form, completed).export(
        ExportOptions(quiet=True), lambda _: None
    )
    return folder


@pytest.fixture
def database(template: Path, tmp_path: Path) -> str:
    """The URL of a copy of the database."""
    return f"sqlite:///{shutil.copy(template / 'audit.db', tmp_path / 'audit.db')}"


def execute(url: str, statement: str) -> None:
    with closing(sqlite3.connect(make_url(url).database or "")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.fixture
def export_all(landscape: Command, database: str, folder: Path) -> Callable[..., Ended]:
    def export(*options: object) -> Ended:
        return landscape(
            *("export", "--db", database, "--output", folder, "--sign", "--quiet"),
            *(options or ("--all",)),
        )

    return export


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outcomes(ended: Ended) -> list[str]:
    return [export["outcome"] for export in json.loads(ended.out)["exports"]]


class TestExport:
    def test_every_run_gets_a_file_of_its_id_and_all_verify(
        self, landscape: Command, export_all: Callable[..., Ended], folder: Path
    ) -> None:
        done = export_all()
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines()[-1] == "4 runs: 4 passed"
        names = set(contents(folder))
        assert {"old.jsonl", "new.jsonl", "going.jsonl"} < names
        (hostile,) = names - {"old.jsonl", "new.jsonl", "going.jsonl"}
        assert hostile.startswith("%2E.%2Fx%2F%C3%A9%0Ayyy")
        verified = landscape("verify", folder)
        assert (verified.code, verified.out.splitlines()[-1]) == (0, "4 exports: 4 passed")

    def test_what_is_there_and_verifies_is_not_exported_again(
        self, export_all: Callable[..., Ended], folder: Path
    ) -> None:
        export_all()
        before = contents(folder)
        (folder / "new.jsonl").unlink()
        (folder / "old.jsonl").write_bytes(before["old.jsonl"][:-1])
        done = export_all("--all", "--json")
        # A run that goes on may have changed.
        assert outcomes(done) == ["passed", "passed", "skipped", "passed"]
        after = contents(folder)
        assert [name for name in before if before[name] == after[name]] == [
            name for name in before if name.startswith("%2E")
        ]

    def test_the_locks_of_a_killed_command_are_removed_where_all_is_there(
        self, export_all: Callable[..., Ended], folder: Path
    ) -> None:
        chosen = ("--status", "completed", "--attest")
        export_all(*chosen)
        before = contents(folder)
        for name in ("several exports", *before):
            hidden_beside(folder / name, "lock").touch()
        done = export_all(*chosen)
        assert (done.code, done.out.splitlines()[-1]) == (0, "3 runs: 3 skipped")
        assert contents(folder) == before

    def test_a_folder_that_another_process_exports_to_is_left_alone(
        self, export_all: Callable[..., Ended], folder: Path
    ) -> None:
        export_all("--status", "completed", "--attest")
        before = contents(folder)
        with target_lock(folder / "several exports"):
            refused = export_all("--all", "--attest")
            # Nothing is to be exported here.
            done = export_all("--status", "completed", "--attest")
        reason = "another process is exporting several runs to it"
        assert refused.code == 3
        assert refused.err.startswith(f"error: {folder}: {reason}; wait for that, or choose ")
        assert refused.err.count("\n") == 1
        assert (done.code, done.out.splitlines()[-1]) == (0, "3 runs: 3 skipped")
        assert contents(folder) == before
        assert export_all("--all", "--attest").code == 0

    def test_processes_that_export_to_one_folder_leave_it_whole(
        self, landscape: Command, database: str, folder: Path
    ) -> None:
        """One exports, and the others are refused, or find what it has left."""
        command = (
            *(sys.executable, "-c", "from elspeth.cli.main import main; main()"),
            *("export", "--db", database, "--all", "--output", str(folder)),
            *("--sign", "--attest", "--quiet"),
        )
        environment = {**os.environ, KEY_VARIABLE: KEY.decode()}
        started = [
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        codes = []
        for process in started:
            _, errors = process.communicate()
            codes.append(process.returncode)
            assert errors.count(b"\n") == (process.returncode != 0)
        assert set(codes) <= {0, 3}
        assert 0 in codes
        assert landscape("verify", folder, "--attestation", "--db", database).code == 0

    @pytest.mark.parametrize(
        "statement",
        [
            # The first one is of the oldest run.
            "DELETE FROM calls WHERE rowid = (SELECT min(rowid) FROM calls)",
            "UPDATE runs SET status = 'failed' WHERE run_id = 'old'",
        ],
    )
    def test_a_run_that_has_changed_is_exported_again(
        self, export_all: Callable[..., Ended], database: str, statement: str
    ) -> None:
        export_all()
        execute(database, statement)
        assert outcomes(export_all("--all", "--json")) == ["passed", "skipped", "skipped", "passed"]

    @pytest.mark.parametrize(
        "options", [("--attest",), ("--leave-out", "runs.colour"), ("--compress", "gzip")]
    )
    def test_an_export_of_another_kind_is_no_export_that_is_there(
        self, export_all: Callable[..., Ended], database: str, options: tuple[str, ...]
    ) -> None:
        export_all("--since", "2021-01-01")
        if "--leave-out" in options:
            execute(database, "ALTER TABLE runs ADD COLUMN colour TEXT")
        done = export_all("--since", "2021-01-01", "--json", *options)
        assert outcomes(done) == ["passed"] * 3
        again = export_all("--status", "completed", "--since", "2021-01-01", "--json", *options)
        assert outcomes(again) == ["skipped"] * 2

    def test_an_unsigned_export_does_not_stand_for_a_signed_one(
        self, landscape: Command, export_all: Callable[..., Ended], database: str, folder: Path
    ) -> None:
        landscape("export", "--db", database, "--output", folder, "--status", "completed")
        assert outcomes(export_all("--status", "completed", "--json")) == ["passed"] * 3

    @pytest.mark.parametrize(
        ("options", "chosen"),
        [
            (("--since", "2021-01-01"), {"new", HOSTILE, "going"}),
            (
                ("--since", "2020-05-01T13:00+01:00", "--status", "completed"),
                {"old", "new", HOSTILE},
            ),
            (("--since", "2020-05-01T12:00:01", "--status", "running"), {"going"}),
            (("--status", "running"), {"going"}),
        ],
    )
    def test_runs_are_chosen_by_start_and_status(
        self, export_all: Callable[..., Ended], options: tuple[str, ...], chosen: set[str]
    ) -> None:
        exports = json.loads(export_all("--json", *options).out)["exports"]
        assert {export["run_id"] for export in exports} == chosen

    def test_no_match_is_skipped_and_says_what_there_is(
        self, export_all: Callable[..., Ended], folder: Path
    ) -> None:
        done = export_all("--status", "failed")
        assert (done.code, done.err) == (0, "")
        assert "`landscape runs` lists" in done.out
        assert json.loads(export_all("--status", "failed", "--json").out)["outcome"] == "skipped"

    def test_a_failure_does_not_stop_the_rest_and_the_highest_code_is_returned(
        self, export_all: Callable[..., Ended], database: str, folder: Path
    ) -> None:
        execute(database, "UPDATE nodes SET node_type = 'other' WHERE run_id = 'old'")
        (folder / "new.jsonl").mkdir()
        done = export_all()
        assert done.code == 4
        assert done.err == "error: 2 of 4 runs: not exported, or not confirmed\n"
        lines = done.out.splitlines()
        assert lines[0].startswith("old: failed: ")
        assert lines[1].startswith("new: failed: ")
        assert lines[-1] == "4 runs: 2 passed, 2 failed"
        report = json.loads(export_all("--all", "--json").out)
        assert (report["outcome"], report["exit_code"]) == ("failed", 4)
        assert [export["exit_code"] for export in report["exports"]] == [4, 2, 0, 0]

    def test_a_start_that_cannot_be_read_fails_its_run_alone(
        self, export_all: Callable[..., Ended], database: str
    ) -> None:
        execute(database, "UPDATE runs SET started_at = 'soon' WHERE run_id = 'old'")
        done = export_all("--since", "2021-01-01", "--json")
        found = {each["run_id"]: each["outcome"] for each in json.loads(done.out)["exports"]}
        assert found == {"old": "failed", "new": "passed", HOSTILE: "passed", "going": "passed"}

    def test_the_end_of_time_stops_all(
        self, export_all: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        def end(*_: object) -> None:
            raise CommandTimeoutError("not done within the 1 seconds allowed by --timeout")

        monkeypatch.setattr(ExportForm, "write", end)
        stopped = export_all()
        assert (stopped.code, stopped.err.count("\n")) == (3, 1)
        assert contents(folder) == {}

    def test_directories_of_csv_files(
        self, landscape: Command, export_all: Callable[..., Ended], folder: Path
    ) -> None:
        options = ("--status", "completed", "--format", "csv")
        assert export_all(*options).code == 0
        assert {"old", "new"} < {path.name for path in folder.iterdir()}
        assert outcomes(export_all(*options, "--json")) == ["skipped"] * 3
        assert landscape("verify", folder).out.splitlines()[-1] == "3 exports: 3 passed"

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ((), "--all"),
            (("--all", "--run", "x"), "--run"),
            (("--all", "--since", "2020-01-01"), "--since"),
            (("--since", "yesterday"), "ISO 8601"),
            (("--since", "1" * 100_000), "ISO 8601"),
            (("--since", "2026-01-31x08"), "ISO 8601"),
            (("--since", "9999-12-31"), "future"),
            (("--since", "0001-01-01T00:00+14:00", "--status", "dead"), "dead"),
            (("--all", "--settings", "s.yaml"), "--output"),
        ],
    )
    def test_a_wrong_question_is_one_line_and_leaves_nothing(
        self,
        landscape: Command,
        database: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        options: tuple[str, ...],
        named: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("s.yaml").write_text("landscape: {}")
        target = () if "--settings" in options else ("--db", database)
        ended = landscape("export", "--output", "exports-of-none", *target, *options)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert named in ended.err
        assert not Path("exports-of-none").exists()

    def test_a_target_that_is_no_folder_is_refused(
        self, landscape: Command, database: str, folder: Path
    ) -> None:
        shared = ("export", "--db", database, "--output")
        landscape(*shared, folder / "one", "--run", "new", "--format", "csv")
        (folder / "file").touch()
        for name, code in (("one", 2), ("file", 2), ("no/folder", 3)):
            ended = landscape(*shared, folder / name, "--all")
            assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)

    def test_an_empty_database_is_a_wrong_question(
        self, landscape: Command, sqlite_url: str, tmp_path: Path
    ) -> None:
        LandscapeDB(sqlite_url).close()
        target = tmp_path / "none"
        ended = landscape("export", "--db", sqlite_url, "--all", "--output", target)
        assert ended.code == 2
        assert "holds no runs" in ended.err
        assert not target.exists()


class TestVerify:
    @pytest.fixture
    def exports(self, template: Path, folder: Path) -> Path:
        shutil.copytree(template / "exports", folder, dirs_exist_ok=True)
        return folder

    def test_what_is_missing_is_named(
        self, landscape: Command, exports: Path, database: str
    ) -> None:
        (exports / "new.jsonl").unlink()
        (exports / "notes.txt").write_text("hello")
        done = landscape("verify", exports, "--attestation", "--db", database)
        assert (done.code, done.err) == (1, "")
        *_, skipped, export, run, summary = done.out.splitlines()
        assert skipped.endswith("notes.txt: skipped: not an export")
        assert export.endswith("missing: its attestation new.jsonl.attestation.json is there")
        assert run.startswith("new: missing: a completed run")
        assert summary == "2 exports: 2 passed, 1 skipped, 2 missing"

    def test_a_run_that_goes_on_is_not_missing(
        self, landscape: Command, exports: Path, database: str
    ) -> None:
        assert landscape("verify", exports, "--db", database).code == 0

    def test_one_export_and_a_database_name_the_other_runs(
        self, landscape: Command, exports: Path, database: str
    ) -> None:
        done = landscape("verify", exports / "new.jsonl", "--db", database, "--json")
        missing = json.loads(done.out)["missing"]
        assert {each["name"] for each in missing} == {"old", HOSTILE}
        assert done.code == 1

    def test_a_database_of_other_runs_is_refused(
        self, landscape: Command, exports: Path, sqlite_url: str
    ) -> None:
        # With none completed, nothing would be missing, and the wrong database would pass.
        with LandscapeDB(sqlite_url) as db:
            LandscapeRecorder(db).begin_run(config={}, canonical_version="v1", run_id="another")
        ended = landscape("verify", exports, "--db", sqlite_url)
        assert ended.code == 2
        assert ended.err.startswith("error: --db: the database holds none of the exported runs")

    @pytest.mark.parametrize("forgotten", [True, False])
    def test_a_gap_in_the_chain_of_attestations_is_named(
        self,
        landscape: Command,
        export_all: Callable[..., Ended],
        exports: Path,
        database: str,
        forgotten: bool,
    ) -> None:
        for number in (1, 2):
            shutil.copy(
                exports / "old.jsonl.attestation.json", exports / f"kept-{number}.attestation.json"
            )
            (exports / "old.jsonl").unlink()
            assert export_all("--status", "completed", "--attest").code == 0
        if forgotten:
            (exports / "kept-2.attestation.json").unlink()
        done = landscape("verify", exports, "--attestation")
        assert done.code == (1 if forgotten else 0)
        assert ("GAP: number 3 does not show" in done.out) == forgotten

    def test_a_damaged_export_is_not_passed_over(self, landscape: Command, exports: Path) -> None:
        (exports / "old.jsonl").write_bytes(b"\0")
        (exports / "renamed").write_bytes((exports / "new.jsonl").read_bytes()[:-1])
        done = landscape("verify", exports)
        assert done.code == 1
        assert "old.jsonl: failed" in done.out
        assert "renamed: failed" in done.out

    def test_an_export_that_cannot_be_read_is_inconclusive_and_the_rest_is_verified(
        self, landscape: Command, exports: Path
    ) -> None:
        ended = landscape("verify", exports / "none.jsonl", exports / "new.jsonl")
        assert ended.code == 3
        assert ended.err == "error: 1 of 2 exports: not verified\n"
        assert "none.jsonl: inconclusive: " in ended.out
        assert "new.jsonl: passed: 51/51 valid" in ended.out

    def test_an_export_that_is_named_twice_counts_once(
        self, landscape: Command, exports: Path
    ) -> None:
        path = exports / "new.jsonl"
        assert landscape("verify", path, path).out == landscape("verify", path).out
        assert landscape("verify", exports, path).out.splitlines()[-1] == "3 exports: 3 passed"

    @pytest.mark.parametrize(
        "option", [("--run", "new"), ("--at-least", "1"), ("--follows", "x.json")]
    )
    def test_a_question_about_one_export_is_refused_for_several(
        self, landscape: Command, exports: Path, option: tuple[str, ...]
    ) -> None:
        ended = landscape("verify", exports, *option)
        assert (ended.code, ended.out) == (2, "")
        assert option[0] in ended.err

    def test_a_folder_without_exports_never_passes(
        self, landscape: Command, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        assert landscape("verify", empty).code == 1
        (empty / "notes.txt").write_text("hello")
        assert landscape("verify", empty).code == 1

    def test_odd_things_in_a_folder_are_skipped_with_a_reason(
        self, landscape: Command, exports: Path
    ) -> None:
        os.mkfifo(exports / "pipe")
        (exports / "link").symlink_to("nowhere")
        (exports / "more").mkdir()
        (exports / ".export-0.tmp").write_text('{"record_type"')
        done = landscape("verify", exports)
        assert done.code == 0
        assert done.out.splitlines()[-1] == "3 exports: 3 passed, 4 skipped"
        (exports / "gone.jsonl").symlink_to("nowhere")
        assert landscape("verify", exports).code == 3
