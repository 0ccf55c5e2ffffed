"""The checkout's tests of its export. They pass with any exporter that keeps the interface."""

import hashlib
import hmac
import json

import pytest
from elspeth.engine.orchestrator import export_after_run

from elspeth.contracts import RunStatus
from elspeth.core.canonical import canonical_json
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder

ROWS = 3
KEY = b"a key of 32 bytes for these tests"


@pytest.fixture
def db() -> LandscapeDB:
    db = LandscapeDB.in_memory()
    recorder = LandscapeRecorder(db)
    run_id = recorder.begin_run({"rows": ROWS}, run_id="run")
    source = recorder.register_node(run_id, "csv", "source", 0)
    for index in range(ROWS):
        token = recorder.create_token(recorder.create_row(run_id, source, index, {"n": index}))
        recorder.complete_node_state(token, source, 0, {"n": index})
    recorder.complete_run(run_id, RunStatus.COMPLETED)
    return db


def test_an_export_has_every_record_in_order(db: LandscapeDB) -> None:
    kinds = [record["record_type"] for record in LandscapeExporter(db).export_run("run")]
    assert kinds == ["run", "node", *("row", "token", "node_state") * ROWS]


def test_every_record_is_signed_and_the_manifest_counts_them(db: LandscapeDB) -> None:
    *records, manifest = LandscapeExporter(db, signing_key=KEY).export_run("run", sign=True)
    assert manifest["record_count"] == len(records)
    for record in (*records, manifest):
        signature = record.pop("signature")
        text = canonical_json(record).encode()
        assert signature == hmac.new(KEY, text, hashlib.sha256).hexdigest()


def test_records_are_grouped_by_type(db: LandscapeDB) -> None:
    grouped = LandscapeExporter(db).export_run_grouped("run")
    assert {kind: len(records) for kind, records in grouped.items()} == {
        "run": 1,
        "node": 1,
        "row": ROWS,
        "token": ROWS,
        "node_state": ROWS,
    }


def test_an_unknown_run_raises_value_error(db: LandscapeDB) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        list(LandscapeExporter(db).export_run("nosuch"))


def test_signing_needs_a_key(db: LandscapeDB) -> None:
    with pytest.raises(ValueError, match="key"):
        list(LandscapeExporter(db).export_run("run", sign=True))


def test_the_export_after_a_run_is_one_array(db: LandscapeDB) -> None:
    assert len(json.loads(export_after_run(db, "run", KEY))) == 3 + 3 * ROWS
