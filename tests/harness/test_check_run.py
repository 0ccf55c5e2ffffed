"""The checks of a candidate: every check catches its faults, and a correct exporter passes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.checks import memory, record_counts
from harness.checks.check import Check
from harness.checks.cost_runs import everything
from harness.checks.declared import Declared
from harness.checks.environments import (
    PROCESS_ENVIRONMENTS,
    judge_across_backends,
    judge_in_environment,
)
from harness.checks.run import check_candidate, run_checks
from harness.checks.setup import CheckSetup, prepare_checks
from harness.cli.main import main
from harness.exporters.measured import measured
from harness.exporters.subject import (
    CONTROL,
    DEFAULT_CANDIDATE,
    Subject,
    SubjectError,
    load_subject,
)
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.contracts.allowance import Allowance

ROOT = Path(__file__).parents[2]
FAULTY = "harness.fixtures.faulty_exporters"
CORRECT = "harness.fixtures.correct_exporters"


pytestmark = pytest.mark.usefixtures("few_growing_runs", "forked_exporters")


def first_line(reference: str, setup: CheckSetup, check: Check, **costs: Any) -> str:
    """The outcome and the first line of a check's first failed verdict, or of its first one."""
    checked = run_checks(load_subject(reference), setup, checks=[check], declared=Declared(**costs))
    found = [each.verdict for each in checked]
    first = next((each for each in found if each.failed), found[0])
    return f"{first.outcome}: {str(first).splitlines()[0]}"


def test_the_batched_exporter_passes(setup: CheckSetup) -> None:
    assert first_line(DEFAULT_CANDIDATE, setup, Check.SNAPSHOT).startswith("passed: ")


@pytest.mark.parametrize(
    ("exporter", "check", "words"),
    [
        ("queries:MembersBatchByBatch", Check.QUERIES, "queries grew with batches"),
        ("queries:WholeTable", Check.QUERIES, "fetched "),
        ("queries:JoinedTokensOneByOne", Check.SEARCH, "RunSpec("),
        ("resources:QuadraticMerge", Check.WORK, "branches grew faster than records"),
        ("resources:FullScanPerRow", Check.WORK, "vm_steps grew faster than records"),
    ],
)
def test_a_check_catches_its_fault(
    setup: CheckSetup, exporter: str, check: Check, words: str
) -> None:
    line = first_line(f"{FAULTY}.{exporter}", setup, check)
    assert line.startswith(f"failed: {exporter.partition(':')[2]}: ")
    assert words in line


@pytest.mark.usefixtures("many_rows")
def test_a_query_per_500_rows_passes_once_it_is_declared(setup: CheckSetup) -> None:
    tables = ("tokens", "token_parents", "node_states", "routing_events", "calls")
    allowances = tuple(Allowance(table, chunk=500) for table in tables)
    line = first_line(f"{CORRECT}.chunked:Chunked", setup, Check.QUERIES, allowances=allowances)
    assert line.startswith("passed: ")


def test_a_run_beyond_the_variables_of_a_statement_breaks_one_list_of_ids(
    setup: CheckSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_counts, "VARIABLES", 199)
    line = first_line(f"{FAULTY}.queries:OneInList", setup, Check.SIZE)
    rows = f"{record_counts.VARIABLES + 1:,}"
    assert line.startswith(f"failed: OneInList: error at {rows} rows: OperationalError")


@pytest.mark.parametrize("folder", ["root", "elsewhere"])
def test_the_named_line_is_the_exporters_in_any_working_directory(
    setup: CheckSetup, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path if folder == "elsewhere" else ROOT)
    candidate = load_subject(f"{FAULTY}.queries:MembersBatchByBatch")
    failed = check_candidate(candidate, setup, checks=[Check.QUERIES])[0]
    assert failed.failed
    assert failed.site is not None
    assert Path(failed.site.path) == ROOT / "fixtures" / "faulty_exporters" / "queries.py"


