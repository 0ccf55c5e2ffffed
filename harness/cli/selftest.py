"""`harness selftest`: whether checks catch the seeded faults and pass the correct exporters."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from elspeth.cli.runtime import ExitCode, UsageError
from harness.checks.selftest import (
    SelftestResult,
    SelftestSelection,
    load_correct_exporters,
    load_seeded_faults,
    run_selftest,
)
from harness.cli.console import PostgresqlOption, output_console, tell
from harness.report.text import OUTCOME_STYLES
from querygrowth.verdict import Outcome


def selftest(
    short: Annotated[
        bool, typer.Option("--short", help="Only the first fault of every quick check.")
    ] = False,
    postgresql: PostgresqlOption = None,
) -> int:
    """Check exporters that are faulty on purpose, and correct ones of other designs.

    Exit 1 when a fault is missed or caught under another name, or a correct exporter fails.
    """
    if short and postgresql is not None:
        raise UsageError("--short checks on SQLite only: leave out --postgresql, or --short")
    faults = load_seeded_faults()
    selection = (
        SelftestSelection.short(faults)
        if short
        else SelftestSelection(faults, load_correct_exporters())
    )
    results = []
    for each in run_selftest(selection.faults, selection.correct, postgresql=postgresql):
        # At once: the whole self-test takes minutes.
        tell(f"{each.label} {each.exporter}: {each.verdict.outcome}")
        results.append(each)
    output_console().print(_table(results))
    output_console().print(Text(f"\n{_summary(results)}"))
    failed = any(each.verdict.failed for each in results)
    return ExitCode.FAILED if failed else ExitCode.PASSED


def _table(results: Sequence[SelftestResult]) -> Table:
    table = Table("outcome", "", "exporter", "check", "seen", box=None, pad_edge=False)
    for each in results:
        verdict = each.verdict
        outcome = Text(verdict.outcome.value, style=OUTCOME_STYLES[verdict.outcome])
        seen = Text(": ".join((verdict.seen, *verdict.evidence)))
        name = each.exporter.rpartition(":")[2]
        table.add_row(outcome, each.label, name, each.check or "", seen)
    return table


def _summary(results: Sequence[SelftestResult]) -> str:
    judged = [each for each in results if each.verdict.outcome is not Outcome.SKIPPED]
    faulty = [each.verdict for each in judged if each.fault is not None]
    correct = [each.verdict for each in judged if each.fault is None]
    return (
        f"caught {sum(each.passed for each in faulty)}/{len(faulty)} with the right name, "
        f"false alarms {sum(each.failed for each in correct)}/{len(correct)}, "
        f"skipped {len(results) - len(judged)}"
    )
