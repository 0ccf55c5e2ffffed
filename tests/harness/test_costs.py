"""The checks of costs catch what begins above a size, beside other runs, or in another place."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness.fixtures.faulty_exporters import sizes
from profiles import is_nightly

from elspeth.core.landscape import LandscapeExporter
from harness.checks import costs, large_runs, memory
from harness.checks.cost_runs import CostRuns, everything
from harness.checks.declared import Declared, chunked
from harness.checks.setup import CheckSetup
from harness.exporters.measured import InThisProcess, Measured, as_measured, in_own_process
from harness.exporters.observation import ExportTask
from harness.exporters.subject import DEFAULT_CANDIDATE, Subject, load_subject
from querygrowth.contracts.allowance import Allowance
from querygrowth.contracts.contract import QueryContract
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


@pytest.fixture
def runs(setup: CheckSetup) -> CostRuns:
    return setup.runs["sqlite"].costs


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
@pytest.mark.usefixtures("small_checks")
def test_a_fault_above_a_size_is_caught(
    runs: CostRuns, fault: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words.startswith(("queries", "statements")) and not is_nightly():
        # The fault begins at a smaller size here, and the run is smaller as well.
        monkeypatch.setattr(sizes, "_MANY", 100)
        monkeypatch.setattr(large_runs, "LARGE", everything(201, run_id="large"))
    candidate = exporter(f"{FAULTY}.sizes:{fault}")
    verdicts = large_runs.judge_large_run(candidate, runs, Declared(), tmp_path)
    failed = [each.seen for each in verdicts if each.failed]
    assert failed
    assert failed[0].startswith(words)


@pytest.mark.usefixtures("many_rows")
def test_ranges_of_rows_pass_with_their_declaration_and_fail_with_another(
    runs: CostRuns, tmp_path: Path
) -> None:
    ranges = exporter("harness.fixtures.blind_trial.correct:RowsInChunks")
    tables = ("rows", "rows", "tokens", "token_parents", "node_states", "routing_events", "calls")

    def failed(size: int, of: str = ":rows") -> list[Verdict]:
        declared = Declared(allowances=tuple(chunked(f"{each}={size}{of}") for each in tables))
        verdicts = costs.judge_query_growth(ranges, runs, declared, tmp_path)
        return [each for each in verdicts if each.failed]

    assert failed(200) == []
    (smaller,) = failed(400)
    assert smaller.seen == "queries grew with rows"
    assert "rows in ranges of 400 rows of rows" in smaller.expected
    assert smaller.next_step.endswith("or --chunked TABLE=SIZE:ROWS for ranges of rows")
    # The size is right, and what it counts is not.
    (lists,) = failed(200, of="")
    assert "rows=200 means 200 values in each query" in lists.next_step
    assert lists.next_step.endswith("200 rows read by each query are rows=200:rows")


@pytest.mark.parametrize("fault", ["MembersThroughAnotherEngine", "CallsThroughTheDriver"])
@pytest.mark.usefixtures("few_growing_runs")
def test_statements_on_other_connections_are_reported_once(
    runs: CostRuns, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_nightly():
        # Few exports: before each of them, all objects of the process are searched.
        monkeypatch.setattr(costs, "_AXES", ("calls" if fault.startswith("Calls") else "batches",))
        monkeypatch.setattr(costs, "_FEW", (3, 10))
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
@pytest.mark.usefixtures("small_checks")
def test_work_beside_other_runs_and_along_all_axes_is_judged(
    runs: CostRuns, fault: str, words: str, tmp_path: Path
) -> None:
    verdicts = costs.judge_work(exporter(f"{FAULTY}.{fault}"), runs, Declared(), tmp_path)
    assert [each.seen for each in verdicts if each.failed] == [words]


ON_TWO_CONNECTIONS = """
from elspeth.core.landscape import LandscapeExporter
from sqlalchemy import text

