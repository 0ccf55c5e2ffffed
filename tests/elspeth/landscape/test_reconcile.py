"""Exports that were left pending: reconciled by the content of their targets."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_run import KEY, SampleRun, fixed_clock, record_sample_run
from sqlalchemy import event, update

from elspeth.contracts import ExportStatus, Run
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.database import SchemaMismatchError
from elspeth.core.landscape.keys import KEY_VARIABLE, Keyring
from elspeth.core.landscape.output.lock import hidden_beside
from elspeth.core.landscape.pipeline import export_status
from elspeth.core.landscape.pipeline.export_status import ReconciledExport, reconcile_pending
from elspeth.core.landscape.pipeline.post_run import export_after_run
from elspeth.core.landscape.schema import runs_table
from elspeth.core.landscape.verification.verify import Verification, verify
from elspeth.core.settings import ElspethSettings, export_destination

ENVIRON = {KEY_VARIABLE: KEY.decode()}
PENDING, COMPLETED, FAILED = ExportStatus.PENDING, ExportStatus.COMPLETED, ExportStatus.FAILED


def settings(folder: Path, **export: Any) -> ElspethSettings:
    chosen = {"enabled": True, "sink": "audit", "format": "json", "sign": True, **export}
    path = str(folder / "audit.jsonl")
    return ElspethSettings.model_validate(
        {
            "landscape": {"export": chosen},
            "sinks": {"audit": {"plugin": "json", "options": {"path": path}}},
        }
    )


def leave_pending(db: LandscapeDB, run_id: str = "run-1", **columns: Any) -> None:
    values = {"export_status": "pending", "export_format": "json", "export_sink": "audit"}
    with db.connection() as connection:
        of_run = update(runs_table).where(runs_table.c.run_id == run_id)
        connection.execute(of_run.values(values | columns))


def exported(db: LandscapeDB, chosen: ElspethSettings, run_id: str = "run-1") -> None:
    export_after_run(db, run_id, chosen, environ=ENVIRON, clock=fixed_clock)


def run_of(db: LandscapeDB, run_id: str = "run-1") -> Run:
    run = LandscapeRecorder(db).get_run(run_id)
    assert run is not None
    return run


def reconcile(db: LandscapeDB, chosen: ElspethSettings, **options: Any) -> ReconciledExport:
    (reconciled,) = reconcile_pending(
        db,
        chosen,
        options.get("environ", ENVIRON),
        keyring=options.get("keyring"),
        clock=fixed_clock,
    )
    return reconciled


def test_without_a_pending_export_nothing_changes(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    before = run_of(db)
    assert reconcile_pending(db, settings(tmp_path), ENVIRON) == []
    assert run_of(db) == before


@pytest.mark.parametrize("export_format", ["json", "csv"])
@pytest.mark.parametrize("sign", [True, False])
def test_an_export_in_place_that_verifies_is_completed(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, export_format: str, sign: bool
) -> None:
    chosen = settings(tmp_path, format=export_format, sign=sign)
    exported(db, chosen)
    leave_pending(db, export_format=export_format, exported_at=None, export_error="earlier")
    # A process that was killed after its rename has left this.
    left = hidden_beside(export_destination(chosen, "audit", export_format), "lock")
    left.touch()
    reconciled = reconcile(db, chosen)
    assert reconciled.status is COMPLETED
    assert reconciled.reason.endswith("verifies")
    assert not left.exists()
    run = run_of(db)
    assert (run.export_status, run.export_error) == (COMPLETED, None)
    assert run.exported_at is not None


@pytest.mark.parametrize("export_format", ["json", "csv"])
def test_no_limit_of_a_line_fails_an_export_that_is_complete(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, export_format: str, monkeypatch: Any
) -> None:
    limits = []

    def watched(*arguments: Any, max_line_bytes: int, **options: Any) -> Verification:
        limits.append(max_line_bytes)
        return verify(*arguments, **options)

    monkeypatch.setattr("elspeth.core.landscape.pipeline.export_status.verify", watched)
    chosen = settings(tmp_path, format=export_format)
    exported(db, chosen)
    leave_pending(db, export_format=export_format)
    assert reconcile(db, chosen).status is COMPLETED
    assert limits == [2**31]


def test_no_limit_of_a_role_ends_the_judgement_or_the_record_of_it(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, ...]] = []
    names = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")

    with LandscapeDB(postgres_url) as db:
        record_sample_run(LandscapeRecorder(db))
        exported(db, settings(tmp_path))
        leave_pending(db)

        @event.listens_for(db.engine, "before_cursor_execute")
        def look(*seen: Any) -> None:
            if seen[2].startswith(("SELECT", "UPDATE")):
                with seen[0].connection.driver_connection.cursor() as cursor:
                    shown = [cursor.execute(f"SHOW {name}").fetchone()[0] for name in names]
                found.append((seen[2].split()[0], *shown))

        with db.engine.begin() as connection:
            role = connection.exec_driver_sql("SELECT current_user").scalar()
            connection.exec_driver_sql(f'ALTER ROLE "{role}" SET statement_timeout = 60000')
        db.engine.dispose()
        try:
            found.clear()
            assert reconcile(db, settings(tmp_path)).status is COMPLETED
        finally:
            with db.engine.begin() as connection:
                connection.exec_driver_sql(f'ALTER ROLE "{role}" RESET ALL')
    # The record locks the row of the run before it updates it.
    judged, recorded = found[:-2], found[-2:]
    assert recorded == [("SELECT", "0", "0", "2s"), ("UPDATE", "0", "0", "2s")]
    assert len(judged) > 1
    assert set(judged) == {("SELECT", "0", "0", "0")}


def test_a_missing_target_makes_the_export_failed(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    leave_pending(db)
    reconciled = reconcile(db, settings(tmp_path))
    assert reconciled.status is FAILED
    assert run_of(db).export_status is FAILED
    assert run_of(db).export_error == f"cut off: there is nothing at {tmp_path / 'audit.jsonl'}"


def test_a_file_that_does_not_verify_makes_the_export_failed(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)
    target = tmp_path / "audit.jsonl"
    target.write_bytes(target.read_bytes()[:-1])
    assert reconcile(db, settings(tmp_path)).status is FAILED
    assert "does not verify" in str(run_of(db).export_error)


def test_an_export_of_another_run_makes_the_export_failed(
    db: LandscapeDB, sample: SampleRun, recorder: LandscapeRecorder, tmp_path: Path
) -> None:
    record_sample_run(recorder, "later")
    exported(db, settings(tmp_path), "later")
    leave_pending(db)
    reconciled = reconcile(db, settings(tmp_path))
    assert (reconciled.run_id, reconciled.status) == ("run-1", FAILED)
    assert "WRONG_RUN" in reconciled.reason
    assert run_of(db, "later").export_status is COMPLETED


def test_one_target_is_verified_once_for_all_pending_runs(
    db: LandscapeDB,
    sample: SampleRun,
    recorder: LandscapeRecorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for run_id in ("run-2", "run-3"):
        record_sample_run(recorder, run_id)
    exported(db, settings(tmp_path), "run-2")
    for run_id in ("run-1", "run-2", "run-3"):
        leave_pending(db, run_id)
    verified = []

    def counted(path: Path, *arguments: Any, **options: Any) -> Verification:
        verified.append(path)
        return verify(path, *arguments, **options)

    monkeypatch.setattr(export_status, "verify", counted)
    found = {each.run_id: each for each in reconcile_pending(db, settings(tmp_path), ENVIRON)}
    assert {run_id: each.status for run_id, each in found.items()} == {
        "run-1": FAILED,
        "run-2": COMPLETED,
        "run-3": FAILED,
    }
    assert found["run-3"].reason.endswith("WRONG_RUN: of run 'run-2', not 'run-3'")
    assert verified == [tmp_path / "audit.jsonl"]


def test_an_older_export_with_fewer_records_makes_the_export_failed(
    db: LandscapeDB, sample: SampleRun, recorder: LandscapeRecorder, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    node_id = recorder.get_nodes("run-1")[0].node_id
    recorder.create_row("run-1", node_id, 99, {})
    leave_pending(db)
    reconciled = reconcile(db, settings(tmp_path))
    assert reconciled.status is FAILED
    assert "holds 50 records, the database 51" in reconciled.reason


def test_without_the_key_a_signed_export_stays_pending(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)
    reconciled = reconcile(db, settings(tmp_path), environ={})
    assert reconciled.status is PENDING
    assert "No signing key" in reconciled.reason
    assert run_of(db).export_status is PENDING


def test_an_export_to_an_unknown_sink_stays_pending(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    leave_pending(db, export_sink="elsewhere")
    reconciled = reconcile(db, settings(tmp_path))
    assert reconciled.status is PENDING
    assert "'elsewhere' is not among the sinks" in reconciled.reason


@pytest.fixture
def locked(tmp_path: Path, db: LandscapeDB, sample: SampleRun) -> Iterator[Path]:
    """The lock of a running process, beside a target that is not replaced yet."""
    exported(db, settings(tmp_path))
    write = LandscapeExporter(db, KEY).write_jsonl
    seen: list[Path] = []
    write(
        "run-1",
        tmp_path / "audit.jsonl",
        progress=lambda _: seen.extend(tmp_path.glob(".export-*.lock")),
    )
    (unfinished,) = seen
    descriptor = os.open(unfinished, os.O_CREAT | os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield unfinished
    os.close(descriptor)


def test_an_export_that_is_being_written_stays_pending(
    db: LandscapeDB, locked: Path, tmp_path: Path
) -> None:
    leave_pending(db)
    reconciled = reconcile(db, settings(tmp_path))
    assert (reconciled.status, "just now" in reconciled.reason) == (PENDING, True)
    assert run_of(db).export_status is PENDING


def test_an_export_that_is_replaced_while_it_is_verified_stays_pending(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)

    def verify_and_replace(path: Path, *arguments: Any, **options: Any) -> Verification:
        found = verify(path, *arguments, **options)
        path.with_name("other").write_bytes(b"half of another")
        path.with_name("other").replace(path)
        return found

    monkeypatch.setattr("elspeth.core.landscape.pipeline.export_status.verify", verify_and_replace)
    reconciled = reconcile(db, settings(tmp_path))
    assert reconciled.status is PENDING
    assert "was replaced while it was verified" in reconciled.reason


def test_a_concurrent_export_is_not_overruled(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)

    def completed_meanwhile(_: Path) -> None:
        LandscapeRecorder(db).set_export_status("run-1", FAILED, error="of another process")

    monkeypatch.setattr(
        "elspeth.core.landscape.pipeline.export_status.sync_directory", completed_meanwhile
    )
    assert "another process" in reconcile(db, settings(tmp_path)).reason
    assert (run_of(db).export_status, run_of(db).export_error) == (FAILED, "of another process")


def test_the_next_export_settles_a_pending_one(
    db: LandscapeDB, sample: SampleRun, recorder: LandscapeRecorder, tmp_path: Path
) -> None:
    record_sample_run(recorder, "next")
    exported(db, settings(tmp_path))
    leave_pending(db)
    exported(db, settings(tmp_path), "next")
    assert run_of(db).export_status is COMPLETED
    assert run_of(db, "next").export_status is COMPLETED


def add_column(db: LandscapeDB) -> None:
    with db.connection() as connection:
        connection.exec_driver_sql("ALTER TABLE nodes ADD COLUMN colour TEXT")


@pytest.fixture
def newer(db: LandscapeDB) -> Iterator[LandscapeDB]:
    """A database with a column that exporters do not know."""
    add_column(db)
    yield db
    # The tables of a server are shared by tests.
    with db.connection() as connection:
        connection.exec_driver_sql("ALTER TABLE nodes DROP COLUMN colour")


def test_a_run_of_a_newer_audit_trail_is_not_exported_and_the_reason_is_recorded(
    newer: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    with pytest.raises(SchemaMismatchError, match=r"--leave-out nodes\.colour "):
        exported(newer, settings(tmp_path))
    run = run_of(newer)
    assert run.export_status is FAILED
    assert "does not know nodes.colour" in str(run.export_error)
    exported(newer, settings(tmp_path, leave_out=["nodes.colour"]))
    assert (run_of(newer).export_status, run_of(newer).export_error) == (COMPLETED, None)


def test_a_database_with_something_unknown_is_not_judged(
    newer: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    chosen = settings(tmp_path, leave_out=["nodes.colour"])
    exported(newer, chosen)
    leave_pending(newer)
    reconciled = reconcile(newer, settings(tmp_path))
    assert reconciled.status is PENDING
    assert "cannot be judged: " in reconciled.reason
    assert "does not know nodes.colour" in reconciled.reason
    assert reconcile(newer, chosen).status is COMPLETED


def test_an_export_that_leaves_out_something_else_is_not_judged(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)
    with LandscapeDB(f"sqlite:///{tmp_path}/other.db") as sqlite:
        record_sample_run(LandscapeRecorder(sqlite), "run-2")
        add_column(sqlite)
        exporter = LandscapeExporter(sqlite, KEY, leave_out=["nodes.colour"])
        exporter.write_jsonl("run-2", tmp_path / "audit.jsonl", sign=True)
    reconciled = reconcile(db, settings(tmp_path))
    assert reconciled.status is PENDING
    assert "leaves out 'nodes.colour' on request, and the settings name 'nothing'" in (
        reconciled.reason
    )


def test_an_export_under_another_key_is_not_judged(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)
    for key, reason in (("x" * 32, "probably another one"), ("k", "at least 32")):
        reconciled = reconcile(db, settings(tmp_path), environ={KEY_VARIABLE: key})
        assert reconciled.status is PENDING
        assert reason in reconciled.reason
    assert run_of(db).export_status is PENDING


@pytest.mark.parametrize("export_format", ["json", "csv"])
def test_an_export_under_an_earlier_key_is_judged_with_a_keyring(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path, export_format: str
) -> None:
    chosen = settings(tmp_path, format=export_format)
    exported(db, chosen)
    leave_pending(db, export_format=export_format)
    rotated = {KEY_VARIABLE: "x" * 32}
    assert reconcile(db, chosen, environ=rotated).status is PENDING
    others = reconcile(db, chosen, environ=rotated, keyring=Keyring((b"x" * 32, b"y" * 32)))
    assert (others.status, "--keyring" in others.reason) == (PENDING, True)
    keys = Keyring((b"x" * 32, KEY))
    assert reconcile(db, chosen, environ={}, keyring=keys).status is COMPLETED


def test_an_export_that_two_keys_signed_is_failed(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    lines = []
    for key in (KEY, b"x" * 32):
        export_after_run(
            db, "run-1", settings(tmp_path), environ={KEY_VARIABLE: key.decode()}, clock=fixed_clock
        )
        lines.append((tmp_path / "audit.jsonl").read_text().splitlines(keepends=True))
    (tmp_path / "audit.jsonl").write_text("".join([*lines[0][:20], *lines[1][20:]]))
    leave_pending(db)
    reconciled = reconcile(db, settings(tmp_path), keyring=Keyring((KEY, b"x" * 32)))
    assert (reconciled.status, "BAD_SIGNATURE" in reconciled.reason) == (FAILED, True)


def records_at(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_export_of_a_newer_exporter_is_not_judged(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)
    path = tmp_path / "audit.jsonl"
    for change in ({"record_type": "operation"}, {"determinism": "seeded"}):
        records = records_at(path)
        records[1] |= change
        changed = (json.dumps(record) + "\n" for record in records)
        path.write_text("".join(changed))
        reconciled = reconcile(db, settings(tmp_path))
        assert reconciled.status is PENDING
        assert "another version of the exporter may have written it" in reconciled.reason
        exported(db, settings(tmp_path))
        leave_pending(db)


def test_an_export_of_the_original_exporter_is_judged(
    db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exported(db, settings(tmp_path))
    leave_pending(db)
    path = tmp_path / "audit.jsonl"
    records = records_at(path)
    first = {"record_type": records[0].pop("record_type")}
    path.write_text("".join(json.dumps(each) + "\n" for each in [first | records[0], *records[1:]]))
    assert reconcile(db, settings(tmp_path)).status is COMPLETED
