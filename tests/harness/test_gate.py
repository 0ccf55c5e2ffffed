"""Gate: what passes, what does not, and what was never measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from elspeth.cli.runtime import ExitCode
from harness.bench.result_file import load_results
from harness.bench.results import Judgement, Results, Topic
from harness.gate import REQUIRED, completed, decide
from querygrowth.verdict import Outcome, Verdict

PASSED = load_results(Path("fixtures/results/passed.json"))


def with_outcome(topic: Topic, outcome: Outcome) -> Results:
    judgement = Judgement(topic, Verdict("it", outcome, "this", "that"))
    return replace(PASSED, judgements=(*PASSED.judgements, judgement))


def test_complete_results_without_a_failure_pass() -> None:
    assert completed(PASSED) == PASSED
    assert decide(PASSED) is ExitCode.FINE


@pytest.mark.parametrize("topic", Topic)
def test_one_failure_of_any_topic_does_not_pass(topic: Topic) -> None:
    assert decide(with_outcome(topic, Outcome.FAILED)) is ExitCode.NOT_FINE


def test_inconclusive_passes_a_pull_request_and_not_the_night() -> None:
    results = with_outcome(Topic.SPEED, Outcome.INCONCLUSIVE)
    assert decide(results) is ExitCode.FINE
    assert decide(results, nightly=True) is ExitCode.NOT_FINE


@pytest.mark.parametrize("topic", REQUIRED)
def test_a_topic_that_nothing_judged_does_not_pass(topic: Topic) -> None:
    rest = tuple(each for each in PASSED.judgements if each.topic is not topic)
    results = completed(replace(PASSED, judgements=rest))
    assert decide(results) is ExitCode.NOT_FINE
    assert [each.topic for each in results.failures] == [topic]


def test_a_topic_of_which_everything_was_skipped_does_not_pass() -> None:
    skipped = tuple(
        replace(each, verdict=replace(each.verdict, outcome=Outcome.SKIPPED))
        if each.topic is Topic.SELFTEST
        else each
        for each in PASSED.judgements
    )
    results = completed(replace(PASSED, judgements=skipped))
    assert decide(results) is ExitCode.NOT_FINE


def test_results_of_nothing_do_not_pass() -> None:
    empty = replace(PASSED, sizes=(), judgements=())
    assert decide(empty) is ExitCode.NOT_FINE
    assert {each.topic for each in completed(empty).failures} == set(REQUIRED)


def test_results_without_a_measured_run_do_not_pass_whatever_they_claim() -> None:
    assert decide(completed(replace(PASSED, sizes=()))) is ExitCode.NOT_FINE
