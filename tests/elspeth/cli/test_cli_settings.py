"""`landscape export --settings` and `reconcile`: what is published, recorded and refused."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Command
from sample_run import KEY
from sqlalchemy import update

from elspeth.contracts import ExportStatus, Run
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.schema import runs_table
from elspeth.core.landscape.verification.verify import verify


def settings(folder: Path, url: str, **export: Any) -> Path:
    """Write the settings of a pipeline that signs its export to a sink in the folder."""
    chosen = {"enabled": True, "sink": "audit", "format": "json", "sign": True, **export}
    suffix = {"gzip": ".gz", "zstd": ".zst"}.get(str(chosen.get("compress")), "")
    name = f"audit.jsonl{suffix}" if chosen["format"] == "json" else "audit.csv"
    content = {
        "landscape": {"url": url, "export": chosen},
        "sinks": {"audit": {"plugin": "json", "options": {"path": str(folder / name)}}},
    }
    path = folder.parent / "settings.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run_of(url: str) -> Run:
    with LandscapeDB(url) as db:
        run = LandscapeRecorder(db).get_run("run-1")
    assert run is not None
    return run


def test_a_run_is_exported_by_the_settings_and_recorded(
    landscape: Command, url: str, folder: Path
) -> None:
    ended = landscape("export", "--settings", settings(folder, url), "--run", "latest")
    assert (ended.code, ended.err) == (0, "")
    assert "run-1: 51 records" in ended.out
    assert verify(folder / "audit.jsonl", KEY, run_id="run-1").ok
    run = run_of(url)
    assert (run.export_status, run.export_format, run.export_sink) == (
        ExportStatus.COMPLETED,
        "json",
        "audit",
    )


def test_a_csv_export_goes_to_a_directory(landscape: Command, url: str, folder: Path) -> None:
    chosen = settings(folder, url, format="csv")
    assert landscape("export", "--settings", chosen, "--run", "run-1").code == 0
    assert verify(folder / "audit", KEY, run_id="run-1").ok


def test_an_export_by_settings_is_compressed_and_settled(
    landscape: Command, url: str, folder: Path
) -> None:
    chosen = settings(folder, url, compress="gzip")
    ended = landscape("export", "--settings", chosen, "--run", "run-1", "--attest")
    assert (ended.code, ended.err) == (0, "")
    assert "compressed with gzip, in" in ended.out
    path = folder / "audit.jsonl.gz"
    assert path.read_bytes().startswith(b"\x1f\x8b")
    assert verify(path, KEY, run_id="run-1").ok
    with LandscapeDB(url) as db, db.connection() as connection:
        connection.execute(update(runs_table).values(export_status="pending"))
    settled = landscape("reconcile", "--settings", chosen)
    assert (settled.code, settled.out) == (0, f"run-1: completed: {path} verifies\n")
    plain = settings(folder, url)
    assert landscape("export", "--settings", plain, "--run", "run-1").code == 0
    assert (
        gzip.decompress(path.read_bytes()).splitlines()[:-1]
        == ((folder / "audit.jsonl").read_bytes().splitlines()[:-1])
    )


def test_a_compression_whose_package_is_missing_is_refused_before_any_work(
    landscape: Command, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compression", "backports"):
        monkeypatch.setitem(sys.modules, name, None)
    ended = landscape(
        "export", "--settings", settings(folder, url, compress="zstd"), "--run", "run-1"
    )
    assert (ended.code, ended.out) == (2, "")
    assert "pip install" in ended.err
    assert run_of(url).export_status is None


def test_compress_is_not_an_option_beside_settings(
    landscape: Command, url: str, folder: Path
) -> None:
    chosen = settings(folder, url)
    ended = landscape("export", "--settings", chosen, "--run", "run-1", "--compress", "gzip")
    assert (ended.code, ended.err) == (
        2,
        "error: --compress cannot be combined with --settings; write landscape.export.compress\n",
    )


def test_several_jobs_write_the_same_lines(landscape: Command, sqlite: str, folder: Path) -> None:
    chosen = settings(folder, sqlite, sign=False)
    assert landscape("export", "--settings", chosen, "--run", "run-1").code == 0
    expected = (folder / "audit.jsonl").read_bytes()
    ended = landscape("export", "--settings", chosen, "--run", "run-1", "--jobs", 2)
    assert (ended.code, (folder / "audit.jsonl").read_bytes()) == (0, expected)


@pytest.mark.parametrize(
    "option", [("--db", "sqlite:///x"), ("--output", "x"), ("--format", "csv"), ("--sign",)]
)
def test_an_option_for_what_the_settings_contain_is_refused(
    landscape: Command, sqlite: str, folder: Path, option: tuple[str, ...]
) -> None:
    ended = landscape("export", "--settings", settings(folder, sqlite), "--run", "x", *option)
    assert ended.code == 2
    assert (
        ended.err
        == f"error: {option[0]} cannot be combined with --settings; leave one of them out\n"
    )
    assert not list(folder.iterdir())


@pytest.mark.parametrize("given", [(), ("--db", "sqlite:///x"), ("--output", "x")])
def test_without_settings_database_and_target_are_required(
    landscape: Command, given: tuple[str, ...]
) -> None:
    ended = landscape("export", "--run", "run-1", *given)
    assert ended.code == 2
    assert ended.err == "error: Missing --db and --output, or --settings\n"


def test_settings_with_a_disabled_export_are_an_error(
    landscape: Command, sqlite: str, folder: Path
) -> None:
    chosen = settings(folder, sqlite, enabled=False)
    ended = landscape("export", "--settings", chosen, "--run", "latest")
    assert (ended.code, "landscape.export.enabled is false" in ended.err) == (2, True)


def test_an_unknown_run_is_refused_and_nothing_is_recorded(
    landscape: Command, sqlite: str, folder: Path
) -> None:
    ended = landscape("export", "--settings", settings(folder, sqlite), "--run", "nope")
    said = "error: Run not found: nope; landscape runs lists the runs of a database\n"
    assert (ended.code, ended.err) == (2, said)
    assert run_of(sqlite).export_status is None


def test_a_missing_database_is_not_created(
    landscape: Command, folder: Path, tmp_path: Path
) -> None:
    chosen = settings(folder, f"sqlite:///{tmp_path / 'mistyped.db'}")
    for arguments in (("export", "--run", "latest"), ("reconcile",)):
        assert landscape(*arguments, "--settings", chosen).code == 2
    assert not (tmp_path / "mistyped.db").exists()


def test_a_timeout_is_recorded_as_the_failure(landscape: Command, url: str, folder: Path) -> None:
    chosen = settings(folder, url)
    ended = landscape("export", "--settings", chosen, "--run", "run-1", "--timeout", "0.001")
    assert ended.code == 3
    assert ended.err == "error: not done within the 0.001 seconds allowed by --timeout\n"
    assert not list(folder.iterdir())
    assert run_of(url).export_status is not ExportStatus.COMPLETED


class TestKeyFile:
    """A key from a file, beside any key in the environment."""

    @pytest.fixture
    def key_file(self, tmp_path: Path) -> Path:
        path = tmp_path / "key"
        path.write_bytes(b"f" * 40 + b"\n")
        path.chmod(0o600)
        return path

    def test_it_signs_and_verifies(
        self, landscape: Command, sqlite: str, folder: Path, key_file: Path
    ) -> None:
        target = folder / "run.jsonl"
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign")
        assert landscape(*command, "--key-file", key_file).code == 0
        assert verify(target, b"f" * 40).ok
        assert landscape("verify", target, "--key-file", key_file).code == 0
        assert landscape("verify", target).code == 1, "the environment has another key"

    def test_it_signs_an_export_by_settings(
        self, landscape: Command, sqlite: str, folder: Path, key_file: Path
    ) -> None:
        chosen = settings(folder, sqlite)
        command = ("export", "--settings", chosen, "--run", "run-1", "--key-file", key_file)
        assert landscape(*command).code == 0
        assert verify(folder / "audit.jsonl", b"f" * 40).ok

    def test_a_key_file_open_to_everyone_is_refused(
        self, landscape: Command, sqlite: str, folder: Path, key_file: Path
    ) -> None:
        key_file.chmod(0o644)
        command = ("export", "--db", sqlite, "--run", "run-1", "--output", folder / "x", "--sign")
        ended = landscape(*command, "--key-file", key_file)
        assert (ended.code, "open to everyone" in ended.err) == (2, True)
        assert not list(folder.iterdir())


class TestReconcile:
    @pytest.fixture
    def chosen(self, landscape: Command, url: str, folder: Path) -> Path:
        """The settings of an export that was published and is still recorded as pending."""
        chosen = settings(folder, url)
        assert landscape("export", "--settings", chosen, "--run", "run-1").code == 0
        with LandscapeDB(url) as db:
            LandscapeRecorder(db).set_export_status("run-1", ExportStatus.PENDING)
        return chosen

    def test_a_valid_export_in_place_is_completed(
        self, landscape: Command, url: str, folder: Path, chosen: Path
    ) -> None:
        ended = landscape("reconcile", "--settings", chosen)
        said = f"run-1: completed: {folder / 'audit.jsonl'} verifies\n"
        assert (ended.code, ended.out, ended.err) == (0, said, "")
        assert run_of(url).export_status is ExportStatus.COMPLETED
        again = landscape("reconcile", "--settings", chosen)
        assert (again.code, again.out) == (0, "Nothing is pending.\n")

    def test_a_missing_export_is_failed(
        self, landscape: Command, url: str, folder: Path, chosen: Path
    ) -> None:
        (folder / "audit.jsonl").unlink()
        ended = landscape("reconcile", "--settings", chosen)
        assert (ended.code, ended.err) == (1, "")
        assert "run-1: failed: cut off: there is nothing at" in ended.out
        assert run_of(url).export_status is ExportStatus.FAILED

    def test_without_the_key_the_export_stays_pending(
        self, landscape: Command, url: str, chosen: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY_VARIABLE)
        ended = landscape("reconcile", "--settings", chosen)
        assert (ended.code, "No signing key" in ended.out) == (1, True)
        assert run_of(url).export_status is ExportStatus.PENDING

    def test_the_file_is_not_touched(self, landscape: Command, folder: Path, chosen: Path) -> None:
        before = (folder / "audit.jsonl").read_bytes()
        landscape("reconcile", "--settings", chosen)
        assert (folder / "audit.jsonl").read_bytes() == before
        assert json.loads(before.splitlines()[0])["run_id"] == "run-1"


@pytest.mark.parametrize(
    ("path", "said"),
    [("audit.json", "name it audit.jsonl"), ("", "has no path among its options")],
)
def test_a_sink_that_does_not_fit_the_export_is_an_error_of_the_settings(
    landscape: Command, sqlite: str, folder: Path, path: str, said: str
) -> None:
    chosen = settings(folder, sqlite)
    content = yaml.safe_load(chosen.read_text())
    content["sinks"]["audit"]["options"]["path"] = path
    chosen.write_text(yaml.safe_dump(content))
    ended = landscape("export", "--settings", chosen, "--run", "run-1")
    assert (ended.code, said in ended.err) == (2, True)
    assert not list(folder.iterdir())
