"""`harness selftest`: every seeded fault caught by its name, and no correct exporter accused."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from elspeth.cli.runtime import ExitCode
from harness.checks.selftest import (
    Result,
    Tried,
    load_correct_exporters,
    load_seeded_faults,
    run_selftest,
)
from harness.cli.console import output_console, tell
from harness.gate import SelftestSelection


def selftest(
    short: Annotated[
        bool, typer.Option("--short", help="Only the first fault of each of the quick parts.")
    ] = False,
    postgresql: Annotated[
        str | None, typer.Option(metavar="URL", help="A server for faults that only show there.")
    ] = None,
) -> int:
    """Check exporters that are broken on purpose, and correct ones of other designs.

    Exit 1 when a fault is missed or caught by another name, or a correct exporter is accused.
    """
    faults = load_seeded_faults()
    selection = (
        SelftestSelection.short(faults)
        if short
        else SelftestSelection(faults, load_correct_exporters())
    )
    tried = []
    for each in run_selftest(selection.faults, selection.correct, postgresql=postgresql):
        tell(f"{each.label} {each.exporter}: {each.result.value}")
        tried.append(each)
    output_console().print(_table_of(tried))
    output_console().print(Text(f"\n{_summary(tried)}"))
    return ExitCode.NOT_FINE if any(each.failed for each in tried) else ExitCode.FINE


def _table_of(tried: Sequence[Tried]) -> Table:
    table = Table("fault", "exporter", "result", "part", "said", box=None, pad_edge=False)
    for each in tried:
        style = "bold red" if each.failed else "green" if each.is_fine else "dim"
        name = each.exporter.rpartition(":")[2]
        result = Text(each.result.value, style=style)
        table.add_row(each.label, name, result, each.part, Text(each.words))
    return table


def _summary(tried: Sequence[Tried]) -> str:
    counts = {result: sum(each.result is result for each in tried) for result in Result}
    seeded = counts[Result.CAUGHT] + counts[Result.MISSED] + counts[Result.MISNAMED]
    correct = counts[Result.SILENT] + counts[Result.FALSE_ALARM]
    return (
        f"caught {counts[Result.CAUGHT]}/{seeded} with the right name, "
        f"false alarms {counts[Result.FALSE_ALARM]}/{correct}, "
        f"skipped {counts[Result.SKIPPED]}"
    )
