"""The check of a candidate: each part catches its own faults, and is silent on a sound exporter."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.checks.costs import Declared
from harness.checks.environments import SURROUNDINGS, judge_across, judge_in_surroundings
from harness.checks.run import Ground, Part, check_candidate, findings, open_ground
from harness.exporters.subject import (
    CONTROL,
    DEFAULT_CANDIDATE,
    Subject,
    SubjectError,
    load_subject,
)
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.contract import Allowance

FAULTY = "harness.fixtures.faulty_exporters"
CORRECT = "harness.fixtures.correct_exporters"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


def first_line(reference: str, ground: Ground, part: Part, **declared: Any) -> str:
    """What the check says first of one part, with how that came out."""
    found = findings(load_subject(reference), ground, parts=[part], declared=Declared(**declared))
    first = next(found).verdict
    return f"{first.outcome}: {str(first).splitlines()[0]}"


@pytest.mark.parametrize("part", [Part.QUERIES, Part.WORK, Part.SNAPSHOT])
def test_the_batched_exporter_passes(ground: Ground, part: Part) -> None:
    assert first_line(DEFAULT_CANDIDATE, ground, part).startswith("passed: ")


@pytest.mark.parametrize(
    ("exporter", "part", "words"),
    [
        ("queries:MembersBatchByBatch", Part.QUERIES, "queries grew with batches"),
        ("queries:WholeTable", Part.QUERIES, "fetched "),
        ("queries:JoinedTokensOneByOne", Part.SEARCH, "RunSpec("),
        ("resources:QuadraticMerge", Part.WORK, "branches grew faster than records"),
        ("resources:FullScanPerRow", Part.WORK, "vm_steps grew faster than records"),
    ],
)
def test_a_part_catches_its_fault(ground: Ground, exporter: str, part: Part, words: str) -> None:
    line = first_line(f"{FAULTY}.{exporter}", ground, part)
    assert line.startswith(f"failed: {exporter.partition(':')[2]}: ")
    assert words in line


def test_a_query_per_500_rows_is_fine_once_it_is_declared(ground: Ground) -> None:
    tables = ("tokens", "token_parents", "node_states", "routing_events", "calls")
    allowances = tuple(Allowance(table, chunk=500) for table in tables)
    line = first_line(f"{CORRECT}.chunked:Chunked", ground, Part.QUERIES, allowances=allowances)
    assert line.startswith("passed: ")


def test_a_run_beyond_the_variables_of_a_statement_breaks_one_list_of_ids(
    ground: Ground,
) -> None:
    line = first_line(f"{FAULTY}.queries:OneInList", ground, Part.SIZE)
    assert line.startswith("failed: OneInList: error at 32,767 rows: OperationalError")


def test_memory_is_not_judged_of_an_exporter_that_no_other_process_can_load(
    ground: Ground,
) -> None:
    class Local(LandscapeExporter):
        pass

    (verdict,) = check_candidate(Subject("Local", Local), ground, parts=[Part.MEMORY])
    assert verdict.outcome == "skipped"
    assert verdict.expected == "at most 300 bytes held for each record"


def test_an_exporter_that_breaks_down_over_a_question_has_failed_it(ground: Ground) -> None:
    class Breaks(LandscapeExporter):
        def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
            raise RuntimeError("out of order")

    verdicts = check_candidate(Subject("Breaks", Breaks), ground, parts=[Part.SNAPSHOT])
    assert [each.seen for each in verdicts] == ["error: RuntimeError: out of order"]


def test_what_is_no_exporter_is_no_verdict_but_an_error(ground: Ground) -> None:
    with pytest.raises(SubjectError, match="cannot be called as an exporter is"):
        check_candidate(Subject("object", object), ground, parts=[Part.RECORDS])  # type: ignore[arg-type]


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
            judge_in_surroundings(
                load_subject("sorted_by_set:SortedBySet"),
                load_subject(CONTROL),
                db,
                "elsewhere",
                tmp_path,
                surroundings,
            ).seen
            for surroundings in SURROUNDINGS
        ]
    assert all(each.startswith("key order, run, record 1, in another process") for each in seen)


def test_hash_seed_locale_and_time_zone_move_no_byte_on_any_backend(
    db: LandscapeDB, tmp_path: Path
) -> None:
    generate_run(db, preset("tiny", run_id="elsewhere"))
    for surroundings in SURROUNDINGS:
        verdict = judge_in_surroundings(
            load_subject(DEFAULT_CANDIDATE),
            load_subject(CONTROL),
            db,
            "elsewhere",
            tmp_path,
            surroundings,
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
            verdict = judge_across(
                load_subject(reference), sqlite=sqlite, postgresql=postgresql, run_id="both"
            )
            assert verdict.passed, verdict


def test_a_difference_between_the_backends_is_named(sqlite_url: str, postgres_url: str) -> None:
    spec = preset("tiny", run_id="both")
    with LandscapeDB(sqlite_url) as sqlite, LandscapeDB(postgres_url) as postgresql:
        generate_run(sqlite, spec)
        generate_run(postgresql, preset("tiny", 3, run_id="both"))
        verdict = judge_across(
            load_subject(CONTROL), sqlite=sqlite, postgresql=postgresql, run_id="both"
        )
    assert verdict.failed
    assert "between SQLite (expected) and PostgreSQL (found)" in verdict.seen


def test_a_check_runs_on_postgresql_as_well_where_there_is_one(postgres_server: URL) -> None:
    server = postgres_server.render_as_string(hide_password=False)
    with open_ground(postgresql=server) as ground:
        found = findings(
            load_subject(DEFAULT_CANDIDATE), ground, parts=[Part.BACKENDS, Part.SNAPSHOT]
        )
        outcomes = {(each.part, each.backend, each.verdict.outcome.value) for each in found}
    assert outcomes == {
        (Part.BACKENDS, "postgresql", "passed"),
        (Part.SNAPSHOT, "sqlite", "passed"),
        (Part.SNAPSHOT, "postgresql", "passed"),
    }
