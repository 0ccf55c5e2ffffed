"""Faults 34 to 41: odd files and places, odd data, rotated keys."""

import os
import shutil
import signal
import sqlite3
from contextlib import closing

import pytest
from audit_trail import Trail
from fault_injection import (
    ANY,
    COMPLETE,
    CORRUPT_DATA,
    PREVIOUS,
    SUCCEEDED,
    Outcome,
    inject_fault,
)
from formats import in_turn
from landscape_command import KEY, ended
from paused_process import paused, resume

from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.output.lock import hidden_beside
from elspeth.core.landscape.verification.verify import verify


@pytest.mark.fault(34)
def test_an_attestation_of_another_place_is_named(trail: Trail) -> None:
    other = trail.target.with_name(f"other{trail.target.suffix}")
    with inject_fault(trail) as injection:
        done = trail.export("--attest")
        assert done.code == 0, done
        copy = shutil.copytree if trail.target.is_dir() else shutil.copy
        copy(trail.target, other)
        beside = ".attestation.json"
        attestation = trail.target.with_name(trail.target.name + beside)
        attestation.rename(other.with_name(other.name + beside))
        refused = trail.landscape("verify", str(other), "--attestation")
        assert refused.code == 1
        assert f"made for {trail.target.name!r}, another place" in refused.out
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(35)
def test_a_line_longer_than_four_mebibytes_is_exported_and_verified(trail: Trail) -> None:
    whole = trail.save()
    trail.execute("UPDATE rows SET source_data_hash = printf('%.*c', 5000000, 'x')")
    with inject_fault(trail) as injection:
        done = trail.export()
        assert done.code == 0, done
        assert trail.landscape("verify", str(trail.target)).code == 0
        limited = trail.landscape("verify", str(trail.target), "--max-line-bytes", "1000000")
        assert limited.code == 1
        assert "--max-line-bytes sets another limit" in limited.out
        assert verify(trail.target, KEY.encode()).ok
        trail.put_back(whole)
        injection.accept_change()
        injection.assert_survived(trail.export(), SUCCEEDED)


@pytest.mark.fault(36)
@pytest.mark.parametrize("suffix", ["lock", "tmp"])
def test_a_pipe_at_a_hidden_name_is_refused(trail: Trail, suffix: str) -> None:
    hidden = hidden_beside(trail.target, suffix)
    os.mkfifo(hidden)
    with inject_fault(trail) as injection:
        refused = trail.export("--timeout", "60")
        assert hidden.is_fifo()
        hidden.unlink()
        injection.assert_survived(refused, Outcome(2, PREVIOUS, "failed", "neither a file"))


@pytest.mark.fault(36, short=2)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_at_the_target_of_a_pending_export_is_not_read(
    trail: Trail, kind: str
) -> None:
    with inject_fault(trail) as injection:
        done = trail.export()
        trail.execute("UPDATE runs SET export_status = 'pending'")
        kept = trail.target.rename(trail.folder / "kept")
        if kind == "pipe":
            os.mkfifo(trail.target)
        else:
            # Without an end: reading it would not end either.
            trail.target.symlink_to("/dev/zero")
        judged = trail.reconcile()
        assert (judged.code, "neither a file nor a directory" in judged.out) == (1, True), judged
        assert trail.recorded().status == "pending"
        refused = trail.landscape("attest", str(trail.target), "--db", trail.url)
        assert (refused.code, "neither a file nor a directory" in refused.err) == (2, True)
        trail.target.unlink()
        kept.rename(trail.target)
        assert trail.reconcile().code == 0
        injection.assert_survived(done, Outcome(0, COMPLETE, ANY))


@pytest.mark.fault(36)
@pytest.mark.parametrize("export_format", ["json"])
def test_settings_from_a_pipe_without_a_writer_end_at_the_time_limit(trail: Trail) -> None:
    pipe = trail.folder / "pipe"
    os.mkfifo(pipe)
    with inject_fault(trail) as injection:
        stopped = trail.landscape(
            "export", "--settings", str(pipe), "--run", "run-1", "--timeout", "0.2"
        )
        injection.assert_survived(stopped, Outcome(3, PREVIOUS, None))


