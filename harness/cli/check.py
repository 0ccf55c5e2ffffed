"""`harness check`: everything that is asked of an exporter, and what it costs, in exact counts."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from elspeth.cli.runtime import ExitCode, UsageError, reading_database
from elspeth.core.landscape import LandscapeDB
from harness.checks.formulas import attribute_queries
from harness.checks.run import ALL_PARTS, QUICK_PARTS, Finding, Part, findings, open_ground
from harness.cli.console import CandidateOption, output_console
from harness.compare.exports import SIGNING_KEY, compare_exports, fixed_clock
from harness.exporters.measured import measured
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, load_subject
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.verdict import Outcome
from querygrowth.work import VM_STEPS

_COUNTED = RunSpec.typical(20)
_WORDS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.PASSED: ("fine", "green"),
    Outcome.FAILED: ("FAILED", "bold red"),
    Outcome.INCONCLUSIVE: ("inconclusive", "yellow"),
    Outcome.SKIPPED: ("skipped", "dim"),
}


def check(
    candidate: CandidateOption = DEFAULT_CANDIDATE,
    part: Annotated[
        list[Part] | None,
        typer.Option(help=f"Ask only this; repeatable. Without it: {', '.join(QUICK_PARTS)}."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Ask all parts; takes minutes.")] = False,
    postgresql: Annotated[
        str | None, typer.Option(metavar="URL", help="A server to try PostgreSQL on as well.")
    ] = None,
    max_records: Annotated[
        int | None, typer.Option(min=1, help="Take an export of more records for endless.")
    ] = None,
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="Compare on this database, read-only.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="The run to compare on.")] = None,
) -> int:
    """Compare the candidate with the control, and judge what it asks of the database.

    On generated runs, unless --db and --run name a stored one. Exit 1 when anything is wrong: the
    first line then names it.
    """
    if db is not None and run is not None:
        found = [_compare_on_stored_run(candidate, db, run)]
    elif db is None and run is None:
        parts = part or (ALL_PARTS if every else QUICK_PARTS)
        with open_ground(postgresql=postgresql, max_records=max_records) as ground:
            found = list(findings(load_subject(candidate), ground, parts=parts))
    else:
        raise UsageError("--db and --run go together: a database, and the run in it to compare on")
    failed = [each.verdict for each in found if each.verdict.failed]
    console = output_console()
    for verdict in failed[:1]:
        console.print(Text(f"{verdict}\n"))
    console.print(_table_of(found))
    if db is None:
        console.print(_table_of_costs(candidate))
    return ExitCode.NOT_FINE if failed else ExitCode.FINE


def _compare_on_stored_run(candidate: str, url: str, run_id: str) -> Finding:
    with reading_database(url) as landscape:
        comparison = compare_exports(landscape, run_id, candidate=load_subject(candidate))
        return Finding(Part.RECORDS, landscape.engine.dialect.name, comparison.verdict())


def _table_of(found: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in found:
        word, style = _WORDS[each.verdict.outcome]
        cells = (each.part.value, each.backend, each.verdict.subject, each.verdict.seen)
        table.add_row(Text(word, style=style), *map(Text, cells))
    return table


def _table_of_costs(candidate: str) -> Table:
    """Count one small export of control and candidate, and find their formulas."""
    exporters = {name: measured(name) for name in dict.fromkeys((CONTROL, candidate))}
    table = Table(title=f"\none export of {_COUNTED.rows} rows", title_justify="left", box=None)
    for heading in ("exporter", "queries", "transactions", "fetched rows", "work", "formula"):
        table.add_column(heading, justify="left" if heading in ("exporter", "formula") else "right")
    with tempfile.TemporaryDirectory(prefix="harness-") as temporary:
        directory = Path(temporary)
        formulas = attribute_queries(exporters, directory)
        with LandscapeDB(f"sqlite:///{directory / 'costs.db'}") as db:
            run = generate_run(db, _COUNTED)
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            for name, exporter in exporters.items():
                seen = exporter.observe(task).activity
                steps = seen.work.get(VM_STEPS)
                counts = (seen.queries, seen.transactions, seen.rows_fetched, steps)
                cells = ("-" if count is None else f"{count:,}" for count in counts)
                table.add_row(exporter.name, *cells, str(formulas[name]))
    return table
