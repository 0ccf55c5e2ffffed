"""`harness compare`: the paired ratio of an exporter's rows/s at two git revisions."""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from elspeth.cli.runtime import ExitCode
from elspeth.core.landscape import LandscapeDB
from harness.bench.environment import describe_environment
from harness.bench.experiment import LEAST_ROWS
from harness.bench.paired_ratio import LEAST_ROUNDS, Pairing
from harness.bench.race import Race, both_checkouts, run_race
from harness.bench.results import Judgement, Results, Topic
from harness.bench.revisions import Checkout, working_tree
from harness.cli.console import CandidateOption, OutputOption, output_console, print_results, tell
from harness.cli.extras import REPORT_PACKAGES, require_packages
from harness.exporters.subject import DEFAULT_CANDIDATE
from harness.report import write_reports
from querygrowth.verdict import Outcome

MAX_ROUNDS = 60


def compare(
    base: Annotated[str, typer.Argument(help="The git revision to compare with.")],
    head: Annotated[
        str | None, typer.Argument(help="The revision to judge; default: the working tree.")
    ] = None,
    candidate: CandidateOption = DEFAULT_CANDIDATE,
    rows: Annotated[int, typer.Option(min=LEAST_ROWS, help="Source rows of the run.")] = 500,
    max_rounds: Annotated[
        int,
        typer.Option(min=LEAST_ROUNDS, help="Rounds after which it stays inconclusive."),
    ] = MAX_ROUNDS,
    nightly: Annotated[
        bool, typer.Option("--nightly", help="Exit 1 also when the result is inconclusive.")
    ] = False,
    output: OutputOption = Path("out"),
) -> int:
    """Give the ratio of head's rows/s to base's, with its interval. Higher is better.

    Fails when head is surely below 0.95 of base, passes when it is surely above 0.90.
    """
    require_packages(REPORT_PACKAGES)
    tree = working_tree(Path.cwd())
    with (
        tempfile.TemporaryDirectory(prefix="harness-") as directory,
        both_checkouts(tree, base, head, Path(directory)) as (first, second),
    ):
        warn_of_changes(second)
        race = Race(candidate, first, second, sys.executable, rows, max_rounds)
        pairing = run_race(race, Path(directory), print_rounds)
    with LandscapeDB.in_memory() as db:
        environment = describe_environment(db, tree.directory)
    results = Results(
        environment=environment,
        measured_at=datetime.now(UTC),
        pairing=pairing,
        judgements=(Judgement(Topic.SPEED, pairing.verdict()),),
    )
    print_results(output_console(), results, write_reports(results, output))
    decided_badly = (Outcome.FAILED, Outcome.INCONCLUSIVE) if nightly else (Outcome.FAILED,)
    return ExitCode.FAILED if results.outcome in decided_badly else ExitCode.PASSED


def warn_of_changes(head: Checkout) -> None:
    """Print a line if the measured files are not what is committed."""
    if head.is_dirty:
        tell(f"{head.name}: it has uncommitted changes, which are measured too")


def print_rounds(pairing: Pairing, limit: int) -> None:
    """Print what the rounds so far show."""
    done = len(pairing.base.seconds)
    tell(f"{done} of at most {limit} rounds: ratio {pairing.ratio:.3f}, {pairing.interval}")
