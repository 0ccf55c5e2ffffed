"""The main flow: spec -> generated run -> exports under measurement -> observations -> verdicts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import isqrt
from pathlib import Path
from time import perf_counter

from elspeth.core.landscape import LandscapeDB
from harness.bench.environment import describe_environment
from harness.bench.measurements import (
    FullMeasurement,
    MeasuredRun,
    Measurement,
    Measurements,
    SizeResult,
)
from harness.bench.race import FULL_STEPS, TIMES_LARGER, OnStep, measure_full
from harness.bench.results import Judgement, Results, Topic
from harness.bench.targets import Target, judge_targets
from harness.bench.timing import Timing, time_in_turn
from harness.compare.exports import SIGNING_KEY, Comparison, compare_exports, fixed_clock
from harness.exporters.measured import ExportFailedError, Measured
from harness.exporters.observation import ExportTask, Observation
from harness.generate.generator import GeneratedRun, generate_run
from harness.generate.spec import MAX_COUNT, ROWS_TO_TAKE_TURNS, RunSpec
from querygrowth.contracts.allowance import Allowance
from querygrowth.contracts.contract import QueryContract
from querygrowth.growth.report import GrowthReport
from querygrowth.growth.verdicts import judge_growth
from querygrowth.places.call_sites import CallSite
from querygrowth.reports import site_within, with_relative_site
from querygrowth.verdict import Outcome, Verdict, judge

STEPS_PER_SIZE = 5
_LONG_MINUTES = 2
_SIZES_OF_GROWTH = 3
_LEAST_SPAN = 2
# Within less than a factor of two, the slope of a quadratic count rises too little to be told from
# that of a proportional one.
LEAST_ROWS = ROWS_TO_TAKE_TURNS
"""The rows of the smallest run that an exporter is measured on."""
MAX_ROWS = MAX_COUNT // TIMES_LARGER
"""The rows of the largest usual run: the large run of `bench --full` has to be possible too."""
# A smaller run lacks a kind of lineage, and an exporter that loses that kind would pass.


@dataclass(frozen=True)
class Experiment:
    """The runs to measure on, two exporters, and the targets to judge by.

    The specs ascend in their rows. With `full`, other designs, PostgreSQL and a run 50 times as
    large are measured as well. Sites in the results are relative to `checkout`, and
    their commit is that of `sources`. Without
    `judges_times`, targets of absolute times are recorded and not judged. `allowances` are the
    tables that the candidate declares to read in chunks.
    """

    specs: tuple[RunSpec, ...]
    control: Measured
    candidate: Measured
    targets: tuple[Target, ...]
    rounds: int = 2
    full: bool = False
    judges_times: bool = True
    checkout: Path = field(default_factory=Path.cwd)
    sources: Path = field(default_factory=Path.cwd)
    allowances: tuple[Allowance, ...] = ()

    @property
    def steps(self) -> int:
        """The number of steps that it announces."""
        return len(self.specs) * STEPS_PER_SIZE + self.full * FULL_STEPS


def run_experiment(
    experiment: Experiment,
    directory: Path,
    on_step: OnStep,
    *,
    clock: Callable[[], float] = perf_counter,
) -> Results:
    """Generate each run in `directory`, export it with both exporters, measure and judge.

    Args:
        experiment: What to measure, and the targets.
        directory: The folder for databases and exports.
        on_step: Called with the name of a step before it starts. That of a size that will take
            minutes says so.
        clock: Returns seconds, for that forecast.
    """
    sizes: list[SizeResult] = []
    raised: list[Verdict] = []
    forecast = ""
    for number, spec in enumerate(experiment.specs):
        started = clock()
        # A database for a run: rows of other runs would change the plans and the work.
        with LandscapeDB(f"sqlite:///{directory / f'landscape-{number}.db'}") as db:
            on_step(f"recording a run of {spec.rows:,} rows{forecast}")
            environment = describe_environment(db, experiment.sources)
            run = generate_run(db, spec)
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            try:
                sizes.append(_measure(run, task, experiment, on_step))
            except ExportFailedError as error:
                # What was measured before is kept, and larger runs would only take longer.
                raised.append(_at_size(error.verdict, spec.rows))
                break
        larger = experiment.specs[number + 1 : number + 2]
        forecast = "".join(_forecast(each.rows, spec.rows, clock() - started) for each in larger)
    full = None
    if experiment.full and not raised:
        last = experiment.specs[-1]
        try:
            full = measure_full(experiment.candidate, last, experiment.rounds, directory, on_step)
        except ExportFailedError as error:
            raised.append(error.verdict)
    defined_at = site_within(experiment.candidate.defined_at, experiment.checkout)
    return Results(
        environment=environment,
        measured_at=datetime.now(UTC),
        sizes=tuple(sizes),
        full=full,
        targets=experiment.targets,
        judgements=(
            *(_of_error(each, experiment.checkout, defined_at) for each in raised),
            *judge_sizes(
                sizes,
                experiment.targets,
                full=full,
                defined_at=defined_at,
                judges_times=experiment.judges_times,
                allowances=experiment.allowances,
            ),
        ),
    )


def not_measured(verdict: Verdict, sources: Path) -> Results:
    """Return the results of an exporter that cannot be imported: its verdict alone.

    Args:
        verdict: The failed verdict.
        sources: The folder whose commit the results are about.
    """
    with LandscapeDB("sqlite:///:memory:") as db:
        environment = describe_environment(db, sources)
    failed = Judgement(Topic.VACUITY, verdict)
    return Results(environment, datetime.now(UTC), judgements=(failed,))


def _forecast(rows: int, rows_before: int, seconds_before: float) -> str:
    """Return the words on the time that a size will take, if that is minutes."""
    minutes = seconds_before * rows / rows_before / 60
    if minutes < _LONG_MINUTES:
        return ""
    # An exporter with a query for each entity takes minutes, and may look as if it hung.
    return f": about {minutes:,.0f} minutes, by the size before; growth shows with fewer --rows too"


def sizes_up_to(rows: int) -> tuple[int, ...]:
    """The sizes that show how the cost of an export grows, up to a run of `rows` rows."""
    least = max(LEAST_ROWS, rows // 100)
    if rows < _LEAST_SPAN * least:
        return tuple(dict.fromkeys((least, rows)))
    # Two sizes always lie on a line, so that growth faster than in proportion needs a third. Below
    # 1000 rows a tenth is too close to the least size, and the geometric mean takes its place.
    return (least, max(rows // 10, isqrt(LEAST_ROWS * rows)), rows)


def judge_sizes(
    sizes: Sequence[SizeResult],
    targets: Sequence[Target],
    *,
    full: FullMeasurement | None = None,
    defined_at: CallSite | None = None,
    judges_times: bool = True,
    allowances: tuple[Allowance, ...] = (),
) -> tuple[Judgement, ...]:
    """Judge every size for vacuity, equivalence and growth, and the last one by the targets.

    Without a size there is nothing to judge, and no judgement.

    Args:
        sizes: The measurements, from the smallest run to the largest.
        targets: The agreed numbers.
        full: The measurement of `bench --full`.
        defined_at: The site of a failed verdict that has none: the definition of the candidate.
        judges_times: Whether targets of absolute times are judged.
        allowances: Tables that the candidate declares to read in chunks.
    """
    if not sizes:
        return ()
    without_rows = [each.run.run_id for each in sizes if not each.run.rows]
    growth = [] if without_rows else _judge_growth(sizes, allowances)
    verdicts = (
        (Topic.VACUITY, _judge_vacuity(sizes)),
        *((Topic.EQUIVALENCE, each.comparison.verdict()) for each in sizes),
        *((Topic.GROWTH, each) for each in growth),
        *_undecided(without_rows),
    )
    judged = (Judgement(topic, located(verdict, defined_at)) for topic, verdict in verdicts)
    if without_rows:
        return tuple(judged)
    on_target = judge_targets(targets, Measurements(sizes[-1], full), judges_times=judges_times)
    # The runs of all sizes begin alike, so that their first differences may be one and the same.
    return tuple(dict.fromkeys((*judged, *(Judgement(Topic.TARGETS, each) for each in on_target))))


def _undecided(run_ids: Sequence[str]) -> Iterator[tuple[Topic, Verdict]]:
    """Yield the verdicts that stand for those on growth and targets, if any run is empty."""
    if not run_ids:
        return
    # In a run without rows every count is small and every export is fast.
    verdict = Verdict(
        "what was measured",
        Outcome.INCONCLUSIVE,
        expected="runs with rows",
        seen=f"runs without rows: {', '.join(run_ids)}",
        next_step=f"runs of at least {LEAST_ROWS} rows",
    )
    yield from ((topic, verdict) for topic in (Topic.GROWTH, Topic.TARGETS))


def located(verdict: Verdict, default: CallSite | None) -> Verdict:
    """Return a failed verdict with the default site, if it has none."""
    return replace(verdict, site=default) if verdict.failed and not verdict.site else verdict


def _of_error(verdict: Verdict, checkout: Path, defined_at: CallSite | None) -> Judgement:
    # Before all others: what follows from an export that ended early is not its cause.
    return Judgement(Topic.VACUITY, located(with_relative_site(verdict, checkout), defined_at))


def _at_size(verdict: Verdict, rows: int) -> Verdict:
    return replace(verdict, seen=f"{verdict.seen} (a run of {rows:,} rows)")


def _measure(
    run: GeneratedRun, task: ExportTask, experiment: Experiment, on_step: OnStep
) -> SizeResult:
    """Measure both exporters on one run, in separate passes for counts, time and memory."""
    control, candidate = experiment.control, experiment.candidate
    of_rows = f"{run.spec.rows:,} rows"
    on_step(f"{of_rows}: counting the queries of both exporters")
    expected = control.observe(task).portable(experiment.checkout)
    found = candidate.observe(task).portable(experiment.checkout)
    on_step(f"{of_rows}: comparing their files")
    comparison = _compare(task, experiment, expected, found)
    on_step(f"{of_rows}: timing {experiment.rounds} rounds of both exporters, in turn")
    # The counting pass has warmed both up, so that no round has to be left out.
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
    exporter: Measured, task: ExportTask, observed: Observation, seconds: tuple[float, ...]
) -> Measurement:
    return Measurement(
        observed,
        Timing(exporter.name, seconds),
        exporter.measure_memory(task),
        exporter.time_first_row(task),
    )


def _compare(
    task: ExportTask, experiment: Experiment, expected: Observation, found: Observation
) -> Comparison:
    # Equal digests of the files that were just written are proof enough. Only where they differ,
    # both export again, record by record, to find the first difference.
    if expected.file.sha256 != found.file.sha256:
        return compare_exports(
            task.db,
            task.run_id,
            control=experiment.control,
            candidate=experiment.candidate,
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


def _judge_vacuity(sizes: Sequence[SizeResult]) -> Verdict:
    # An exporter that does nothing is within every limit, and equal to another such exporter.
    done = [(size.run.rows, each.observation) for size in sizes for each in size.measurements]
    idle = [(rows, each) for rows, each in done if each.is_vacuous]
    return judge(
        "what was measured",
        not idle,
        expected="queries and records from every export",
        seen=f"{len(idle)} of {len(done)} exports did nothing" if idle else "every export did",
        evidence=[
            f"{each.subject}, {rows:,} rows: "
            f"{each.activity.queries} queries, {each.file.records} records"
            for rows, each in idle
        ],
        next_step="does it export the run that it is given, from the database that it is given?",
    )


def _judge_growth(
    sizes: Sequence[SizeResult], allowances: tuple[Allowance, ...] = ()
) -> tuple[Verdict, ...]:
    observed = [size.candidate.observation for size in sizes]
    rows = [size.run.rows for size in sizes]
    found: tuple[Verdict, ...] = ()
    if len(sizes) > 1:
        activities = [each.activity for each in observed]
        report = GrowthReport.of(observed[0].subject, "rows", rows, activities)
        found = judge_growth(report, QueryContract(allowances=allowances))
    if len(sizes) >= _SIZES_OF_GROWTH:
        return found
    # Two sizes can prove a failure. They cannot prove a pass: any two counts are in proportion.
    skipped = Verdict(
        observed[0].subject,
        Outcome.SKIPPED,
        expected=f"the growth of every count over {_SIZES_OF_GROWTH} sizes",
        seen=f"{len(sizes)} of {_SIZES_OF_GROWTH} sizes were measured: "
        f"{', '.join(f'{each:,}' for each in rows)} rows",
        next_step=f"--rows {_LEAST_SPAN * LEAST_ROWS} or more",
    )
    return (*(each for each in found if each.failed), skipped)
