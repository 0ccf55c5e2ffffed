"""A benchmark of the bulk writer against SQLAlchemy Core with the same entities.

Core runs the obvious code: `insert()` with lists of dicts, in one transaction, into the same tables
and in the same portions. Both are measured twice: from the spec on, with planning on both sides,
which is the time that a user waits; and storing alone, with tuples and dicts made beforehand.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sqlalchemy import Table, insert

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness.checks.reference_runs import NewDatabase, postgresql_databases, sqlite_files
from harness.generate.entities import Section, StoredEntity
from harness.generate.generator import ENTITIES_PER_INSERT, write_in_bulk
from harness.generate.plan import plan
from harness.generate.spec import RunSpec

ROUNDS = 5
ROWS, ROWS_IF_NOT_TIMED = 3000, 20
LARGE_ROWS, LARGE_ROWS_IF_NOT_TIMED = 100_000, 200
MAX_PEAK_BYTES = 300 * 2**20

Portion: TypeAlias = tuple[Table, Sequence[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """A function that makes empty databases, on each backend in turn."""
    if request.param == "sqlite":
        with sqlite_files(tmp_path) as new:
            yield new
    else:
        server = request.getfixturevalue("postgres_server")
        with postgresql_databases(server.render_as_string(hide_password=False)) as new:
            yield new


@pytest.mark.benchmark(group="generation")
@pytest.mark.parametrize("measured", ["from the spec on", "storing alone"])
def test_bulk_generation_is_measured_against_core(
    new_database: NewDatabase, measured: str, benchmark: BenchmarkFixture
) -> None:
    """Alternate rounds of both, and record the ratio of their best times as extra info."""
    spec = RunSpec.typical(rows=ROWS if benchmark.enabled else ROWS_IF_NOT_TIMED)
    planned = list(plan(spec))
    as_dicts = list(portions(planned))
    whole = measured == "from the spec on"
    core_seconds = []

    def core_round() -> tuple[tuple[LandscapeDB], dict[str, object]]:
        with LandscapeDB(new_database()) as db:
            start = time.perf_counter()
            write_through_core(db, portions(plan(spec)) if whole else as_dicts)
            core_seconds.append(time.perf_counter() - start)
        return (LandscapeDB(new_database()),), {}

    def bulk_round(db: LandscapeDB) -> None:
        with db:
            write_in_bulk(db, plan(spec) if whole else planned, [])

    benchmark.pedantic(bulk_round, setup=core_round, rounds=ROUNDS)
    records = sum(len(dicts) for _, dicts in as_dicts)
    benchmark.extra_info["records"] = records
    if benchmark.stats is not None:
        best_seconds = benchmark.stats.stats.min
        benchmark.extra_info["records_per_second"] = round(records / best_seconds)
        benchmark.extra_info["times_core_insert"] = round(min(core_seconds) / best_seconds, 2)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.benchmark(group="generation")
def test_memory_does_not_grow_with_the_run(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Generate one large run on SQLite in a separate process, and record its peak memory."""
    program = (
        "import sys\n"
        "from elspeth.core.landscape import LandscapeDB\n"
        "from harness.generate.generator import generate_run\n"
        "from harness.exporters.probe.measures import resident_bytes\n"
        "from harness.generate.spec import RunSpec\n"
        "with LandscapeDB(f'sqlite:///{sys.argv[1]}') as db:\n"
        "    run = generate_run(db, RunSpec.typical(int(sys.argv[2])))\n"
        "print(run.cardinalities.records, resident_bytes('VmHWM'))\n"
    )
    rows = LARGE_ROWS if benchmark.enabled else LARGE_ROWS_IF_NOT_TIMED
    command = [sys.executable, "-c", program, str(tmp_path / "large.db"), str(rows)]
    result = benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"check": True, "capture_output": True}, rounds=1
    )
    records, peak_bytes = map(int, result.stdout.split())
    benchmark.extra_info["records"] = records
    benchmark.extra_info["peak_mebibytes"] = round(peak_bytes / 2**20)
    assert peak_bytes < MAX_PEAK_BYTES


def write_through_core(db: LandscapeDB, written: Iterable[Portion]) -> None:
    with db.connection() as connection:
        for table, dicts in written:
            connection.execute(insert(table), dicts)


def portions(sections: Iterable[Section]) -> Iterator[Portion]:
    """Yield the portions of the bulk writer as dicts for Core, parents first."""
    held: list[Section] = []
    entities_held = 0
    for section in sections:
        held.append(section)
        entities_held += sum(len(entities) for _, entities in section.tables())
        if entities_held >= ENTITIES_PER_INSERT:
            yield from _by_table(held)
            held.clear()
            entities_held = 0
    yield from _by_table(held)


def _by_table(sections: Sequence[Section]) -> Iterator[Portion]:
    for table in EXPORTED_TABLES:
        stored = chain.from_iterable(getattr(section, table.name) for section in sections)
        dicts = [_as_dict(entity) for entity in stored]
        if dicts:
            yield table, dicts


def _as_dict(entity: StoredEntity) -> dict[str, Any]:
    """Return the values of an entity for Core, whose types take datetimes and not text."""
    return {
        column: datetime.fromisoformat(value)
        if column.endswith("_at") and value is not None
        else value
        for column, value in entity._asdict().items()
    }
