"""Baseline: a rise in any exact count fails, a fall asks to tighten."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elspeth.core.landscape import LandscapeDB
from harness.bench import baseline
from harness.bench.baseline import (
    BaselineError,
    Costs,
    ShapeCost,
    accepts_versions_of,
    judge_costs,
    load_baseline,
    merged,
    save_baseline,
)
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import measured
from harness.exporters.observation import ExportTask
from harness.exporters.subject import DEFAULT_CANDIDATE
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.verdict import Outcome, Verdict

ROWS = (10, 30, 100)
SQLITE = "SQLite 3.40.1, CPython 3.11"


def costs(*shapes: ShapeCost, **changes: object) -> Costs:
    plain = Costs(
        rows=ROWS,
        shapes=shapes or (shape("rows", (1, 1, 1)),),
        rows_fetched=(100, 300, 1000),
        work={SQLITE: {"vm_steps": (500, 1500, 5000)}},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def shape(table: str, counts: tuple[int, ...], text: str = "SELECT ?") -> ShapeCost:
    return ShapeCost.of(table, text, counts, ROWS)


def about(subject: str, found: Costs, baseline: Costs) -> Verdict:
    return next(each for each in judge_costs(found, baseline) if each.subject == subject)


def test_the_same_costs_pass_without_a_word_of_advice() -> None:
    verdicts = judge_costs(costs(), costs())
    assert all(each.passed and not each.next_step for each in verdicts)


def test_a_loop_that_went_from_20_to_80_queries_fails_with_its_shape() -> None:
    accepted = costs(shape("batch_members", (2, 6, 20), "SELECT a"))
    found = costs(shape("batch_members", (8, 24, 80), "SELECT a"))
    verdict = about("queries", found, accepted)
    assert verdict.failed
    assert "SELECT a: 2, 6, 20 accepted, 8, 24, 80 found" in str(verdict)


def test_a_rise_in_one_shape_is_not_made_up_for_by_a_fall_in_another() -> None:
    accepted = costs(shape("rows", (5, 5, 5), "SELECT a"), shape("edges", (1, 1, 1), "SELECT b"))
    found = costs(shape("rows", (1, 1, 1), "SELECT a"), shape("edges", (2, 2, 2), "SELECT b"))
    assert about("queries", found, accepted).failed


def test_a_statement_written_differently_is_matched_by_its_table() -> None:
    accepted = costs(shape("rows", (1, 1, 1), "SELECT a FROM rows"))
    found = costs(shape("rows", (1, 1, 1), "SELECT a, b FROM rows"))
    assert about("queries", found, accepted).passed


def test_a_query_about_another_table_fails() -> None:
    found = costs(shape("rows", (1, 1, 1)), shape("nodes", (1, 1, 1), "SELECT more"))
    assert about("queries", found, costs()).failed


@pytest.mark.parametrize("fetched", [(100, 300, 1001), (101, 300, 1000)])
def test_one_more_fetched_row_fails(fetched: tuple[int, ...]) -> None:
    assert about("rows fetched", costs(rows_fetched=fetched), costs()).failed


def test_a_fall_passes_and_asks_to_tighten() -> None:
    verdict = about("rows fetched", costs(rows_fetched=(100, 300, 900)), costs())
    assert verdict.passed
    assert "--update" in verdict.next_step


def test_work_is_compared_under_the_same_versions() -> None:
    risen = costs(work={SQLITE: {"vm_steps": (500, 1500, 5001)}})
    assert about("vm_steps", risen, costs()).failed


def test_work_under_other_versions_is_not_judged_and_says_which_are_known() -> None:
    other = costs(work={"SQLite 3.51.0, CPython 3.13": {"vm_steps": (900, 2700, 9000)}})
    verdict = about("vm_steps", other, costs())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert SQLITE in verdict.seen
    assert not accepts_versions_of(costs(), other)


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ((900, 2700, 9000), Outcome.PASSED),
        ((900, 2700, 8999), Outcome.PASSED),
        ((900, 2700, 9001), Outcome.FAILED),
        ((901, 2700, 9000), Outcome.FAILED),
    ],
)
def test_work_under_other_versions_is_judged_by_the_base_of_the_same_job(
    steps: tuple[int, ...], outcome: Outcome
) -> None:
    versions = "SQLite 3.51.0, CPython 3.13"
    found = costs(work={versions: {"vm_steps": steps}})
    base = costs(work={versions: {"vm_steps": (900, 2700, 9000)}})
    verdicts = judge_costs(found, costs(), base)
    verdict = next(each for each in verdicts if each.subject == "vm_steps")
    assert verdict.outcome is outcome
    assert "900, 2,700, 9,000" in verdict.expected
    assert versions in verdict.expected


def test_a_baseline_under_the_same_versions_goes_before_the_base() -> None:
    found = costs(work={SQLITE: {"vm_steps": (600, 1600, 6000)}})
    assert accepts_versions_of(costs(), found)
    assert any(each.failed for each in judge_costs(found, costs(), found))


def test_a_base_of_other_sizes_or_versions_judges_nothing() -> None:
    versions = "SQLite 3.51.0, CPython 3.13"
    found = costs(work={versions: {"vm_steps": (900, 2700, 9000)}})
    for base in (costs(), replace(found, rows=(10, 30, 90))):
        outcomes = {each.subject: each.outcome for each in judge_costs(found, costs(), base)}
        assert outcomes["vm_steps"] is Outcome.INCONCLUSIVE


def test_a_baseline_that_lacks_one_count_does_not_accept_the_versions() -> None:
    found = costs(work={SQLITE: {"vm_steps": (1, 2, 3), "branches": (1, 2, 3)}})
    assert not accepts_versions_of(costs(), found)


def test_an_update_keeps_the_work_accepted_under_other_versions() -> None:
    found = costs(work={"SQLite 3.51.0, CPython 3.13": {"vm_steps": (1, 2, 3)}})
    assert set(merged(found, costs()).work) == {SQLITE, "SQLite 3.51.0, CPython 3.13"}


def test_an_update_keeps_accepted_counts_that_could_not_be_measured_this_time() -> None:
    earlier = costs(work={SQLITE: {"vm_steps": (500, 1500, 5000), "branches": (1, 2, 3)}})
    found = costs(rows_fetched=None, work={SQLITE: {"vm_steps": (400, 1400, 4000)}})
    accepted = merged(found, earlier)
    assert accepted.work == {SQLITE: {"vm_steps": (400, 1400, 4000), "branches": (1, 2, 3)}}
    assert accepted.rows_fetched == earlier.rows_fetched


def test_branches_do_not_depend_on_the_working_directory(
    db: LandscapeDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = generate_run(db, RunSpec.typical(10)).run_id
    task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, tmp_path)
    candidate = measured(DEFAULT_CANDIDATE)
    candidate.observe(task)  # Caches of SQLAlchemy are filled, and the file exists from now on.
    here = candidate.count_branches(task)
    monkeypatch.chdir(tmp_path)
    assert candidate.count_branches(task) == here
    assert here is not None


def test_branches_of_a_base_class_in_another_package_count(db: LandscapeDB, tmp_path: Path) -> None:
    run_id = generate_run(db, RunSpec.typical(10)).run_id
    task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, tmp_path)
    plain = measured(DEFAULT_CANDIDATE).count_branches(task)
    derived = measured("harness.fixtures.faulty_exporters.queries:MembersBatchByBatch")
    assert (derived.count_branches(task) or 0) > (plain or 0) / 2 > 0


def test_slopes_are_further_queries_for_each_further_row() -> None:
    assert shape("rows", (10, 30, 100)).slope == 1
    assert shape("rows", (1, 1, 1)).slope == 0


def test_a_baseline_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    save_baseline(costs(), tmp_path / "baseline.json")
    assert load_baseline(tmp_path / "baseline.json") == costs()


def test_the_baseline_of_this_repository_accepts_one_query_for_each_table() -> None:
    accepted = load_baseline(Path("fixtures/baseline.json"))
    assert len({each.table for each in accepted.shapes}) == 12
    assert all(each.counts == (1, 1, 1) and each.slope == 0 for each in accepted.shapes)


def test_the_exporter_costs_what_the_baseline_of_this_repository_accepts() -> None:
    # Another order of sets in each process: exact counts must not depend on it.
    printed = []
    for seed in "15":
        done = subprocess.run(
            [sys.executable, "-m", "harness", "baseline"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        printed.append(done.stdout)
    assert printed[0] == printed[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a whole JSON document"),
        ("{}", "not a baseline of format"),
        ('{"format": 99}', "not a baseline of format"),
        (
            '{"format": 1, "rows": [1, 2], "shapes": [], "rows_fetched": [1, 2]}',
            "accepts no query",
        ),
        ('{"format": true}', "not a baseline of format"),
        ('{"format": 1, "rows": [1, 2], "rows": [1, 3]}', "'rows' is given more than once"),
        ('{"format": 1, "rows": "many", "shapes": []}', "rows"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_with_the_reason(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match=reason):
        load_baseline(path)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda saved: saved.update(wrok=saved.pop("work")), "wrok: Extra inputs"),
        (lambda saved: saved["shapes"][0].update(count=1), "count: Extra inputs"),
        (
            lambda saved: saved["work"].update({SQLITE: {"vm_step": [1, 2, 3]}}),
            "'vm_step'; did you mean 'vm_steps'",
        ),
        (
            lambda saved: saved["work"].update({SQLITE.replace("SQLite", "SQLit"): {}}),
            "'SQLit 3.40.1, CPython 3.11' is not like",
        ),
        (lambda saved: saved["work"][SQLITE]["vm_steps"].append(4), "has 4 counts, expected 3"),
        (lambda saved: saved["rows_fetched"].pop(), "rows_fetched has 2 counts, expected 3"),
        (lambda saved: saved["shapes"][0].update(counts=[1]), "has 1 counts, expected 3"),
        (lambda saved: saved["shapes"][0]["counts"].__setitem__(0, -1), "greater than or equal"),
        (lambda saved: saved["shapes"][0]["counts"].__setitem__(0, True), "valid integer"),
        (lambda saved: saved["shapes"].append(saved["shapes"][0]), "given more than once"),
        (lambda saved: saved.update(rows=[10, 10, 30]), "do not ascend"),
    ],
)
def test_a_mistake_in_a_baseline_is_refused_in_one_line(
    change: Change, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "baseline.json"
    save_baseline(costs(), path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BaselineError, match=reason) as refusal:
        load_baseline(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("found", "accepted", "subject"),
    [
        (costs(rows_fetched=None), costs(), "rows fetched"),
        (costs(), costs(rows_fetched=None), "rows fetched"),
        (costs(work={}), costs(), "vm_steps"),
        (costs(), costs(work={}), "vm_steps"),
        (
            costs(),
            costs(work={SQLITE: {"vm_steps": (500, 1500, 5000), "branches": (1, 2, 3)}}),
            "branches",
        ),
    ],
)
def test_a_count_that_could_not_be_judged_is_inconclusive(
    found: Costs, accepted: Costs, subject: str
) -> None:
    assert about(subject, found, accepted).outcome is Outcome.INCONCLUSIVE


def test_a_baseline_about_other_sizes_is_refused() -> None:
    other = replace(costs(), rows=(10, 30, 90))
    with pytest.raises(BaselineError, match="10, 30, 90"):
        judge_costs(costs(), other)


def test_costs_are_counted_at_every_size_and_kept_where_all_sizes_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "ROWS", (1, 2, 3))
    sent = ShapeActivity.named("rows", "SELECT id FROM rows", 1)

    def observe(task: ExportTask) -> SimpleNamespace:
        rows = int(task.run_id.rpartition("-")[2])
        work = {"vm_steps": 100 * rows}
        shapes = (replace(sent, count=rows),)
        return SimpleNamespace(
            activity=Activity(shapes=shapes, rows_fetched=10 * rows, work=work, transactions=1)
        )

    def branches(task: ExportTask) -> int:
        return 1000 * int(task.run_id.rpartition("-")[2])

    monkeypatch.setattr(
        baseline.RunSpec, "typical", lambda rows: replace(RunSpec(rows=rows), run_id=f"run-{rows}")
    )
    candidate: Any = SimpleNamespace(observe=observe, count_branches=branches)
    found = baseline.count_costs(candidate, tmp_path)
    (work,) = found.work.values()
    assert work == {"vm_steps": (100, 200, 300), "branches": (1000, 2000, 3000)}
    assert (found.rows, found.rows_fetched) == ((1, 2, 3), (10, 20, 30))
    (tmp_path / "again").mkdir()
    candidate.count_branches = lambda task: None if task.run_id == "run-2" else 7
    (work,) = baseline.count_costs(candidate, tmp_path / "again").work.values()
    assert work.keys() == {"vm_steps"}
