"""What every `landscape` command asks of the database, along runs and along the rows of runs.

Queries, fetched rows and SQLite's machine steps of a command are the same at every size, or
linear in what the command is asked for. The searches for children without a parent and for damage
are the exception: no index by run exists for them, so they read the whole database.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from command_line import Command
from sample_run import DYNAMIC, KEY, record_sample_run
from sqlalchemy import Engine

from elspeth.cli.main import app
from elspeth.contracts import NodeType
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder, database
from querygrowth import Activity, Project, count_vm_steps
from querygrowth.counting.activity import activity_of_record
from querygrowth.counting.listener import Recording, attached
from querygrowth.counting.record import Record
from querygrowth.counting.work import VM_STEPS
from querygrowth.growth.trend import trend
from querygrowth.places.stack import StackWalker

RUNS, ROWS, OTHER_ROWS = "runs", "rows of the run", "rows of other runs"
AXES = (RUNS, ROWS, OTHER_ROWS)
SIZES = (3, 6, 12)
QUERIES, FETCHED, STEPS = "queries", "fetched rows", "machine steps"


@dataclass(frozen=True)
class Cost:
    """One command line, and which of its counts grow linearly along which axis.

    All other counts must be the same at every size.
    """

    arguments: Callable[[Path], tuple[object, ...]]
    linear: Mapping[str, set[str]] = field(default_factory=dict)
    orphan_steps: frozenset[str] = frozenset()
    """The axes along which the search for orphans takes more steps."""
    pending: bool = False
    """Whether all runs have a pending export with one target."""


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'audit.db'}"


def export_of(*options: object, run: str = "run-1") -> Callable[[Path], tuple[object, ...]]:
    return lambda folder: (
        *("export", "--db", url(folder), "--run", run, "--output", folder / "out"),
        *options,
    )


EXPORT_GROWTH = {ROWS: {FETCHED, STEPS}}
EVERYWHERE = frozenset(AXES)
COSTS: Mapping[str, Mapping[str, Cost]] = {
    "runs": {
        # The number of records of every run is what the command shows.
        "all": Cost(
            lambda folder: ("runs", "--db", url(folder)),
            {RUNS: {FETCHED, STEPS}, ROWS: {STEPS}, OTHER_ROWS: {STEPS}},
        ),
    },
    "export": {
        "several": Cost(
            # Twelve queries for every chosen run, and one search for orphans for all of them.
            lambda folder: (
                *("export", "--db", url(folder), "--all", "--output", folder / "several", "--sign"),
            ),
            {RUNS: {QUERIES, FETCHED, STEPS}, ROWS: {FETCHED, STEPS}, OTHER_ROWS: {FETCHED, STEPS}},
            EVERYWHERE,
        ),
        "to standard output": Cost(
            lambda folder: (
                "export",
                "--db",
                url(folder),
                "--run",
                "run-1",
                "--output",
                "-",
                "--quiet",
            ),
            EXPORT_GROWTH,
            EVERYWHERE,
        ),
        "signed": Cost(export_of("--sign"), EXPORT_GROWTH, EVERYWHERE),
        "latest": Cost(
            # Without an index on the start of runs, the newest is searched among all of them. It
            # is not the first run, to which the axis of its own rows belongs.
            export_of(run="latest"),
            {OTHER_ROWS: {FETCHED, STEPS}, RUNS: {STEPS}},
            EVERYWHERE,
        ),
        "CSV": Cost(export_of("--format", "csv"), EXPORT_GROWTH, EVERYWHERE),
        "quiet": Cost(export_of("--quiet"), EXPORT_GROWTH, EVERYWHERE),
        "attested": Cost(export_of("--sign", "--attest"), EXPORT_GROWTH, EVERYWHERE),
        "with settings": Cost(
            # Pending exports are settled first. No index leads to them: the search reads all runs.
            lambda folder: ("export", "--settings", folder / "settings.yaml", "--run", "run-1"),
            EXPORT_GROWTH | {RUNS: {STEPS}},
            EVERYWHERE,
        ),
    },
    "reconcile": {
        # One UPDATE for every pending run; the target is read once.
        "one target": Cost(
            lambda folder: ("reconcile", "--settings", folder / "settings.yaml"),
            {RUNS: {QUERIES, FETCHED, STEPS}, ROWS: {STEPS}},
            pending=True,
        ),
    },
    "attest": {
        # The orphans of the run are counted, as for an export.
        "signed": Cost(
            lambda folder: ("attest", folder / "signed.jsonl", "--db", url(folder)),
            {ROWS: {STEPS}},
            EVERYWHERE,
        ),
    },
    "show": {
        "all": Cost(lambda folder: ("show", folder / "signed.jsonl")),
    },
    "verify": {
        "signed": Cost(lambda folder: ("verify", folder / "signed.jsonl")),
    },
    "doctor": {
        "all": Cost(lambda folder: ("doctor", "--db", url(folder)), {}, EVERYWHERE),
    },
}


def test_every_command_has_an_entry() -> None:
    """A command that is added needs an entry in `COSTS`."""
    group = typer.main.get_command(app)
    assert set(group.list_commands(None)) == set(COSTS)  # type: ignore[attr-defined, arg-type]


CASES = [
    pytest.param(cost, axis, id=f"{command} {name}, along {axis}")
    for command, costs in COSTS.items()
    for name, cost in costs.items()
    for axis in AXES
]


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """A function that returns a folder with a database of a size, and a signed export of it."""

    @cache
    def folder_of(axis: str, size: int) -> Path:
        folder = tmp_path_factory.mktemp("populated")
        populate(folder, {RUNS: 2, ROWS: 2, OTHER_ROWS: 2} | {axis: size})
        return folder

    return folder_of


@pytest.mark.parametrize(("cost", "axis"), CASES)
def test_counts_are_constant_or_linear_in_what_is_asked_for(
    cost: Cost,
    axis: str,
    landscape: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    populated: Callable[[str, int], Path],
) -> None:
    activities = []
    for size in SIZES:
        folder = tmp_path / str(size)
        shutil.copytree(populated(axis, size), folder)
        write_settings(folder)
        if cost.pending:
            leave_pending(folder)
        with counted(monkeypatch) as found:
            ended = landscape(*cost.arguments(folder))
        assert not ended.err, ended.err
        activities.append(found)
    for name, measure in MEASURES.items():
        counts = [measure(each) for each in activities]
        judge(f"{name}: {counts}", counts, is_linear=name in cost.linear.get(axis, ()))
    orphans = [orphan_steps(each) for each in activities]
    judge(f"orphan search: {orphans}", orphans, is_linear=axis in cost.orphan_steps)


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]])
def test_orphans_are_searched_once_for_all_runs_that_are_exported(
    size: int,
    landscape: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    populated: Callable[[str, int], Path],
) -> None:
    folder = Path(shutil.copytree(populated(RUNS, size), tmp_path / "copy"))
    with counted(monkeypatch) as found:
        assert landscape(*COSTS["export"]["several"].arguments(folder)).code == 0
    searches = [
        shape.count for each in found for shape in each.shapes if "NOT (EXISTS" in shape.shape.text
    ]
    assert searches == [1]


def judge(shown: str, counts: list[int], *, is_linear: bool) -> None:
    found = trend(SIZES, counts, in_steps=False)
    # An entry that says "linear" of a constant count would hide growth that is added later.
    assert found.grows == is_linear, shown
    assert not found.accelerates, shown


def populate(folder: Path, sizes: Mapping[str, int]) -> None:
    numbers = count()
    with LandscapeDB(url(folder)) as db:
        # Ids of one length, whose order is that of creation, so that only the sizes differ.
        recorder = LandscapeRecorder(db, new_id=lambda: f"{next(numbers):032x}")
        for number in range(1, sizes[RUNS] + 1):
            record_sample_run(recorder, f"run-{number}")
        add_rows(recorder, "run-1", sizes[ROWS])
        add_rows(recorder, "run-2", sizes[OTHER_ROWS])
        LandscapeExporter(db, KEY).write_jsonl("run-1", folder / "signed.jsonl", sign=True)


def write_settings(folder: Path) -> None:
    export = {"enabled": True, "sink": "audit", "format": "json", "sign": True}
    settings = {
        "landscape": {"url": url(folder), "export": export},
        "sinks": {"audit": {"plugin": "json", "options": {"path": str(folder / "signed.jsonl")}}},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))


def leave_pending(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "audit.db")) as connection, connection:
        connection.execute(
            "UPDATE runs SET export_status = 'pending', export_format = 'json',"
            " export_sink = 'audit'"
        )


def add_rows(recorder: LandscapeRecorder, run_id: str, rows: int) -> None:
    """Add source rows with everything that a row can have below it."""
    node = recorder.register_node(
        run_id, "more", NodeType.TRANSFORM, "1.0", {}, schema_config=DYNAMIC
    )
    batch = recorder.create_batch(run_id, node.node_id)
    edge = recorder.register_edge(run_id, node.node_id, node.node_id, "more", "move")
    for index in range(rows):
        row = recorder.create_row(run_id, node.node_id, 1000 + index, {"index": index})
        token = recorder.create_token(row.row_id)
        (child,) = recorder.fork_token(token.token_id, row.row_id, ["more"], step_in_pipeline=1)
        state = recorder.begin_node_state(child.token_id, node.node_id, 0, {})
        recorder.record_call(state.state_id, 0, "http", "success", {}, response_data={})
        recorder.record_routing_event(state.state_id, edge.edge_id, "move")
        recorder.add_batch_member(batch.batch_id, child.token_id, index)


Activities = list[Activity]


WHOLE = ("pragma_integrity_check(", "not (exists(")


def orphan_steps(activities: Activities) -> int:
    """The steps of the statements that look for children without a parent, and for damage."""
    sent = [shape for activity in activities for shape in activity.shapes]
    return sum(
        shape.steps for shape in sent if any(part in shape.shape.text.lower() for part in WHOLE)
    )


MEASURES: Mapping[str, Callable[[Activities], int]] = {
    QUERIES: lambda found: sum(shape.count for each in found for shape in each.shapes),
    FETCHED: lambda found: sum(each.rows_fetched for each in found),
    STEPS: lambda found: sum(each.work[VM_STEPS] for each in found) - orphan_steps(found),
}


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Activities]:
    """Count what every engine sends that is made inside the block; complete after its end."""
    found: Activities = []
    ended: list[Callable[[], Record]] = []
    create_engine = database.create_engine

    def counted_engine(*arguments: Any, **options: Any) -> Engine:
        engine = create_engine(*arguments, **options)
        recording = Recording(walker=StackWalker(Project()), keep_parameters=False)
        tally = stack.enter_context(count_vm_steps(engine))
        recording.count_steps_with(tally.read)
        stack.enter_context(attached(engine, recording.listeners()))
        ended.append(lambda: Record("sqlite", recording, None, {VM_STEPS: tally.count}))
        return engine

    with monkeypatch.context() as patch, ExitStack() as stack:
        patch.setattr(database, "create_engine", counted_engine)
        yield found
    found += [activity_of_record(record()) for record in ended]
