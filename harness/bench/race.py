"""Exports timed in turn: two revisions until their ratio is decided, and `bench --full`."""

import inspect
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import sub
from pathlib import Path
from time import perf_counter

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.export.record_types import RECORD_TYPES
from harness.bench.environment import Checkout
from harness.bench.measurements import DesignTimings, FullMeasurement, LargeRun
from harness.bench.paired_ratio import Pairing, pair, planned_looks
from harness.bench.postgresql import temporary_postgresql
from harness.bench.timing import TimedAction, Timing, perform_in_turn, time_in_turn
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import InThisProcess, Measured, measured
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, require_below
from harness.exporters.subprocess_probe import Probe
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

TRIES = 5
"""Timed exports in the process of a round, of which the fastest counts."""
# Other load only ever slows an export, so the minimum is the least disturbed value.

IN_MEMORY_MAPS = "harness.fixtures.usual_exporter:UsualExporter"
"""The usual design: one query per table, and maps of the whole run in memory."""

TIMES_LARGER = 50
"""Rows of the large run of `bench --full` per row of the usual run."""

FULL_STEPS = 7
"""The number of steps that `measure_full` announces; two fewer without PostgreSQL."""

OnStep = Callable[[str], None]
"""Called with the name of a step before it starts, to show progress."""

OnRounds = Callable[[Pairing, int], None]
"""Called with the pairing of the rounds so far, and the limit of rounds."""


@dataclass(frozen=True)
class Race:
    """An exporter at two revisions, the size of the run it exports, and the limit of rounds.

    `src` is the folder to import it from, relative to a checkout; None for the usual ones.
    `database` is what opens its database, as module:attribute; empty for its LandscapeDB.
    """

    reference: str
    base: Checkout
    head: Checkout
    python: str
    rows: int
    max_rounds: int
    seed: int = 0
    src: Path | None = None
    database: str = ""

    def probe(self, checkout: Checkout, role: str) -> Probe:
        """Return the exporter of one of the two revisions."""
        return checkout.exporter(
            self.reference, role=role, python=self.python, src=self.src, database=self.database
        )


@dataclass(frozen=True)
class Elapsed:
    """The seconds of one export by two clocks.

    `wall` is wall time without the time in which the export could run and had no core. `cpu` is
    the CPU time of all its threads and processes.
    """

    wall: float
    cpu: float


_SHORTEST_SECONDS = 1e-6
# The kernel counts waits in steps of its own, so those of a short export on a loaded machine may
# exceed its wall time. A ratio needs times above zero.

ClockedAction = Callable[[], Elapsed]
"""Exports once and returns its seconds by both clocks."""


def run_race(race: Race, directory: Path, on_rounds: OnRounds) -> Pairing:
    """Time both revisions, one process for an export, until the ratio is decided."""
    # A process for an export: two revisions of one module cannot be imported into the same one.
    base, head = race.probe(race.base, "base"), race.probe(race.head, "head")
    for checkout, probe in ((race.base, base), (race.head, head)):
        # An installed exporter would otherwise be compared with itself.
        require_below(probe.locate(), checkout.directory, f"{race.reference} of {checkout.name}")
    spec = RunSpec.typical(race.rows, seed=race.seed)
    with _recorded(f"sqlite:///{directory / 'race.db'}", spec, directory) as task:
        actions = {each.label: partial(time_by_both_clocks, each, task) for each in (base, head)}
        for found in pairings(
            actions,
            rows=race.rows,
            records=_count_records(task),
            max_rounds=race.max_rounds,
            seed=race.seed,
        ):
            on_rounds(found, race.max_rounds)
    return found


def pairings(
    actions: Mapping[str, ClockedAction],
    *,
    rows: int,
    records: int,
    max_rounds: int,
    seed: int = 0,
) -> Iterator[Pairing]:
    """Time two actions in turn, and yield the pairing at every planned look.

    Stops when the pairing is decided, or at the limit.

    Args:
        actions: The two actions, base first.
        rows: Source rows of the run that they export.
        records: Records of its export.
        max_rounds: The limit of rounds.
        seed: The seed of the order within rounds.

    Raises:
        ValueError: `max_rounds` is less than LEAST_ROUNDS.
    """
    looks = planned_looks(max_rounds)
    order = random.Random(seed)  # noqa: S311 - a shuffled order, no secret
    taken: dict[str, list[Elapsed]] = {name: [] for name in actions}
    for look in looks:
        while min(map(len, taken.values())) < look:
            for name, elapsed in perform_in_turn(actions, order).items():
                taken[name].append(elapsed)
        walls = [Timing(name, tuple(each.wall for each in taken[name])) for name in actions]
        cpus = [Timing(name, tuple(each.cpu for each in taken[name])) for name in actions]
        found = Pairing(
            rows, records, pair(*walls, looks=len(looks)), pair(*cpus, looks=len(looks))
        )
        yield found
        if found.is_decided:
            return


def time_by_both_clocks(probe: Probe, task: ExportTask) -> Elapsed:
    """Export in a new process, after a warm-up, and return the least seconds by each clock."""
    found = probe.ask("time", task, tries=TRIES)
    # Waits for a core are the load of other processes. At a load of 8 on two cores, the ratio of a
    # revision to itself was off by 25 % in the median round with them, and by 4 % without.
    walls = map(sub, found["seconds"], found["core_waits"])
    return Elapsed(
        max(min(walls), _SHORTEST_SECONDS), max(min(found["cpu_seconds"]), _SHORTEST_SECONDS)
    )


