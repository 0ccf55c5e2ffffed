"""Gate: what passes, what does not, and what was never measured."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from elspeth.cli.runtime import ExitCode
from harness import gate
from harness.bench.baseline import DEFAULT_BASELINE, load_baseline, without_baseline
from harness.bench.experiment import Experiment
from harness.bench.result_file import load_results, save_results
from harness.bench.results import Judgement, Results, Topic
from harness.bench.targets import DEFAULT_TARGETS, load_targets
from harness.checks.check import Check
from harness.checks.selection import Selection
from harness.checks.selftest import SelftestSelection
from harness.exporters.measured import measured
from harness.exporters.subject import CONTROL
from harness.gate import REQUIRED, Gate, completed, decide, run_gate
from harness.generate.spec import RunSpec
from harness.report.text import render_annotations
from querygrowth.verdict import Outcome, Verdict

PASSED = load_results(Path("fixtures/results/passed.json"))


def with_outcome(topic: Topic, outcome: Outcome) -> Results:
    judgement = Judgement(topic, Verdict("it", outcome, "this", "that"))
    return replace(PASSED, judgements=(*PASSED.judgements, judgement))


def test_complete_results_without_a_failure_pass() -> None:
    assert completed(PASSED) == PASSED
    assert decide(PASSED) == ExitCode.PASSED


@pytest.mark.parametrize("topic", Topic)
def test_one_failure_of_any_topic_does_not_pass(topic: Topic) -> None:
    assert decide(with_outcome(topic, Outcome.FAILED)) == ExitCode.FAILED


def test_inconclusive_passes_a_pull_request_and_not_the_night() -> None:
    results = with_outcome(Topic.SPEED, Outcome.INCONCLUSIVE)
    assert decide(results) == ExitCode.PASSED
    assert decide(results, nightly=True) == ExitCode.FAILED


@pytest.mark.parametrize("topic", REQUIRED)
def test_a_topic_that_nothing_judged_does_not_pass(topic: Topic) -> None:
    rest = tuple(each for each in PASSED.judgements if each.topic is not topic)
    results = completed(replace(PASSED, judgements=rest))
    assert decide(results) == ExitCode.FAILED
    assert [each.topic for each in results.failures] == [topic]


def test_a_topic_of_which_everything_was_skipped_does_not_pass() -> None:
    skipped = tuple(
        replace(each, verdict=replace(each.verdict, outcome=Outcome.SKIPPED))
        if each.topic is Topic.SELFTEST
        else each
        for each in PASSED.judgements
    )
    results = completed(replace(PASSED, judgements=skipped))
    assert decide(results) == ExitCode.FAILED


def test_another_checkout_is_judged_without_a_baseline_and_that_is_said() -> None:
    rest = tuple(each for each in PASSED.judgements if each.topic is not Topic.BASELINE)
    verdict = without_baseline("Exporter")
    assert verdict.outcome is Outcome.SKIPPED
    assert verdict.next_step.startswith("harness baseline --update --file FILE with ")
    without = replace(PASSED, judgements=(*rest, Judgement(Topic.BASELINE, verdict)))
    assert decide(completed(without)) == ExitCode.PASSED
    # Only the verdict of this kind stands for a baseline, and only for that.
    for other in (
        Judgement(Topic.BASELINE, replace(verdict, kind="")),
        Judgement(Topic.TARGETS, verdict),
    ):
        assert decide(completed(replace(PASSED, judgements=(*rest, other)))) == ExitCode.FAILED


def test_results_of_nothing_do_not_pass() -> None:
    empty = replace(PASSED, sizes=(), judgements=())
    assert decide(empty) == ExitCode.FAILED
    assert {each.topic for each in completed(empty).failures} == set(REQUIRED)


def test_results_without_a_measured_run_do_not_pass_whatever_they_claim() -> None:
    assert decide(completed(replace(PASSED, sizes=()))) == ExitCode.FAILED


@pytest.mark.parametrize("name", ["MembersBatchByBatch", "TransactionPerQuery"])
@pytest.mark.usefixtures("few_growing_runs", "prepared_checks", "without_memory")
def test_every_growth_failure_of_the_gate_has_a_file_and_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What the gate does besides takes time and says nothing of growth.
    accepted = load_baseline(DEFAULT_BASELINE)
    monkeypatch.setattr(gate, "count_costs", lambda *_: accepted)
    monkeypatch.setattr(gate, "formulas_of", lambda *_: {})
    experiment = Experiment(
        specs=tuple(RunSpec(rows=rows, batches=rows, members=1) for rows in (2, 4)),
        control=measured(CONTROL),
        candidate=measured(f"harness.fixtures.faulty_exporters.queries:{name}"),
        targets=load_targets(DEFAULT_TARGETS),
        rounds=1,
    )
    planned = Gate(experiment, accepted, SelftestSelection(()), Selection((Check.QUERIES,)))
    (tmp_path / "runs").mkdir()
    found = run_gate(planned, tmp_path / "runs", lambda step: None)
    save_results(found, tmp_path / "results.json")
    saved = load_results(tmp_path / "results.json")
    assert saved == found
    growth = [each.verdict for each in saved.failures if each.topic is Topic.GROWTH]
    assert growth
    for verdict in growth:
        assert verdict.site is not None, verdict
        assert verdict.site.path.startswith(("fixtures/", "src/"))
        source = Path(verdict.site.path).read_text().splitlines()
        assert source[verdict.site.line - 1].strip()
    annotated = [line for line in render_annotations(saved) if "title=growth" in line]
    assert len(annotated) == len({each.site for each in growth}) == 1
    at_a_line = re.compile(r"::error file=(fixtures|src)/\S+\.py,line=\d+,")
    assert all(map(at_a_line.match, annotated))
