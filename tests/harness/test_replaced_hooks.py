"""An exporter that takes the place of what counts its work is refused, and never passes."""

import gc
import logging
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.checks.declared import Declared
from harness.checks.form_costs import judge_form_costs
from harness.checks.setup import prepare_checks
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import InThisProcess
from harness.exporters.observation import ExportTask
from harness.exporters.probe.process_state import changed_settings, process_state
from harness.exporters.probe.session import changed_sessions, session_states
from harness.exporters.subject import Subject
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.counting.work import BRANCHES, VM_STEPS

_SPEC = preset("tiny", 3, run_id="hooks")

HOOKS: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "progress handler": (
        lambda c: c.set_progress_handler(lambda: 0, 100_000),
        lambda c: c.set_progress_handler(None, 0),
    ),
    "trace": (
        lambda c: c.set_trace_callback(logging.getLogger("sent").debug),
        lambda c: c.set_trace_callback(None),
    ),
    "authorizer": (
        lambda c: c.set_authorizer(lambda *_: sqlite3.SQLITE_OK),
        lambda c: c.set_authorizer(None),
    ),
    "none": (lambda c: None, lambda c: None),
}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportTask]:
    folder = tmp_path_factory.mktemp("hooks")
    with LandscapeDB(f"sqlite:///{folder / 'audit.db'}") as db:
        generate_run(db, _SPEC)
        yield ExportTask(
            db, _SPEC.run_id, SIGNING_KEY, fixed_clock, Path(folder), without_file=True
        )


def measured(
    take: Callable[[Any], object], restore: Callable[[Any], object] = lambda _: None
) -> InThisProcess:
    """Return an exporter that takes something after its first query and gives it back at its end.

    Both functions get the connection of the driver.
    """

    class WithHook(LandscapeExporter):
        def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
            used: list[Any] = []

            def sent(connection: Any, *_: object) -> None:
                if not used:
                    used.append(connection.connection.driver_connection)
                    take(used[0])

            event.listen(self._db.engine, "after_cursor_execute", sent)
            yield from super()._iter_records(run_id)
            event.remove(self._db.engine, "after_cursor_execute", sent)
            restore(used[0])

    return InThisProcess(Subject("WithHook", WithHook))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_of_the_driver_that_was_given_back_is_missed(task: ExportTask, hook: str) -> None:
    candidate = measured(*HOOKS[hook])
    named = {
        "progress handler": "the place of the progress handler of the driver, by which",
        "trace": "the place of the trace of the driver, by which",
    }.get(hook)
    if named is None:
        assert candidate.observe(task).activity.work[VM_STEPS] > 100
        return
    with pytest.raises(ExportFailedError, match=named) as raised:
        candidate.observe(task)
    assert raised.value.verdict.failed
    assert raised.value.verdict.seen.startswith("not counted: it took ")


def test_steps_of_a_connection_that_was_closed_are_missed(task: ExportTask) -> None:
    class Closes(LandscapeExporter):
        def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
            connection = self._db.engine.connect()
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.set_progress_handler(None, 0)
            with connection:
                connection.exec_driver_sql("SELECT column_name FROM " + _MANY_ROWS).all()
                connection.detach()
            yield from super()._iter_records(run_id)

    candidate = InThisProcess(Subject("Closes", Closes))
    with pytest.raises(ExportFailedError, match=r"not counted: .* machine steps were seen"):
        candidate.observe(task)


_MANY_ROWS = (
    "(WITH RECURSIVE n(column_name) AS (SELECT 1 UNION ALL SELECT column_name + 1 FROM n "
    "WHERE column_name < 20000) SELECT column_name FROM n)"
)


