"""A benchmark of the verifier against a plain loop over the same signatures."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785
from pytest_benchmark.fixture import BenchmarkFixture

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.verification.verify import verify
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

KEY = b"k" * 32
ROUNDS = 5


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed export of about 11,500 records."""
    folder = tmp_path_factory.mktemp("export")
    spec = RunSpec.typical(rows=500)
    with LandscapeDB(f"sqlite:///{folder / 'audit.db'}") as db:
        generate_run(db, spec)
        LandscapeExporter(db, KEY).write_jsonl(spec.run_id, folder / "run.jsonl", sign=True)
    return folder / "run.jsonl"


@pytest.mark.benchmark(group="verification")
def test_verifying_is_measured_against_a_plain_verifier(
    exported: Path, benchmark: BenchmarkFixture
) -> None:
    """Alternate rounds of both, and record the ratio of their best times as extra info."""
    plain_seconds = []

    def plain_round() -> None:
        plain_seconds.append(seconds(lambda: plain_verify(exported)))

    found = benchmark.pedantic(
        verify, args=(exported, KEY), setup=plain_round, rounds=ROUNDS, warmup_rounds=1
    )
    assert found.ok
    benchmark.extra_info["records"] = found.record_count
    if benchmark.stats is not None:
        best_seconds = benchmark.stats.stats.min
        benchmark.extra_info["records_per_second"] = round(found.record_count / best_seconds)
        benchmark.extra_info["times_a_plain_verifier"] = round(min(plain_seconds) / best_seconds, 2)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def plain_verify(path: Path) -> None:
    """Check only the signatures, the running hash and the count."""
    running = hashlib.sha256()
    count = 0
    with path.open("rb") as file:
        for line in file:
            record = json.loads(line)
            signature = record.pop("signature")
            expected = hmac.new(KEY, rfc8785.dumps(record), hashlib.sha256).hexdigest()
            assert hmac.compare_digest(signature, expected)
            if record["record_type"] == "manifest":
                assert record["final_hash"] == running.hexdigest()
                assert record["record_count"] == count
            running.update(signature.encode())
            count += 1