def measure_full(
    candidate: Measured, spec: RunSpec, rounds: int, directory: Path, on_step: OnStep
) -> FullMeasurement:
    """Time three designs on SQLite and PostgreSQL, and the candidate on a run 50 times as large.

    Args:
        candidate: The exporter on trial.
        spec: The spec of the usual run; only its rows and its seed are used.
        rounds: Timed rounds, after one that is not counted.
        directory: The folder for databases and exports: about 4 GB for 2,000 rows.
        on_step: Called with the name of every step.
    """
    usual = RunSpec.typical(spec.rows, seed=spec.seed)
    large = RunSpec.typical(spec.rows * TIMES_LARGER, seed=spec.seed)
    designs = []
    with _recorded(f"sqlite:///{directory / 'usual'}.db", usual, directory, on_step) as usual_task:
        designs.append(_time_designs(candidate, usual_task, usual.rows, rounds, on_step))
        with _postgresql() as url:
            if url is not None:
                with _recorded(url, usual, directory, on_step) as task:
                    designs.append(_time_designs(candidate, task, usual.rows, rounds, on_step))
        # After the server has stopped: its processes would share the cores with two jobs.
        with _recorded(
            f"sqlite:///{directory / 'large'}.db", large, directory, on_step
        ) as large_task:
            measured_large = _measure_large(
                candidate, usual_task, large_task, large.rows, rounds, on_step
            )
    return FullMeasurement(tuple(designs), measured_large)


def _time_designs(
    candidate: Measured, task: ExportTask, rows: int, rounds: int, on_step: OnStep
) -> DesignTimings:
    database = "SQLite" if task.db.engine.dialect.name == "sqlite" else "PostgreSQL"
    on_step(f"{database}: timing {rounds} rounds of three designs, in turn")
    exporters = {
        "control": measured(CONTROL),
        "in-memory maps": measured(IN_MEMORY_MAPS),
        "candidate": candidate,
    }
    actions = {name: partial(each.time, task) for name, each in exporters.items()}
    control, maps, found = _time_after_warm_up(actions, rounds).values()
    return DesignTimings(database, rows, _count_records(task), control, maps, found)


def _measure_large(
    candidate: Measured,
    usual_task: ExportTask,
    large_task: ExportTask,
    rows: int,
    rounds: int,
    on_step: OnStep,
) -> LargeRun:
    on_step(f"{rows:,} rows: timing one job, two jobs and the sqlite3 shell's dump, in turn")
    # The small run is timed again in these rounds: a ratio to timings of earlier rounds would
    # include the change of the machine's load.
    actions: dict[str, TimedAction] = {
        "small run": partial(candidate.time, usual_task),
        "one job": partial(candidate.time, large_task),
    }
    # Another process may have an exporter of another interface.
    if isinstance(candidate, InThisProcess) and _takes_jobs(candidate, large_task):
        actions["two jobs"] = partial(_seconds_of_two_jobs, candidate, large_task)
    if shutil.which("sqlite3"):
        actions["dump"] = partial(_seconds_of_dump, large_task)
    timings = _time_after_warm_up(actions, rounds)
    on_step(f"{rows:,} rows: measuring memory, one process for each design")
    return LargeRun(
        rows=rows,
        records=_count_records(large_task),
        small_run_records=_count_records(usual_task),
        small_run=timings["small run"],
        one_job=timings["one job"],
        two_jobs=timings.get("two jobs"),
        dump=timings.get("dump"),
        first_row_seconds=candidate.time_first_row(large_task),
        candidate_memory=candidate.measure_memory(large_task),
        in_memory_maps_memory=measured(IN_MEMORY_MAPS).measure_memory(large_task),
    )


def _time_after_warm_up(actions: Mapping[str, TimedAction], rounds: int) -> Mapping[str, Timing]:
    # The first export of a process includes imports, compiled statements and a cold page cache.
    for action in actions.values():
        action()
    return time_in_turn(actions, rounds=rounds)


def _takes_jobs(candidate: InThisProcess, task: ExportTask) -> bool:
    exporter = candidate.loaded.build(task.db, task.signing_key, task.clock)
    write = getattr(exporter, "write_jsonl", None)
    return write is not None and "jobs" in inspect.signature(write).parameters


def _seconds_of_two_jobs(candidate: InThisProcess, task: ExportTask) -> float:
    exporter = candidate.loaded.build(task.db, task.signing_key, task.clock)
    write = getattr(exporter, "write_jsonl")  # noqa: B009 - not part of every exporter
    started = perf_counter()
    write(task.run_id, task.path_for("two-jobs"), sign=True, jobs=2)
    return perf_counter() - started


def _seconds_of_dump(task: ExportTask) -> float:
    """Have the sqlite3 shell write the same columns of the same tables as JSON, unordered."""
    statements = [
        f"SELECT {', '.join(kind.fields)} FROM {kind.table.name};"  # noqa: S608 - our own names
        for kind in RECORD_TYPES
    ]
    database = str(task.db.engine.url.database)
    started = perf_counter()
    with task.path_for("dump").open("wb") as file:
        subprocess.run(  # noqa: S603 - a fixed command over a file of this run
            [str(shutil.which("sqlite3")), database, ".mode json", *statements],
            stdout=file,
            check=True,
        )
    return perf_counter() - started


def _count_records(task: ExportTask) -> int:
    with task.db.connection() as connection:
        return sum(count_records(connection, task.run_id).values())


@contextmanager
def _recorded(
    url: str, spec: RunSpec, directory: Path, on_step: OnStep = lambda step: None
) -> Iterator[ExportTask]:
    with LandscapeDB(url) as db:
        on_step(f"{db.engine.dialect.name}: recording a run of {spec.rows:,} rows")
        run_id = generate_run(db, spec).run_id
        yield ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)


@contextmanager
def _postgresql() -> Iterator[str | None]:
    """Start a PostgreSQL server and give its URL; None where the package for it is missing."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(temporary_postgresql())
        except ImportError:
            yield None
            return
        yield url
