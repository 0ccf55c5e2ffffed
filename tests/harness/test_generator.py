"""`generate_run`: it stores the run of a spec completely or not at all, the same on every backend.

Another writer, through the recorder's public methods, is the oracle for the contents.
"""

import os
import signal
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from contents import contents_digest
from hypothesis import given
from profiles import fewer_examples
from recorder_writer import NOT_RECORDABLE, REFUSED, write_through_recorder
from run_coverage import held_features
from sqlalchemy import func, select

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.schema import EXPORTED_TABLES, metadata
from harness.generate.entities import Section
from harness.generate.features import FEATURES, Feature
from harness.generate.generator import (
    ENTITIES_PER_INSERT,
    Cardinalities,
    RunExistsError,
    Write,
    generate_run,
    write_in_bulk,
)
from harness.generate.plan import plan
from harness.generate.presets import preset
from harness.generate.sources import build_pools, parse_pools
from harness.generate.spec import AXES, ImpossibleSpecError, RunSpec
from harness.generate.strategies import run_specs

WRITERS = [
    pytest.param(write_in_bulk, id="bulk"),
    pytest.param(write_through_recorder, id="recorder"),
]
RECORDABLE = sorted(FEATURES.keys() - NOT_RECORDABLE)

ROOMY = RunSpec(
    rows=10, forks=2, joins=1, states=3, routing_groups=2, nodes=5, edges=3, calls=1, batches=2,
    members=2, batch_retries=1, artifacts=2, neighbours=1,
)  # fmt: skip
"""A spec without features that has what each feature needs."""


@contextmanager
def a_database() -> Iterator[LandscapeDB]:
    """An empty audit trail for one example. A fixture would be shared by all examples."""
    with LandscapeDB.in_memory() as db:
        yield db


def stored_rows(db: LandscapeDB) -> int:
    """The number of rows in all tables."""
    with db.connection() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        )


# What is stored.


@given(run_specs(features=RECORDABLE, max_rows=4))
@fewer_examples(1 / 24)
def test_both_writers_store_the_same_contents(
    exercise: Callable[[RunSpec], None], spec: RunSpec
) -> None:
    exercise(spec)
    with a_database() as by_recorder, a_database() as in_bulk:
        assert generate_run(by_recorder, spec, write=write_through_recorder).cardinalities == (
            generate_run(in_bulk, spec).cardinalities
        )
        assert contents_digest(by_recorder) == contents_digest(in_bulk)


@pytest.mark.parametrize("name", RECORDABLE)
def test_both_writers_store_the_same_contents_with_each_feature(name: str) -> None:
    spec = replace(ROOMY, rows=4, features=[name])
    with a_database() as by_recorder, a_database() as in_bulk:
        generate_run(by_recorder, spec, write=write_through_recorder)
        generate_run(in_bulk, spec)
        assert contents_digest(by_recorder) == contents_digest(in_bulk)


def test_both_writers_store_the_same_contents_on_postgresql(
    postgres_url: str, tmp_path: Path
) -> None:
    spec = preset("adversarial", 10)
    portable = replace(spec, features=spec.features - {"shuffled_insertion"})
    with LandscapeDB(postgres_url) as by_recorder, a_database() as in_bulk:
        generate_run(by_recorder, portable, write=write_through_recorder)
        generate_run(in_bulk, portable)
        assert contents_digest(by_recorder) == contents_digest(in_bulk)


@pytest.mark.parametrize("name", ["tiny", "adversarial"])
def test_both_backends_hold_the_same_contents_in_bulk(name: str, postgres_url: str) -> None:
    with LandscapeDB(postgres_url) as on_postgresql, a_database() as on_sqlite:
        generate_run(on_postgresql, preset(name))
        generate_run(on_sqlite, preset(name))
        assert contents_digest(on_postgresql) == contents_digest(on_sqlite)


@given(run_specs())
@fewer_examples(1 / 10)
def test_a_run_holds_its_features_and_keeps_every_reference(
    exercise: Callable[[RunSpec], None], spec: RunSpec
) -> None:
    exercise(spec)
    with a_database() as db:
        generate_run(db, spec)
        assert held_features(db, spec.run_id) >= spec.features
        with db.connection() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


@given(run_specs())
@fewer_examples(1 / 10)
def test_the_cardinalities_are_those_of_the_export(spec: RunSpec) -> None:
    with a_database() as db:
        cardinalities = generate_run(db, spec).cardinalities
        exported = LandscapeExporter(db).export_run_grouped(spec.run_id)
        counts = {f"{record_type}s": len(records) for record_type, records in exported.items()}
        assert {name: n for name, n in asdict(cardinalities).items() if n} == {
            "batches" if name == "batchs" else name: n for name, n in counts.items()
        }
        assert cardinalities.records == sum(counts.values())


