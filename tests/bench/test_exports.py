"""A benchmark of both exporters at several sizes, recorded by pytest-benchmark.

The harness's own timing runs one pass of alternating rounds. The rates of each exporter are in the
extra info. Queries are counted in a separate pass before, and memory is measured after.
"""

from functools import partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from elspeth.core.landscape import LandscapeDB
from harness.bench.timing import Timing, time_in_turn
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import Measured, measured
from harness.exporters.observation import ExportTask, Observation
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.counting.work import VM_STEPS

EXPORTERS = {"control": measured(CONTROL), "candidate": measured(DEFAULT_CANDIDATE)}
ROUNDS = 3


@pytest.mark.parametrize("rows", [20, 200])
def test_exports_of_one_run_in_turn(rows: int, benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    rounds = ROUNDS
    if not benchmark.enabled:
        # Without figures to record, a tenth of the rows show the same bytes and counts.
        rounds, rows = 1, max(10, rows // 10)
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        run = generate_run(db, RunSpec.typical(rows))
        task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, tmp_path)
        observed = {role: each.observe(task) for role, each in EXPORTERS.items()}
        actions = {role: partial(each.time, task) for role, each in EXPORTERS.items()}
        benchmark.group = f"export of {rows} rows"
        timings = benchmark.pedantic(
            time_in_turn, args=(actions,), kwargs={"rounds": rounds}, rounds=1
        )
        for role, each in EXPORTERS.items():
            figures = _figures(each, observed[role], timings[role], task, rows)
            benchmark.extra_info[role] = figures
    assert observed["candidate"].file.sha256 == observed["control"].file.sha256
    assert observed["candidate"].activity.queries == 13
    assert observed["control"].activity.queries > 20 * rows


def _figures(
    exporter: Measured, observed: Observation, timing: Timing, task: ExportTask, rows: int
) -> dict[str, float | int | None]:
    return {
        "rows_per_second": timing.per_second(rows),
        "records_per_second": timing.per_second(observed.file.records),
        "queries": observed.activity.queries,
        "rows_fetched": observed.activity.rows_fetched,
        "vm_steps": observed.activity.work.get(VM_STEPS),
        "peak_bytes_above_start": exporter.measure_memory(task).above_start_bytes,
    }
