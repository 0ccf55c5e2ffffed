"""Tests of an export by a Dask cluster's executor."""

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest
from sample_run import KEY, SampleRun, fixed_clock

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.keys import KEY_VARIABLE


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    """Two worker processes with the key in their environment, and a scheduler on this machine."""
    # Here, because importing it takes a tenth of the time in which all tests are collected.
    distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")
    monkeypatch.setenv(KEY_VARIABLE, KEY.decode())
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers,
        distributed.Client(workers) as client,
        client.get_executor() as executor,
    ):
        yield executor


@pytest.mark.parametrize("landscape_url", ["postgresql"], indirect=True)
def test_a_cluster_of_two_processes_writes_the_same_bytes(
    cluster: Executor, db: LandscapeDB, sample: SampleRun, tmp_path: Path
) -> None:
    exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
    alone = exporter.write_jsonl(sample.run_id, tmp_path / "alone.jsonl", sign=True)
    shared = exporter.write_jsonl(
        sample.run_id, tmp_path / "shared.jsonl", sign=True, jobs=2, executor=cluster
    )
    assert shared.sha256 == alone.sha256
    assert shared.path.read_bytes() == alone.path.read_bytes()
