"""No command leaves a trace of the signing key in output, files, the database or /proc.

A unique key is given to every command that signs, verifies or fails, by environment and by file.
Then everything is searched for the key: raw, hexadecimal, Base64.
"""

import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from key_canary import HARNESS, LANDSCAPE, GuardedRunner, ProcessWatch, new_canary, traces
from profiles import is_nightly
from sample_run import record_sample_run

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.attestation import HmacSigner
from elspeth.core.landscape.export.worker_secrets import Secrets
from elspeth.core.landscape.keys import KEY_VARIABLE, Keyring

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="there is no /proc here"
)


CANARY = new_canary()
"""The key of the tests that start no command."""


class TestSearch:
    """The search itself finds a key in every form."""

    @pytest.mark.parametrize(
        "planted",
        [
            CANARY,
            CANARY[3:20],
            CANARY.hex().encode(),
            CANARY.hex().upper().encode(),
            base64.b64encode(CANARY),
            base64.b64encode(b"x" + CANARY),
            base64.b64encode(b"xy" + CANARY),
            base64.urlsafe_b64encode(CANARY),
            repr(CANARY).encode(),
            json.dumps(list(CANARY)).encode(),
        ],
        ids=["raw", "part", "hex", "HEX", "64", "64+1", "64+2", "url", "repr", "list"],
    )
    def test_it_finds_the_key_in_every_form(self, planted: bytes) -> None:
        assert traces(b"before " + planted + b" after", CANARY)

    def test_it_finds_nothing_in_other_bytes(self) -> None:
        assert traces(bytes(range(256)) * 100 + Path(__file__).read_bytes(), CANARY) == []

    @pytest.mark.parametrize("where", ["argv", "environ"])
    def test_it_finds_the_key_of_a_process(self, where: str) -> None:
        # It prints a line when it runs: before that, its command line may still be empty.
        waiting = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
        argv = [*waiting, CANARY.decode()] if where == "argv" else waiting
        environ = {"K": CANARY.decode()} if where == "environ" else None
        with (
            ProcessWatch(CANARY, environments=True) as watch,
            subprocess.Popen(
                argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as process,
        ):
            assert process.stdout is not None
            process.stdout.readline()
            watch.look()
            process.communicate()
        name = "cmdline" if where == "argv" else "environ"
        assert f"{name}: raw" in watch.found

    def test_it_finds_the_key_of_a_process_that_ends_at_once(self, tmp_path: Path) -> None:
        guarded = GuardedRunner(CANARY, tmp_path, {}, environments=False)
        with pytest.raises(AssertionError, match="'-c', 'pass'"):
            guarded.run(sys.executable, "-c", "pass", CANARY.decode())

    def test_it_finds_the_key_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "log").write_bytes(b"key=" + CANARY)
        guarded = GuardedRunner(CANARY, tmp_path, {}, environments=False)
        assert guarded.traces_in_files() == ["log: raw", "log: escaped"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """A database in use, whose write-ahead log is on disk."""
    path = tmp_path / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        record_sample_run(LandscapeRecorder(db))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM runs").fetchall()
        yield path


@pytest.mark.parametrize("route", ["environment", "key file"])
def test_no_command_leaves_a_trace_of_the_key(route: str, tmp_path: Path, database: Path) -> None:
    canary = new_canary()
    key_file = tmp_path / "key"
    key_file.write_bytes(canary + b"\n")
    key_file.chmod(0o600)
    keyring = tmp_path / "keys"
    keyring.write_bytes(b"j" * 32 + b"\n" + canary + b"\n")
    keyring.chmod(0o600)
    by_file = route == "key file"
    environ = {} if by_file else {KEY_VARIABLE: canary.decode()}
    key = ("--key-file", key_file) if by_file else ()
    guarded = GuardedRunner(canary, tmp_path, environ, environments=by_file)
    url = f"sqlite:///{database}"

    def landscape(*arguments: object, code: int = 0) -> None:
        ran = guarded.run(*LANDSCAPE, *arguments)
        assert ran.code == code, (arguments, ran)

    def export(output: str, *options: object, code: int = 0) -> None:
        named = ("--db", url, "--run", "run-1", "--output", output, "--sign")
        landscape("export", *named, *key, *options, code=code)

    # What depends on the route is tried on both. The nightly run tries all of it on both.
    every = by_file or is_nightly()
    export("run.jsonl", "--attest")
    landscape("verify", "run.jsonl", "--attestation", *key)
    if every:
        export("run", "--format", "csv", "--attest", "--spreadsheet-safe")
        export("legacy.jsonl", "--exporter", "legacy")
        landscape("verify", "run", "--unique", *key)
        landscape("verify", "run.jsonl", "--keyring", keyring)
        landscape("verify", "run.spreadsheet", *key, code=1)

    shared = ("--db", url, "--run", "run-1", "--output", "shared.jsonl", "--sign", "--jobs", 2)
    ran = guarded.run(*LANDSCAPE, "export", *shared, *key)
    assert (ran.code, ran.processes >= 3) == (0, True), "the workers were searched too"

    export("missing/run.jsonl", code=3)
    if every:
        export("run", code=2)
        key_file.chmod(0o644)
        landscape("verify", "run.jsonl", "--key-file", key_file, code=2)
        landscape("verify", "run.jsonl", "--keyring", key_file, code=2)
        key_file.chmod(0o600)
    (tmp_path / "run.jsonl").write_bytes(b"{}\n")
    landscape("verify", "run.jsonl", *key, code=1)

    (tmp_path / "settings.yaml").write_text(
        json.dumps(
            {
                "landscape": {
                    "url": url,
                    "export": {"enabled": True, "sink": "s", "format": "json", "sign": True},
                },
                "sinks": {"s": {"plugin": "json", "options": {"path": "after.jsonl"}}},
            }
        )
    )
    settings = ("--settings", "settings.yaml", *key)
    landscape("export", *settings, "--run", "run-1", "--attest")
    _set_status(database, "pending")
    landscape("reconcile", *settings, "--attest")
    (tmp_path / "after.jsonl").unlink()
    _set_status(database, "pending")
    landscape("reconcile", *settings, code=1)
    _corrupt(database)
    export("corrupt.jsonl", code=4)
    landscape("export", *settings, "--run", "run-1", code=4)

    assert (tmp_path / "audit.db-wal").stat().st_size > 0
    assert guarded.traces_in_files(but=(key_file, keyring)) == []


@pytest.mark.parametrize("command", ["bench", pytest.param("gate", marks=pytest.mark.nightly)])
def test_no_report_of_the_harness_holds_the_key_of_its_environment(
    command: str, tmp_path: Path
) -> None:
    root = Path(__file__).parents[1]
    results = ("--results", root / "fixtures" / "results" / "n_plus_one.json")
    measured = ("--rows", 10, "--rounds", 1, "--targets", root / "fixtures" / "targets.toml")
    options = measured if command == "bench" else results
    canary = new_canary()
    guarded = GuardedRunner(canary, tmp_path, {KEY_VARIABLE: canary.decode()}, environments=False)
    ran = guarded.run(*HARNESS, command, *options, "--output", "out")
    assert ran.code in (0, 1), ran
    assert (tmp_path / "out" / "report.html").exists()
    assert guarded.traces_in_files() == []


def test_no_object_that_holds_the_key_shows_it() -> None:
    secrets = Secrets("sqlite://", CANARY)
    for each in (secrets, Keyring((CANARY,)), HmacSigner(CANARY)):
        assert traces(f"{each!r} {each}".encode(), CANARY) == []


def _set_status(database: Path, status: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE runs SET export_status = ?", (status,))


def _corrupt(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE nodes SET node_type = 'nonsense'")
