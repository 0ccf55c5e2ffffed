"""The main flow: spec -> generated run -> exports under measurement -> observations -> verdicts."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.bench.environment import describe_environment
from harness.bench.measurements import MeasuredRun, Measurement, SizeResult
from harness.bench.race import FULL_STEPS, measure_full
from harness.bench.results import Results
from harness.bench.targets import Target
from harness.bench.verdicts import judge_sizes
from harness.compare.exports import SIGNING_KEY, Comparison, compare_exports, fixed_clock
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask, Observation
from harness.exporters.timing import Timing, time_in_turn
from harness.generate.generator import GeneratedRun, generate_run
from harness.generate.spec import ROWS_TO_TAKE_TURNS, RunSpec
from querygrowth.reports import site_within

OnStep = Callable[[str], None]
"""Called with what is about to be done, for a person who waits."""

STEPS_PER_SIZE = 5
LEAST_ROWS = ROWS_TO_TAKE_TURNS
"""The smallest run that has every kind of lineage, and so says something about an exporter."""


@dataclass(frozen=True)
class Experiment:
    """What to measure: runs of ascending size, two exporters, and by which targets to judge.

    With `full`, other designs, PostgreSQL and a run 50 times as large are measured as well. Sites
    in the results are relative to `checkout`.
    """

    specs: tuple[RunSpec, ...]
    control: Measured
    candidate: Measured
    targets: tuple[Target, ...]
    rounds: int = 2
    full: bool = False
    checkout: Path = field(default_factory=Path.cwd)

    @property
    def steps(self) -> int:
        """How many steps it takes."""
        return len(self.specs) * STEPS_PER_SIZE + self.full * FULL_STEPS


def run_experiment(experiment: Experiment, directory: Path, on_step: OnStep) -> Results:
    """Generate each run in `directory`, export it with both exporters, measure and judge."""
    sizes: list[SizeResult] = []
    for number, spec in enumerate(experiment.specs):
        with LandscapeDB(f"sqlite:///{directory / f'landscape-{number}.db'}") as db:
            on_step(f"recording a run of {spec.rows:,} rows")
            run = generate_run(db, spec)
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            sizes.append(_measure(run, task, experiment, on_step))
            environment = describe_environment(db, experiment.checkout)
    full = None
    if experiment.full:
        last = experiment.specs[-1]
        full = measure_full(experiment.candidate, last, experiment.rounds, directory, on_step)
    return Results(
        environment=environment,
        measured_at=datetime.now(UTC),
        sizes=tuple(sizes),
        full=full,
        targets=experiment.targets,
        judgements=judge_sizes(
            sizes,
            experiment.targets,
            full=full,
            defined_at=site_within(experiment.candidate.defined_at, experiment.checkout),
        ),
    )


def sizes_up_to(rows: int) -> tuple[int, ...]:
    """The sizes that show how the cost of an export grows, up to a run of `rows` rows."""
    smaller = (max(LEAST_ROWS, rows // part) for part in (100, 10))
    return (*dict.fromkeys(size for size in smaller if size < rows), rows)


def _measure(
    run: GeneratedRun, task: ExportTask, experiment: Experiment, on_step: OnStep
) -> SizeResult:
    """Measure both exporters on one run.

    Counting, timing and memory are separate passes: a listener slows small queries by a tenth
    and more, and only a fresh process holds the memory of one export alone.
    """
    control, candidate = experiment.control, experiment.candidate
    of_rows = f"{run.spec.rows:,} rows"
    on_step(f"{of_rows}: counting the queries of both exporters")
    expected = control.observe(task).portable(experiment.checkout)
    found = candidate.observe(task).portable(experiment.checkout)
    on_step(f"{of_rows}: comparing their files")
    comparison = _compare(task, experiment, expected, found)
    on_step(f"{of_rows}: timing {experiment.rounds} rounds of both exporters, in turn")
    # The counting pass has warmed both up.
    timings = time_in_turn(
        {"control": partial(control.time, task), "candidate": partial(candidate.time, task)},
        rounds=experiment.rounds,
    )
    on_step(f"{of_rows}: measuring memory, one process for each exporter")
    return SizeResult(
        MeasuredRun(run.spec.to_json(), run.run_id, run.spec.rows, asdict(run.cardinalities)),
        _measurement(control, task, expected, timings["control"].seconds),
        _measurement(candidate, task, found, timings["candidate"].seconds),
        comparison,
    )


def _measurement(
    subject: Measured, task: ExportTask, observed: Observation, seconds: tuple[float, ...]
) -> Measurement:
    return Measurement(
        observed,
        Timing(subject.name, seconds),
        subject.measure_memory(task),
        subject.time_first_row(task),
    )


def _compare(
    task: ExportTask, experiment: Experiment, expected: Observation, found: Observation
) -> Comparison:
    """Compare the two files that were just written; only where they differ, look for the place."""
    if expected.file.sha256 != found.file.sha256:
        return compare_exports(
            task.db,
            task.run_id,
            control=experiment.control.subject(task),
            candidate=experiment.candidate.subject(task),
        )
    return Comparison(
        control=expected.subject,
        candidate=found.subject,
        run_id=task.run_id,
        records=expected.file.records,
        difference=None,
        control_sha256=expected.file.sha256,
        candidate_sha256=found.file.sha256,
        refusal=None,
    )