def test_a_run_without_features_shows_none() -> None:
    with a_database() as db:
        generate_run(db, ROOMY)
        assert held_features(db, ROOMY.run_id) == set()


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_a_feature_shows_in_a_run_that_has_it(feature: Feature) -> None:
    with a_database() as db:
        generate_run(db, replace(ROOMY, features=[feature.name]))
        assert feature.name in held_features(db, ROOMY.run_id)


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_the_needs_of_a_feature_are_enough_to_show_it(feature: Feature) -> None:
    least = {name: each.minimum for name, each in AXES.items()} | dict(feature.needs)
    for name in feature.needs:
        for needed, value in AXES[name].needs.items() if name in AXES else ():
            least[needed] = max(least[needed], value)
    with a_database() as db:
        generate_run(db, RunSpec(**least, features=[feature.name]))
        assert feature.name in held_features(db, "run")


def test_features_are_found_on_postgresql_too(postgres_url: str) -> None:
    spec = preset("adversarial")
    with LandscapeDB(postgres_url) as db:
        generate_run(db, spec)
        assert held_features(db, spec.run_id) == spec.features


@pytest.mark.parametrize("name", [name for name, each in FEATURES.items() if each.corrupt])
def test_an_export_refuses_a_corrupt_run(name: str) -> None:
    with a_database() as db:
        generate_run(db, replace(ROOMY, features=[name]))
        with pytest.raises(ValueError, match="node_states"):
            list(LandscapeExporter(db).export_run(ROOMY.run_id))


def test_every_entity_is_a_row_of_its_table() -> None:
    columns = {table.name: set(table.columns.keys()) for table in EXPORTED_TABLES}
    for section in plan(ROOMY):
        for table, entities in section.tables():
            assert set(entities[0]._fields) <= columns[table]


# Determinism.

GOLDEN = {
    "tiny": "2da2e42d30b7c3afa3dd2f490c2629973e463fa916bd0b4ed8feea51e4b6f22c",
    "adversarial": "961443620f0f8a8d13ac023327b6c244af351fd6ab8172d77b3ed0bf0b83b435",
}
"""Digests of the contents of presets. They may change only on purpose."""


@pytest.mark.parametrize("name", GOLDEN)
def test_a_spec_gives_the_same_contents_as_before(name: str) -> None:
    with a_database() as db:
        generate_run(db, preset(name))
        assert contents_digest(db) == GOLDEN[name]


WITH_SUPPORT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}


def test_a_spec_gives_the_same_contents_in_another_process_under_another_hash_seed() -> None:
    program = (
        "from elspeth.core.landscape.database import LandscapeDB\n"
        "from contents import contents_digest\n"
        "from harness.generate.generator import generate_run\n"
        "from harness.generate.presets import preset\n"
        "db = LandscapeDB.in_memory()\n"
        "generate_run(db, preset('adversarial'))\n"
        "print(contents_digest(db))\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=WITH_SUPPORT | {"PYTHONHASHSEED": seed, "TZ": zone},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed, zone in (("1", "UTC"), ("2", "Australia/Sydney"))
    }
    assert digests == {GOLDEN["adversarial"]}


def test_another_seed_gives_other_values_in_the_same_shape() -> None:
    with a_database() as one, a_database() as other:
        first = generate_run(one, preset("tiny", seed=1))
        second = generate_run(other, preset("tiny", seed=2))
        assert first.cardinalities == second.cardinalities
        assert contents_digest(one) != contents_digest(other)


def test_the_contents_digest_sees_one_changed_value() -> None:
    with a_database() as db:
        generate_run(db, preset("tiny"))
        before = contents_digest(db)
        with db.connection() as connection:
            connection.exec_driver_sql(
                "UPDATE batch_members SET ordinal = ordinal + 7 WHERE ordinal = 1"
            )
        assert contents_digest(db) != before


def test_the_pools_can_be_built_again() -> None:
    pools = parse_pools(build_pools())
    assert all(len(getattr(pools, each.name)) > 1 for each in fields(pools))


# Refusals and interruptions.


@pytest.mark.parametrize("write", WRITERS)
def test_an_interrupted_generation_stores_nothing(db: LandscapeDB, write: Write) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_run(db, ROOMY, write=write, progress=interrupt)
    assert stored_rows(db) == 0
    assert generate_run(db, ROOMY, write=write).cardinalities.rows == ROOMY.rows


def test_an_interruption_after_entities_were_inserted_stores_nothing(db: LandscapeDB) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    spec = RunSpec(rows=30, states=40, calls=20)
    assert ENTITIES_PER_INSERT < 30 * 40 * 20
    with pytest.raises(KeyboardInterrupt):
        generate_run(db, spec, progress=interrupt)
    assert stored_rows(db) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this platform")
