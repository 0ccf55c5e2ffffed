"""The search for a run that a candidate exports with other bytes than the control."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.checks.byte_search import drawn_specs, search_cases, search_differences
from harness.checks.cases import Case
from harness.checks.reference_runs import ReferenceRuns, sqlite_files
from harness.exporters.subject import CONTROL, load_subject
from harness.generate.features import FEATURES
from harness.generate.spec import RunSpec
from querygrowth.verdict import Outcome, Verdict


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceRuns]:
    directory = tmp_path_factory.mktemp("drawn")
    with (
        sqlite_files(directory) as new_database,
        ReferenceRuns(new_database, directory, control=load_subject(CONTROL)) as runs,
    ):
        yield runs


@dataclass(frozen=True)
class Compared:
    """What a search needs of a comparison."""

    case: Case

    @property
    def identical(self) -> bool:
        """Whether the run lacks what shows the fault: two rows and a fork."""
        return self.case.spec.rows < 2 or self.case.spec.forks < 1

    def verdict(self) -> Verdict:
        """The verdict on a run that shows it."""
        return Verdict("Faulty", Outcome.FAILED, "the same", "another order")


def test_a_search_shows_a_run_with_what_the_fault_needs_and_no_more() -> None:
    verdict = search_differences("Faulty", Compared)  # type: ignore[arg-type]
    assert verdict.failed
    assert verdict.seen == "another order (found by a search)"
    (shown,) = (line for line in verdict.evidence if line.startswith("the run "))
    assert "forks=1" in shown
    # Two rows are the default, which is not shown.
    assert RunSpec().rows == 2
    assert not re.search(r"[( ]rows=", shown)
    assert "features" not in shown


@pytest.mark.nightly
def test_a_search_finds_a_difference_and_shows_a_simple_run(runs: ReferenceRuns) -> None:
    candidate = load_subject("harness.fixtures.faulty_exporters.order:RowsByCreation")
    verdict = search_differences(candidate.name, lambda case: runs.compare(candidate, case))
    assert verdict.failed
    assert "order, row" in verdict.seen
    assert verdict.seen.endswith("(found by a search)")
    (shown,) = (line for line in verdict.evidence if line.startswith("the run "))
    # The default of a spec is not shown.
    rows = re.search(r"[(, ]rows=(\d+)", shown)
    assert rows is None or int(rows[1]) <= 4
    assert len(re.findall("'[a-z_]+'", shown.partition("features=")[2])) <= 2


def test_the_runs_of_a_search_are_legal_and_share_few_databases() -> None:
    specs, cases = drawn_specs(), list(search_cases())
    assert [case.spec for case in cases] == list(specs)
    assert not any(spec.is_corrupt for spec in specs)
    assert len({spec.run_id for spec in specs}) == len(specs)
    assert len({case.stored for case in cases}) <= len(cases) / 10
    assert all(case.spec in case.beside for case in cases)


def test_the_runs_of_a_search_hold_nearly_every_feature() -> None:
    held = frozenset().union(*(spec.features for spec in drawn_specs()))
    exportable = {name for name, each in FEATURES.items() if not each.corrupt and not each.alone}
    assert held >= exportable


def test_a_search_without_a_difference_passes() -> None:
    class Same:
        identical = True

    verdict = search_differences("Same", lambda _: Same())  # type: ignore[arg-type,return-value]
    assert verdict.passed
    assert f"{len(drawn_specs())} runs" in verdict.seen
