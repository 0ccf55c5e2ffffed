"""`landscape verify` agrees with docs/verification.md: examples, options, codes and limits."""

import hashlib
import hmac
import json
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import rfc8785
from sample_run import KEY
from signed_exports import as_export, export_lines, records_of

from elspeth.cli import main as cli
from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.keys import KEY_VARIABLE, key_id
from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES
from elspeth.core.landscape.verification.record_order import KEYS_REMEMBERED, ORDER_RULES
from elspeth.core.landscape.verification.verify import Reason

Command: TypeAlias = Callable[..., tuple[object, str]]

PAGE = (Path(__file__).parents[3] / "docs" / "verification.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def in_folder_of_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here finds `run.jsonl` in the current folder, and its key in the environment."""
    export_lines(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, KEY.decode())


@pytest.fixture
def landscape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run the command; return its exit code and its output."""

    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["landscape", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return stop.value.code, printed.out + printed.err

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


class TestExamples:
    def test_the_command_prints_what_the_page_shows(self, landscape: Command) -> None:
        (example,) = blocks("console")
        command, _, printed = example.removeprefix("$ landscape ").partition("\n")
        assert landscape(*shlex.split(command)) == (0, printed)

    def test_the_python_example_runs(self, capsys: pytest.CaptureFixture[str]) -> None:
        (example,) = blocks("python")
        exec(compile(example, "docs/verification.md", "exec"), {})
        assert capsys.readouterr().out == "True 101/101\n"


class TestOptions:
    def test_a_directory_of_csv_files_is_verified(self, landscape: Command) -> None:
        with LandscapeDB("sqlite:///audit.db") as db:
            LandscapeExporter(db, KEY).write_csv("run", Path("run"), sign=True)
        assert landscape("verify", "run", "--run", "run") == (0, "101/101 valid\n")
        Path("run/call.csv").unlink()
        code, printed = landscape("verify", "run")
        assert code == 1
        assert (
            "run: manifest.csv, line 2: COUNT: the manifest counts 100 records, here are" in printed
        )

    def test_keys_of_different_parents_are_compared_on_request(self, landscape: Command) -> None:
        lines = Path("run.jsonl").read_bytes().splitlines(keepends=True)
        records = records_of(lines)
        states = [each for each in records if each["record_type"] == "call"]
        states[-1]["call_id"] = states[0]["call_id"]
        Path("run.jsonl").write_bytes(as_export(records))
        assert landscape("verify", "run.jsonl") == (0, "101/101 valid\n")
        code, printed = landscape("verify", "run.jsonl", "--unique")
        assert code == 1
        assert "DUPLICATE: a second call of this key\n100/101 valid\n" in printed

    def test_an_unsigned_export_needs_an_option_and_no_key(
        self, landscape: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with LandscapeDB("sqlite:///audit.db") as db:
            LandscapeExporter(db).write_jsonl("run", Path("unsigned.jsonl"))
        assert landscape("verify", "unsigned.jsonl")[0] == 1
        monkeypatch.delenv(KEY_VARIABLE)
        allowed = landscape("verify", "unsigned.jsonl", "--allow-unsigned")
        assert allowed == (0, "unsigned: nothing shows who wrote it\n100/100 valid\n")
        code, printed = landscape("verify", "run.jsonl", "--allow-unsigned")
        assert code == 2
        assert f"The export is signed: set {KEY_VARIABLE} to check it" in printed

    def test_a_wrong_key_gives_a_hint(
        self, landscape: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(KEY_VARIABLE, "j" * 32)
        code, printed = landscape("verify", "run.jsonl")
        assert code == 1
        assert printed.endswith(
            "... and 81 more\nevery record fails: probably the wrong key\n0/101 valid\n"
        )

    @pytest.mark.parametrize("option", [(), ("--allow-unsigned",)])
    def test_an_empty_export_fails(self, landscape: Command, option: tuple[str, ...]) -> None:
        Path("empty.jsonl").touch()
        Path("empty").mkdir()
        for name in ("empty.jsonl", "empty"):
            code, printed = landscape("verify", name, *option)
            assert code == 1
            assert f"{name}: EMPTY: " in printed


def test_the_page_lists_every_reason() -> None:
    table = PAGE.partition("## Reasons")[2].partition("## ")[0]
    codes = re.findall(r"`([A-Z_]+)`", table)
    assert sorted(codes) == sorted(Reason)


def test_the_page_states_the_order() -> None:
    stated = {
        kind: tuple(re.findall(r"`(\w+)`", fields))
        for kinds, fields in re.findall(r"^  \| ([a-z_, ]+) \| (`.*) \|$", PAGE, re.MULTILINE)
        for kind in kinds.split(", ")
    }
    assert stated == {each.record_type: each.ascending for each in ORDER_RULES if each.ascending}


def test_the_page_states_the_bounds() -> None:
    assert f"the first {KEYS_REMEMBERED:,} are\n  compared" in PAGE
    assert PAGE.count(f"{MAX_LINE_BYTES // 2**20} MiB") == 3


class TestKeyring:
    def test_the_key_that_fits_is_found_and_named(self, landscape: Command) -> None:
        Path("keys").write_bytes(b"j" * 32 + b"\n" + KEY + b"\n")
        Path("keys").chmod(0o600)
        code, printed = landscape("verify", "run.jsonl", "--keyring", "keys")
        assert (code, printed) == (0, f"signed with key {key_id(KEY)}\n101/101 valid\n")
        assert KEY.decode() not in printed

    def test_a_keyring_replaces_the_key_and_excludes_key_file(
        self, landscape: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY_VARIABLE)
        Path("keys").write_bytes(KEY)
        Path("keys").chmod(0o600)
        assert landscape("verify", "run.jsonl", "--keyring", "keys")[0] == 0
        code, printed = landscape("verify", "run.jsonl", "--keyring", "keys", "--key-file", "keys")
        assert code == 2
        assert "leave one of them out" in printed

    def test_a_missing_or_open_one_is_wrong_usage(self, landscape: Command) -> None:
        Path("keys").write_bytes(KEY)
        Path("keys").chmod(0o644)
        for name in ("keys", "nowhere"):
            assert landscape("verify", "run.jsonl", "--keyring", name)[0] == 2

    def test_when_no_key_fits_none_is_named(self, landscape: Command) -> None:
        Path("keys").write_bytes(b"j" * 32 + b"\n" + b"i" * 32)
        Path("keys").chmod(0o600)
        code, printed = landscape("verify", "run.jsonl", "--keyring", "keys")
        assert code == 1
        assert printed.endswith("every record fails: probably the wrong key\n0/101 valid\n")
        assert "signed with key" not in printed

    def test_one_key_has_to_fit_the_whole_export(self, landscape: Command) -> None:
        lines = Path("run.jsonl").read_bytes().splitlines(keepends=True)
        record = records_of(lines[1:2])[0]
        other = hmac.new(b"j" * 32, rfc8785.dumps(record), hashlib.sha256).hexdigest()
        lines[1] = rfc8785.dumps({**record, "signature": other}) + b"\n"
        Path("run.jsonl").write_bytes(b"".join(lines))
        Path("keys").write_bytes(b"j" * 32 + b"\n" + KEY)
        Path("keys").chmod(0o600)
        code, printed = landscape("verify", "run.jsonl", "--keyring", "keys")
        assert code == 1
        assert "line 2: BAD_SIGNATURE" in printed
        assert f"signed with key {key_id(KEY)}\n99/101 valid\n" in printed

    def test_a_changed_first_record_does_not_hide_the_key_of_the_others(
        self, landscape: Command
    ) -> None:
        lines = Path("run.jsonl").read_bytes().splitlines(keepends=True)
        record = {**records_of(lines[:1])[0], "status": "failed"}
        signature = json.loads(lines[0])["signature"]
        lines[0] = rfc8785.dumps({**record, "signature": signature}) + b"\n"
        Path("run.jsonl").write_bytes(b"".join(lines))
        Path("keys").write_bytes(b"j" * 32 + b"\n" + KEY)
        Path("keys").chmod(0o600)
        code, printed = landscape("verify", "run.jsonl", "--keyring", "keys")
        assert code == 1
        assert "100/101 valid" in printed

    def test_the_key_of_csv_files_is_found_too(self, landscape: Command) -> None:
        with LandscapeDB("sqlite:///audit.db") as db:
            LandscapeExporter(db, KEY).write_csv("run", Path("run"), sign=True)
        Path("keys").write_bytes(b"j" * 32 + b"\n" + KEY)
        Path("keys").chmod(0o600)
        code, printed = landscape("verify", "run", "--keyring", "keys")
        assert (code, printed) == (0, f"signed with key {key_id(KEY)}\n101/101 valid\n")
