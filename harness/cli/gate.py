"""`harness gate`: whether a change to an exporter may pass, by exact counts and paired ratios."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.runtime import UsageError
from harness.bench.baseline import DEFAULT_BASELINE, load_baseline
from harness.bench.environment import changed_files, checked_out, working_tree
from harness.bench.experiment import (
    LEAST_ROWS,
    MAX_ROWS,
    Experiment,
    not_measured,
    sizes_up_to,
)
from harness.bench.race import Race
from harness.bench.result_file import load_results
from harness.bench.results import Results
from harness.bench.targets import DEFAULT_TARGETS, load_targets
from harness.checks.selftest import (
    SelftestSelection,
    load_correct_exporters,
    load_seeded_faults,
)
from harness.cli.candidate import (
    Candidate,
    CandidateOption,
    ConfigOption,
    ControlOption,
    DatabaseOption,
    PythonOption,
    SrcOption,
    chosen_candidate,
    declared_costs,
    saved_configuration,
)
from harness.cli.compare import MAX_ROUNDS, warn_of_changes
from harness.cli.console import (
    PACKAGED,
    OutputOption,
    output_console,
    print_results,
    steps_bar,
    tell,
    warn_if_undecided,
)
from harness.cli.options import (
    AllOption,
    BytesPerRecordOption,
    ChunkedOption,
    LimitOption,
    PartOption,
    QuickOption,
    RowsPerRecordOption,
    TransactionsOption,
    WorkerProcessesOption,
    limits_of,
    refuse_options,
    selection_of,
)
from harness.cli.packages import REPORT_PACKAGES, SEARCH_PACKAGES, require_packages
from harness.exporters.measured import interpreter_of, measured
from harness.exporters.subject import CONTROL, ImportFailedError
from harness.gate import Gate, completed, decide, run_gate
from harness.generate.spec import RunSpec
from harness.report import write_reports
from harness.report.text import render_annotations
from harness.temporary_folder import temporary_folder

EXAMPLES = (
    "harness gate --base origin/main",
    "harness gate --results out/results.json",
)

_RACED_ROWS = 500
# A change of these may break the checks, so that all exporters of the self-test are tried.
_OF_THE_HARNESS = ("harness/", "fixtures/", "src/querygrowth/")


_BESIDE_RESULTS = ("saved", "nightly", "output", "docs_url")
# Saved results are judged already, and only these options still change the decision.


def gate(
    context: typer.Context,
    candidate: CandidateOption = None,
    base: Annotated[
        str | None, typer.Option(help="The git revision whose speed must be kept.")
    ] = None,
    rows: Annotated[
        int, typer.Option(min=LEAST_ROWS, max=MAX_ROWS, help="Source rows of the largest run.")
    ] = 2000,
    src: SrcOption = None,
    python: PythonOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    control: ControlOption = False,
    parts: PartOption = None,
    quick: QuickOption = False,
    every: AllOption = False,
    chunked: ChunkedOption = None,
    transactions: TransactionsOption = None,
    rows_per_record: RowsPerRecordOption = None,
    bytes_per_record: BytesPerRecordOption = None,
    worker_processes: WorkerProcessesOption = False,
    limit: LimitOption = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            show_default=f"{PACKAGED}, and none with --src, --python or --database",
            help="The accepted exact counts.",
        ),
    ] = None,
    targets: Annotated[
        Path, typer.Option(show_default=PACKAGED, help="The agreed targets.")
    ] = DEFAULT_TARGETS,
    nightly: Annotated[
        bool,
        typer.Option("--nightly", help="Run all checks, and fail on an inconclusive result."),
    ] = False,
    saved: Annotated[
        Path | None,
        typer.Option("--results", help="Decide about saved results; measure nothing."),
    ] = None,
    docs_url: Annotated[
        str,
        typer.Option(
            "--docs-url",
            metavar="URL",
            help="The address of the folder of this documentation, for links in SARIF.",
        ),
    ] = "",
    output: OutputOption = Path("out"),
) -> int:
    """Judge a change by its bytes, its exact counts and its speed.

    The topics are equivalence, growth, baseline, targets, and the harness itself. Exit 0 passes,
    1 fails, and 2 could not judge.
    With --base the speed is judged too: both revisions are timed in turn. Writes results.json,
    report.html, report.md and report.sarif. Under GitHub Actions it annotates the lines of
    failures.
    """
    require_packages((*SEARCH_PACKAGES, *REPORT_PACKAGES))
    if docs_url and not docs_url.startswith(("https://", "http://")):
        raise UsageError(
            f"--docs-url: {docs_url!r} is not an address: it has to start with https:// or http://"
        )
    if saved is not None:
        refuse_options(
            context,
            _BESIDE_RESULTS,
            "does not go with --results: saved results are judged already",
        )
        results = completed(load_results(saved))
    else:
        if nightly and quick:
            raise UsageError("--quick and --nightly contradict each other: leave one of them out")
        saved_options = saved_configuration(config, src)
        declared = declared_costs(
            saved_options,
            chunked=chunked,
            transactions=transactions,
            rows_per_record=rows_per_record,
            bytes_per_record=bytes_per_record,
            worker_processes=worker_processes,
        )
        chosen = chosen_candidate(
            saved_options,
            candidate=candidate,
            src=src,
            python=python,
            database=database,
            declared=declared,
            limit=limit,
            control=control,
        )
        try:
            exporter = chosen.measured()
        except ImportFailedError as error:
            results = not_measured(error.verdict, chosen.sources)
            return _conclude(results, output, docs_url, nightly=nightly)
        experiment = Experiment(
            specs=tuple(RunSpec.typical(size) for size in sizes_up_to(rows)),
            control=measured(CONTROL),
            candidate=exporter,
            targets=load_targets(targets),
            # Between two jobs times differ by a quarter: a gate that judged them would fail at
            # random. `harness bench` judges them, where somebody looks after the machine.
            judges_times=False,
            allowances=declared.allowances,
            sources=chosen.sources,
        )
        # All inputs are read before the first measurement: a typo must not cost minutes.
        accepted = None
        if baseline is not None or not chosen.is_foreign:
            accepted = load_baseline(baseline or DEFAULT_BASELINE)
        selftest = _selection(base, nightly=nightly, folder=chosen.src)
        selection = selection_of(parts, quick=quick, every=every or nightly)
        with (
            temporary_folder() as directory,
            _race(chosen, base, directory) as race,
        ):
            planned = Gate(
                experiment, accepted, selftest, selection, race, declared, limits_of(limit)
            )
            with steps_bar(planned.steps) as on_step:
                results = run_gate(planned, directory, on_step)
    return _conclude(results, output, docs_url, nightly=nightly)


def _conclude(results: Results, output: Path, docs_url: str, *, nightly: bool) -> int:
    """Write the reports, print the results, and return the exit code."""
    print_results(output_console(), results, write_reports(results, output, docs_url=docs_url))
    # After the results, whose text was printed while GitHub's commands were stopped.
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in render_annotations(results):
            typer.echo(line)
    if not nightly:
        warn_if_undecided(results)
    return decide(results, nightly=nightly)


def _selection(base: str | None, *, nightly: bool, folder: Path | None = None) -> SelftestSelection:
    """Select the self-test: all exporters if the change touches the harness, otherwise a few."""
    faults = load_seeded_faults()
    changed = changed_files(working_tree(folder or Path.cwd()), base) if base else ()
    if nightly or any(file.startswith(_OF_THE_HARNESS) for file in changed):
        return SelftestSelection(faults, load_correct_exporters())
    return SelftestSelection.short(faults)


@contextmanager
def _race(candidate: Candidate, base: str | None, directory: Path) -> Iterator[Race | None]:
    """Check the base out, if one is named, to time the working tree against it."""
    if base is None:
        yield None
        return
    tree = working_tree(candidate.src or Path.cwd())
    # The base is checked out elsewhere. The working tree is measured in place, with its changes.
    with checked_out(tree, base, directory / "base") as first:
        if first.commit == tree.commit:
            # As on the branch that others are compared with. All that is exact is judged there.
            tell(f"--base {base} is the commit that is judged: its speed is compared with no other")
            yield None
            return
        warn_of_changes(tree)
        src = candidate.src and candidate.src.resolve().relative_to(tree.directory.resolve())
        python = interpreter_of(candidate.python or sys.executable)
        yield Race(
            candidate.reference,
            first,
            tree,
            python,
            _RACED_ROWS,
            MAX_ROUNDS,
            src=src,
            database=candidate.database,
        )
