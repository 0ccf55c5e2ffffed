"""Tests against golden values: signatures, and timestamps on both backends."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import rfc8785
from sample_run import (
    BOTH,
    DYNAMIC,
    KEY,
    Exporter,
    Record,
    fixed_clock,
    record_sample_run,
)
from sqlalchemy import make_url, update

from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeRecorder,
)
from elspeth.core.landscape.schema import node_states_table, runs_table

RUN: Record = {
    "record_type": "run",
    "run_id": "r1",
    "status": "completed",
    "started_at": "2026-01-01T00:00:00",
    "completed_at": "2026-01-01T00:00:01.500000",
    "canonical_version": "sha256-rfc8785-v1",
    "config_hash": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "reproducibility_grade": None,
}
STATE: Record = {
    "record_type": "node_state",
    "run_id": "r1",
    "state_id": "s1",
    "token_id": "t1",
    "node_id": "n1",
    "step_index": 0,
    "attempt": 0,
    "status": "completed",
    "input_hash": "a",
    "output_hash": "b",
    "duration_ms": 5.0,
    "started_at": "2026-01-01T00:00:00",
    "completed_at": "2026-01-01T00:00:00.250000",
}


class TestGoldenVectors:
    """Signatures that an implementation had before this one, with the key `k`."""

    final_hash = "fc89d800512a00b4d9cd92dbd3b1e66232ddc0a3c711737c71dd69ab819e5a26"
    signatures = (
        "c1f334448bc95b05e73c6eea46251df7ece9906caf9cd934f2e76d23176a5d7b",
        "c6414e3bd16a3beecee560336d869c5b29032fde4d7d5d5ebac3aeff7ea4f857",
        "07be56565ae9fd3121ed418fb3c02b2eb8d8225ac8817fd1e0ad33d4f654bb83",
    )

    @pytest.mark.parametrize("built", BOTH)
    def test_records_manifest_and_final_hash(
        self, built: Callable[..., Exporter], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with LandscapeDB.in_memory() as db:
            exporter = built(db, b"k", clock=fixed_clock)
            monkeypatch.setattr(exporter, "_iter_records", lambda _: iter(both_records()))
            run, state, manifest = exporter.export_run("r1", sign=True)
        assert (run["signature"], state["signature"], manifest["signature"]) == self.signatures
        assert manifest["final_hash"] == self.final_hash
        del manifest["signature"]
        assert rfc8785.dumps(manifest).decode() == (
            '{"exported_at":"2026-01-02T00:00:00+00:00",'
            f'"final_hash":"{self.final_hash}","hash_algorithm":"sha256","record_count":2,'
            '"record_type":"manifest","run_id":"r1","signature_algorithm":"hmac-sha256"}'
        )

    @pytest.mark.parametrize("built", BOTH)
    def test_both_records_from_a_database(
        self, built: Callable[..., Exporter], tmp_path: Path
    ) -> None:
        with LandscapeDB(f"sqlite:///{tmp_path}/audit.db") as db:
            self.store(db)
            exporter = built(db, b"k", clock=fixed_clock)
            records = list(exporter.export_run("r1", sign=True))
            exporter.write_jsonl("r1", tmp_path / "run.jsonl", sign=True)
        written = (tmp_path / "run.jsonl").read_text()
        for expected, signature in zip(both_records(), self.signatures, strict=False):
            assert {**expected, "signature": signature} in records
            assert f'"signature":"{signature}"' in written

    def store(self, db: LandscapeDB) -> None:
        midnight = datetime(2026, 1, 1)
        recorder = LandscapeRecorder(db, clock=lambda: midnight)
        recorder.begin_run({}, "sha256-rfc8785-v1", run_id="r1", status="completed")
        recorder.register_node("r1", "p", "source", "1", {}, node_id="n1", schema_config=DYNAMIC)
        recorder.create_row("r1", "n1", 0, {}, row_id="row")
        recorder.create_token("row", token_id="t1")
        recorder.begin_node_state("t1", "n1", 0, {}, state_id="s1")
        state = {
            "status": "completed",
            "input_hash": "a",
            "output_hash": "b",
            "duration_ms": 5,
            "completed_at": midnight + timedelta(seconds=0.25),
        }
        with db.connection() as connection:
            connection.execute(
                update(runs_table).values(completed_at=midnight + timedelta(seconds=1.5))
            )
            connection.execute(update(node_states_table).values(state))


def both_records() -> list[Record]:
    return [dict(RUN), dict(STATE)]


class TestTimestamps:
    def test_sqlite_timestamps_are_as_stored_without_offset(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            LandscapeRecorder(db, clock=fixed_clock).begin_run({}, "v1", run_id="r")
            for exporter in (built(db) for built in BOTH):
                (run,) = exporter.export_run("r")
                assert run["started_at"] == "2026-01-02T00:00:00"

    def test_postgresql_timestamps_are_utc_in_any_session_time_zone(
        self, postgres_url: str
    ) -> None:
        sydney = make_url(postgres_url).update_query_dict(
            {"options": "-c TimeZone=Australia/Sydney"}
        )
        with (
            LandscapeDB(postgres_url) as db,
            LandscapeDB(sydney.render_as_string(hide_password=False)) as abroad,
        ):
            sample = record_sample_run(LandscapeRecorder(db, clock=fixed_clock))
            with abroad.connection() as connection:
                assert connection.exec_driver_sql("SHOW TimeZone").scalar() == "Australia/Sydney"
            exports = [
                list(built(each, KEY, clock=fixed_clock).export_run(sample.run_id, sign=True))
                for built in BOTH
                for each in (db, abroad)
            ]
        assert exports[0][0]["started_at"] == "2026-01-02T00:00:00+00:00"
        assert all(export == exports[0] for export in exports)