@pytest.mark.fault(36)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize("end", ["timeout", "SIGTERM"])
def test_verifying_a_pipe_without_a_writer_ends(trail: Trail, end: str) -> None:
    pipe = trail.folder / "pipe"
    os.mkfifo(pipe)
    with inject_fault(trail) as injection:
        if end == "timeout":
            stopped = trail.landscape("verify", str(pipe), "--timeout", "0.2")
            code = 3
        else:
            with paused(trail, "verify", str(pipe), event="open", within=str(pipe)) as process:
                process.send_signal(signal.SIGTERM)
                resume(process)
                stopped = ended(process)
            code = 143
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, None))


@pytest.mark.fault(38)
def test_the_log_of_a_crash_is_exported_and_stays(trail: Trail) -> None:
    folder = trail.folder / "evidence"
    folder.mkdir()
    with closing(sqlite3.connect(trail.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE runs SET config_hash = config_hash || ''")
        connection.commit()
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{trail.database}{suffix}", folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with inject_fault(trail) as injection:
        arguments = [
            each.replace(str(trail.database), str(folder / "audit.db")) for each in trail.to_path
        ]
        done = trail.landscape(*arguments)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
        injection.assert_survived(done, Outcome(0, COMPLETE, None))


@pytest.mark.fault(39)
@pytest.mark.parametrize("is_accepted", [False, True])
def test_a_child_that_leads_to_no_run_is_refused_or_accepted(
    trail: Trail, is_accepted: bool
) -> None:
    whole = trail.save()
    with inject_fault(trail) as injection:
        trail.execute(
            "INSERT INTO calls SELECT 'lost', 'nobody', call_index, call_type, status, "
            "request_hash, request_ref, response_hash, response_ref, error_json, "
            "latency_ms, created_at FROM calls LIMIT 1"
        )
        injection.accept_change()
        listed = trail.landscape("doctor", "--db", trail.url)
        assert (listed.code, "calls (call_id='lost')" in listed.out) == (1, True)
        options = ["--accept-orphans"] if is_accepted else []
        done = trail.export(*options)
        assert ("call_id='lost'" in done.out) is is_accepted
        injection.assert_survived(
            done,
            SUCCEEDED if is_accepted else CORRUPT_DATA,
            repair=lambda: injection.repair(lambda: trail.put_back(whole)),
        )


@pytest.mark.fault(39, short=5)
@in_turn("table", ["nodes", "edges", "rows", "batches", "artifacts"])
def test_a_row_whose_run_is_missing_is_refused_for_the_run_that_it_leads_to(
    trail: Trail, table: str
) -> None:
    whole = trail.save()
    with inject_fault(trail) as injection:
        first = f"SELECT min(rowid) FROM {table}"
        trail.execute(f"UPDATE {table} SET run_id = 'gone' WHERE rowid = ({first})")
        injection.accept_change()
        injection.assert_survived(
            trail.export(),
            CORRUPT_DATA,
            repair=lambda: injection.repair(lambda: trail.put_back(whole)),
        )


@pytest.mark.fault(40)
def test_a_pending_export_under_an_earlier_key_is_not_failed(trail: Trail) -> None:
    keyring = trail.folder / "keyring"
    keyring.write_text(f"{'n' * 40}\n{KEY}\n")
    keyring.chmod(0o600)
    with inject_fault(trail) as injection:
        done = trail.export()
        trail.execute("UPDATE runs SET export_status = 'pending'")
        new_key = {KEY_VARIABLE: "n" * 40}
        reconcile = ("reconcile", "--settings", str(trail.settings_file))
        without = trail.landscape(*reconcile, environ=new_key)
        assert (without.code, "pending: " in without.out) == (1, True), without
        assert trail.recorded().status == "pending"
        settled = trail.landscape(*reconcile, "--keyring", str(keyring), environ=new_key)
        assert (settled.code, "completed: " in settled.out) == (0, True), settled
        injection.assert_survived(done, Outcome(0, COMPLETE, ANY))


@pytest.mark.fault(41)
@pytest.mark.parametrize("export_format", ["json"])
def test_a_partial_index_is_named_by_doctor(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        trail.execute(
            "DROP INDEX ix_tokens_row_id",
            "CREATE INDEX ix_tokens_row_id ON tokens (row_id) WHERE row_id IS NULL",
        )
        found = trail.landscape("doctor", "--db", trail.url)
        assert (found.code, "holds some of the rows only" in found.out) == (1, True)
        injection.assert_survived(trail.export(), SUCCEEDED)
