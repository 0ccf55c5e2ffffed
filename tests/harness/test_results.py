"""Results: what is read back is what was saved, and every other file is refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench.paired_ratio import Interval
from harness.bench.result_file import load_results, results_schema, save_results
from harness.bench.result_schema import FORMAT
from harness.bench.results import Results, ResultsError, Topic
from querygrowth.counting.work import VM_STEPS
from querygrowth.verdict import Outcome

SAVED = Path("fixtures/results")
FORMAT_1 = Path(__file__).with_name("results_format_1.json")
SCHEMA = Path(__file__).parents[2] / "docs" / "results.schema.json"


@pytest.mark.parametrize("path", sorted(SAVED.glob("*.json")), ids=lambda path: path.stem)
def test_results_read_back_equal_what_was_saved(path: Path, tmp_path: Path) -> None:
    results = load_results(path)
    save_results(results, tmp_path / "again.json")
    assert load_results(tmp_path / "again.json") == results


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a whole JSON document"),
        ('{"format": 2, "environment"', "not a whole JSON document"),
        ('{"format": 1}', "damaged, though of format 1"),
        ('{"format": 1, "sizes": [7], "judgements": []}', "damaged, though of format 1"),
        ("[]", "it says no format number"),
        ("{}", "it says no format number"),
        ('{"format": true}', "it says no format number"),
        (f'{{"format": {FORMAT + 1}}}', "newer than"),
        ('{"format": 0}', "older than"),
        (f'{{"format": {FORMAT}}}', "environment"),
        ('{"format": 2, "seconds": NaN}', "not a whole JSON document"),
        ('{"format": 2, "seconds": 1e999}', "not a whole JSON document"),
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


def test_results_of_format_1_are_read_with_the_site_of_a_failure_and_its_counts() -> None:
    results = load_results(FORMAT_1)
    growth = next(each.verdict for each in results.failures if each.topic is Topic.GROWTH)
    assert growth.site is not None
    assert growth.site.path == "fixtures/faulty_exporters/queries.py"
    activity = results.largest.candidate.observation.activity
    assert (activity.queries, activity.by_table["batch_members"]) == (15, 3)
    assert activity.work[VM_STEPS] == 265203
    assert activity.checkouts is None
    assert results.largest.candidate.observation.file.size_bytes == 3059546


def test_a_comparison_of_format_2_is_read_as_one_by_wall_time(tmp_path: Path) -> None:
    timing = {"subject": "base", "seconds": [1.0, 2.0]}
    clock = {"base": timing, "head": timing, "ratio": 1.0, "interval": {"low": 0.9, "high": 1.1}}
    content = json.loads((SAVED / "passed.json").read_text())
    assert content["format"] == 2
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**content, "pairing": {"rows": 500, **clock}}))
    pairing = load_results(path).pairing
    assert pairing is not None
    assert (pairing.rows, pairing.records, pairing.cpu) == (500, None, None)
    assert pairing.wall.base.seconds == (1.0, 2.0)
    assert pairing.wall.interval == Interval(0.9, 1.1)
    save_results(load_results(path), path)
    assert json.loads(path.read_text())["format"] == FORMAT
    assert load_results(path).pairing == pairing


def test_the_published_schema_is_the_one_that_files_are_written_by() -> None:
    write = "from harness.bench.result_file import results_schema; print(results_schema(), end='')"
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert published == json.loads(results_schema()), (
        f'python -c "{write}" > docs/results.schema.json'
    )


def change(path: tuple[str | int, ...], value: object, tmp_path: Path) -> Path:
    """A saved result with the value at a path changed."""
    content = json.loads((SAVED / "passed.json").read_text())
    *outer, last = path
    within = content
    for step in outer:
        within = within[step]
    within[last] = value
    changed = tmp_path / "results.json"
    changed.write_text(json.dumps(content))
    return changed


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("sizes", 1, "run", "rows"), 10, "do not ascend"),
        (("sizes", 0, "run", "rows"), "10", r"rows: Input should be a valid integer"),
        (("sizes", 0, "control", "timing", "seconds"), [0.1] * 9, "number of rounds"),
        (("sizes", 0, "control", "timing", "seconds"), [], "seconds"),
        (("sizes", 0, "control", "timing", "seconds", 0), 0, "greater than"),
        (("sizes", 0, "control", "timing", "seconds", 0), 1e300, "less than"),
        (("sizes", 0, "control", "first_row_seconds"), -1, "greater than"),
        (("sizes", 0, "run", "cardinalities", "rows"), 10**400, "not a whole|less than or equal"),
        (("sizes", 0, "candidate", "observation", "activity", "work"), [], "work"),
        (("judgements", 0, "verdict", "site"), {"path": "a", "line": 0, "function": ""}, "line"),
        (("targets", 0, "exactly"), None, "exactly one of"),
        (("surprise",), 1, "surprise: Extra inputs"),
        (("targets", 0, "metric"), "querys", "unknown metric 'querys'; did you mean 'queries'"),
        (("sizes", 0, "run", "spec"), "not json", r"sizes\.0\.run\.spec: not a JSON object"),
        (("sizes", 0, "run", "spec"), "[]", "not a JSON object"),
        (("sizes", 0, "run", "rows"), 19, "19, but 10 in its spec"),
        (("sizes", 0, "comparison", "control_sha256"), "0" * 64, "the sha256 of the files differ"),
        (("sizes", 0, "comparison", "candidate_sha256"), "0" * 64, "the sha256 of the files"),
        (("sizes", 0, "comparison", "candidate_sha256"), None, "the sha256 of the files differ"),
        (("sizes", 0, "candidate", "observation", "file", "sha256"), "0" * 64, "the sha256 of"),
        (("sizes", 0, "control", "observation", "file", "sha256"), "0" * 64, "the sha256 of"),
    ],
)
def test_a_value_that_no_report_could_show_is_refused_by_its_place(
    path: tuple[str | int, ...], value: object, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultsError, match=reason) as refusal:
        load_results(change(path, value, tmp_path))
    assert "\n" not in str(refusal.value)


def test_an_exporter_without_a_clock_has_another_digest_at_every_export(tmp_path: Path) -> None:
    results = load_results(SAVED / "passed.json")
    first, *others = results.sizes
    file = replace(first.candidate.observation.file, sha256="1" * 64)
    observation = replace(first.candidate.observation, file=file)
    size = replace(
        first,
        candidate=replace(first.candidate, observation=observation),
        comparison=replace(first.comparison, candidate_sha256="2" * 64),
    )
    save_results(replace(results, sizes=(size, *others)), tmp_path / "results.json")
    assert load_results(tmp_path / "results.json").sizes[0] == size


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
    topics = [list(Topic).index(each.topic) for each in ordered if each.verdict.failed]
    assert topics
    assert topics == sorted(topics)


def test_results_without_a_judgement_are_a_failure() -> None:
    results: Results = replace(load_results(SAVED / "passed.json"), judgements=())
    assert results.outcome is Outcome.FAILED