def _taken_from_python() -> Iterator[tuple[Callable[[Any], object], Callable[[Any], object]]]:
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is None:
        kept: list[Any] = []

        def take(_: Any) -> None:
            kept.append(sys.gettrace())
            sys.settrace(None)

        yield take, lambda _: sys.settrace(kept[-1])
        yield take, lambda _: None
        return

    def tool() -> int:
        return next(n for n in range(6) if monitoring.get_tool(n) == "querygrowth")

    yield lambda _: monitoring.set_events(tool(), 0), lambda _: None
    yield lambda _: monitoring.free_tool_id(tool()), lambda _: None
    branch = monitoring.events.BRANCH
    yield lambda _: monitoring.register_callback(tool(), branch, None), lambda _: None


@pytest.mark.parametrize("hook", list(_taken_from_python()))
def test_branches_past_another_trace_are_missed(task: ExportTask, hook: Any) -> None:
    with pytest.raises(ExportFailedError, match=r"not counted: it took .* sys\."):
        measured(*hook).observe(task, work=(BRANCHES,))


def test_a_pass_that_counts_branches_alone_misses_them_too(task: ExportTask) -> None:
    with pytest.raises(ExportFailedError, match=r"not counted: it took .* sys\."):
        measured(*next(_taken_from_python())).count_branches(task)
    assert measured(*HOOKS["none"]).count_branches(task)


@pytest.mark.parametrize("name", ["stop", "clear_traces"])
def test_memory_past_the_end_of_its_trace_is_missed(task: ExportTask, name: str) -> None:
    ends = measured(lambda _: getattr(tracemalloc, name)())
    with pytest.raises(ExportFailedError, match="not counted: it ended the trace of memory"):
        ends.measure_held(task, tries=1)
    assert measured(*HOOKS["none"]).measure_held(task, tries=1)["peaks"][0] > 0


def test_samples_past_another_handler_are_not_used(task: ExportTask) -> None:
    assert measured(*HOOKS["none"]).sample_held(task) is not None
    assert measured(*HOOKS["progress handler"]).sample_held(task) is None
    assert measured(lambda _: gc.callbacks.clear()).sample_held(task) is None


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_stays_on_a_connection_is_a_side_effect(task: ExportTask, hook: str) -> None:
    take, restore = HOOKS[hook]
    engine = task.db.engine
    before = session_states(engine)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        take(driver)
    changes = changed_sessions(before, session_states(engine))
    restore(driver)
    assert changed_sessions(before, session_states(engine)) == []
    if hook == "none":
        assert changes == []
    else:
        assert any(each.startswith("callbacks of the connection from [] to [") for each in changes)


def test_what_stays_in_the_process_is_a_side_effect() -> None:
    before = process_state()
    profile = sys.getprofile()
    gc.callbacks.append(print)
    sys.setprofile(lambda *_: None)
    tracemalloc.start()
    try:
        after = process_state()
    finally:
        tracemalloc.stop()
        sys.setprofile(profile)
        gc.callbacks.remove(print)
    named = [each.partition(" from ")[0] for each in changed_settings(before, after)]
    assert named == ["callbacks of the garbage collector", "trace function", "trace of memory"]
    assert changed_settings(before, process_state()) == []


class _FilesPastSQLAlchemy(LandscapeExporter):
    """Looks a record up on the driver's cursor for each, when it groups them."""

    def export_run_grouped(self, run_id: str, sign: bool = False) -> dict[str, list[Any]]:
        grouped = super().export_run_grouped(run_id, sign)
        with self._db.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            for each in grouped["node"]:
                driver.execute("SELECT 1 FROM nodes WHERE node_id = ?", (each["node_id"],))
        return grouped


def test_queries_past_sqlalchemy_are_seen_in_every_form(tmp_path: Path) -> None:
    with prepare_checks() as setup:
        costs = setup.runs["sqlite"].costs
        for exporter, seen in (
            (_FilesPastSQLAlchemy, "31 queries of export_run_grouped went past SQLAlchemy"),
            (LandscapeExporter, "the queries of files and groups follow export_run"),
        ):
            candidate = InThisProcess(Subject(exporter.__name__, exporter))
            verdict, _ = judge_form_costs(candidate, costs, Declared(), tmp_path)
            assert (verdict.seen, verdict.failed) == (seen, exporter is _FilesPastSQLAlchemy)
