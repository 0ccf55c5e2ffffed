"""Attestations on the command line: `export --attest`, `verify`, `reconcile --attest`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sample_run import KEY

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.attestation import HmacSigner, attestation_path, read_attestation
from elspeth.core.landscape.attestation.create import PendingAttestation
from elspeth.core.landscape.keys import KEY_VARIABLE, key_id

KEY_ID = f"hmac-sha256:{key_id(KEY)}"


@pytest.fixture
def exported(landscape: Command, sqlite: str, folder: Path) -> Path:
    """A signed export with its first attestation."""
    ended = landscape(*export(sqlite, folder), "--attest")
    assert (ended.code, ended.err) == (0, "")
    return folder / "run.jsonl"


@pytest.fixture
def private_key(tmp_path: Path) -> Path:
    return private_pem(tmp_path / "private.pem", Ed25519PrivateKey.generate())


@pytest.fixture
def public_key(private_key: Path) -> Path:
    key = load_pem_private_key(private_key.read_bytes(), password=None)
    return public_pem(private_key.with_name("public.pem"), key.public_key())


def private_pem(path: Path, key: Any, *, passphrase: bytes | None = None) -> Path:
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    path.chmod(0o600)
    return path


def public_pem(path: Path, key: Any) -> Path:
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def settings(sqlite: str, folder: Path) -> Path:
    """Settings of a pipeline with a signed JSON Lines export."""
    path = folder.parent / "settings.yaml"
    content = {
        "landscape": {
            "url": sqlite,
            "export": {"enabled": True, "sink": "audit", "format": "json", "sign": True},
        },
        "sinks": {"audit": {"plugin": "json", "options": {"path": str(folder / "run.jsonl")}}},
    }
    path.write_text(json.dumps(content))
    return path


def export(url: str, folder: Path, name: str = "run.jsonl") -> tuple[object, ...]:
    return ("export", "--db", url, "--run", "run-1", "--output", folder / name, "--sign")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestExport:
    @pytest.mark.parametrize(
        "options", [(), ("--format", "csv"), ("--jobs", 2), ("--exporter", "legacy")]
    )
    def test_every_way_to_export_can_be_attested(
        self, landscape: Command, sqlite: str, folder: Path, options: tuple[object, ...]
    ) -> None:
        for number in (1, 2):
            ended = landscape(*export(sqlite, folder, "run"), "--attest", *options)
            said = f"attested as number {number} in {folder}/run.attestation.json\n"
            assert (ended.code, ended.err) == (0, "")
            assert ended.out.endswith(said)
        ended = landscape("verify", folder / "run", "--attestation", "--at-least", 2)
        assert ended.code == 0
        assert ended.out.endswith(f"with key {KEY_ID}\n51/51 valid\n")

    @pytest.mark.parametrize("key", [None, "short"])
    def test_without_a_key_nothing_is_exported(
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
        ended = landscape(*export(sqlite, folder)[:-1], "--attest")
        assert ended.code == 2
        assert names(folder) == []

    def test_a_chain_that_cannot_be_continued_is_wrong_usage(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        before = exported.read_bytes()
        attestation_path(exported).write_bytes(b"{}")
        ended = landscape(*export(sqlite, exported.parent), "--attest")
        assert ended.code == 2
        assert "MALFORMED" in ended.err
        assert "keep it elsewhere" in ended.err
        assert exported.read_bytes() == before

    def test_a_chain_under_the_key_before_a_rotation_is_continued(
        self, landscape: Command, sqlite: str, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(KEY_VARIABLE, "j" * 32)
        keyring = exported.with_name("keys")
        keyring.write_bytes(KEY + b"\n" + b"j" * 32)
        keyring.chmod(0o600)
        again = (*export(sqlite, exported.parent), "--attest")
        assert landscape(*again).code == 2
        ended = landscape(*again, "--keyring", keyring)
        assert ended.code == 0
        assert "attested as number 2" in ended.out
        assert landscape("verify", exported, "--keyring", keyring, "--attestation").code == 0

    def test_an_export_that_cannot_be_attested_any_more_ends_with_exit_code_5(
        self, landscape: Command, sqlite: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(PendingAttestation, "_statement", full)
        ended = landscape(*export(sqlite, folder), "--attest")
        assert (ended.code, ended.out) == (5, "")
        path = attestation_path(folder / "run.jsonl")
        reason = f"is complete and in place, but not attested: {path}: No space left on device"
        assert reason in ended.err
        assert names(folder) == ["run.jsonl"]
        assert landscape("verify", folder / "run.jsonl").code == 0


class TestVerify:
    def test_a_defect_is_printed_with_its_code(self, landscape: Command, exported: Path) -> None:
        exported.rename(exported.with_name("away.jsonl"))
        ended = landscape("verify", exported, "--attestation")
        assert (ended.code, ended.err) == (1, "")
        assert ended.out.startswith(f"{exported}: MISSING_EXPORT: missing, and attested as")
        ended = landscape("verify", exported.with_name("away.jsonl"), "--attestation")
        assert ended.code == 1
        assert "NO_ATTESTATION" in ended.out
        assert landscape("verify", exported.with_name("nowhere"), "--attestation").code == 3

    def test_a_rollback_is_detected_by_a_kept_number_or_file(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        first = (exported.read_bytes(), attestation_path(exported).read_bytes())
        landscape(*export(sqlite, exported.parent), "--attest")
        kept = attestation_path(exported).rename(exported.with_name("kept.json"))
        exported.write_bytes(first[0])
        attestation_path(exported).write_bytes(first[1])
        assert landscape("verify", exported, "--attestation").code == 0
        for remembered in (("--at-least", 2), ("--follows", kept)):
            ended = landscape("verify", exported, *remembered)
            assert ended.code == 1
            assert "ROLLED_BACK" in ended.out

    def test_a_missing_kept_file_is_an_error(self, landscape: Command, exported: Path) -> None:
        ended = landscape("verify", exported, "--follows", exported.with_name("nowhere"))
        assert (ended.code, ended.out) == (3, "")

    def test_verifying_without_a_key_is_wrong_usage(
        self, landscape: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY_VARIABLE)
        assert landscape("verify", exported, "--attestation").code == 2
        assert landscape("verify", exported, "--attestation", "--allow-unsigned").code == 2

    def test_another_key_is_named(
        self, landscape: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(KEY_VARIABLE, "j" * 32)
        ended = landscape("verify", exported, "--attestation")
        assert ended.code == 1
        assert f"UNKNOWN_KEY: signed with key {KEY_ID}, and not with" in ended.out


class TestEd25519:
    @pytest.fixture
    def exported(
        self, landscape: Command, sqlite: str, folder: Path, private_key: Path
    ) -> Iterator[Path]:
        assert landscape(*export(sqlite, folder), "--attestation-key", private_key).code == 0
        return folder / "run.jsonl"

    def test_the_public_key_alone_is_enough_to_verify(
        self,
        landscape: Command,
        exported: Path,
        public_key: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv(KEY_VARIABLE)
        verify = ("verify", exported, "--attestation-public-key", public_key)
        ended = landscape(*verify)
        assert ended.code == 0
        assert ended.out.startswith("signatures of records not checked: no signing key was given\n")
        assert ended.out.endswith("51/51 valid\n")
        exported.write_bytes(exported.read_bytes().replace(b"a transform", b"A transform"))
        ended = landscape(*verify)
        assert ended.code == 1
        assert "FOREIGN_EXPORT" in ended.out

    def test_with_the_signing_key_too_the_records_are_checked(
        self, landscape: Command, exported: Path, public_key: Path
    ) -> None:
        ended = landscape("verify", exported, "--attestation-public-key", public_key)
        assert ended.code == 0
        assert "not checked" not in ended.out

    def test_the_public_key_rejects_an_attestation_by_the_signing_key(
        self, landscape: Command, sqlite: str, exported: Path, public_key: Path
    ) -> None:
        attestation_path(exported).unlink()
        landscape(*export(sqlite, exported.parent), "--attest")
        ended = landscape("verify", exported, "--attestation-public-key", public_key)
        assert ended.code == 1
        assert "UNKNOWN_KEY" in ended.out

    @pytest.mark.parametrize("option", ["--attestation-key", "--attestation-public-key"])
    def test_a_file_with_another_content_than_a_key_is_wrong_usage(
        self, landscape: Command, sqlite: str, folder: Path, tmp_path: Path, option: str
    ) -> None:
        other = ec.generate_private_key(ec.SECP256R1())
        if option == "--attestation-key":
            other_key = private_pem(tmp_path / "ec.pem", other)
        else:
            other_key = public_pem(tmp_path / "ec.pem", other.public_key())
        (tmp_path / "text").write_bytes(b"text")
        for path in (tmp_path / "nowhere", tmp_path / "text", other_key, tmp_path):
            if path.is_file():
                path.chmod(0o600)
            command = (
                export(sqlite, folder) if option == "--attestation-key" else ("verify", other_key)
            )
            ended = landscape(*command, option, path)
            assert (ended.code, ended.out) == (2, "")
            assert ended.err.startswith(f"error: {path} ")
        assert names(folder) == []

    def test_a_private_key_that_others_can_read_is_refused(
        self, landscape: Command, sqlite: str, folder: Path, private_key: Path
    ) -> None:
        private_key.chmod(0o644)
        ended = landscape(*export(sqlite, folder), "--attestation-key", private_key)
        assert ended.code == 2
        assert "is open to everyone" in ended.err

    def test_a_private_key_with_a_passphrase_is_refused(
        self, landscape: Command, sqlite: str, folder: Path, tmp_path: Path
    ) -> None:
        key = Ed25519PrivateKey.generate()
        locked = private_pem(tmp_path / "locked.pem", key, passphrase=b"secret")
        ended = landscape(*export(sqlite, folder), "--attestation-key", locked)
        assert ended.code == 2
        assert "without a passphrase" in ended.err


class TestSettings:
    def status(self, url: str) -> str | None:
        with LandscapeDB(url) as db:
            run = LandscapeRecorder(db).get_run("run-1")
        return None if run is None or run.export_status is None else run.export_status.value

    def test_an_export_by_settings_is_attested_before_it_is_completed(
        self, landscape: Command, sqlite: str, settings: Path, folder: Path
    ) -> None:
        ended = landscape("export", "--settings", settings, "--run", "run-1", "--attest")
        assert (ended.code, ended.err) == (0, "")
        assert "attested as number 1" in ended.out
        assert self.status(sqlite) == "completed"
        assert landscape("verify", folder / "run.jsonl", "--attestation").code == 0

    def test_reconcile_attests_an_export_that_was_cut_off_before_its_attestation(
        self,
        landscape: Command,
        sqlite: str,
        settings: Path,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        export = ("export", "--settings", settings, "--run", "run-1", "--attest")
        landscape(*export)

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(PendingAttestation, "attest", killed)
            assert landscape(*export).code == 130
        assert self.status(sqlite) == "pending"
        ended = landscape("verify", folder / "run.jsonl", "--attestation")
        assert ended.code == 1
        assert "NOT_ATTESTED" in ended.out
        ended = landscape("reconcile", "--settings", settings, "--attest")
        assert (ended.code, ended.err) == (0, "")
        assert self.status(sqlite) == "completed"
        ended = landscape("verify", folder / "run.jsonl", "--attestation", "--at-least", 2)
        assert ended.code == 0
        attestation = read_attestation(attestation_path(folder / "run.jsonl"), (HmacSigner(KEY),))
        assert attestation.predicate.sequence == 2

    def test_an_export_that_cannot_be_attested_stays_pending_and_the_next_one_is_attested(
        self,
        landscape: Command,
        sqlite: str,
        settings: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        export = ("export", "--settings", settings, "--run", "run-1", "--attest")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(PendingAttestation, "_statement", full)
            ended = landscape(*export)
            assert ended.code == 5
            assert self.status(sqlite) == "pending"
            ended = landscape("reconcile", "--settings", settings, "--attest")
            assert ended.code == 1
            assert self.status(sqlite) == "pending"
        assert landscape(*export).code == 0
        assert self.status(sqlite) == "completed"

    def test_a_refused_chain_is_recorded_as_the_failure(
        self, landscape: Command, sqlite: str, settings: Path, folder: Path
    ) -> None:
        (folder / "run.jsonl.attestation.json").write_bytes(b"{}")
        ended = landscape("export", "--settings", settings, "--run", "run-1", "--attest")
        assert ended.code == 2
        assert self.status(sqlite) == "failed"
        assert names(folder) == ["run.jsonl.attestation.json"]