@pytest.mark.parametrize("write", ["write_in_bulk", "write_through_recorder"])
def test_a_killed_generation_stores_nothing(tmp_path: Path, write: str) -> None:
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    program = (
        "import os, signal, sys\n"
        "from elspeth.core.landscape.database import LandscapeDB\n"
        "from harness.generate.generator import write_in_bulk\n"
        "from harness.generate.generator import generate_run\n"
        "from harness.generate.spec import RunSpec\n"
        "from recorder_writer import write_through_recorder\n"
        "def kill(done, total):\n"
        "    if done == total:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "url, write = sys.argv[1], globals()[sys.argv[2]]\n"
        "spec = RunSpec(rows=30, states=40, calls=20 if write is write_in_bulk else 0)\n"
        "generate_run(LandscapeDB(url), spec, write=write, progress=kill)\n"
    )
    command = [sys.executable, "-c", program, url, write]
    killed = subprocess.run(command, env=WITH_SUPPORT, check=False)
    assert killed.returncode == -signal.SIGKILL
    with LandscapeDB(url, create_tables=False) as db:
        assert stored_rows(db) == 0
        with db.connection() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("run_id", ["run", "run-neighbour-1"])
def test_a_run_id_that_is_taken_is_refused(db: LandscapeDB, run_id: str, write: Write) -> None:
    generate_run(db, RunSpec(run_id=run_id))
    before = contents_digest(db)
    with pytest.raises(RunExistsError, match=f"run '{run_id}' exists already"):
        generate_run(db, ROOMY, write=write)
    assert contents_digest(db) == before


def test_runs_of_different_ids_share_a_database(db: LandscapeDB) -> None:
    generate_run(db, replace(ROOMY, run_id="first"))
    generate_run(db, replace(ROOMY, run_id="second"))
    assert len(list(LandscapeExporter(db).export_run("first"))) == (
        len(list(LandscapeExporter(db).export_run("second")))
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_recorder_refuses_features_that_only_a_bulk_insert_can_write(
    db: LandscapeDB, name: str
) -> None:
    with pytest.raises(ValueError, match=r"finite number|change the order|cannot hold it"):
        generate_run(db, replace(ROOMY, features=[name]), write=write_through_recorder)
    assert stored_rows(db) == 0


def test_postgresql_refuses_features_that_are_not_portable(postgres_url: str) -> None:
    with LandscapeDB(postgres_url) as db:
        with pytest.raises(ImpossibleSpecError, match="nul_in_text: postgresql cannot hold it"):
            generate_run(db, replace(ROOMY, features=["nul_in_text"]))
        assert stored_rows(db) == 0


def test_a_bulk_insert_goes_on_while_another_connection_is_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    with LandscapeDB(url) as db, LandscapeDB(url) as other, other.read_snapshot():
        generate_run(db, ROOMY)
        generate_run(db, replace(ROOMY, run_id="second"))
    with LandscapeDB(url) as db:
        assert len(LandscapeExporter(db).export_run_grouped("second")["row"]) == ROOMY.rows


def test_a_bulk_insert_leaves_the_connection_as_it_was(tmp_path: Path) -> None:
    pragmas = ("foreign_keys", "synchronous", "cache_size", "journal_mode")
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:

        def settings_of_the_connection() -> list[object]:
            with db.connection() as connection:
                return [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas
                ]

        before = settings_of_the_connection()
        generate_run(db, ROOMY)
        assert settings_of_the_connection() == before


# Size.


def test_progress_counts_every_row_of_the_run_and_of_its_neighbours(db: LandscapeDB) -> None:
    calls: list[tuple[int, int]] = []
    spec = replace(ROOMY, neighbours=2, neighbour_rows=3)
    generate_run(db, spec, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 16) for done in range(1, 17)]


def test_a_plan_holds_one_section_at_a_time() -> None:
    spec = RunSpec.typical(300, members=50)
    held_whole = _peak_bytes(lambda: list(plan(spec)))
    assert _peak_bytes(lambda: deque(plan(spec), maxlen=1)) < held_whole / 8


def _peak_bytes(action: Callable[[], object]) -> int:
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_cardinalities_add_up_to_the_records() -> None:
    assert Cardinalities(runs=1, rows=3, tokens=5).records == 9


def test_a_section_yields_its_tables_parents_first() -> None:
    tables = [name for name, _ in Section("run", 0, artifacts=[1], nodes=[2], rows=[3]).tables()]  # type: ignore[list-item]
    assert tables == ["nodes", "rows", "artifacts"]
