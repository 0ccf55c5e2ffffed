"""The second trial: every faulty exporter is found by its check, and every correct one passes."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.checks import large_runs
from harness.checks.calls import SCRIPTS, judge_calls
from harness.checks.check import Check
from harness.checks.cost_runs import CostRuns
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.form_costs import judge_form_costs
from harness.checks.large_runs import judge_large_run
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup
from harness.checks.side_effects import judge_side_effects
from harness.checks.target_scripts import DISK_SCRIPTS
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import InThisProcess, as_measured, in_own_process
from harness.exporters.subject import DEFAULT_CANDIDATE, load_subject
from harness.fixtures import second_trial

TRIAL = tomllib.loads((Path(second_trial.__file__).parent / "trial.toml").read_text())
FAULTY = {entry["name"]: entry for entry in TRIAL["faulty"]}
_WHOLE_CHECKS = tuple(each for each in Check if each not in (Check.BACKENDS, Check.SEARCH))


def load(name: str) -> InThisProcess:
    exporter = as_measured(load_subject(FAULTY[name]["exporter"]))
    assert isinstance(exporter, InThisProcess)
    return exporter


def test_no_kind_of_fault_occurs_more_than_three_times() -> None:
    kinds = [entry["kind"] for entry in TRIAL["faulty"] if entry["check"] != "records"]
    assert len(set(kinds)) >= 10
    assert max(map(kinds.count, kinds)) <= 3


SCRIPTED = {
    "BoundToThread": "an export in another thread than the one that made the exporter",
    "RunsEventLoop": "an export that a running event loop calls",
    "ClosingRefused": "an abandoned export, then a whole one",
    "InPlace": "files on a full disk",
    "NeighbourOverwritten": "files of others with similar names",
}


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_script_of_calls_shows_the_fault(setup: CheckSetup, name: str) -> None:
    script = next(each for each in (*SCRIPTS, *DISK_SCRIPTS) if each.name == SCRIPTED[name])
    runs = setup.runs["sqlite"]
    # In its own process: what it leaves to the garbage collector would warn in this one.
    with in_own_process(FAULTY[name]["exporter"]) as faulty:
        assert judge_calls(faulty, runs, (script,)).failed
    assert judge_calls(as_measured(load_subject(DEFAULT_CANDIDATE)), runs, (script,)).passed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SeedsRandom", "the exporter changed the random numbers"),
        ("ListenerLeft", "2 event listeners left on the engine"),
    ],
)
def test_what_is_left_in_the_process_is_seen(setup: CheckSetup, name: str, words: str) -> None:
    verdict = judge_side_effects(load(name), setup.runs["sqlite"])
    assert verdict.failed
    assert verdict.seen.startswith(words)


@pytest.mark.parametrize(
    ("name", "words", "advice"),
    [
        (
            "QueryMoreEachExport",
            "queries grew with the calls of one object: 12, 13, 14, 15",
            "what the object keeps between calls",
        ),
        (
            "CsvQueryForEachToken",
            "queries of write_csv grew with the run: 18, then 72",
            "a loop that a signed export_run does not have",
        ),
        (
            "CsvWithoutSnapshot",
            "2 transactions in write_csv, unsigned",
            "one snapshot for all records; or declare what is needed with --transactions",
        ),
    ],
)
def test_the_costs_of_other_forms_are_judged(
    setup: CheckSetup, tmp_path: Path, name: str, words: str, advice: str
) -> None:
    costs = setup.runs["sqlite"].costs
    found = judge_form_costs(load(name), costs, Declared(), tmp_path)
    failed = [each for each in found if each.failed]
    assert [(each.seen, each.next_step) for each in failed] == [(words, advice)]


def test_the_forms_of_a_right_exporter_cost_what_export_run_does(
    setup: CheckSetup, tmp_path: Path
) -> None:
    costs: CostRuns = setup.runs["sqlite"].costs
    candidate = as_measured(load_subject(DEFAULT_CANDIDATE))
    found = judge_form_costs(candidate, costs, Declared(), tmp_path)
    assert [each.passed for each in found] == [True, True]


def test_more_siblings_than_the_limit_of_recursion_show(
    setup: CheckSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_runs, "LARGE", large_runs.BELOW_ONE_PARENT[0])
    with pytest.raises(ExportFailedError, match="RecursionError"):
        judge_large_run(load("TokensByRecursion"), setup.runs["sqlite"].costs, Declared(), tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("entry", TRIAL["faulty"], ids=lambda entry: entry["name"])
def test_a_faulty_exporter_is_found_by_its_check(setup: CheckSetup, entry: Any) -> None:
    with in_own_process(entry["exporter"]) as candidate:
        found = run_checks(candidate, setup, checks=(Check(entry["check"]),), depth=Depth.ALL)
        assert any(each.verdict.failed for each in found)


@pytest.mark.nightly
@pytest.mark.parametrize("entry", TRIAL["correct"], ids=lambda entry: entry["name"])
def test_a_correct_exporter_passes(setup: CheckSetup, entry: Any) -> None:
    declared = Declared(**entry.get("declared", {}))
    with in_own_process(entry["exporter"]) as candidate:
        found = run_checks(candidate, setup, checks=_WHOLE_CHECKS, declared=declared)
        assert [each.verdict for each in found if not each.verdict.passed] == []
