"""The main flow on small runs: what comes out of it, for a right exporter and for wrong ones."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elspeth.core.landscape import LandscapeExporter
from harness.bench.experiment import Experiment, run_experiment, sizes_up_to
from harness.bench.result_file import load_results, save_results
from harness.bench.results import Results, Topic
from harness.bench.targets import load_targets
from harness.checks.formulas import attribute_queries
from harness.exporters.measured import InThisProcess, measured
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, Subject, SubjectError
from harness.gate import completed
from harness.generate.spec import RunSpec
from querygrowth.verdict import Outcome


class Idle(LandscapeExporter):
    """Looks like an exporter, and exports nothing."""

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        return iter(())

    def write_jsonl(self, run_id: str, path: Path, sign: bool = False) -> None:  # type: ignore[override]
        path.write_bytes(b"")


class AsksForEachRow(LandscapeExporter):
    """Sends one more query for each row."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        for record in super()._iter_records(run_id):
            if record["record_type"] == "row":
                with self._db.connection() as connection:
                    connection.exec_driver_sql("SELECT count(*) FROM node_states").scalar()
            yield record


def experiment(candidate: type[LandscapeExporter], *rows: int) -> Experiment:
    # Memory is measured in another process, which finds this module from the checkout's root.
    here = "tests.harness.test_experiment" if candidate.__module__ == __name__ else ""
    reference = f"{here or candidate.__module__}:{candidate.__qualname__}"
    return Experiment(
        specs=tuple(RunSpec(rows=each, states=1) for each in rows),
        control=measured(CONTROL),
        candidate=InThisProcess(Subject(candidate.__name__, candidate, reference)),
        targets=load_targets(Path("fixtures/targets.toml")),
        rounds=1,
    )


def run(candidate: type[LandscapeExporter], tmp_path: Path, *rows: int) -> Results:
    return run_experiment(experiment(candidate, *rows), tmp_path, lambda step: None)


def outcomes(results: Results) -> Mapping[Topic, set[Outcome]]:
    topics: dict[Topic, set[Outcome]] = {}
    for each in results.judgements:
        topics.setdefault(each.topic, set()).add(each.verdict.outcome)
    return topics


def test_a_right_exporter_passes_and_its_results_can_be_kept(tmp_path: Path) -> None:
    steps: list[str] = []
    planned = experiment(LandscapeExporter, 2, 4)
    results = run_experiment(planned, tmp_path, steps.append)
    assert results.outcome is Outcome.PASSED
    assert len(steps) == planned.steps
    assert [size.run.rows for size in results.sizes] == [2, 4]
    save_results(results, tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == results


@pytest.mark.usefixtures("without_memory")
def test_a_size_that_will_take_minutes_is_announced(tmp_path: Path) -> None:
    steps: list[str] = []
    ticks = iter([0.0, 59.0, 200.0, 280.0, 400.0])  # The start and the end of a size, in seconds.
    planned = experiment(LandscapeExporter, 1, 2, 3)
    run_experiment(planned, tmp_path, steps.append, clock=lambda: next(ticks))
    first, second, third = (each for each in steps if each.startswith("recording"))
    assert (first, second) == ("recording a run of 1 rows", "recording a run of 2 rows")
    assert third.startswith("recording a run of 3 rows: about 2 minutes, by the size before; ")


@pytest.mark.usefixtures("without_memory")
def test_a_query_in_a_loop_fails_at_its_line(tmp_path: Path) -> None:
    results = run(AsksForEachRow, tmp_path, 2, 4)
    growth = next(each.verdict for each in results.failures if each.topic is Topic.GROWTH)
    assert growth.site is not None
    assert growth.site.path == "tests/harness/test_experiment.py"
    source = Path(growth.site.path).read_text().splitlines()
    assert "exec_driver_sql" in source[growth.site.line - 1]
    assert any("4" in line and "node_states" in line for line in growth.evidence)


@pytest.mark.usefixtures("without_memory")
def test_an_exporter_that_does_nothing_fails_as_vacuous_first(tmp_path: Path) -> None:
    results = run(Idle, tmp_path, 2)
    assert results.failures[0].topic is Topic.VACUITY
    assert outcomes(results)[Topic.EQUIVALENCE] == {Outcome.FAILED}


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (10, (10,)),
        (11, (10, 11)),
        (20, (10, 14, 20)),
        (100, (10, 31, 100)),
        (110, (10, 33, 110)),
        (999, (10, 99, 999)),
        (1000, (10, 100, 1000)),
        (2000, (20, 200, 2000)),
        (12_345, (123, 1234, 12_345)),
    ],
)
def test_smaller_sizes_lead_up_to_the_one_asked_for(rows: int, sizes: tuple[int, ...]) -> None:
    assert sizes_up_to(rows) == sizes


