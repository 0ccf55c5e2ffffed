"""`harness bench`: measure both exporters on generated runs, and judge the candidate."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.bench.experiment import (
    LEAST_ROWS,
    MAX_ROWS,
    Experiment,
    not_measured,
    run_experiment,
    sizes_up_to,
)
from harness.bench.results import Results, Topic
from harness.bench.targets import DEFAULT_TARGETS, load_targets
from harness.checks.formulas import formulas_of
from harness.cli.candidate import (
    CandidateOption,
    ConfigOption,
    ControlOption,
    DatabaseOption,
    PythonOption,
    SrcOption,
    chosen_candidate,
    saved_configuration,
)
from harness.cli.console import (
    PACKAGED,
    OutputOption,
    output_console,
    print_results,
    steps_bar,
    warn_if_undecided,
)
from harness.cli.packages import REPORT_PACKAGES, require_packages
from harness.exporters.measured import measured
from harness.exporters.subject import CONTROL, ImportFailedError
from harness.generate.spec import RunSpec
from harness.report import write_reports
from harness.temporary_folder import temporary_folder
from querygrowth.verdict import exit_code

EXAMPLES = (
    "harness bench",
    "harness bench --rows 500 --rounds 5 --output out",
    "harness bench --candidate mine.exporter:Exporter",
)

MAX_ROUNDS = 1000


def bench(
    rows: Annotated[
        int, typer.Option(min=LEAST_ROWS, max=MAX_ROWS, help="Source rows of the largest run.")
    ] = 2000,
    rounds: Annotated[
        int, typer.Option(min=1, max=MAX_ROUNDS, help="Timed rounds of each exporter.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the runs.")] = 0,
    candidate: CandidateOption = None,
    src: SrcOption = None,
    python: PythonOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    control: ControlOption = False,
    targets: Annotated[
        Path, typer.Option(show_default=PACKAGED, help="The agreed targets.")
    ] = DEFAULT_TARGETS,
    output: OutputOption = Path("out"),
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Measure other designs, PostgreSQL and 50 times these rows as well: 15 minutes.",
        ),
    ] = False,
) -> int:
    """Count, compare and time both exporters on generated runs.

    Judges the bytes, the growth of queries and the agreed targets.
    Writes results.json, report.html, report.md and report.sarif into the output folder. Exit 1
    when a verdict failed: other bytes, queries that grow, or a target that is not reached.
    """
    # First: without them, the reports would fail after minutes of measurement.
    require_packages(REPORT_PACKAGES)
    saved = saved_configuration(config, src)
    chosen = chosen_candidate(
        saved, candidate=candidate, src=src, python=python, database=database, control=control
    )
    try:
        exporter = chosen.measured()
    except ImportFailedError as error:
        return _conclude(not_measured(error.verdict, chosen.sources), output)
    experiment = Experiment(
        specs=tuple(RunSpec.typical(size, seed=seed) for size in sizes_up_to(rows)),
        control=measured(CONTROL),
        candidate=exporter,
        targets=load_targets(targets),
        rounds=rounds,
        full=full,
        allowances=chosen.declared.allowances,
        sources=chosen.sources,
    )
    with (
        temporary_folder() as directory,
        steps_bar(experiment.steps) as on_step,
    ):
        results = run_experiment(experiment, directory, on_step)
        if any(each.topic is Topic.GROWTH for each in results.failures):
            # A growing count says along which axis, and its formula along all of them.
            results = replace(results, formulas=formulas_of([experiment.candidate], directory))
    return _conclude(results, output)


def _conclude(results: Results, output: Path) -> int:
    """Write the reports, print the results, and return the exit code."""
    written = write_reports(results, output)
    print_results(output_console(), results, written)
    warn_if_undecided(results)
    # A number that could not be decided is shown, and does not stop a build.
    return exit_code(results.outcome, strict=False)
