"""`harness check`: run the checks on an exporter, and count what one export costs."""

import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text
from sqlalchemy import select

from elspeth.cli.export import chosen_run
from elspeth.cli.runtime import ExitCode, UsageError, reading_database
from elspeth.core.landscape import LandscapeDB, runs_table
from harness.checks.formulas import attribute_queries
from harness.checks.run import (
    ALL_CHECKS,
    QUICK_CHECKS,
    Check,
    CheckVerdict,
    prepare_checks,
    run_checks,
)
from harness.cli.console import CandidateOption, PostgresqlOption, output_console
from harness.compare.capture import MAX_RECORDS
from harness.compare.exports import SIGNING_KEY, compare_exports, fixed_clock
from harness.exporters.measured import ExportFailedError, Measured, measured
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, load_subject
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.report.text import OUTCOME_STYLES
from querygrowth.work import VM_STEPS

_COUNTED = RunSpec.typical(20)
# Small: the formulas give the queries of a run of any other size.


def check(
    candidate: CandidateOption = DEFAULT_CANDIDATE,
    checks: Annotated[
        list[Check] | None,
        typer.Option(
            "--check",
            "--part",
            help=f"Run only this check; repeatable. Without it: {', '.join(QUICK_CHECKS)}.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Run all checks; takes minutes.")] = False,
    postgresql: PostgresqlOption = None,
    max_records: Annotated[
        int | None, typer.Option(min=1, help="Stop an export with more records as endless.")
    ] = None,
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="Compare on this database, read-only.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID|latest", help="The run to compare on.")
    ] = None,
) -> int:
    """Compare the candidate with the control, and judge its costs on the database.

    On generated runs, unless --db and --run name a stored one. Exit 1 when a check failed; the
    first failure then comes first.
    """
    if every and checks:
        raise UsageError("--all runs every check: leave out --check, or --all")
    if db is not None and run is not None:
        # They choose and limit checks on generated runs, and would be ignored.
        ignored = {"--check": checks, "--all": every, "--postgresql": postgresql}
        for option in (name for name, value in ignored.items() if value):
            raise UsageError(f"{option} is for generated runs: leave it out with --db and --run")
        found = [_compare_on_stored_run(candidate, db, run, max_records)]
    elif db is None and run is None:
        selected = checks or (ALL_CHECKS if every else QUICK_CHECKS)
        with prepare_checks(postgresql=postgresql, max_records=max_records) as setup:
            found = list(run_checks(load_subject(candidate), setup, checks=selected))
    else:
        raise UsageError("--db and --run go together: a database, and the run in it to compare on")
    failed = [each.verdict for each in found if each.verdict.failed]
    console = output_console()
    # One cause can fail several checks. Their order makes the first failure the one to read.
    for verdict in failed[:1]:
        console.print(Text(f"{verdict}\n"))
    console.print(_verdict_table(found))
    if db is None:
        console.print(_cost_table(candidate))
    return ExitCode.FAILED if failed else ExitCode.PASSED


def _compare_on_stored_run(
    candidate: str, url: str, run_id: str, max_records: int | None
) -> CheckVerdict:
    # Read-only, as the stored run is somebody's evidence: neither exporter may write to it.
    with reading_database(url) as landscape:
        # Two exporters that refuse an unknown run alike would pass without an export.
        stored = _existing_run(run_id, landscape)
        comparison = compare_exports(
            landscape,
            stored,
            candidate=load_subject(candidate),
            max_records=max_records or MAX_RECORDS,
        )
        return CheckVerdict(Check.RECORDS, landscape.engine.dialect.name, comparison.verdict())


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


def _verdict_table(found: Sequence[CheckVerdict]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in found:
        verdict = each.verdict
        outcome = Text(verdict.outcome.value, style=OUTCOME_STYLES[verdict.outcome])
        cells = (each.check.value, each.backend, verdict.subject, verdict.seen)
        table.add_row(outcome, *map(Text, cells))
    return table


def _cost_table(candidate: str) -> Group:
    """Count one small export of control and candidate, and find the formulas of their queries.

    The row of an exporter that raises is left out, with the reason below the table.
    """
    # One entry where the candidate is the control.
    exporters = [measured(name) for name in dict.fromkeys((CONTROL, candidate))]
    table = Table(title=f"\none export of {_COUNTED.rows} rows", title_justify="left", box=None)
    for heading in ("exporter", "queries", "transactions", "fetched rows", "work", "formula"):
        table.add_column(heading, justify="left" if heading in ("exporter", "formula") else "right")
    left_out = []
    for exporter in exporters:
        with tempfile.TemporaryDirectory(prefix="harness-") as temporary:
            try:
                table.add_row(*_cost_cells(exporter, Path(temporary)))
            except ExportFailedError as error:  # The checks have reported it.
                left_out.append(f"{exporter.name}: left out: {error.verdict.seen}")
    return Group(table, *map(Text, left_out))


def _cost_cells(exporter: Measured, directory: Path) -> tuple[str, ...]:
    formulas = attribute_queries({exporter.name: exporter}, directory)
    with LandscapeDB(f"sqlite:///{directory / 'costs.db'}") as db:
        run = generate_run(db, _COUNTED)
        task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
        seen = exporter.observe(task).activity
    counts = (seen.queries, seen.transactions, seen.rows_fetched, seen.work.get(VM_STEPS))
    cells = ("-" if count is None else f"{count:,}" for count in counts)
    return (exporter.name, *cells, str(formulas[exporter.name]))
