"""Questions to `landscape` that answer nothing are refused: what is mistyped, unused or empty."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from command_line import Command, Ended
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sample_run import KEY
from sqlalchemy import make_url

from elspeth.contracts import ExportStatus
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder, LegacyLandscapeExporter
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.verification.verify import verify

COLOUR = "ALTER TABLE nodes ADD COLUMN colour TEXT"
OPTION = "--leave-out nodes.colour,user_version=2"


def said(ended: Ended, code: int) -> str:
    """Return the one line of a refusal."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    return ended.err


def alter(url: str, *statements: str) -> None:
    with closing(sqlite3.connect(str(make_url(url).database))) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def write_settings(folder: Path, url: str, **export: object) -> Path:
    chosen = {"enabled": True, "sink": "s", "format": "json", "sign": True, **export}
    sinks = {"s": {"plugin": "json", "options": {"path": str(folder / "audit.jsonl")}}}
    path = folder.parent / "settings.yaml"
    path.write_text(yaml.safe_dump({"landscape": {"url": url, "export": chosen}, "sinks": sinks}))
    return path


def status_of(url: str) -> tuple[ExportStatus | None, str | None]:
    with LandscapeDB(url) as db:
        run = LandscapeRecorder(db).get_run("run-1")
    assert run is not None
    return run.export_status, run.export_error


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return path


class TestNewerAuditTrail:
    @pytest.fixture
    def newer(self, sqlite: str) -> str:
        alter(sqlite, COLOUR, "PRAGMA user_version = 2")
        return sqlite

    @pytest.mark.parametrize("exporter", ["batched", "legacy"])
    def test_an_export_is_refused_with_the_option_that_leaves_it_out(
        self, landscape: Command, newer: str, folder: Path, exporter: str
    ) -> None:
        command = ("export", "--db", newer, "--run", "run-1", "--output", folder / "x.jsonl")
        line = said(landscape(*command, "--exporter", exporter), 3)
        assert line.startswith(f"error: {newer}: this exporter does not know nodes.colour, user_")
        assert f"{OPTION} " in line
        assert list(folder.iterdir()) == []
        ended = landscape(*command, "--exporter", exporter, "--sign", *OPTION.split())
        assert ended.code == 0, ended.err
        assert "\nleft out on request: nodes.colour, user_version=2\n" in ended.out

    def test_names_may_be_in_several_options_and_a_wrong_one_is_refused(
        self, landscape: Command, newer: str, folder: Path
    ) -> None:
        command = ("export", "--db", newer, "--run", "run-1", "--output", folder / "x.jsonl")
        names = ("--leave-out", "nodes.colour", "--leave-out", " user_version=2 ")
        assert landscape(*command, *names).code == 0
        for wrong in ("nodes.colour,nodes.color", "nodes.colour,", "nodes.colour,nodes.node_id"):
            assert "Nothing can be left out as" in said(
                landscape(*command, "--leave-out", wrong), 2
            )

    def test_it_is_attested_and_shown_by_verify(
        self, landscape: Command, newer: str, folder: Path
    ) -> None:
        target = folder / "x.jsonl"
        command = ("export", "--db", newer, "--run", "run-1", "--output", target, "--attest")
        assert landscape(*command, "--sign", *OPTION.split()).code == 0
        ended = landscape("verify", target, "--attestation")
        assert ended.code == 0
        assert ended.out.startswith("left out on request: nodes.colour,user_version=2\n")
        # An unsigned export has no manifest that says it.
        assert landscape(*command, *OPTION.split()).code == 0
        ended = landscape("verify", target, "--attestation", "--allow-unsigned")
        assert ended.code == 0
        assert "\nleft out on request: nodes.colour,user_version=2\n" in ended.out

    def test_settings_name_it_and_the_status_is_recorded(
        self, landscape: Command, newer: str, folder: Path
    ) -> None:
        chosen = write_settings(folder, newer)
        ended = landscape("export", "--settings", chosen, "--run", "run-1")
        assert OPTION in said(ended, 3)
        assert OPTION in said(landscape("reconcile", "--settings", chosen), 3)
        ended = landscape("export", "--settings", chosen, "--run", "run-1", *OPTION.split())
        assert "write landscape.export.leave_out" in said(ended, 2)
        chosen = write_settings(folder, newer, leave_out=["nodes.colour", "user_version=2"])
        ended = landscape("export", "--settings", chosen, "--run", "run-1", "--attest")
        assert ended.code == 0, ended.err
        assert status_of(newer) == (ExportStatus.COMPLETED, None)
        assert verify(folder / "audit.jsonl", KEY).left_out == "nodes.colour,user_version=2"
        # The database may be on read-only media.
        with pytest.MonkeyPatch.context() as patched:
            patched.delattr("elspeth.cli.commands.reconcile.recording_database")
            assert landscape("reconcile", "--settings", chosen).out == "Nothing is pending.\n"

    def test_runs_are_listed_with_a_warning(self, landscape: Command, newer: str) -> None:
        ended = landscape("runs", "--db", newer)
        assert ended.code == 0
        assert "run-1" in ended.out
        assert ended.err.startswith(f"warning: {newer}: this exporter does not know nodes.colour")


