"""The seeded faults that depend on what a run holds: some generated run provokes each."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from run_coverage import drawn_specs
from sample_run import KEY, fixed_clock, pairs

from elspeth.core.landscape import LandscapeDB
from harness.checks.plan_changes import SHAKES, Shake
from harness.checks.run import Part
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
    if each.number <= 17 and each.part in (Part.RECORDS, Part.PLAN) and not each.needs
]
"""But for an IN list of over 32,766 values, and what only the collation of a language shows."""

SHAKES_BY_PART = {
    Part.RECORDS: [each for each in SHAKES if not each.act],
    Part.PLAN: [each for each in SHAKES if each.act and each.suits("sqlite")],
}
CHUNKED = RunSpec(rows=501, features=frozenset(["shuffled_ids"]))
"""For what goes wrong between one list of 500 values and the next."""


class Runs:
    """A few generated runs, stored once for each change of plan, with the control's exports."""

    def __init__(self, directory: Path, open_until: ExitStack) -> None:
        self.specs = [preset("adversarial"), *drawn_specs(run_specs(), 20), CHUNKED]
        self._directory = directory
        self._open_until = open_until
        self._stored: dict[tuple[int, str], tuple[LandscapeDB, object]] = {}

    def parting(self, candidate: Subject, shake: Shake) -> Iterator[RunSpec]:
        """The specs whose runs the candidate exports otherwise than the control."""
        for number, spec in enumerate(self.specs):
            db, expected = self._run(number, shake)
            if exports(candidate, db, spec) != expected:
                yield spec

    def _run(self, number: int, shake: Shake) -> tuple[LandscapeDB, object]:
        key = (number, shake.name)
        if key not in self._stored:
            path = self._directory / f"{number} {shake.name}.db"
            db = self._open_until.enter_context(LandscapeDB(f"sqlite:///{path}"))
            generate_run(db, self.specs[number])
            if shake.act:
                shake.act(db)
            self._stored[key] = db, exports(load_subject(CONTROL), db, self.specs[number])
        return self._stored[key]


def exports(subject: Subject, db: LandscapeDB, spec: RunSpec) -> list[object]:
    """What comes of each run of a spec: its records, or the kind of the error."""
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
def test_some_generated_run_provokes_it(runs: Runs, fault: SeededFault) -> None:
    candidate = load_subject(fault.exporter)
    partings = (runs.parting(candidate, shake) for shake in SHAKES_BY_PART[fault.part])
    assert next((spec for parting in partings for spec in parting), None) is not None


def test_no_generated_run_parts_the_exporter_itself_from_the_control(runs: Runs) -> None:
    candidate = load_subject("elspeth.core.landscape:LandscapeExporter")
    assert list(runs.parting(candidate, SHAKES[0])) == []


def test_all_faults_that_depend_on_a_run_are_among_them() -> None:
    assert {each.number for each in SHOWN_BY_A_RUN} == set(range(1, 18)) - {6, 10}
