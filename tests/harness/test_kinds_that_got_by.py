"""Kinds of faults that a blind trial got past the checks: each has an exporter that goes wrong."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from harness.fixtures.fourth_trial import faulty as fourth_trial
from sqlalchemy import func, select

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.schema import (
    batch_outputs_table,
    checkpoints_table,
    transform_errors_table,
    validation_errors_table,
)
from harness.checks import costs, large_runs, memory
from harness.checks.calls import FORM_SCRIPTS, judge_calls
from harness.checks.cases import Case
from harness.checks.content_specs import CONTENT_SPECS
from harness.checks.declared import Declared
from harness.checks.joint_growth import references_to_all
from harness.checks.large_runs import SMALL, judge_abandoned
from harness.checks.setup import CheckSetup
from harness.exporters.measured import as_measured
from harness.exporters.subject import Subject
from querygrowth.verdict import Verdict

_BY_NAME = {each.run_id: each for each in CONTENT_SPECS}


class OnePerError(LandscapeExporter):
    """Joins the errors of tokens, so that a token with two errors comes twice."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        errors = transform_errors_table.c
        counts = select(errors.token_id, func.count()).group_by(errors.token_id)
        with self._db.connection() as connection:
            found = dict(connection.execute(counts).tuples().all())
        for record in super()._iter_records(run_id):
            yield record
            if record["record_type"] == "token" and found.get(record["token_id"], 0) > 1:
                yield dict(record)


class WithoutIds(LandscapeExporter):
    """Keeps one of the calls of a state that are equal in all but their ids and numbers."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        seen: set[tuple[Any, ...]] = set()
        for record in super()._iter_records(run_id):
            key = tuple(v for k, v in record.items() if k not in ("call_id", "call_index"))
            if record["record_type"] != "call" or key not in seen:
                yield record
            seen.add(key)


class JoinsKeys(LandscapeExporter):
    """Keeps calls by the text of their state and number, without a separator."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        for record in super()._iter_records(run_id):
            key = f"{record.get('state_id')}{record.get('call_index')}"
            if record["record_type"] != "call" or key not in seen:
                yield record
            seen.add(key)


class NoLoops(LandscapeExporter):
    """Takes an edge from a node to itself for impossible."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        for record in super()._iter_records(run_id):
            if record.get("from_node_id", 0) != record.get("to_node_id", 1):
                yield record


class ReadsMarks(LandscapeExporter):
    """Takes a byte order mark at the start of a label for none of its text."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        for record in super()._iter_records(run_id):
            if record["record_type"] == "edge":
                record["label"] = record["label"].removeprefix("\ufeff")
            yield record


class ThreadBound(LandscapeExporter):
    """Keeps what it reads in a value of the thread."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        local = threading.local()
        local.records = super()._iter_records(run_id)
        while (record := next(local.records, None)) is not None:
            yield record


class ReadsAhead(LandscapeExporter):
    """Has a thread fill a queue that nobody empties once the export is abandoned."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        records = [*super()._iter_records(run_id), None]
        queue: Queue[dict[str, Any] | None] = Queue(maxsize=20)
        fill = threading.Thread(target=lambda: [*map(queue.put, records)], daemon=True)
        fill.start()
        while (record := queue.get()) is not None:
            yield record


@pytest.mark.parametrize(
    ("exporter", "run"),
    [
        (OnePerError, "contents_repeated"),
        (WithoutIds, "entities_repeated"),
        (NoLoops, "entities_repeated"),
        (JoinsKeys, "continued_ids"),
        (ReadsMarks, "texts_like_other_types"),
    ],
)
def test_a_run_of_the_checks_shows_the_fault(setup: CheckSetup, exporter: type, run: str) -> None:
    case, runs = Case(_BY_NAME[run], run), setup.runs["sqlite"]
    assert runs.compare(Subject(exporter.__name__, exporter), case).verdict().failed
    assert runs.compare(Subject("correct", LandscapeExporter), case).verdict().passed


def test_an_exporter_that_is_bound_to_a_thread_fails(setup: CheckSetup) -> None:
    scripts = [each for each in FORM_SCRIPTS if "thread" in each.name]
    bound, correct = (
        as_measured(Subject(each.__name__, each)) for each in (ThreadBound, LandscapeExporter)
    )
    found = judge_calls(bound, setup.runs["sqlite"], scripts)
    assert "begun in one thread" in found.seen
    assert judge_calls(correct, setup.runs["sqlite"], scripts).passed


def test_an_abandoned_export_that_leaves_a_thread_fails(
    setup: CheckSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_runs, "_READ_BEFORE_ABANDONED", (1, 1))
    db = setup.runs["sqlite"].costs.stored([SMALL]).db
    left, correct = (
        judge_abandoned(
            as_measured(Subject(each.__name__, each)), db, SMALL.run_id, setup.directory
        )
        for each in (ReadsAhead, LandscapeExporter)
    )
    assert left.seen == "an abandoned export of a large run leaves a thread that does not end"
    assert correct.passed


@pytest.mark.parametrize(
    ("exporter", "seen"),
    [
        ("QueryAnError", "queries grew with rows that no export holds"),
        ("NodesScanned", "branches grew faster than records along children of a token"),
        ("WholeStates", "memory grew with the length of values that no export holds"),
    ],
)
@pytest.mark.usefixtures("few_growing_runs")
def test_the_cost_of_what_no_export_holds_and_of_lists_is_judged(
    setup: CheckSetup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exporter: str, seen: str
) -> None:
    name = "children of a token that refer to all others"
    monkeypatch.setattr(costs, "references_to_all", lambda: {name: references_to_all()[name]})
    judge: Callable[..., Iterable[Verdict]] = {
        "QueryAnError": costs.judge_query_growth,
        "NodesScanned": costs.judge_work,
        "WholeStates": lambda *asked: [memory.judge_long_values(*asked)],
    }[exporter]
    faulty, correct = (
        [
            each.seen
            for each in judge(
                as_measured(Subject(exporter, factory)),
                setup.runs["sqlite"].costs,
                Declared(),
                tmp_path,
            )
            if each.failed
        ]
        for factory in (getattr(fourth_trial, exporter), LandscapeExporter)
    )
    assert any(each.startswith(seen) for each in faulty)
    assert correct == []


def test_entities_have_none_one_or_two_rows_in_the_tables_that_no_export_holds(
    setup: CheckSetup,
) -> None:
    db: LandscapeDB = setup.runs["sqlite"].database(Case(_BY_NAME["contents_repeated"], ""))
    with db.connection() as connection:
        for column in (
            batch_outputs_table.c.batch_id,
            transform_errors_table.c.token_id,
            checkpoints_table.c.token_id,
            validation_errors_table.c.row_hash,
        ):
            stored = select(func.count()).select_from(column.table).group_by(column)
            counts = connection.scalars(stored).all()
            # The contents of all rows are the same there, and so are their hashes.
            expected = {sum(counts)} if column.name == "row_hash" else {1, 2}
            assert set(counts) == expected, column