class ComparesEachPairOfRows(LandscapeExporter):
    """Reads every row once more for every row: work that grows with the square of the rows."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        with self._db.connection() as connection:
            pairs = "SELECT count(*) FROM rows AS a, rows AS b WHERE a.row_index + b.row_index > 3"
            connection.exec_driver_sql(pairs).scalar()
        yield from super()._iter_records(run_id)


@pytest.mark.usefixtures("without_memory")
def test_three_sizes_up_to_100_rows_show_quadratic_work(tmp_path: Path) -> None:
    results = run(ComparesEachPairOfRows, tmp_path, *sizes_up_to(100))
    growth = [each.verdict.seen for each in results.failures if each.topic is Topic.GROWTH]
    assert growth == ["vm_steps grew faster than records along rows"]


@pytest.mark.parametrize("rows", [(10,), (10, 11)])
@pytest.mark.usefixtures("without_memory")
def test_growth_is_skipped_with_the_reason_where_there_are_fewer_than_three_sizes(
    rows: tuple[int, ...], tmp_path: Path
) -> None:
    results = run(LandscapeExporter, tmp_path, *rows)
    (verdict,) = (each.verdict for each in results.judgements if each.topic is Topic.GROWTH)
    assert verdict.outcome is Outcome.SKIPPED
    assert f"{len(rows)} of 3 sizes" in verdict.seen
    assert "--rows 20" in verdict.next_step


class Raises(LandscapeExporter):
    """Ends every export with an error."""

    def write_jsonl(self, run_id: str, path: Path, sign: bool = False) -> None:  # type: ignore[override]
        raise ValueError("boom\nand more")


class RaisesAfterTheFirstRun(LandscapeExporter):
    """Exports a small run, and ends a larger one with an error."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(super()._iter_records(run_id)):
            if number > 30:
                raise ValueError("too much")
            yield record


@pytest.mark.parametrize(
    ("candidate", "rows", "measured_rows"),
    [(Raises, (2, 4), []), (RaisesAfterTheFirstRun, (2, 20), [2])],
)
@pytest.mark.usefixtures("without_memory")
def test_an_error_of_the_exporter_is_a_failure_at_its_line_and_what_was_measured_is_kept(
    candidate: type[LandscapeExporter],
    rows: tuple[int, ...],
    measured_rows: list[int],
    tmp_path: Path,
) -> None:
    results = run(candidate, tmp_path, *rows)
    assert [each.run.rows for each in results.sizes] == measured_rows
    first = results.failures[0].verdict
    assert "it raised ValueError" in first.seen
    assert "\n" not in first.seen
    assert first.site is not None
    assert first.site.path == "tests/harness/test_experiment.py"
    assert "raise ValueError" in Path(first.site.path).read_text().splitlines()[first.site.line - 1]
    save_results(results, tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == results
    assert completed(results).failures[0].verdict == first


def test_a_callable_that_takes_no_database_is_refused_as_no_exporter(tmp_path: Path) -> None:
    planned = replace(experiment(LandscapeExporter, 2), candidate=measured("json:dumps"))
    with pytest.raises(SubjectError, match=r"^dumps\(obj, .* cannot be called as an exporter: "):
        run_experiment(planned, tmp_path, lambda step: None)


def test_the_formulas_of_both_exporters_are_exact(tmp_path: Path) -> None:
    exporters = {"control": measured(CONTROL), "candidate": measured(DEFAULT_CANDIDATE)}
    formulas = attribute_queries(exporters, tmp_path)
    assert str(formulas["control"]) == (
        "queries = 6 + 1.00 rows + 2.00 tokens + 2.00 node_states + 1.00 batches"
    )
    assert str(formulas["candidate"]) == "queries = 13"
