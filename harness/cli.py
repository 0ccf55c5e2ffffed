"""The `harness` command: generate runs, check an exporter, measure it against the control."""

from typing import NoReturn

import typer

from elspeth.command import run_command
from harness.baseline import BaselineError
from harness.commands.baseline import baseline
from harness.commands.bench import bench
from harness.commands.cache import cache
from harness.commands.check import check
from harness.commands.compare import compare
from harness.commands.coverage import coverage
from harness.commands.gate import gate
from harness.commands.generate import generate
from harness.commands.golden import golden
from harness.commands.history import history
from harness.commands.selftest import selftest
from harness.measurement.revisions import RevisionError
from harness.profiles import ProfileError
from harness.results import ResultsError
from harness.spec import ImpossibleSpecError
from harness.subject import SubjectError
from harness.targets import TargetsError
from harness.trials.golden import GoldenError

_USAGE_ERRORS = (
    BaselineError,
    GoldenError,
    ImpossibleSpecError,
    ProfileError,
    ResultsError,
    RevisionError,
    SubjectError,
    TargetsError,
)

app = typer.Typer(
    help="Proves that an exporter gives the control's bytes, and what it costs.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    bench,
    check,
    compare,
    gate,
    baseline,
    history,
    generate,
    coverage,
    golden,
    selftest,
):
    app.command()(command)
app.add_typer(cache, name="cache")


@app.callback()
def _subcommands() -> None:
    """Proves that an exporter gives the control's bytes, and what it costs."""


def main() -> NoReturn:
    """Run the `harness` command."""
    run_command(app, "harness", usage_errors=_USAGE_ERRORS)