class TestUnusedKeys:
    @pytest.mark.parametrize("options", [(), ("--format", "csv")], ids=str)
    def test_a_key_that_signs_nothing_is_refused(
        self,
        landscape: Command,
        sqlite: str,
        folder: Path,
        key_file: Path,
        options: tuple[str, ...],
    ) -> None:
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", folder / "x")
        line = said(landscape(*command, "--key-file", key_file, *options), 2)
        assert "--key-file names a key that nothing would be signed with" in line
        assert list(folder.iterdir()) == []

    def test_an_attestation_under_a_private_key_does_not_use_it(
        self, landscape: Command, sqlite: str, folder: Path, tmp_path: Path, key_file: Path
    ) -> None:
        private = tmp_path / "private.pem"
        key = Ed25519PrivateKey.generate()
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", folder / "x")
        options = ("--key-file", key_file, "--attestation-key", private)
        assert "nothing would be signed with" in said(landscape(*command, *options), 2)
        assert landscape(*command, *options, "--sign").code == 0

    def test_settings_without_a_signature_are_no_use_of_a_key(
        self, landscape: Command, sqlite: str, folder: Path, key_file: Path
    ) -> None:
        chosen = write_settings(folder, sqlite, sign=False)
        for command in (("export", "--run", "run-1"), ("reconcile",)):
            ended = landscape(*command, "--settings", chosen, "--key-file", key_file)
            assert "nothing would be signed with" in said(ended, 2)
        ended = landscape(
            *("export", "--run", "run-1", "--settings", chosen, "--attest"),
            *("--key-file", key_file),
        )
        assert ended.code == 0, ended.err


