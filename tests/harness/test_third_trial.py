"""The third trial: every proof shows its fault, every check finds it, and correct ones pass."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness.fixtures.third_trial.proofs import PROOFS, proof

from elspeth.core.landscape import LandscapeExporter
from harness.checks.check import Check
from harness.checks.declared import Declared, chunked
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup
from harness.exporters.measured import in_own_process
from harness.exporters.subject import load_subject
from harness.fixtures import third_trial

TRIAL = tomllib.loads((Path(third_trial.__file__).parent / "trial.toml").read_text())
FOUND = [entry for entry in TRIAL["faulty"] if "check" in entry]
_WHOLE_CHECKS = tuple(each for each in Check if each not in (Check.BACKENDS, Check.SEARCH))


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def _declared(entry: dict[str, Any]) -> Declared:
    declared = dict(entry.get("declared", {}))
    return Declared(allowances=tuple(map(chunked, declared.pop("chunked", ()))), **declared)


def test_the_trial_has_thirty_faults_of_many_kinds_and_ten_correct_exporters() -> None:
    assert [entry["name"] for entry in TRIAL["faulty"]] == sorted(PROOFS, key=_place)
    assert (len(TRIAL["faulty"]), len(TRIAL["correct"])) == (30, 10)
    kinds = {entry["kind"] for entry in TRIAL["faulty"]}
    operators = [entry["operator"] for entry in TRIAL["faulty"]]
    assert len(kinds) >= 10
    assert max(map(operators.count, operators)) <= 3
    # What no check finds says why.
    assert all(("check" in entry) != ("missed" in entry) for entry in TRIAL["faulty"])


def _place(name: str) -> int:
    return [entry["name"] for entry in TRIAL["faulty"]].index(name)


@pytest.mark.nightly
@pytest.mark.parametrize("entry", TRIAL["faulty"], ids=_name)
def test_a_legal_run_shows_the_fault_and_no_other_exporter_wrong(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    shown = {}
    for name, exporter in {
        "faulty": load_subject(entry["exporter"]).factory,
        "right": LandscapeExporter,
        **{each["name"]: load_subject(each["exporter"]).factory for each in TRIAL["correct"]},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        shown[name] = proof.shows_wrong(entry["name"], exporter, folder)
    assert [name for name, is_wrong in shown.items() if is_wrong] == ["faulty"]


@pytest.mark.nightly
@pytest.mark.parametrize("entry", FOUND, ids=_name)
def test_a_faulty_exporter_is_found_by_its_check(setup: CheckSetup, entry: dict[str, Any]) -> None:
    with in_own_process(entry["exporter"]) as candidate:
        found = run_checks(
            candidate, setup, checks=(Check(entry["check"]),), declared=_declared(entry)
        )
        failed = [each.verdict.seen for each in found if each.verdict.failed]
    assert any(entry["seen"] in seen for seen in failed)


@pytest.mark.nightly
@pytest.mark.parametrize("entry", TRIAL["correct"], ids=_name)
def test_a_correct_exporter_passes(setup: CheckSetup, entry: dict[str, Any]) -> None:
    with in_own_process(entry["exporter"]) as candidate:
        found = run_checks(candidate, setup, checks=_WHOLE_CHECKS, declared=_declared(entry))
        assert [each.verdict for each in found if not each.verdict.passed] == []
