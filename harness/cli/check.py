"""`harness check`: run the checks on an exporter, and count what one export costs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from elspeth.cli.databases import reading_database
from elspeth.cli.run_choice import chosen_run
from elspeth.cli.runtime import UsageError
from elspeth.core.landscape import LandscapeDB, runs_table
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.database import NotALandscapeDatabaseError, SchemaMismatchError
from harness.bench.causes import Failure, group_by_cause
from harness.bench.results import Judgement
from harness.checks.check import Check, CheckVerdict
from harness.checks.formulas import attribute_queries
from harness.checks.gravity import and_following, by_gravity, headline, is_about_cost
from harness.checks.selection import run_selection
from harness.checks.setup import prepare_checks
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
from harness.cli.console import PostgresqlOption, output_console, steps_bar
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
from harness.cli.packages import SEARCH_PACKAGES, require_packages
from harness.compare.capture import MAX_RECORDS
from harness.compare.exports import SIGNING_KEY, compare_exports, fixed_clock
from harness.exporters.measured import ExportFailedError, Measured, measured
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, ImportFailedError
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.report.text import OUTCOME_STYLES
from harness.temporary_folder import temporary_folder
from querygrowth.counting.activity import Activity
from querygrowth.counting.work import VM_STEPS
from querygrowth.reports import visible, visible_verdict
from querygrowth.verdict import Outcome, exit_code, overall_outcome

EXAMPLES = (
    "harness check",
    "harness check --quick --fail-fast",
    "harness check --candidate mine.exporter:Exporter",
    "harness check --db sqlite:///audit.db --run latest",
)

_COUNTED = RunSpec.typical(20)
# Small: the formulas give the queries of a run of any other size.

_CONTROL_KEY = "the control"

_STORED_RUN_SECONDS = 3600.0
# Long, as a stored run can be of any size.

_WITH_STORED_RUN = (
    *("candidate", "src", "python", "database", "config", "control"),
    *("db", "run", "max_records", "limit"),
)


def check(
    context: typer.Context,
    candidate: CandidateOption = None,
    src: SrcOption = None,
    python: PythonOption = None,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    control: ControlOption = False,
    parts: PartOption = None,
    quick: QuickOption = False,
    every: AllOption = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failed verdict.")
    ] = False,
    postgresql: PostgresqlOption = None,
    max_records: Annotated[
        int | None, typer.Option(min=1, help="Stop an export with more records as endless.")
    ] = None,
    chunked: ChunkedOption = None,
    transactions: TransactionsOption = None,
    rows_per_record: RowsPerRecordOption = None,
    bytes_per_record: BytesPerRecordOption = None,
    worker_processes: WorkerProcessesOption = False,
    limit: LimitOption = None,
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="Compare on this database, read-only.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID|latest", help="The run to compare on.")
    ] = None,
) -> int:
    """Compare the candidate with the control, and judge its costs.

    On generated runs, unless --db and --run name a stored one. Prints every verdict when it is
    found, and the gravest failure last. Exit 1 when a check failed, or was asked for and could not
    judge.
    """
    if (db is None) != (run is None):
        raise UsageError("--db and --run go together: a database, and the run in it to compare on")
    if db is not None and run is not None:
        # They choose and limit checks on generated runs, and would be ignored.
        refuse_options(
            context, _WITH_STORED_RUN, "is for generated runs: leave it out with --db and --run"
        )
        saved = saved_configuration(config, src)
        chosen = chosen_candidate(
            saved,
            candidate=candidate,
            src=src,
            python=python,
            database=database,
            limit=limit,
            control=control,
        )
        try:
            compared = _compare_on_stored_run(chosen, db, run, max_records, limit)
        except ImportFailedError as error:
            compared = CheckVerdict(Check.RECORDS, "", error.verdict)
        _print_verdict(compared)
        return _conclude([compared])
    selection = selection_of(parts, quick=quick, every=every)
    if Check.SEARCH in selection.checks:
        require_packages(SEARCH_PACKAGES)
    saved = saved_configuration(config, src)
    declared = declared_costs(
        saved,
        chunked=chunked,
        transactions=transactions,
        rows_per_record=rows_per_record,
        bytes_per_record=bytes_per_record,
        worker_processes=worker_processes,
    )
    chosen = chosen_candidate(
        saved,
        candidate=candidate,
        src=src,
        python=python,
        database=database,
        declared=declared,
        limit=limit,
        control=control,
    )
    found: list[CheckVerdict] = []
    formula = ""
    counts_costs = Check.QUERIES in selection.checks and not quick
    try:
        with (
            # In its own process: an exporter can end the process, hang, or change it.
            chosen.in_own_process() as subject,
            prepare_checks(postgresql=postgresql, max_records=max_records) as setup,
            steps_bar(len(selection.checks)) as on_step,
        ):
            for each in run_selection(
                subject,
                setup,
                selection,
                declared=declared,
                limits=limits_of(limit),
                on_step=on_step,
            ):
                found.append(each)
                _print_verdict(each)
                if fail_fast and each.verdict.failed:
                    break
            if counts_costs and not (fail_fast and found[-1].verdict.failed):
                costs = _costs_of_both(chosen.reference, subject)
                output_console().print(_cost_table(costs))
                formula = costs.formulas.get(chosen.reference, "")
    except ImportFailedError as error:
        found.append(CheckVerdict(Check.RECORDS, "", error.verdict))
        _print_verdict(found[-1])
    return _conclude(found, formula)


def _compare_on_stored_run(
    candidate: Candidate, url: str, run_id: str, max_records: int | None, limit: float | None
) -> CheckVerdict:
    # Read-only, as the stored run is somebody's evidence: neither exporter may write to it.
    with _stored(url) as landscape, candidate.in_own_process() as exporter:
        # Two exporters that refuse an unknown run alike would pass without an export.
        stored = _existing_run(run_id, landscape)
        try:
            verdict = compare_exports(
                landscape,
                stored,
                candidate=exporter.within(limit or _STORED_RUN_SECONDS),
                max_records=max_records or MAX_RECORDS,
            ).verdict()
            with landscape.connection() as connection:
                is_empty = not count_records(connection, stored)["row"]
            if verdict.passed and is_empty:
                # Nearly any exporter gives the same bytes there.
                seen = f"the run {stored} has no rows, so that little was compared"
                verdict = replace(verdict, outcome=Outcome.INCONCLUSIVE, seen=seen)
        except ExportFailedError as error:
            verdict = error.verdict
        return CheckVerdict(Check.RECORDS, landscape.engine.dialect.name, verdict)


@contextmanager
def _stored(url: str) -> Iterator[LandscapeDB]:
    """Open the database of --db for reading; UsageError if it is no audit trail of this schema."""
    with ExitStack() as stack:
        try:
            landscape = stack.enter_context(reading_database(url))
        except (NotALandscapeDatabaseError, SchemaMismatchError) as error:
            raise UsageError(f"--db: {error}") from error
        except DatabaseError as error:
            if "not a database" not in str(error.orig):
                raise  # A server that does not answer, or a file that cannot be read.
            raise UsageError(f"--db: {url} is not an SQLite database") from error
        yield landscape


def _existing_run(run: str, db: LandscapeDB) -> str:
    """Return the id of the named run; UsageError names the nearest one if there is no such run."""
    with db.connection() as connection:
        stored = connection.execute(select(runs_table.c.run_id)).scalars().all()
    run_id = chosen_run(run, db)
    if not stored:
        raise UsageError(f"{db.masked_url} holds no runs")
    if run_id not in stored:
        nearest = get_close_matches(run_id, map(str, stored), n=1, cutoff=0)[0]
        raise UsageError(
            f"--run: {db.masked_url} has no run {run_id!r}; the nearest is {nearest!r}"
        )
    return run_id


_CHECK_WIDTH = max(map(len, Check))
_OUTCOME_WIDTH = max(len(each.value) for each in Outcome)


def _print_verdict(found: CheckVerdict) -> None:
    """Print a verdict on one line. The columns have fixed widths, as more verdicts follow."""
    # An exporter's error may hold line breaks, and characters that a terminal obeys.
    verdict = visible_verdict(found.verdict)
    line = Text(f"{verdict.outcome:<{_OUTCOME_WIDTH}}", style=OUTCOME_STYLES[verdict.outcome])
    cells = (
        f"{found.check:<{_CHECK_WIDTH}}",
        *([found.backend] if found.backend else []),
        f"{verdict.subject}: {verdict.seen}",
    )
    line.append("  " + "  ".join(cells), style="default")
    output_console().print(line, soft_wrap=True)


def _conclude(found: Sequence[CheckVerdict], formula: str = "") -> int:
    """Print the gravest failure, the others by their causes and the headline; return the exit code.

    One cause gives one failure, as in the results of `bench` and `gate`.
    """
    console = output_console()
    ordered = sorted(found, key=by_gravity)
    failures = group_by_cause(
        [
            Judgement.of_check(each.verdict, is_cost=is_about_cost(each))
            for each in ordered
            if each.verdict.failed
        ]
    )
    gravest = failures[0].explained() if failures else ordered[0].verdict
    if gravest.outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE):
        console.print(Text(f"\n{visible_verdict(gravest)}"), soft_wrap=True)
    further = "\n".join(f"also failed: {visible(_further(each))}" for each in failures[1:])
    if further:
        console.print(Text(f"\n{further}"), soft_wrap=True)
    following = sum(len(each.results) for each in failures)
    console.print(Text(f"\n{visible(headline(found, formula, following))}"), soft_wrap=True)
    return exit_code(overall_outcome(each.verdict.outcome for each in found))


def _further(failure: Failure) -> str:
    """Return a cause beside the gravest one on a line, with its place."""
    verdict = failure.cause.verdict
    place = f", at {verdict.site}" if verdict.site else ""
    return f"{verdict.subject}: {verdict.seen}{place}{and_following(len(failure.results))}"


@dataclass(frozen=True)
class _CostsOfBoth:
    """What one small export of control and candidate costs, by module:attribute.

    `cells` holds the figures of the table, or the error that an export ended in.
    """

    names: Mapping[str, str]
    cells: Mapping[str, tuple[str, ...] | str]
    formulas: Mapping[str, str]


def _costs_of_both(reference: str, candidate: Measured) -> _CostsOfBoth:
    """Count one small export of control and candidate, and find the formulas of their queries."""
    # A key apart from the control's: an exporter of another checkout may have the same name.
    exporters = {_CONTROL_KEY: measured(CONTROL), reference: candidate}
    if reference == CONTROL:
        del exporters[_CONTROL_KEY]
    formulas: dict[str, str] = {}
    cells = _costs(exporters, formulas)
    return _CostsOfBoth({key: each.name for key, each in exporters.items()}, cells, formulas)


def _cost_table(costs: _CostsOfBoth) -> Group:
    """Lay the costs out. An exporter that raised is left out, with the reason below the table."""
    table = Table(title=f"\none export of {_COUNTED.rows} rows", title_justify="left", box=None)
    for heading in ("exporter", "queries", "transactions", "fetched rows", "work", "formula"):
        table.add_column(heading, justify="left" if heading in ("exporter", "formula") else "right")
    left_out = []
    for key, cells in costs.cells.items():
        if isinstance(cells, str):
            left_out.append(Text(f"{costs.names[key]}: left out: {cells}"))
        else:
            table.add_row(costs.names[key], *cells)
    return Group(table, *left_out)


def _costs(
    exporters: Mapping[str, Measured], formulas: dict[str, str]
) -> dict[str, tuple[str, ...] | str]:
    """Return the cells of every exporter, or the error that its export ended in."""
    with temporary_folder() as temporary:
        try:
            return dict(_costs_together(exporters, temporary, formulas))
        except ExportFailedError as error:  # The checks have reported it.
            if len(exporters) == 1:
                return dict.fromkeys(exporters, error.verdict.seen)
    costs: dict[str, tuple[str, ...] | str] = {}
    for reference, exporter in exporters.items():
        costs |= _costs({reference: exporter}, formulas)
    return costs


def _costs_together(
    exporters: Mapping[str, Measured], directory: Path, formulas: dict[str, str]
) -> Mapping[str, tuple[str, ...]]:
    # Together, because generating the runs takes as long as exporting them.
    found = attribute_queries(exporters, directory)
    formulas |= {key: str(each) for key, each in found.items()}
    with LandscapeDB(f"sqlite:///{directory / 'costs.db'}") as db:
        run = generate_run(db, _COUNTED)
        task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
        return {
            key: (*_counts(exporter.observe(task).activity), formulas[key])
            for key, exporter in exporters.items()
        }


def _counts(seen: Activity) -> Iterator[str]:
    counts = (seen.queries, seen.transactions, seen.rows_fetched, seen.work.get(VM_STEPS))
    return ("-" if count is None else f"{count:,}" for count in counts)
