"""Changes of plan: they change no contents, and move what has no total order."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contents import contents_digest
from sqlalchemy import URL

from elspeth.core.landscape import LandscapeDB
from harness.checks.cases import Case, plan_cases, tie_cases
from harness.checks.plan_changes import SHAKES, Shake
from harness.checks.reference_runs import ReferenceRuns, postgresql_databases, sqlite_files
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, load_subject
from harness.generate.generator import generate_run

ON_SQLITE = [*plan_cases("sqlite"), *tie_cases()]
TIED = ON_SQLITE[0].spec
CHANGES = [each for each in SHAKES if each.act]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceRuns]:
    directory = tmp_path_factory.mktemp("shaken")
    with (
        sqlite_files(directory) as new_database,
        ReferenceRuns(new_database, directory, control=load_subject(CONTROL)) as runs,
    ):
        yield runs


@pytest.mark.parametrize("shake", CHANGES, ids=lambda shake: shake.name)
def test_a_change_of_plan_changes_no_contents(
    shake: Shake, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = (
        request.getfixturevalue("fresh_postgres_url")
        if shake.dialect == "postgresql"
        else f"sqlite:///{tmp_path / 'shaken.db'}"
    )
    with LandscapeDB(url) as db:
        generate_run(db, TIED)
        before = contents_digest(db)
        assert shake.act is not None
        shake.act(db)
        assert contents_digest(db) == before


def test_a_shuffled_insertion_stores_the_same_contents(tmp_path: Path) -> None:
    digests = []
    for name, features in (
        ("plain", TIED.features),
        ("other", {*TIED.features, SHAKES[1].feature}),
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
    undisturbed, *shaken = plan_cases("sqlite")
    assert runs.compare(candidate, undisturbed).identical
    differences = [runs.compare(candidate, case).difference for case in shaken]
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
            new_database, tmp_path_factory.mktemp("shaken"), control=load_subject(CONTROL)
        ) as runs,
    ):
        yield runs


@pytest.mark.parametrize("case", list(plan_cases("postgresql")), ids=lambda case: case.name)
def test_the_batched_exporter_gives_the_same_bytes_under_every_plan_of_postgresql(
    postgresql_runs: ReferenceRuns, case: Case
) -> None:
    comparison = postgresql_runs.compare(load_subject(DEFAULT_CANDIDATE), case)
    assert comparison.identical, comparison.verdict()
