"""Results: what is read back is what was saved, and nothing else is taken for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench.results import FORMAT, Results, ResultsError, Topic, load_results, save_results
from querygrowth.verdict import Outcome

SAVED = Path("fixtures/results")


@pytest.mark.parametrize("path", sorted(SAVED.glob("*.json")), ids=lambda path: path.stem)
def test_results_read_back_equal_what_was_saved(path: Path, tmp_path: Path) -> None:
    results = load_results(path)
    save_results(results, tmp_path / "again.json")
    assert load_results(tmp_path / "again.json") == results


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a whole JSON document"),
        ('{"format": 1, "environment"', "not a whole JSON document"),
        ("[]", "it says no format number"),
        ("{}", "it says no format number"),
        ('{"format": true}', "it says no format number"),
        (f'{{"format": {FORMAT + 1}}}', "newer than"),
        ('{"format": 0}', "older than"),
        (f'{{"format": {FORMAT}}}', "environment"),
        ('{"format": 1, "seconds": NaN}', "not a whole JSON document"),
        ('{"format": 1, "seconds": 1e999}', "not a whole JSON document"),
        ("[" * 100_000, "not a whole JSON document"),
    ],
)
def test_a_file_that_holds_no_results_is_refused_with_the_reason(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=reason) as refusal:
        load_results(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"absent\.json: No such file"):
        load_results(tmp_path / "absent.json")


def test_a_verdict_of_an_unknown_outcome_is_refused(tmp_path: Path) -> None:
    content = json.loads((SAVED / "passed.json").read_text())
    content["judgements"][0]["verdict"]["outcome"] = "splendid"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"judgements\.0"):
        load_results(path)


def test_failures_come_first_and_in_the_order_of_topics() -> None:
    ordered = load_results(SAVED / "n_plus_one.json").ordered_judgements
    failed = [each.verdict.failed for each in ordered]
    assert failed == sorted(failed, reverse=True)
    topics = [list(Topic).index(each.topic) for each in ordered if each.failed]
    assert topics
    assert topics == sorted(topics)


def test_results_without_a_judgement_are_a_failure() -> None:
    results: Results = replace(load_results(SAVED / "passed.json"), judgements=())
    assert results.outcome is Outcome.FAILED