def test_resident_memory_is_skipped_for_an_exporter_that_another_process_cannot_load(
    setup: CheckSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(LandscapeExporter):
        pass

    # Without samples. Buffers of rows still grow at these sizes, by 310 bytes a record, so that 600
    # are declared.
    monkeypatch.setattr(memory, "_LEAST_SAMPLES", sys.maxsize)
    monkeypatch.setattr(memory, "_SAMPLED", everything(500, run_id="sampled"))
    monkeypatch.setattr(memory, "LARGE", everything(700, run_id="large"))
    verdict, *exact = check_candidate(
        Subject("Local", Local),
        setup,
        checks=[Check.MEMORY],
        declared=Declared(bytes_per_record=600),
    )
    assert verdict.outcome == "skipped"
    assert verdict.expected == "at most 600 bytes held for each record"
    # Python's allocator is asked in this process as well.
    assert [each.outcome for each in exact] == ["passed"] * 3, [str(each) for each in exact]


def test_an_exporter_that_raises_during_a_check_has_failed_it(setup: CheckSetup) -> None:
    class Breaks(LandscapeExporter):
        def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
            raise RuntimeError("out of order")

    verdicts = check_candidate(Subject("Breaks", Breaks), setup, checks=[Check.SNAPSHOT])
    assert [each.seen for each in verdicts] == ["it raised RuntimeError: out of order"]


def test_a_class_that_is_not_an_exporter_raises_subject_error(setup: CheckSetup) -> None:
    with pytest.raises(SubjectError, match="cannot be called as an exporter: "):
        check_candidate(Subject("object", object), setup, checks=[Check.RECORDS])  # type: ignore[arg-type]


SORTED_BY_SET = """
from elspeth.core.landscape import LandscapeExporter

KEYS = {"status", "config_hash", "reproducibility_grade", "canonical_version"}


class SortedBySet(LandscapeExporter):
    def _iter_records(self, run_id):
        for record in super()._iter_records(run_id):
            if KEYS <= record.keys():
                record.update({key: record.pop(key) for key in KEYS})
            yield record
"""


def test_an_order_that_depends_on_the_hash_seed_is_caught(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sorted_by_set.py").write_text(SORTED_BY_SET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with LandscapeDB(sqlite_url) as db:
        generate_run(db, preset("tiny", run_id="elsewhere"))
        seen = [
            judge_in_environment(
                measured("sorted_by_set:SortedBySet"),
                measured(CONTROL),
                db,
                "elsewhere",
                environment,
            ).seen
            for environment in PROCESS_ENVIRONMENTS
        ]
    assert all(each.startswith("key order, run, record 1, in another process") for each in seen)


def test_hash_seed_locale_and_time_zone_move_no_byte_on_any_backend(
    db: LandscapeDB, tmp_path: Path
) -> None:
    generate_run(db, preset("tiny", run_id="elsewhere"))
    for environment in PROCESS_ENVIRONMENTS:
        verdict = judge_in_environment(
            measured(DEFAULT_CANDIDATE), measured(CONTROL), db, "elsewhere", environment
        )
        assert verdict.passed, verdict


def test_sqlite_and_postgresql_export_the_same_but_for_offsets(
    sqlite_url: str, postgres_url: str
) -> None:
    spec = preset("adversarial", 6, run_id="both")
    with LandscapeDB(sqlite_url) as sqlite, LandscapeDB(postgres_url) as postgresql:
        generate_run(sqlite, spec)
        generate_run(postgresql, spec)
        for reference in (CONTROL, DEFAULT_CANDIDATE):
            verdict = judge_across_backends(
                measured(reference), sqlite=sqlite, postgresql=postgresql, run_id="both"
            )
            assert verdict.passed, verdict


def test_a_difference_between_the_backends_is_named(sqlite_url: str, postgres_url: str) -> None:
    spec = preset("tiny", run_id="both")
    with LandscapeDB(sqlite_url) as sqlite, LandscapeDB(postgres_url) as postgresql:
        generate_run(sqlite, spec)
        generate_run(postgresql, preset("tiny", 3, run_id="both"))
        verdict = judge_across_backends(
            measured(CONTROL), sqlite=sqlite, postgresql=postgresql, run_id="both"
        )
    assert verdict.failed
    assert "between SQLite (expected) and PostgreSQL (found)" in verdict.seen


def test_a_check_runs_on_postgresql_as_well_where_there_is_one(postgres_server: URL) -> None:
    server = postgres_server.render_as_string(hide_password=False)
    with prepare_checks(postgresql=server) as setup:
        found = run_checks(
            load_subject(DEFAULT_CANDIDATE), setup, checks=[Check.BACKENDS, Check.SNAPSHOT]
        )
        outcomes = {(each.check, each.backend, each.verdict.outcome.value) for each in found}
    assert outcomes == {
        (Check.BACKENDS, "postgresql", "passed"),
        (Check.SNAPSHOT, "sqlite", "passed"),
        (Check.SNAPSHOT, "postgresql", "passed"),
    }


@pytest.mark.usefixtures("prepared_checks")
def test_the_command_prints_the_outcome_of_a_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "check", "--part", "plan"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.split()[:4] == ["passed", "plan", "sqlite", "LandscapeExporter:"]


@pytest.mark.parametrize(
    ("check", "expected", "seen"),
    [
        (
            Check.QUERIES,
            "queries, transactions and fetched rows as declared, at every scale",
            "the same queries at every scale (sqlite)",
        ),
        (
            Check.WORK,
            "branches and machine steps that grow no faster than the records",
            "work in proportion to the records",
        ),
    ],
)
def test_a_pass_states_the_expectation_of_its_sentence(
    setup: CheckSetup, check: Check, expected: str, seen: str
) -> None:
    (verdict,) = check_candidate(load_subject(DEFAULT_CANDIDATE), setup, checks=[check])
    assert verdict.passed
    assert (verdict.expected, verdict.seen) == (expected, seen)


@pytest.mark.parametrize("reference", [DEFAULT_CANDIDATE, f"{FAULTY}.order:NodesWithoutTieBreak"])
def test_no_two_lines_of_the_plan_check_are_alike(setup: CheckSetup, reference: str) -> None:
    verdicts = check_candidate(load_subject(reference), setup, checks=[Check.PLAN])
    assert len({each.seen for each in verdicts}) == len(verdicts) == 2
