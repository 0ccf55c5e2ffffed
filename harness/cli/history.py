"""`harness history`: the trend of earlier results on one machine, with changes marked."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from elspeth.cli.runtime import ExitCode, UsageError
from harness.bench.result_file import (
    Entry,
    append_entry,
    comparable,
    entry_of,
    load_history,
    load_results,
)
from harness.bench.results import ResultsError
from harness.cli.console import output_console
from harness.cli.packages import REPORT_PACKAGES, require_packages
from harness.report import write_reports

EXAMPLES = ("harness history --add out/results.json --output out",)

_BAR_LENGTH = 40


def history(
    file: Annotated[Path, typer.Option(help="The file of earlier results, one a line.")] = Path(
        "out/history.jsonl"
    ),
    add: Annotated[
        Path | None, typer.Option(metavar="RESULTS", help="Results to add first.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="With --add: render the page again, with the trend."),
    ] = None,
) -> int:
    """Print and plot how the speed-up changed from result to result.

    Of the newest result's machine and size. Marks where it changed.
    """
    if output is not None:
        require_packages(REPORT_PACKAGES)
        if add is None:
            raise UsageError("--output renders the page of added results: name them with --add")
    if add is not None:
        append_entry(file, entry_of(load_results(add)))
    entries = load_history(file)
    if not entries:
        raise ResultsError(f"{file} holds no results yet: add some with --add")
    # Results of another machine or size have another level, and would look like a change.
    shown = comparable(entries, entries[-1])
    # After the entry was added, so that the page's trend ends with these results.
    if add is not None and output is not None:
        write_reports(load_results(add), output, history=shown)
    console = output_console()
    console.print(Text(f"{shown[-1].machine}, {shown[-1].rows:,} rows"))
    console.print(_table(shown))
    return ExitCode.PASSED


def _table(entries: tuple[Entry, ...]) -> Table:
    table = Table(
        *("when", "revision", "records/s", "rows/s", "times control", "", ""),
        box=None,
        pad_edge=False,
    )
    most = max(each.speed_up for each in entries)
    for each in entries:
        table.add_row(
            f"{each.measured_at:%Y-%m-%d %H:%M}",
            Text(each.commit[:12]),
            f"{each.records_per_second:,.0f}",
            f"{each.rows_per_second:,.0f}" if each.rows_per_second else "unknown",
            f"{each.speed_up:.1f}",
            "█" * round(_BAR_LENGTH * each.speed_up / most),
            "changed here" if each.changed else "",
        )
    return table
