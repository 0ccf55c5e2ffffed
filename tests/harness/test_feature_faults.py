"""Seeded faults that depend on the contents of a run: a generated run shows every one of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from run_coverage import drawn_specs
from sample_run import KEY, fixed_clock, pairs

from elspeth.core.landscape import LandscapeDB
from harness.checks.check import Check
from harness.checks.database_changes import PLAN_CHANGES, UNCHANGED, PlanChange
from harness.checks.selftest import SeededFault, load_seeded_faults
from harness.exporters.subject import CONTROL, Subject, load_subject
from harness.generate.generator import generate_run
from harness.generate.plan import neighbours_of
from harness.generate.presets import preset
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs

SHOWN_BY_A_RUN = [
    each
    for each in load_seeded_faults()
    if each.number <= 17 and each.check in (Check.RECORDS, Check.PLAN) and not each.needs
]
"""All faults that a run on SQLite can show, except an IN list of over 32,766 values."""

PLAN_CHANGES_BY_CHECK = {
    Check.RECORDS: [each for each in PLAN_CHANGES if not each.apply],
    Check.PLAN: [each for each in PLAN_CHANGES if each.apply and each.suits("sqlite")],
}
CHUNKED = RunSpec(rows=501, features=frozenset(["shuffled_ids"]))
"""Shows faults at the border of two lists of 500 values."""


class Runs:
    """A few generated runs, stored once for each change of plan, with the control's exports."""

    def __init__(self, directory: Path, open_until: ExitStack) -> None:
        self.specs = [preset("adversarial"), *drawn_specs(run_specs(), 20), CHUNKED]
        self._directory = directory
        self._open_until = open_until
        self._stored: dict[tuple[int, str], tuple[LandscapeDB, object]] = {}

    def differing(self, candidate: Subject, change: PlanChange) -> Iterator[RunSpec]:
        """The specs whose runs the candidate and the control export differently."""
        for number, spec in enumerate(self.specs):
            db, expected = self._run(number, change)
            if exports(candidate, db, spec) != expected:
                yield spec

    def _run(self, number: int, change: PlanChange) -> tuple[LandscapeDB, object]:
        key = (number, change.name)
        if key not in self._stored:
            path = self._directory / f"{number} {change.name}.db"
            db = self._open_until.enter_context(LandscapeDB(f"sqlite:///{path}"))
            generate_run(db, self.specs[number])
            if change.apply:
                change.apply(db)
            self._stored[key] = db, exports(load_subject(CONTROL), db, self.specs[number])
        return self._stored[key]


def exports(subject: Subject, db: LandscapeDB, spec: RunSpec) -> list[object]:
    """The export of each run of a spec: its records, or the class of the error."""
    found: list[object] = []
    for run in (spec, *neighbours_of(spec)):
        try:
            exporter = subject.build(db, KEY, fixed_clock)
            records = exporter.export_run(run.run_id, sign=True)
            found.append(pairs(dict(record) for record in records))
        except Exception as error:
            found.append(type(error))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with ExitStack() as open_until:
        yield Runs(tmp_path_factory.mktemp("generated"), open_until)


@pytest.mark.parametrize("fault", SHOWN_BY_A_RUN, ids=lambda each: f"{each.number} {each.exporter}")
def test_a_generated_run_shows_the_fault(runs: Runs, fault: SeededFault) -> None:
    candidate = load_subject(fault.exporter)
    found = (runs.differing(candidate, change) for change in PLAN_CHANGES_BY_CHECK[fault.check])
    assert next((spec for specs in found for spec in specs), None) is not None


def test_the_exporter_and_the_control_agree_on_every_generated_run(runs: Runs) -> None:
    candidate = load_subject("elspeth.core.landscape:LandscapeExporter")
    assert list(runs.differing(candidate, UNCHANGED)) == []


def test_all_faults_that_depend_on_a_run_are_among_them() -> None:
    assert {each.number for each in SHOWN_BY_A_RUN} == set(range(1, 18)) - {6, 10}
