"""Property tests of both exporters: the same bytes for any run, at the promised cost."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profiles import fewer_examples
from sample_run import BOTH, KEY, Exporter, Record, fixed_clock, pairs

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LegacyLandscapeExporter
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.schema import metadata
from elspeth.core.landscape.verification.verify import verify
from harness.generate.features import FEATURES
from harness.generate.generator import Cardinalities, generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs
from querygrowth.counting.log import count_queries

PORTABLE = [each.name for each in FEATURES.values() if each.portable and not each.corrupt]
EXPORTABLE = [each.name for each in FEATURES.values() if not each.corrupt]
CORRUPT = [each.name for each in FEATURES.values() if each.corrupt]

ON_SQLITE = fewer_examples(1 / 10)
ON_POSTGRESQL = settings(
    fewer_examples(1 / 16), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def exported(db: LandscapeDB, exporter: type[Exporter], run_id: str) -> list[Record]:
    return list(exporter(db, KEY, clock=fixed_clock).export_run(run_id, sign=True))


def legacy_queries(run: Cardinalities) -> int:
    return 6 + run.rows + 2 * run.tokens + 2 * run.node_states + run.batches


@ON_SQLITE
@given(spec=run_specs())
def test_records_and_costs_on_sqlite(exercise: Callable[[RunSpec], None], spec: RunSpec) -> None:
    exercise(spec)
    with LandscapeDB.in_memory() as db:
        assert_same_records_at_promised_costs(db, spec)


@pytest.mark.parametrize("feature", EXPORTABLE)
def test_records_and_costs_with_each_feature(
    exercise: Callable[[RunSpec], None], feature: str
) -> None:
    @fewer_examples(1 / 150)
    @given(spec=run_specs(required=[feature]))
    def as_promised(spec: RunSpec) -> None:
        exercise(spec)
        with LandscapeDB.in_memory() as db:
            assert_same_records_at_promised_costs(db, spec)

    as_promised()


@ON_POSTGRESQL
@given(spec=run_specs(features=PORTABLE))
def test_records_and_costs_on_postgresql(
    exercise: Callable[[RunSpec], None], postgres_url: str, spec: RunSpec
) -> None:
    exercise(spec)
    with LandscapeDB(postgres_url) as db:
        try:
            assert_same_records_at_promised_costs(db, spec)
        finally:
            empty(db)


def assert_same_records_at_promised_costs(db: LandscapeDB, spec: RunSpec) -> None:
    run = generate_run(db, spec)
    with count_queries(db.engine, call_sites=False) as candidate_log:
        candidate = exported(db, LandscapeExporter, run.run_id)
    with count_queries(db.engine, call_sites=False) as control_log:
        control = exported(db, LegacyLandscapeExporter, run.run_id)
    assert pairs(candidate) == pairs(control)
    assert len(candidate) == run.cardinalities.records + 1
    assert (candidate_log.total, candidate_log.transactions_begun) == (12, 1)
    assert control_log.total == legacy_queries(run.cardinalities)
    with db.connection() as connection:
        assert sum(count_records(connection, run.run_id).values()) == run.cardinalities.records


def empty(db: LandscapeDB) -> None:
    with db.connection() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


@ON_SQLITE
@given(spec=run_specs(), sign=st.booleans())
def test_files_are_the_canonical_json_of_the_records(spec: RunSpec, sign: bool) -> None:
    with LandscapeDB.in_memory() as db, tempfile.TemporaryDirectory() as folder:
        run_id = generate_run(db, spec).run_id
        exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
        records = exporter.export_run(run_id, sign=sign)
        expected = b"".join(rfc8785.dumps(record) + b"\n" for record in records)
        target = Path(folder) / "run.jsonl"
        exporter.write_jsonl(run_id, target, sign=sign)
        assert target.read_bytes() == expected
        assert verify(target, KEY, run_id=run_id, allow_unsigned=not sign).ok


@pytest.mark.parametrize("feature", CORRUPT)
def test_what_no_export_may_carry_is_refused_by_both(feature: str) -> None:
    @fewer_examples(1 / 20)
    @given(spec=run_specs(required=[feature]))
    def refused_alike(spec: RunSpec) -> None:
        with LandscapeDB.in_memory() as db:
            generate_run(db, spec)
            errors = []
            for exporter in BOTH:
                with pytest.raises(CorruptAuditDataError) as caught:
                    exported(db, exporter, spec.run_id)
                errors.append(str(caught.value))
        assert errors[0] == errors[1]

    refused_alike()
