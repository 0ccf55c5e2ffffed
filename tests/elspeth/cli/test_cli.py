"""The `landscape` command: its output, its files and its exit codes."""

import io
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Command, Ended, recorded
from rich.console import Console
from sample_run import SampleRun, add_rows
from sqlalchemy import make_url

from elspeth.cli.runs import lines_of, list_runs, table_of
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.keys import KEY_VARIABLE

SECRET = "hunter2"
OLD = b'{"record_type": "old"}'
LANDSCAPE = (sys.executable, "-c", "from elspeth.cli.main import main; main()")


def masked(url: str) -> str:
    return make_url(url).render_as_string()


def refused(ended: Ended, code: int) -> str:
    """Return the only line that a failed command prints."""
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.err
    assert SECRET not in ended.err
    return ended.err


class TestRuns:
    def test_runs_are_listed_with_their_counts_newest_first(
        self, landscape: Command, url: str
    ) -> None:
        with LandscapeDB(url) as db:
            later = datetime(2100, 1, 1, 12, 30, tzinfo=UTC)
            LandscapeRecorder(db, clock=lambda: later).begin_run({}, "v1", run_id="later")
        ended = landscape("runs", "--db", url)
        heading, *lines = (line.split() for line in ended.out.splitlines())
        assert " ".join(heading) == "run started status export rows tokens node states records"
        assert lines[0] == ["later", "2100-01-01", "12:30:00", "running", "-", "0", "0", "0", "1"]
        assert lines[1][0] == "run-1"
        assert lines[1][3:] == ["completed", "-", "4", "8", "7", "50"]
        assert (ended.code, ended.err) == (0, "")

    def test_a_table_in_a_file_has_the_lines_of_one_in_a_terminal(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            recorder = LandscapeRecorder(db)
            for run_id in ("one", "a longer one", "寛い", "line\nbreak", "[bold]"):
                recorder.begin_run({}, "v", run_id=run_id)
            listed = list_runs(db)
        console = Console(file=io.StringIO(), width=1000, soft_wrap=True, highlight=False)
        with console.capture() as captured:
            console.print(table_of(listed))
        assert captured.get().splitlines() == list(lines_of(listed))

    def test_an_empty_database_prints_no_runs(self, landscape: Command, landscape_url: str) -> None:
        LandscapeDB(landscape_url).close()
        assert landscape("runs", "--db", landscape_url) == Ended(
            0, "No runs yet: a pipeline that records to this database adds them.\n", ""
        )

    def test_a_long_id_is_shown_whole_and_a_hostile_one_on_one_line(
        self, landscape: Command, sqlite_url: str
    ) -> None:
        hostile = "[red]\n\x1b[2J../é" + "x" * 50
        with LandscapeDB(sqlite_url) as db:
            LandscapeRecorder(db).begin_run({}, "v1", run_id=hostile)
        lines = landscape("runs", "--db", sqlite_url).out.splitlines()
        assert len(lines) == 2
        assert lines[1].split()[0] == r"[red]\n\x1b[2J../é" + "x" * 50

    def test_times_are_utc_in_any_time_zone_of_the_session(
        self, landscape: Command, postgres_url: str
    ) -> None:
        recorded(postgres_url)
        sydney = make_url(postgres_url).update_query_dict(
            {"options": "-c TimeZone=Australia/Sydney"}
        )
        abroad = landscape("runs", "--db", sydney.render_as_string(hide_password=False))
        assert abroad == landscape("runs", "--db", postgres_url)


class TestExport:
    @pytest.mark.parametrize("exporter", ["batched", "legacy"])
    def test_a_signed_jsonl_file_is_written_and_verifies(
        self, landscape: Command, url: str, folder: Path, exporter: str
    ) -> None:
        target = folder / "run.jsonl"
        ended = landscape(
            *("export", "--db", url, "--run", "run-1", "--output", target),
            *("--sign", "--exporter", exporter),
        )
        assert (ended.code, ended.err) == (0, "")
        size = target.stat().st_size
        assert ended.out.startswith(f"run-1: 51 records, {size:,} bytes in {target}\nsha256 ")
        assert len(target.read_text().splitlines()) == SampleRun("run-1").records + 1
        assert landscape("verify", target) == Ended(0, "51/51 valid\n", "")

    @pytest.mark.parametrize("exporter", ["batched", "legacy"])
    def test_a_csv_directory_is_written(
        self, landscape: Command, url: str, folder: Path, exporter: str
    ) -> None:
        target = folder / "run"
        ended = landscape(
            *("export", "--db", url, "--run", "latest", "--output", target),
            *("--format", "csv", "--exporter", exporter),
        )
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("run-1: 50 records, ")
        assert len(list(target.iterdir())) == 12

    @pytest.mark.parametrize("format_", ["jsonl", "csv"])
    def test_both_exporters_write_the_same_bytes(
        self, landscape: Command, url: str, folder: Path, format_: str
    ) -> None:
        digests = set()
        for exporter in ("batched", "legacy"):
            ended = landscape(
                *("export", "--db", url, "--run", "run-1", "--output", folder / exporter),
                *("--format", format_, "--exporter", exporter),
            )
            digests.add(ended.out.splitlines()[1])
        assert len(digests) == 1

    def test_an_unsigned_export_needs_no_key(
        self, landscape: Command, sqlite: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY_VARIABLE)
        target = folder / "run.jsonl"
        ended = landscape("export", "--db", sqlite, "--run", "latest", "--output", target)
        assert ended.code == 0
        assert "signature" not in json.loads(target.read_text().splitlines()[0])

    def test_nothing_is_written_to_the_database(
        self, landscape: Command, sqlite: str, tmp_path: Path, folder: Path
    ) -> None:
        before = (tmp_path / "audit.db").read_bytes()
        landscape("export", "--db", sqlite, "--run", "run-1", "--output", folder / "run.jsonl")
        assert (tmp_path / "audit.db").read_bytes() == before


class TestVerify:
    @pytest.fixture
    def exported(self, landscape: Command, sqlite: str, folder: Path) -> Path:
        target = folder / "run.jsonl"
        landscape("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign")
        return target

    def test_one_changed_byte_is_found_and_its_line_named(
        self, landscape: Command, exported: Path
    ) -> None:
        content = bytearray(exported.read_bytes())
        at = content.index(b"a transform")
        content[at] = ord("A")
        exported.write_bytes(content)
        ended = landscape("verify", exported)
        assert (ended.code, ended.err) == (1, "")
        line = content[:at].count(b"\n") + 1
        assert f"line {line}: BAD_SIGNATURE" in ended.out
        assert "/51 valid\n" in ended.out
        assert "51/51 valid" not in ended.out

    def test_every_change_of_a_byte_fails(self, landscape: Command, exported: Path) -> None:
        content = exported.read_bytes()
        for at in range(0, len(content), len(content) // 40):
            changed = bytearray(content)
            changed[at] ^= 1
            exported.write_bytes(changed)
            assert landscape("verify", exported).code == 1, at

    def test_another_key_fails(
        self, landscape: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(KEY_VARIABLE, "another key, also long enough to be one")
        ended = landscape("verify", exported)
        assert ended.code == 1
        assert "0/51 valid" in ended.out

    def test_another_run_fails(self, landscape: Command, exported: Path) -> None:
        assert landscape("verify", exported, "--run", "run-1").code == 0
        assert landscape("verify", exported, "--run", "run-2").code == 1


class TestUsage:
    """Wrong options and arguments: exit code 2."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "Missing command"),
            (("publish",), "No such command 'publish'"),
            (("runs",), "Missing option '--db'"),
            (("runs", "--db", "x", "--key", "k"), "No such option: --key"),
            (("export", "--db", "x", "--run", "r", "--output", "o", "--format", "xml"), "xml"),
            (("verify",), "Missing argument"),
        ],
    )
    def test_an_impossible_command_line(
        self, landscape: Command, arguments: tuple[str, ...], said: str
    ) -> None:
        line = refused(landscape(*arguments), 2)
        assert said in line
        assert "--help shows what there is" in line

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("audit.db", "Not a database URL"),
            (f"postgresql://u:{SECRET}@h:port/db", "Not a database URL"),
            (f"mysql://u:{SECRET}@h/db", "SQLite or PostgreSQL, not mysql"),
            (f"postgresql+nothing://u:{SECRET}@h/db", "Can't load plugin"),
            (
                f"postgresql+pg8000://u:{SECRET}@h/db",
                "pip install ./src/querygrowth '.[postgresql]'",
            ),
            ("sqlite+aiosqlite:///audit.db", "is asynchronous"),
            (f"postgresql+asyncpg://u:{SECRET}@h/db", "is asynchronous"),
            ("sqlite:///:memory:", "An in-memory database starts empty"),
        ],
    )
    def test_an_impossible_database_url(self, landscape: Command, url: str, said: str) -> None:
        assert said in refused(landscape("runs", "--db", url), 2)

    @pytest.mark.parametrize("command", ["runs", "export"])
    def test_a_mistyped_path_creates_nothing(
        self, landscape: Command, tmp_path: Path, command: str
    ) -> None:
        target = ("--run", "r", "--output", tmp_path / "out") if command == "export" else ()
        line = refused(landscape(command, "--db", f"sqlite:///{tmp_path}/typo.db", *target), 2)
        assert f"No database file at {tmp_path}/typo.db" in line
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("run_id", ["nobody", "", "a'; DROP TABLE runs --", "\udcff", "a\nb"])
    @pytest.mark.parametrize("exporter", ["batched", "legacy"])
    def test_an_unknown_run(
        self, landscape: Command, sqlite: str, folder: Path, run_id: str, exporter: str
    ) -> None:
        ended = landscape(
            *("export", "--db", sqlite, "--run", run_id, "--output", folder / "run.jsonl"),
            *("--exporter", exporter),
        )
        assert "Run not found: " in refused(ended, 2)
        assert list(folder.iterdir()) == []

    def test_latest_in_an_empty_database(
        self, landscape: Command, sqlite_url: str, folder: Path
    ) -> None:
        LandscapeDB(sqlite_url).close()
        ended = landscape(
            "export", "--db", sqlite_url, "--run", "latest", "--output", folder / "run.jsonl"
        )
        assert f"{masked(sqlite_url)} holds no runs" in refused(ended, 2)

    @pytest.mark.parametrize("key", [None, "", SECRET])
    def test_no_usable_key(
        self,
        landscape: Command,
        sqlite: str,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        key: str | None,
    ) -> None:
        monkeypatch.delenv(KEY_VARIABLE)
        if key is not None:
            monkeypatch.setenv(KEY_VARIABLE, key)
        target = folder / "run.jsonl"
        ended = landscape("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign")
        assert KEY_VARIABLE in refused(ended, 2)
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("format_", ["jsonl", "csv"])
    @pytest.mark.parametrize(
        ("target", "said"),
        [("", "names no file"), ("a" * 300, "longer than 255 bytes")],
    )
    def test_an_impossible_output_name(
        self, landscape: Command, sqlite: str, folder: Path, format_: str, target: str, said: str
    ) -> None:
        ended = landscape(
            *("export", "--db", sqlite, "--run", "run-1", "--format", format_),
            *("--output", f"{folder}/{target}" if target else ""),
        )
        assert said in refused(ended, 2)
        assert list(folder.iterdir()) == []

    def test_an_output_that_would_replace_something_else(
        self, landscape: Command, sqlite: str, tmp_path: Path, folder: Path
    ) -> None:
        (folder / "notes.txt").write_text("precious")
        before = (tmp_path / "audit.db").read_bytes()
        export = ("export", "--db", sqlite, "--run", "run-1", "--output")
        assert "is a directory" in refused(landscape(*export, folder), 2)
        assert "is a database" in refused(landscape(*export, tmp_path / "audit.db"), 2)
        assert "'notes.txt'" in refused(landscape(*export, folder, "--format", "csv"), 2)
        assert (folder / "notes.txt").read_text() == "precious"
        assert (tmp_path / "audit.db").read_bytes() == before


class TestInputAndOutput:
    """Errors of files and databases: exit code 3."""

    @pytest.mark.parametrize("content", [b"", b"plain text", b"SQLite format 3\0" + b"x" * 5000])
    def test_a_file_without_a_landscape_database(
        self, landscape: Command, tmp_path: Path, folder: Path, content: bytes
    ) -> None:
        (tmp_path / "other.db").write_bytes(content)
        export = ("export", "--run", "r", "--output", folder / "run.jsonl")
        for arguments in (("runs",), export):
            refused(landscape(*arguments, "--db", f"sqlite:///{tmp_path}/other.db"), 3)
        assert list(folder.iterdir()) == []
        assert (tmp_path / "other.db").read_bytes() == content

    def test_a_foreign_database_is_refused_with_the_missing_tables(
        self, landscape: Command, tmp_path: Path
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
            connection.execute("CREATE TABLE runs (run_id TEXT)")
        line = refused(landscape("runs", "--db", f"sqlite:///{tmp_path}/other.db"), 3)
        assert "is not a Landscape database" in line
        assert "no table nodes" in line

    def test_a_truncated_database(
        self, landscape: Command, sqlite: str, tmp_path: Path, folder: Path
    ) -> None:
        whole = (tmp_path / "audit.db").read_bytes()
        (tmp_path / "audit.db").write_bytes(whole[: len(whole) // 2])
        refused(
            landscape("export", "--db", sqlite, "--run", "run-1", "--output", folder / "run.jsonl"),
            3,
        )
        assert list(folder.iterdir()) == []

    def test_an_unreachable_server(self, landscape: Command) -> None:
        url = f"postgresql://u:{SECRET}@127.0.0.1:1/db?connect_timeout=5"
        assert "refused" in refused(landscape("runs", "--db", url), 3)

    def test_an_unknown_role(self, landscape: Command, postgres_url: str) -> None:
        url = make_url(postgres_url).set(username="nobody", password=SECRET)
        line = refused(landscape("runs", "--db", url.render_as_string(hide_password=False)), 3)
        assert "nobody" in line

    def test_a_missing_output_folder(self, landscape: Command, sqlite: str, folder: Path) -> None:
        target = folder / "missing" / "run.jsonl"
        ended = landscape("export", "--db", sqlite, "--run", "run-1", "--output", target)
        assert f"{folder}/missing: No such directory" in refused(ended, 3)
        assert list(folder.iterdir()) == []

    def test_a_missing_file_to_verify(self, landscape: Command, tmp_path: Path) -> None:
        assert "No such file" in refused(landscape("verify", tmp_path / "run.jsonl"), 3)


@pytest.mark.parametrize("exporter", ["batched", "legacy"])
@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_corrupt_data_is_named_with_exit_code_4_and_nothing_is_published(
    landscape: Command, sqlite: str, folder: Path, exporter: str, format_: str
) -> None:
    with LandscapeDB(sqlite) as db, db.connection() as connection:
        connection.exec_driver_sql(
            "UPDATE calls SET call_type = 'fax', call_id = 'c' WHERE call_index = 1"
        )
    ended = landscape(
        *("export", "--db", sqlite, "--run", "run-1", "--output", folder / "run"),
        *("--format", format_, "--exporter", exporter),
    )
    assert refused(ended, 4) == (
        "error: Audit integrity violation: calls (call_id='c'): "
        "call_type holds 'fax', which is not a member of CallType\n"
    )
    assert list(folder.iterdir()) == []


class TestProcess:
    """Behaviour that needs a separate process."""

    def test_a_closed_pipe_ends_with_exit_code_3(self, sqlite: str) -> None:
        read, write = os.pipe()
        os.close(read)
        for arguments in (("runs", "--db", sqlite), ("--help",)):
            ended = subprocess.run([*LANDSCAPE, *arguments], stdout=write, stderr=subprocess.PIPE)
            assert (ended.returncode, ended.stderr) == (3, b"")
        os.close(write)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
    def test_a_full_output_device_ends_with_exit_code_3(self, sqlite: str) -> None:
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                [*LANDSCAPE, "runs", "--db", sqlite], stdout=full, stderr=subprocess.PIPE
            )
        assert ended.returncode == 3
        assert ended.stderr.endswith(b"No space left on device\n")
        assert ended.stderr.count(b"\n") == 1

    def test_an_encoding_without_the_characters_of_an_id_shows_them_escaped(
        self, sqlite_url: str
    ) -> None:
        with LandscapeDB(sqlite_url) as db:
            LandscapeRecorder(db).begin_run({}, "v1", run_id="é")
        ended = subprocess.run(
            [*LANDSCAPE, "runs", "--db", sqlite_url],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=True,
        )
        assert b"\\xe9" in ended.stdout

    def test_progress_is_shown_only_on_a_terminal(self, sqlite: str, folder: Path) -> None:
        export = [*LANDSCAPE, "export", "--db", sqlite, "--run", "run-1", "--output"]
        piped = subprocess.run([*export, folder / "piped"], capture_output=True, check=True)
        assert piped.stderr == b""
        assert b"50/50" in shown_on_a_terminal([*export, folder / "shown"])
        assert (folder / "shown").read_bytes() == (folder / "piped").read_bytes()

    @pytest.mark.parametrize(
        ("sent", "code", "said"),
        [
            (signal.SIGTERM, 143, b"error: ended by SIGTERM\n"),
            (signal.SIGINT, 130, b"error: interrupted\n"),
        ],
    )
    def test_a_signal_ends_the_export_and_removes_the_unfinished_file(
        self, sqlite: str, tmp_path: Path, folder: Path, sent: int, code: int, said: bytes
    ) -> None:
        add_rows(tmp_path / "audit.db", 50_000)
        (folder / "run.jsonl").write_bytes(OLD)
        command = [*LANDSCAPE, "export", "--db", sqlite, "--run", "run-1", "--exporter", "legacy"]
        with subprocess.Popen(
            [*command, "--output", folder / "run.jsonl"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            while not list(folder.glob(".export-*")) and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(sent)
            out, err = process.communicate()
        assert (process.returncode, out, err) == (code, b"", said)
        assert [path.name for path in folder.iterdir()] == ["run.jsonl"]
        assert (folder / "run.jsonl").read_bytes() == OLD


def shown_on_a_terminal(command: list[object]) -> bytes:
    """Return the stderr of a command on a terminal."""
    terminal, end = pty.openpty()
    with subprocess.Popen(command, stderr=end, stdout=subprocess.DEVNULL) as process:
        os.close(end)
        shown = b"".join(_read_until_closed(terminal))
    os.close(terminal)
    assert process.returncode == 0
    return shown


def _read_until_closed(terminal: int) -> Iterator[bytes]:
    # A terminal whose other end is closed gives an error on Linux, and nothing on macOS.
    with suppress(OSError):
        while read := os.read(terminal, 4096):
            yield read
