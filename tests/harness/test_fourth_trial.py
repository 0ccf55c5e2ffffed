"""The fourth trial: every proof shows its fault, and the check that was mended finds it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness.fixtures.fourth_trial import faulty
from harness.fixtures.fourth_trial.proofs import PROOFS, shown_wrong

from elspeth.core.landscape import LandscapeExporter
from harness.checks.check import Check
from harness.checks.depth import Depth
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup
from harness.exporters.measured import in_own_process
from harness.fixtures import fourth_trial

TRIAL = tomllib.loads((Path(fourth_trial.__file__).parent / "trial.toml").read_text())["faulty"]
_LARGE = {"OnePage", "WholeStates"}


def _parameters(entries: list[dict[str, Any]]) -> list[Any]:
    # The proofs that record much are for the night.
    return [
        pytest.param(
            entry, id=entry["name"], marks=[pytest.mark.nightly] if entry["name"] in _LARGE else []
        )
        for entry in entries
    ]


def test_every_exporter_of_the_trial_has_a_proof_and_a_check_or_a_reason() -> None:
    assert [entry["name"] for entry in TRIAL] == list(PROOFS)
    assert all(("check" in entry) != ("missed" in entry) for entry in TRIAL)


@pytest.mark.parametrize("entry", _parameters(TRIAL))
def test_a_legal_run_shows_the_fault_and_not_the_batched_exporter_wrong(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    name = entry["name"]
    shown: list[bool] = []
    for factory in (getattr(faulty, name), LandscapeExporter):
        folder = tmp_path / str(len(shown))
        folder.mkdir()
        shown.append(shown_wrong(name, factory, folder))
    assert shown == [True, False]


@pytest.mark.nightly
@pytest.mark.parametrize("entry", _parameters([each for each in TRIAL if "check" in each]))
def test_an_exporter_is_found_by_its_check(setup: CheckSetup, entry: dict[str, Any]) -> None:
    with in_own_process(f"{faulty.__name__}:{entry['name']}") as candidate:
        depth = Depth[entry.get("depth", "default").upper()]
        found = run_checks(candidate, setup, checks=(Check(entry["check"]),), depth=depth)
        failed = [each.verdict.seen for each in found if each.verdict.failed]
    assert any(entry["seen"] in seen for seen in failed)
