"""`harness selftest`: whether checks catch faulty exporters and pass the correct ones.

The faults are seeded ones by default, and those that mutation operators make with --mutants.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from elspeth.cli.runtime import UsageError
from harness.checks.check import Check
from harness.checks.selftest import (
    SelftestResult,
    SelftestSelection,
    load_correct_exporters,
    load_seeded_faults,
    run_selftest,
)
from harness.cli.console import PostgresqlOption, output_console, progress_bar, steps_bar
from harness.cli.options import AllOption, PartOption, QuickOption, refuse_options, selection_of
from harness.cli.packages import SEARCH_PACKAGES, require_packages
from harness.exporters.failure import BrokenRunnerError
from harness.mutants.report import MutationScore
from harness.mutants.result_file import MutantResult, MutantSelectionError
from harness.mutants.run import MutantSelection, run_mutants
from harness.report.text import OUTCOME_STYLES
from querygrowth.reports import visible
from querygrowth.verdict import Outcome, exit_code, overall_outcome

EXAMPLES = (
    "harness selftest --quick",
    "harness selftest --mutants --sample 20",
)

_WITH_MUTANTS = ("mutants", "every", "designs", "operators", "sample", "shard", "resume")
_WITHOUT_MUTANTS = ("parts", "quick", "every", "postgresql")


def selftest(
    context: typer.Context,
    parts: PartOption = None,
    quick: QuickOption = False,
    every: AllOption = False,
    postgresql: PostgresqlOption = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Check mutants of correct exporters instead.")
    ] = False,
    designs: Annotated[
        list[str] | None,
        typer.Option("--design", metavar="NAME", help="Only mutants of this exporter; repeatable."),
    ] = None,
    operators: Annotated[
        list[str] | None,
        typer.Option(
            "--operator", metavar="NAME", help="Only mutants by this operator; repeatable."
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only N mutants, always the same ones.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only the I-th of N parts of the mutants.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="FILE",
            help="Append results to this file, and run only mutants that it lacks.",
        ),
    ] = None,
) -> int:
    """Check exporters that are faulty on purpose, and correct ones.

    Exit 1 when a fault is missed or caught under another name, or a correct exporter fails or could
    not be judged. With --quick only the first fault of a few checks. With --mutants, --all tries
    everything on what the default checks miss.
    """
    require_packages(SEARCH_PACKAGES)
    if mutants:
        refuse_options(context, _WITH_MUTANTS, "does not go with --mutants")
        chosen = MutantSelection(
            operators=tuple(operators or ()),
            designs=tuple(designs or ()),
            sample=sample,
            shard=_shard(shard),
        )
        return _check_mutants(chosen, every=every, resume=resume)
    refuse_options(context, _WITHOUT_MUTANTS, "chooses mutants: give --mutants as well")
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


def _shard(text: str | None) -> tuple[int, int]:
    """Return the number of a shard and the number of shards."""
    number, _, shards = (text or "1/1").partition("/")
    if not (number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise UsageError(f"--shard {text!r}: not I/N, with I from 1 to N")
    return int(number), int(shards)


def _check_mutants(selection: MutantSelection, *, every: bool, resume: Path | None) -> int:
    """Check mutants, print a result when it is known, and return the exit code by the score."""
    results: list[MutantResult] = []
    totals = [0]
    try:
        with progress_bar("mutants") as progress:
            for each in run_mutants(selection, every=every, resume=resume, on_start=totals.append):
                results.append(each)
                _print_mutant(each)
                progress(len(results), totals[-1])
        score = MutationScore.of(results, datetime.now(UTC).date())
    except (MutantSelectionError, BrokenRunnerError) as error:
        raise UsageError(str(error)) from error
    output_console().print(Text(f"\n{score.headline}"), soft_wrap=True)
    # A sample cannot reach the goal, which is about all mutants. It can only break it.
    return exit_code(score.outcome, strict=False)


def _print_mutant(result: MutantResult) -> None:
    line = Text(f"{result.outcome:<{_OUTCOME_WIDTH}}", style=OUTCOME_STYLES[result.outcome])
    seen = visible(result.line or result.proof or "no check failed")
    cells = (f"{result.check:<{_CHECK_WIDTH}}", f"{result.mutant}: {seen}")
    line.append("  " + "  ".join(cells), style="default")
    output_console().print(line, soft_wrap=True)


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


_OUTCOME_WIDTH = max(len(each.value) for each in Outcome)
_CHECK_WIDTH = max(map(len, Check))
_LABEL_WIDTH = len("fault 999")


def _print_result(result: SelftestResult) -> None:
    verdict = result.verdict
    line = Text(f"{verdict.outcome:<{_OUTCOME_WIDTH}}", style=OUTCOME_STYLES[verdict.outcome])
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
