"""The fourth and fifth trial: every proof shows its fault, and the mended check finds it."""

import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from elspeth.core.landscape import LandscapeExporter
from harness.checks.check import Check
from harness.checks.depth import Depth
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup
from harness.exporters.measured import in_own_process
from harness.fixtures import fifth_trial, fourth_trial

_TRIALS = (fourth_trial, fifth_trial)
_LARGE = {"OnePage", "WholeStates", "PagesOfTenThousand", "TenThousandEdges", "WorkInAnAssert"}


def _entries(trial: ModuleType) -> list[dict[str, Any]]:
    stored = Path(str(trial.__file__)).with_name("trial.toml").read_text()
    return list(tomllib.loads(stored)["faulty"])


def _parameters(*, found: bool = False) -> list[Any]:
    # The proofs that record much or start an interpreter are for the night.
    return [
        pytest.param(
            trial,
            entry,
            id=entry["name"],
            marks=[pytest.mark.nightly] if entry["name"] in _LARGE else [],
        )
        for trial in _TRIALS
        for entry in _entries(trial)
        if "check" in entry or not found
    ]


def _module(trial: ModuleType, name: str) -> Any:
    return import_module(f"{trial.__name__}.{name}")


@pytest.mark.parametrize("trial", _TRIALS)
def test_every_exporter_of_a_trial_has_a_proof_and_a_check_or_a_reason(trial: ModuleType) -> None:
    entries = _entries(trial)
    assert [entry["name"] for entry in entries] == list(_module(trial, "proofs").PROOFS)
    assert all(("check" in entry) != ("missed" in entry) for entry in entries)


@pytest.mark.parametrize(("trial", "entry"), _parameters())
def test_a_legal_run_shows_the_fault_and_not_the_batched_exporter_wrong(
    tmp_path: Path, trial: ModuleType, entry: dict[str, Any]
) -> None:
    name = entry["name"]
    shown: list[bool] = []
    for factory in (getattr(_module(trial, "faulty"), name), LandscapeExporter):
        folder = tmp_path / str(len(shown))
        folder.mkdir()
        shown.append(_module(trial, "proofs").proof.shows_wrong(name, factory, folder))
    assert shown == [True, False]


@pytest.mark.nightly
@pytest.mark.parametrize(("trial", "entry"), _parameters(found=True))
def test_an_exporter_is_found_by_its_check(
    setup: CheckSetup, trial: ModuleType, entry: dict[str, Any]
) -> None:
    faulty = f"{trial.__name__}.faulty"
    with in_own_process(f"{faulty}:{entry['name']}") as candidate:
        depth = Depth[entry.get("depth", "default").upper()]
        found = run_checks(candidate, setup, checks=(Check(entry["check"]),), depth=depth)
        failed = [each.verdict.seen for each in found if each.verdict.failed]
    assert any(entry["seen"] in seen for seen in failed)
