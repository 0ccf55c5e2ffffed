"""Calls that one export never makes, side effects, and database errors: faults and correct ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from profiles import is_nightly
from sqlalchemy import URL, text

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.checks import calls
from harness.checks.calls import CHANGE_SCRIPT, SCRIPTS, judge_calls
from harness.checks.check import Check
from harness.checks.database_errors import Fault, faults_in, judge_database_errors
from harness.checks.database_watch import contents
from harness.checks.depth import Depth
from harness.checks.run import run_checks
from harness.checks.script_runs import ScriptRuns
from harness.checks.selftest import load_correct_exporters, load_seeded_faults
from harness.checks.setup import CheckSetup, prepare_checks
from harness.checks.side_effects import judge_side_effects
from harness.compare.call_outcomes import first_difference_in_calls
from harness.exporters.measured import Measured, as_measured
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, Exporter, Subject, load_subject
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.verdict import Outcome

NEW_CHECKS = (Check.SIDE_EFFECTS, Check.CALLS, Check.ERRORS)
FAULTS = [each for each in load_seeded_faults() if each.check in NEW_CHECKS]
# The unusual ones are tried as processes, in test_hostile_exporters.py: one prints megabytes.
CORRECT = [each.exporter for each in load_correct_exporters() if ".unusual:" not in each.exporter]
DESIGNS = [DEFAULT_CANDIDATE, "harness.fixtures.correct_exporters.in_memory_maps:InMemoryMaps"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.exporter.partition(":")[2])
def test_a_fault_is_caught_first_by_its_check_and_named(setup: CheckSetup, fault: Any) -> None:
    # That no other check comes first is asked in the nightly run.
    checks = NEW_CHECKS if is_nightly() else (fault.check,)
    found = run_checks(load_subject(fault.exporter), setup, checks=checks)
    first = next(each for each in found if each.verdict.failed)
    line = str(first.verdict).splitlines()[0]
    assert first.check is fault.check, line
    assert all(word in line for word in fault.words), line


@pytest.mark.parametrize(
    "exporter",
    [pytest.param(each, marks=() if each in DESIGNS else pytest.mark.nightly) for each in CORRECT],
)
def test_a_correct_exporter_passes(setup: CheckSetup, exporter: str) -> None:
    for found in run_checks(load_subject(exporter), setup, checks=NEW_CHECKS):
        assert found.verdict.passed, found.verdict


def test_the_control_passes(setup: CheckSetup) -> None:
    subject = as_measured(load_subject(CONTROL))
    runs = setup.runs["sqlite"]
    assert judge_calls(subject, runs).passed
    assert judge_side_effects(subject, runs).passed
    assert judge_database_errors(subject, runs, Depth.QUICK).passed


def test_an_exporter_on_postgresql_passes(postgres_server: URL) -> None:
    server = postgres_server.render_as_string(hide_password=False)
    with prepare_checks(postgresql=server) as setup:
        runs = setup.runs["postgresql"]
        subject = as_measured(load_subject(CORRECT[0]))
        for verdict in (
            judge_side_effects(subject, runs),
            judge_calls(subject, runs),
            judge_database_errors(subject, runs, Depth.DEFAULT if is_nightly() else Depth.QUICK),
        ):
            assert verdict.passed, verdict


def test_every_script_has_another_name() -> None:
    names = [each.name for each in SCRIPTS]
    assert len(names) == len(set(names))


class WithoutClockAndFiles:
    """Takes no clock, and writes no files: the smallest interface of an exporter."""

    def __init__(self, db: LandscapeDB, signing_key: bytes | None = None) -> None:
        self._exporter = LandscapeExporter(db, signing_key)

    def export_run(self, run_id: str, sign: bool = False) -> Any:
        return list(self._exporter.export_run(run_id, sign=sign))


def test_an_exporter_without_clock_and_files_that_returns_a_list_passes(setup: CheckSetup) -> None:
    subject = Subject("WithoutClockAndFiles", WithoutClockAndFiles)
    for found in run_checks(subject, setup, checks=NEW_CHECKS):
        assert found.verdict.passed, found.verdict


def test_an_exporter_of_another_engine_is_inconclusive_about_errors(setup: CheckSetup) -> None:
    def build(db: LandscapeDB, signing_key: bytes | None = None) -> Exporter:
        return LandscapeExporter(LandscapeDB(db.connection_string), signing_key)

    subject, runs = as_measured(Subject("other engine", build)), setup.runs["sqlite"]
    verdict = judge_database_errors(subject, runs)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.seen.startswith("no query was seen")
    declared = judge_database_errors(subject, runs, worker_processes=True)
    assert declared.outcome is Outcome.SKIPPED
    assert "declared worker processes" in declared.seen


def test_faults_are_spread_over_the_queries_of_an_export() -> None:
    queries = [{"table": f"t{number}", "rows": 4} for number in range(1000)]
    sent = [each.query for each in faults_in(queries) if each.row is None]
    assert sent[0] == 1
    assert sent[-1] == 1000
    assert 30 < len(sent) <= 41


def test_a_query_fails_when_it_is_sent_and_at_a_row() -> None:
    (query,) = [{"table": "rows", "rows": 4}]
    assert list(faults_in([query])) == [Fault(1, None, "rows"), Fault(1, 3, "rows")]
    every = [each.row for each in faults_in([query], Depth.ALL)]
    assert every == [None, 1, 3, 5]
    assert str(Fault(1, 3, "rows")) == "row 3 of query 1 (rows)"


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("UPDATE runs SET export_status = 'failed'", ["table runs"]),
        ("CREATE INDEX left_behind ON rows (row_id)", ["its schema"]),
        ("PRAGMA user_version = 7", ["its settings"]),
    ],
)
def test_a_change_of_the_database_is_seen_and_named(
    tmp_path: Path, statement: str, changed: list[str]
) -> None:
    with LandscapeDB(f"sqlite:///{tmp_path / 'x.db'}") as db:
        generate_run(db, preset("tiny"))
        before = contents(db)
        assert contents(db) == before
        with db.engine.begin() as connection:
            connection.exec_driver_sql(statement)
        after = contents(db)
    assert [name for name in before if before[name] != after[name]] == changed


class KeepsCopies(LandscapeExporter):
    """Reads a run once, and gives other dicts in every export."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        kept: dict[str, list[dict[str, Any]]] = self.__dict__.setdefault("_kept", {})
        if run_id not in kept:
            kept[run_id] = list(super()._iter_records(run_id))
        yield from map(dict, kept[run_id])