class TestReconcile:
    def test_a_database_without_runs_has_nothing_to_reconcile(
        self, landscape: Command, sqlite_url: str, folder: Path
    ) -> None:
        LandscapeDB(sqlite_url).close()
        line = said(landscape("reconcile", "--settings", write_settings(folder, sqlite_url)), 2)
        assert line.endswith("holds no runs: there is nothing to reconcile\n")

    def test_settings_without_sinks_find_no_export(
        self, landscape: Command, sqlite: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "other.yaml"
        path.write_text(yaml.safe_dump({"landscape": {"url": sqlite}}))
        assert "names no sinks" in said(landscape("reconcile", "--settings", path), 2)

    @pytest.mark.parametrize("status", ["PENDING", "exporting", ""])
    def test_a_status_that_may_be_a_pending_one_is_refused(
        self, landscape: Command, sqlite: str, folder: Path, status: str
    ) -> None:
        alter(sqlite, f"UPDATE runs SET export_status = '{status}'")
        line = said(landscape("reconcile", "--settings", write_settings(folder, sqlite)), 4)
        assert f"runs (run_id='run-1'): export_status holds {status!r}" in line


class TestExport:
    @pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0", "-1"])
    def test_a_timeout_that_is_no_time(
        self, landscape: Command, sqlite: str, folder: Path, seconds: str
    ) -> None:
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", folder / "x")
        assert "--timeout" in said(landscape(*command, f"--timeout={seconds}"), 2)

    @pytest.mark.parametrize("end", ["/", "/.", "//"])
    def test_a_folder_in_place_of_a_file(
        self, landscape: Command, sqlite: str, folder: Path, end: str
    ) -> None:
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", f"{folder / 'x'}{end}")
        assert "names a folder" in said(landscape(*command), 2)
        assert list(folder.iterdir()) == []
        assert landscape(*command, "--format", "csv").code == 0

    @pytest.mark.parametrize("jobs", [5, 10**9])
    def test_more_jobs_than_rows_start_nothing(
        self, landscape: Command, sqlite: str, folder: Path, jobs: int
    ) -> None:
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", folder / "x", "--quiet")
        assert "cannot share a run of 4 rows" in said(landscape(*command, "--jobs", jobs), 2)
        assert list(folder.iterdir()) == []

    def test_a_status_that_the_batched_exporter_does_not_read(
        self, landscape: Command, sqlite: str, folder: Path
    ) -> None:
        """As `docs/completeness.md` says: the control loads whole entities."""
        alter(sqlite, "UPDATE runs SET export_status = 'exporting'")
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", folder / "x")
        assert landscape(*command).code == 0
        line = said(landscape(*command, "--exporter", "legacy", "--quiet"), 4)
        assert "export_status holds 'exporting'" in line


class TestVerify:
    @pytest.mark.parametrize("options", [(), ("--unique",), ("--run", "run-1")], ids=str)
    def test_nothing_is_never_valid(
        self, landscape: Command, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "array").write_text("[]")
        (tmp_path / "folder").mkdir()
        for name in ("file", "array", "folder"):
            ended = landscape("verify", tmp_path / name, "--allow-unsigned", *options)
            assert (ended.code, "EMPTY" in ended.out) == (1, True)

    def test_a_run_that_matches_nothing_fails(
        self, landscape: Command, sqlite: str, folder: Path
    ) -> None:
        target = folder / "x.jsonl"
        landscape("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign")
        for run_id in ("", "RUN-1", "run-1 ", "latest"):
            ended = landscape("verify", target, "--run", run_id)
            assert (ended.code, "WRONG_RUN" in ended.out) == (1, True)

    def test_a_short_key_is_accepted_only_on_request(
        self,
        landscape: Command,
        sqlite: str,
        folder: Path,
        key_file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        target = folder / "x.json"
        with LandscapeDB(sqlite) as db:
            records = list(LegacyLandscapeExporter(db, b"short").export_run("run-1", sign=True))
        target.write_text(json.dumps(records))
        key_file.write_bytes(b"short")
        ended = landscape("verify", target, "--key-file", key_file)
        assert "has 5 bytes; at least 32 are needed; --allow-short-key verifies" in said(ended, 2)
        ended = landscape("verify", target, "--key-file", key_file, "--allow-short-key")
        note, warning, count = ended.out.splitlines()
        assert ended.code == 0
        assert note.startswith("a JSON array in the form of the original exporter: ")
        assert warning == "signed with a key of 5 bytes, which can be guessed"
        assert count == "51/51 valid"
        monkeypatch.setenv(KEY_VARIABLE, "")
        ended = landscape("verify", target, "--allow-short-key")
        assert "has 0 bytes; at least 1 are needed" in said(ended, 2)


@pytest.mark.parametrize("command", ["runs", "doctor"])
def test_a_database_without_tables_is_refused(
    landscape: Command, tmp_path: Path, command: str
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    alter(url, "CREATE TABLE shop (id INTEGER)")
    line = said(landscape(command, "--db", url), 3)
    assert line.endswith(
        "is not a Landscape database: no table runs, and no other table of an audit trail\n"
    )


def test_a_doctor_that_cannot_read_plans_says_so(landscape: Command, postgres_url: str) -> None:
    LandscapeDB(postgres_url).close()
    ended = landscape("doctor", "--db", postgres_url)
    assert ended.out == "Nothing to improve.\n"
    assert ended.err == "warning: only indexes were checked: query plans are checked on SQLite\n"


@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_device_whose_line_has_no_end_is_refused(landscape: Command, command: str) -> None:
    assert "/dev/zero: is a device" in said(landscape(command, "/dev/zero"), 3)
