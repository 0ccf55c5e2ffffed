"""The checks of costs catch what begins above a size, beside other runs, or in another place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.checks import costs, large_runs, memory
from harness.checks.cost_runs import CostRuns
from harness.checks.costs import everything
from harness.checks.declared import Declared, chunked
from harness.checks.reference_runs import DatabaseFileWatch, sqlite_files
from harness.exporters.measured import InThisProcess, Measured
from harness.exporters.subject import DEFAULT_CANDIDATE, load_subject
from querygrowth.allowance import Allowance
from querygrowth.contract import QueryContract
from querygrowth.verdict import Verdict

FAULTY = "harness.fixtures.faulty_exporters"
CORRECT = "harness.fixtures.correct_exporters"
DESIGNS = (
    DEFAULT_CANDIDATE,
    f"{CORRECT}.in_memory_maps:InMemoryMaps",
    f"{CORRECT}.union:Union",
)
CHUNKED = tuple(
    Allowance(table, chunk=500)
    for table in ("tokens", "token_parents", "node_states", "routing_events", "calls")
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CostRuns]:
    with (
        sqlite_files(tmp_path_factory.mktemp("runs")) as new,
        CostRuns(new, DatabaseFileWatch) as runs,
    ):
        yield runs


def exporter(reference: str) -> Measured:
    return InThisProcess(load_subject(reference))


def test_the_declared_costs_are_by_default_those_of_a_streaming_exporter() -> None:
    assert Declared() == Declared(
        transactions=1,
        rows_per_record=1.5,
        bytes_per_record=4,
        allowances=(),
        worker_processes=False,
    )
    assert Declared().contract == QueryContract(transactions=1, rows_per_record=1.5)
    assert Declared(3, 2.5, allowances=CHUNKED).contract == QueryContract(
        transactions=3, rows_per_record=2.5, allowances=CHUNKED
    )


@pytest.mark.nightly
@pytest.mark.parametrize("reference", DESIGNS)
def test_correct_exporters_export_large_runs_alike(
    runs: CostRuns, reference: str, tmp_path: Path
) -> None:
    verdicts = large_runs.judge_large_run(exporter(reference), runs, Declared(), tmp_path)
    assert not [str(each) for each in verdicts if each.failed]
    assert "(75,016 records)" in verdicts[0].seen


@pytest.mark.nightly
def test_declared_chunks_may_grow_with_the_run(runs: CostRuns, tmp_path: Path) -> None:
    chunked = exporter(f"{CORRECT}.chunked:Chunked")
    declared = Declared(allowances=CHUNKED)
    assert not any(
        each.failed for each in large_runs.judge_large_run(chunked, runs, declared, tmp_path)
    )
    undeclared = large_runs.judge_large_run(chunked, runs, Declared(), tmp_path)
    assert any("statements grew with the run" in each.seen for each in undeclared if each.failed)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param("CallsLimited", "missing, call ", marks=pytest.mark.nightly),
        pytest.param("PagesOfArtifacts", "missing, artifact ", marks=pytest.mark.nightly),
        ("ManyBatchesOneByOne", "queries grew with entities of every table"),
        ("BatchIdsInTheText", "statements grew with the run: batch_members"),
    ],
)
def test_a_fault_above_a_size_is_caught(
    runs: CostRuns, fault: str, words: str, tmp_path: Path
) -> None:
    candidate = exporter(f"{FAULTY}.sizes:{fault}")
    verdicts = large_runs.judge_large_run(candidate, runs, Declared(), tmp_path)
    failed = [each.seen for each in verdicts if each.failed]
    assert failed
    assert failed[0].startswith(words)


def test_ranges_of_rows_pass_with_their_declaration_and_fail_with_another(
    runs: CostRuns, tmp_path: Path
) -> None:
    ranges = exporter("harness.fixtures.blind_trial.correct:RowsInChunks")
    tables = ("rows", "rows", "tokens", "token_parents", "node_states", "routing_events", "calls")

    def failed(size: int) -> list[Verdict]:
        declared = Declared(allowances=tuple(chunked(f"{each}={size}:rows") for each in tables))
        verdicts = costs.judge_query_growth(ranges, runs, declared, tmp_path)
        return [each for each in verdicts if each.failed]

    assert failed(200) == []
    (smaller,) = failed(400)
    assert smaller.seen == "queries grew with rows"
    assert "rows in ranges of 400 rows of rows" in smaller.expected
    assert smaller.next_step.endswith("or --chunked TABLE=SIZE:ROWS for ranges of rows")


@pytest.mark.parametrize("fault", ["MembersThroughAnotherEngine", "CallsThroughTheDriver"])
def test_statements_on_other_connections_are_reported_once(
    runs: CostRuns, fault: str, tmp_path: Path
) -> None:
    candidate = exporter(f"{FAULTY}.connections:{fault}")
    verdicts = costs.judge_query_growth(candidate, runs, Declared(), tmp_path)
    (failed,) = [each for each in verdicts if each.failed]
    assert "statements went past SQLAlchemy" in failed.seen


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("sizes:BatchesWithoutIndex", "vm_steps grew with the rows of other runs"),
        ("resources:QuadraticArtifacts", "branches grew faster than records along artifacts"),
    ],
)
def test_work_beside_other_runs_and_along_all_axes_is_judged(
    runs: CostRuns, fault: str, words: str, tmp_path: Path
) -> None:
    verdicts = costs.judge_work(exporter(f"{FAULTY}.{fault}"), runs, Declared(), tmp_path)
    assert [each.seen for each in verdicts if each.failed] == [words]


def test_a_leak_of_ids_of_one_table_shows_and_a_buffer_does_not(
    runs: CostRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the processes of resident memory.
    monkeypatch.setattr(memory, "_judge_resident", lambda *_: None)
    leak = exporter(f"{FAULTY}.resources:KeepsCallIds")
    *_, found = memory.judge_memory(leak, runs, Declared(), tmp_path)
    assert found.failed
    assert found.seen.startswith("memory grew with records: ")
    *_, streaming = memory.judge_memory(exporter(DEFAULT_CANDIDATE), runs, Declared(), tmp_path)
    assert streaming.passed


def test_memory_that_is_left_by_every_export_is_a_leak(runs: CostRuns, tmp_path: Path) -> None:
    leak = exporter(f"{FAULTY}.resources:KeepsFinishedRuns")
    assert memory.judge_leaks(leak, runs, Declared(), tmp_path).seen.startswith("memory leaked: ")
    correct = memory.judge_leaks(exporter(DEFAULT_CANDIDATE), runs, Declared(), tmp_path)
    assert correct.passed


def test_runs_are_generated_once_and_again_after_a_change(runs: CostRuns) -> None:
    specs = [everything(10, run_id="shared")]
    first = runs.stored(specs)
    assert runs.stored(specs) is first
    assert runs.damage() == ()
    with first.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET status = 'failed'")
    assert runs.damage() == ("wrote to the database",)
    assert runs.stored(specs) is not first
