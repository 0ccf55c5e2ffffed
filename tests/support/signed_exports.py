"""Signed exports for the tests of the verifier: real ones, and changed records signed again."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import rfc8785
from sample_run import KEY, Record, fixed_clock

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.verification.verify import Verification
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

VerifyBytes: TypeAlias = Callable[..., Verification]

EVERY_TYPE = RunSpec(
    run_id="run",
    rows=2,
    forks=1,
    joins=1,
    parents=2,
    states=2,
    retries=1,
    routing_groups=1,
    routing_events=3,
    calls=1,
    nodes=6,
    edges=5,
    batches=2,
    members=2,
    artifacts=14,
    features=frozenset({"failed_states", "open_states"}),
)
"""A run with every record type: 100 records."""


def export_lines(folder: Path, spec: RunSpec = EVERY_TYPE) -> list[bytes]:
    """Generate a run, export it signed, and return the lines of the file."""
    with LandscapeDB(f"sqlite:///{folder / 'audit.db'}") as db:
        generate_run(db, spec)
        exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
        published = exporter.write_jsonl(spec.run_id, folder / "run.jsonl", sign=True)
    return published.path.read_bytes().splitlines(keepends=True)


def records_of(lines: Iterable[bytes]) -> list[Record]:
    """Take the unsigned records out of the lines of an export, without its manifest."""
    records = [json.loads(line) for line in lines]
    for record in records:
        record.pop("signature", None)
    return [record for record in records if record["record_type"] != "manifest"]


def shortened(records: Iterable[Record]) -> list[Record]:
    """Shorten generated ids and hashes, for tests that try every byte."""
    text = json.dumps(list(records))
    return json.loads(re.sub(r"-[0-9a-f]{8}-0*|(?<=[0-9a-f]{8})[0-9a-f]{56}", "-", text))


def signed(record: Record, key: bytes = KEY) -> bytes:
    """Sign a record without checking it, and return its line."""
    signature = hmac.new(key, rfc8785.dumps(record), hashlib.sha256).hexdigest()
    return rfc8785.dumps({**record, "signature": signature}) + b"\n"


def as_export(records: Iterable[Record], key: bytes = KEY) -> bytes:
    """Sign records and a matching manifest without checking them, as a holder of the key can."""
    lines = [signed(record, key) for record in records]
    running = hashlib.sha256()
    for line in lines:
        running.update(json.loads(line)["signature"].encode())
    manifest = {
        "record_type": "manifest",
        "run_id": json.loads(lines[0])["run_id"],
        "record_count": len(lines),
        "final_hash": running.hexdigest(),
        "hash_algorithm": "sha256",
        "signature_algorithm": "hmac-sha256",
        "exported_at": fixed_clock().isoformat(),
    }
    return b"".join((*lines, signed(manifest, key)))
