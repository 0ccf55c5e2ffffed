"""The records that are computed from stored rows equal the control's export, to the byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import rfc8785

from elspeth.core.landscape import LandscapeDB
from harness.checks.cases import Case, plan_cases, record_cases, tie_cases
from harness.checks.cost_runs import everything
from harness.checks.expected_records import canonical, expected_records, signed
from harness.checks.reference_runs import ReferenceRuns, sqlite_files
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import InThisProcess
from harness.exporters.subject import CONTROL, load_subject
from harness.generate.spec import RunSpec


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceRuns]:
    folder = tmp_path_factory.mktemp("runs")
    control = InThisProcess(load_subject(CONTROL))
    with sqlite_files(folder) as new, ReferenceRuns(new, folder, control=control) as runs:
        yield runs


def _cases() -> Iterator[Case]:
    yield from record_cases("sqlite")
    yield from plan_cases("sqlite")
    yield from tie_cases()
    # The shape of the large runs, in a size that the control exports in a second.
    spec = everything(60, run_id="everything", features=("shuffled_ids",))
    yield Case(spec, spec.run_id)
    yield Case(spec, spec.run_id, signed=False)


def test_the_records_are_the_controls_in_every_case_that_it_exports(runs: ReferenceRuns) -> None:
    compared = 0
    for case in _cases():
        control = runs.control(case)
        if control.error:
            # Of a run that is refused nothing is compared: a legal one must never be.
            is_absent = control.error.type_name == "RunNotFoundError"
            assert case.corruption or case.spec.is_corrupt or is_absent, control.error
            continue
        db = runs.database(case)
        records = expected_records(db, case.run_id)
        if case.signed:
            records = signed(records, case.run_id, SIGNING_KEY, fixed_clock)
        found = list(records)
        expected = list(control.records)
        assert found == expected, case.name
        assert [[*each] for each in found] == [[*each] for each in expected], case.name
        lines = b"".join(canonical(each) + b"\n" for each in found)
        assert lines == control.jsonl.read_bytes(), case.name
        compared += 1
    assert compared >= 19


def test_an_unknown_run_is_refused(tmp_path: Path) -> None:
    with (
        LandscapeDB(f"sqlite:///{tmp_path / 'empty.db'}") as db,
        pytest.raises(LookupError, match="no run 'nothing'"),
    ):
        next(expected_records(db, "nothing"))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 0.25, 1e-7, 1e21, 1e15, 123456789.125, 5e-324])
def test_canonical_json_writes_floats_as_rfc_8785_does(value: float) -> None:
    record = {"record_type": "call", "latency_ms": value}
    assert canonical(record) == rfc8785.dumps(record)


def test_a_run_of_everything_has_as_many_entities_in_every_table(runs: ReferenceRuns) -> None:
    spec: RunSpec = everything(20, run_id="counted")
    counts = runs.costs.stored([spec]).runs["counted"].cardinalities
    assert min(value for name, value in vars(counts).items() if name != "runs") == 20


def test_a_key_that_is_no_text_has_no_canonical_json() -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical({1: "one"})  # type: ignore[dict-item]
