"""`harness selftest`: whether checks catch the seeded faults and pass the correct exporters."""

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from elspeth.cli.runtime import UsageError
from harness.checks.selftest import (
    SelftestResult,
    SelftestSelection,
    load_correct_exporters,
    load_seeded_faults,
    run_selftest,
)
from harness.cli.console import PostgresqlOption, output_console, steps_bar
from harness.cli.options import AllOption, PartOption, QuickOption, selection_of
from harness.report.text import OUTCOME_STYLES
from querygrowth.reports import visible
from querygrowth.verdict import Outcome, exit_code, overall_outcome


def selftest(
    parts: PartOption = None,
    quick: QuickOption = False,
    every: AllOption = False,
    postgresql: PostgresqlOption = None,
) -> int:
    """Check exporters that are faulty on purpose, and correct ones of other designs.

    Exit 1 when a fault is missed or caught under another name, or a correct exporter fails or could
    not be judged. With --quick only the first fault of a few checks.
    """
    if quick and postgresql is not None:
        raise UsageError("--quick checks on SQLite only: leave out --postgresql, or --quick")
    selection = _selection(parts or (), quick=quick, every=every)
    results = []
    with steps_bar(len(selection.faults) + len(selection.correct)) as on_step:
        for each in run_selftest(selection, postgresql=postgresql, on_step=on_step):
            # At once: the whole self-test takes minutes.
            _print_result(each)
            results.append(each)
    output_console().print(Text(f"\n{_headline(results)}"), soft_wrap=True)
    return exit_code(overall_outcome(each.verdict.outcome for each in results))


def _selection(parts: Sequence[str], *, quick: bool, every: bool) -> SelftestSelection:
    chosen = selection_of(parts, quick=quick, every=every)
    faults = load_seeded_faults()
    if parts:
        return SelftestSelection.of_parts(
            faults, () if quick else load_correct_exporters(), tuple(parts), chosen.depth
        )
    if quick:
        return SelftestSelection.short(faults)
    return SelftestSelection(faults, load_correct_exporters(), chosen.depth)


_LABEL_WIDTH = len("fault 999")


def _print_result(result: SelftestResult) -> None:
    verdict = result.verdict
    width = max(len(each.value) for each in Outcome)
    line = Text(f"{verdict.outcome:<{width}}", style=OUTCOME_STYLES[verdict.outcome])
    name = result.exporter.rpartition(":")[2]
    cells = (
        f"{result.label:<{_LABEL_WIDTH}}",
        name,
        *([result.check.value] if result.check else []),
        visible(": ".join((verdict.seen, *verdict.evidence))),
    )
    line.append("  " + "  ".join(cells), style="default")
    output_console().print(line, soft_wrap=True)


def _headline(results: Sequence[SelftestResult]) -> str:
    skipped = Counter(
        each.verdict.seen for each in results if each.verdict.outcome is Outcome.SKIPPED
    )
    judged = [each for each in results if each.verdict.outcome is not Outcome.SKIPPED]
    faulty = [each.verdict for each in judged if each.fault is not None]
    correct = [each.verdict for each in judged if each.fault is None]
    undecided = sum(each.outcome is Outcome.INCONCLUSIVE for each in correct)
    reasons = "; ".join(f"{number}: {reason}" for reason, number in skipped.items())
    return ", ".join(
        (
            f"caught {sum(each.passed for each in faulty)}/{len(faulty)} with the right name",
            f"false alarms {sum(each.failed for each in correct)}/{len(correct)}",
            *([f"inconclusive {undecided}"] if undecided else []),
            f"skipped {skipped.total()}" + (f" ({reasons})" if reasons else ""),
        )
    )
