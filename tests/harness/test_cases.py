"""Plan changes affect only an order that is not total, and every corruption is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contents import contents_digest
from sqlalchemy import URL

from elspeth.core.landscape import LandscapeDB
from harness.checks.cases import Case, plan_cases, record_cases, tie_cases
from harness.checks.database_changes import CORRUPTIONS, PLAN_CHANGES, PlanChange
from harness.checks.reference_runs import ReferenceRuns, postgresql_databases, sqlite_files
from harness.checks.specs import RECORD_SPECS
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, load_subject
from harness.generate.features import FEATURES
from harness.generate.generator import generate_run

ON_SQLITE = [*plan_cases("sqlite"), *tie_cases()]
TIED = ON_SQLITE[0].spec
CORRUPT = [case for case in record_cases("sqlite") if case.corruption]
CHANGES = [each for each in PLAN_CHANGES if each.apply]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceRuns]:
    directory = tmp_path_factory.mktemp("changed")
    with (
        sqlite_files(directory) as new_database,
        ReferenceRuns(new_database, directory, control=load_subject(CONTROL)) as runs,
    ):
        yield runs


def test_every_run_of_records_has_an_id_that_no_other_has_and_features_that_exist() -> None:
    ids = [spec.run_id for spec in RECORD_SPECS]
    assert all(isinstance(each, str) and each for each in ids)
    assert len(set(ids)) == len(ids)
    assert {name for spec in RECORD_SPECS for name in spec.features} <= FEATURES.keys()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_of_plan_changes_no_contents(
    change: PlanChange, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = (
        request.getfixturevalue("fresh_postgres_url")
        if change.dialect == "postgresql"
        else f"sqlite:///{tmp_path / 'changed.db'}"
    )
    with LandscapeDB(url) as db:
        generate_run(db, TIED)
        before = contents_digest(db)
        assert change.apply is not None
        change.apply(db)
        assert contents_digest(db) == before


def test_a_shuffled_insertion_stores_the_same_contents(tmp_path: Path) -> None:
    digests = []
    for name, features in (
        ("plain", TIED.features),
        ("other", {*TIED.features, PLAN_CHANGES[1].feature}),
    ):
        with LandscapeDB(f"sqlite:///{tmp_path / name}.db") as db:
            generate_run(db, replace(TIED, features=features))
            digests.append(contents_digest(db))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("case", ON_SQLITE, ids=lambda case: case.name)
def test_the_batched_exporter_gives_the_same_bytes_under_every_plan(
    runs: ReferenceRuns, case: Case
) -> None:
    comparison = runs.compare(load_subject(DEFAULT_CANDIDATE), case)
    assert comparison.identical, comparison.verdict()


@pytest.mark.parametrize(
    ("exporter", "record_type"),
    [
        ("StatesByStepAlone", "node_state"),
        ("NodesWithoutTieBreak", "node"),
        ("ArtifactsUnordered", "artifact"),
    ],
)
def test_an_order_that_is_not_total_holds_until_the_plan_changes(
    runs: ReferenceRuns, exporter: str, record_type: str
) -> None:
    candidate = load_subject(f"harness.fixtures.faulty_exporters.order:{exporter}")
    unchanged, *changed = plan_cases("sqlite")
    assert runs.compare(candidate, unchanged).identical
    differences = [runs.compare(candidate, case).difference for case in changed]
    assert f"order, {record_type}" in {
        f"{each.kind}, {each.record_type}" for each in differences if each
    }


@pytest.fixture(scope="module")
def postgresql_runs(
    postgres_server: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReferenceRuns]:
    server = postgres_server.render_as_string(hide_password=False)
    with (
        postgresql_databases(server) as new_database,
        ReferenceRuns(
            new_database, tmp_path_factory.mktemp("changed"), control=load_subject(CONTROL)
        ) as runs,
    ):
        yield runs


@pytest.mark.parametrize("case", list(plan_cases("postgresql")), ids=lambda case: case.name)
def test_the_batched_exporter_gives_the_same_bytes_under_every_plan_of_postgresql(
    postgresql_runs: ReferenceRuns, case: Case
) -> None:
    comparison = postgresql_runs.compare(load_subject(DEFAULT_CANDIDATE), case)
    assert comparison.identical, comparison.verdict()


@pytest.mark.parametrize("case", CORRUPT, ids=lambda case: case.corruption.name)
def test_both_exporters_refuse_a_corruption_with_the_same_error(
    runs: ReferenceRuns, case: Case
) -> None:
    comparison = runs.compare(load_subject(DEFAULT_CANDIDATE), case)
    assert comparison.identical, comparison.verdict()
    assert comparison.refusal is not None
    assert comparison.refusal.type_name == "CorruptAuditDataError"


def test_a_run_without_a_row_to_corrupt_raises_value_error(tmp_path: Path) -> None:
    with (
        LandscapeDB(f"sqlite:///{tmp_path / 'empty.db'}") as db,
        pytest.raises(ValueError, match="0 rows corrupted instead of one"),
    ):
        CORRUPTIONS[0].apply(db, "nowhere")