class AsksTheClockFirst(LandscapeExporter):
    """Asks the clock before it reads."""

    def _signed(self, records: Iterator[dict[str, Any]], run_id: str) -> Iterator[dict[str, Any]]:
        moment = self._clock()
        self._clock = lambda: moment
        yield from super()._signed(records, run_id)


class AsksOnce(LandscapeExporter):
    """Sends two further queries in the first export of an object, and is correct."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        if not self.__dict__.setdefault("_asked", False):
            self.__dict__["_asked"] = True
            with self._db.engine.connect() as connection:
                for _ in range(2):
                    connection.execute(text("SELECT 1")).all()
        yield from super()._iter_records(run_id)


def subject_of(factory: type) -> Measured:
    return as_measured(Subject(factory.__name__, factory))


def test_a_run_that_grows_between_two_exports_shows_what_an_object_keeps(
    setup: CheckSetup,
) -> None:
    runs = ScriptRuns(setup.runs["sqlite"])
    expected = runs.control_of_changes(CHANGE_SCRIPT)
    found = {}
    for factory in (KeepsCopies, LandscapeExporter):
        with (
            runs.fresh_database() as db,
            runs.performed(subject_of(factory), CHANGE_SCRIPT, databases=(db, db)) as performance,
        ):
            found[factory] = first_difference_in_calls(expected, performance)
    assert found[KeepsCopies] is not None
    assert found[KeepsCopies].headline.endswith(CHANGE_SCRIPT.name)
    assert found[LandscapeExporter] is None


def test_the_clock_is_asked_after_the_last_query(setup: CheckSetup) -> None:
    runs = ScriptRuns(setup.runs["sqlite"])
    early = calls._early_clock(subject_of(AsksTheClockFirst), runs)
    assert early is not None
    assert "exported_at is older than what was read after it" in early.seen
    assert calls._early_clock(subject_of(LandscapeExporter), runs) is None


def test_an_error_that_did_not_come_does_not_come_in_the_next_export(setup: CheckSetup) -> None:
    verdict = judge_database_errors(subject_of(AsksOnce), setup.runs["sqlite"])
    assert verdict.passed, verdict