class Exporter(LandscapeExporter):
    def export_run(self, run_id, sign=False):
        with self._db.engine.connect() as connection:
            connection.execute(text("SELECT status FROM runs WHERE run_id = :id"), {"id": run_id})
            yield from super().export_run(run_id, sign=sign)
"""
# A pool opens the further connection at the first export.


def test_opening_a_further_connection_is_not_the_work_of_the_smallest_run(
    runs: CostRuns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(costs, "_AXES", ("rows", "routing_groups", "batches"))
    monkeypatch.setattr(costs, "references_to_all", dict)
    (tmp_path / "on_two.py").write_text(ON_TWO_CONNECTIONS, encoding="utf-8")
    with in_own_process("on_two:Exporter", src=tmp_path) as candidate:
        verdicts = costs.judge_work(candidate, runs, Declared(transactions=2), tmp_path)
    assert [str(each) for each in verdicts if each.failed] == []


@pytest.mark.nightly
def test_a_leak_of_ids_of_one_table_shows_and_a_buffer_does_not(
    runs: CostRuns, tmp_path: Path
) -> None:
    leak = exporter(f"{FAULTY}.resources:KeepsCallIds")
    *_, found = memory.judge_memory(leak, runs, Declared(), tmp_path)
    assert found.failed
    assert found.seen.startswith("memory grew with records: ")
    *_, streaming = memory.judge_memory(exporter(DEFAULT_CANDIDATE), runs, Declared(), tmp_path)
    assert streaming.passed


@dataclass
class ScriptedMemory:
    """An exporter whose peaks are given, in bytes for each record of a run.

    `sampled` is what samples show, `traced` what traces show, and `beyond` what traces of the runs
    beyond the usual buffers show.
    """

    sampled: float
    traced: float
    beyond: float = 0
    samples: int = 500
    name: str = "Scripted"
    records: Mapping[str, int] = field(default_factory=dict)
    traces: list[str] = field(default_factory=list)

    def sample_held(self, task: ExportTask) -> dict[str, int]:
        held = round(self.sampled * self.records[task.run_id])
        others = dict.fromkeys(("objects", "left_objects", "left_bytes", "database_bytes"), 0)
        return others | {"bytes": held, "samples": self.samples}

    def measure_held(self, task: ExportTask, *, tries: int) -> dict[str, list[int]]:
        self.traces.append(task.run_id)
        rate = self.beyond if task.run_id.startswith("held") else self.traced
        return {"peaks": [round(rate * self.records[task.run_id])], "left": [0]}


SIZES = {"sampled": 10, "large": 12, "held-14": 14, "held-16": 16}


@pytest.mark.parametrize(
    ("candidate", "traces", "words"),
    [
        # By samples alone, and without one trace.
        (ScriptedMemory(4, 9, 9), [], "memory flat: 4.0 bytes or less"),
        # Samples can be wrong upwards: traces decide.
        (ScriptedMemory(4.5, 4, 9), ["sampled", "large"], "memory flat: 4.0"),
        # Memory that fell can hide growth, so that traces decide as well.
        (ScriptedMemory(-9, 4, 9), ["sampled", "large"], "memory flat: 4.0"),
        # Too few samples: the same.
        (ScriptedMemory(4, 4, 9, samples=199), ["sampled", "large"], "memory flat: 4.0"),
        # A buffer grows up to a size, and a leak at every size.
        (ScriptedMemory(9, 9, 0), [*SIZES], "memory flat: 0.0"),
        (ScriptedMemory(9, 9, 5), [*SIZES], "memory grew with records: 5.0 bytes"),
    ],
    ids=["samples", "traces", "fell", "few samples", "buffer", "leak"],
)
def test_samples_decide_or_else_traces_at_more_and_more_sizes(
    runs: CostRuns,
    candidate: ScriptedMemory,
    traces: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = {name: everything(size, run_id=name) for name, size in SIZES.items()}
    monkeypatch.setattr(memory, "_SAMPLED", specs["sampled"])
    monkeypatch.setattr(memory, "LARGE", specs["large"])
    monkeypatch.setattr(memory, "_HELD_BEYOND_BUFFERS", (specs["held-14"], specs["held-16"]))
    # Where nothing can be sampled, resident memory is measured, which starts two processes.
    monkeypatch.setattr(memory, "_judge_resident", lambda *_: None)
    stored = {
        run_id: run.cardinalities.records
        for spec in specs.values()
        for run_id, run in runs.stored([large_runs.SMALL, spec]).runs.items()
    }
    # Each test changes its own copy: the parameters are shared.
    planned = replace(candidate, records=stored, traces=[])
    *_, found = memory.judge_memory(planned, runs, Declared(), tmp_path)  # type: ignore[arg-type]
    assert words in found.seen
    assert found.failed is ("grew" in words)
    # Every run is traced after a small one from the same database.
    assert planned.traces == [each for run_id in traces for each in ("small", run_id)]


@pytest.mark.usefixtures("small_checks")
def test_memory_that_is_left_by_every_export_is_a_leak(runs: CostRuns, tmp_path: Path) -> None:
    leak = exporter(f"{FAULTY}.resources:KeepsFinishedRuns")
    assert memory.judge_leaks(leak, runs, Declared(), tmp_path).seen.startswith("memory leaked: ")
    correct = memory.judge_leaks(exporter(DEFAULT_CANDIDATE), runs, Declared(), tmp_path)
    assert correct.passed


class KeepsHistory(LandscapeExporter):
    """Keeps a line of text for each export, in its class."""

    history: ClassVar[list[str]] = []

    def write_jsonl(self, *args: Any, **kwargs: Any) -> None:
        """Keep a line after an export."""
        super().write_jsonl(*args, **kwargs)
        self.history.append(f"{len(self.history):>500}")


class KeepsTheLastHundred(KeepsHistory):
    """Keeps no more than 100 lines."""

    history: ClassVar[list[str]] = []

    def write_jsonl(self, *args: Any, **kwargs: Any) -> None:
        """Keep a line after the export, and forget one."""
        super().write_jsonl(*args, **kwargs)
        del self.history[:-100]


@pytest.mark.usefixtures("small_checks")
@pytest.mark.parametrize(("kind", "leaks"), [(KeepsHistory, True), (KeepsTheLastHundred, False)])
def test_a_leak_of_one_line_shows_and_a_cache_with_a_limit_is_none(
    runs: CostRuns, tmp_path: Path, kind: type[KeepsHistory], leaks: bool
) -> None:
    candidate = as_measured(Subject(kind.__name__, kind))
    assert memory.judge_leaks(candidate, runs, Declared(), tmp_path).failed is leaks


def test_runs_are_generated_once_and_again_after_a_change(runs: CostRuns) -> None:
    specs = [everything(10, run_id="shared")]
    first = runs.stored(specs)
    assert runs.stored(specs) is first
    assert runs.damage() == ()
    with first.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET status = 'failed'")
    assert runs.damage() == ("wrote to the database: table runs",)
    assert runs.stored(specs) is not first


@pytest.mark.parametrize(
    ("sql", "is_catalog"),
    [
        ("select pg_catalog.version()", True),
        ("SELECT c.oid FROM pg_class c JOIN pg_catalog.pg_type t ON t.oid = c.reltype", True),
        ("SELECT ? FROM information_schema.tables", True),
        ("SELECT count(*) FROM calls", False),
        ("SELECT ? FROM pg_class c, LATERAL (SELECT ? FROM calls) s", False),
        ('SELECT ? FROM ONLY "calls"', False),
        ("SELECT ? FROM pg_class, calls", False),
        ("SELECT dblink(?)", False),
        ("UPDATE pg_runs SET x = (SELECT ? FROM rows)", False),
    ],
)
def test_only_the_catalog_of_postgresql_may_be_read_past_sqlalchemy(
    sql: str, *, is_catalog: bool
) -> None:
    assert costs.reads_catalog(sql) is is_catalog
