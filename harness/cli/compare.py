"""`harness compare`: the paired ratio of an exporter's rows/s at two git revisions."""

import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.runtime import UsageError
from elspeth.core.landscape import LandscapeDB
from harness.bench.environment import (
    Checkout,
    checked_out,
    describe_environment,
    working_tree,
)
from harness.bench.experiment import LEAST_ROWS, MAX_ROWS
from harness.bench.paired_ratio import LEAST_ROUNDS, MOST_ROUNDS, Pairing
from harness.bench.race import Race, run_race
from harness.bench.results import Judgement, Results, Topic
from harness.cli.candidate import CandidateOption
from harness.cli.console import OutputOption, output_console, print_results, tell
from harness.cli.packages import REPORT_PACKAGES, require_packages
from harness.exporters.subject import DEFAULT_CANDIDATE
from harness.report import write_reports
from harness.temporary_folder import temporary_folder
from querygrowth.verdict import exit_code

EXAMPLES = (
    "harness compare origin/main",
    "harness compare v1.0 HEAD --rows 2000",
)

MAX_ROUNDS = 96
"""The default limit of rounds: three minutes on a quiet machine."""


def compare(
    base: Annotated[str, typer.Argument(help="The git revision to compare with.")],
    head: Annotated[
        str | None, typer.Argument(help="The revision to judge; default: the working tree.")
    ] = None,
    candidate: CandidateOption = None,
    rows: Annotated[
        int, typer.Option(min=LEAST_ROWS, max=MAX_ROWS, help="Source rows of the run.")
    ] = 500,
    max_rounds: Annotated[
        int,
        typer.Option(
            min=LEAST_ROUNDS, max=MOST_ROUNDS, help="Rounds after which it stays inconclusive."
        ),
    ] = MAX_ROUNDS,
    output: OutputOption = Path("out"),
) -> int:
    """Compare the speed of two revisions.

    Gives the ratio of head's rows/s to base's, with its interval: higher is better.
    Fails when head is surely below 0.95 of base, in wall time or in CPU time, and passes when it is
    surely above 0.90. Measures until one of the two is sure, up to --max-rounds; then it is
    inconclusive, which is exit code 1 as well.
    """
    # First: without them, the reports would fail after minutes of measurement.
    require_packages(REPORT_PACKAGES)
    tree = working_tree(Path.cwd())
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_folder())
        first = stack.enter_context(checked_out(tree, base, directory / "base"))
        second = tree
        if head is not None:
            second = stack.enter_context(checked_out(tree, head, directory / "head"))
        if first.commit == second.commit:
            raise UsageError(f"both revisions are {first.commit[:12]}: there is nothing to compare")
        warn_of_changes(second)
        race = Race(candidate or DEFAULT_CANDIDATE, first, second, sys.executable, rows, max_rounds)
        pairing = run_race(race, directory, _print_rounds)
    # The race's database is gone: an empty one names the same versions of SQLite and the driver.
    with LandscapeDB.in_memory() as db:
        environment = describe_environment(db, tree.directory)
    results = Results(
        environment=environment,
        measured_at=datetime.now(UTC),
        pairing=pairing,
        judgements=(Judgement(Topic.SPEED, pairing.verdict()),),
    )
    print_results(output_console(), results, write_reports(results, output))
    return exit_code(results.outcome)


def warn_of_changes(head: Checkout) -> None:
    """Print a line if the measured files differ from the commit."""
    if head.has_changes:
        tell(f"{head.name}: it has uncommitted changes, which are measured too")


def _print_rounds(pairing: Pairing, limit: int) -> None:
    cpu = f"; CPU time {pairing.cpu.ratio:.3f}, {pairing.cpu.interval}" if pairing.cpu else ""
    wall = f"{pairing.wall.ratio:.3f}, {pairing.wall.interval}"
    tell(f"{pairing.rounds} of at most {limit} rounds: ratio {wall}{cpu}")
