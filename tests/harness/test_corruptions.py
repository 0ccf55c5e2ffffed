"""One corruption at a time: both exporters refuse it alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from elspeth.core.landscape import LandscapeDB
from harness.checks.cases import Case, record_cases
from harness.checks.corruptions import CORRUPTIONS
from harness.checks.reference_runs import ReferenceRuns, sqlite_files
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, load_subject

CORRUPT = [case for case in record_cases("sqlite") if case.corruption]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceRuns]:
    directory = tmp_path_factory.mktemp("corrupt")
    with (
        sqlite_files(directory) as new_database,
        ReferenceRuns(new_database, directory, control=load_subject(CONTROL)) as runs,
    ):
        yield runs


@pytest.mark.parametrize("case", CORRUPT, ids=lambda case: case.corruption.name)
def test_both_exporters_refuse_a_corruption_with_the_same_error(
    runs: ReferenceRuns, case: Case
) -> None:
    comparison = runs.compare(load_subject(DEFAULT_CANDIDATE), case)
    assert comparison.identical, comparison.verdict()
    assert comparison.refusal is not None
    assert comparison.refusal.type_name == "CorruptAuditDataError"


def test_a_run_that_holds_nothing_to_corrupt_is_refused(tmp_path: Path) -> None:
    with (
        LandscapeDB(f"sqlite:///{tmp_path / 'empty.db'}") as db,
        pytest.raises(ValueError, match="0 rows corrupted instead of one"),
    ):
        CORRUPTIONS[0].plant(db, "nowhere")
