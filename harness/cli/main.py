"""The `harness` command: generate runs, check an exporter, measure it against the control."""

from typing import NoReturn

import typer

from elspeth.cli.runtime import run_command
from harness.bench.baseline import BaselineError
from harness.bench.results import ResultsError
from harness.bench.revisions import RevisionError
from harness.bench.targets import TargetsError
from harness.checks.golden import GoldenError
from harness.cli.baseline import baseline
from harness.cli.bench import bench
from harness.cli.check import check
from harness.cli.compare import compare
from harness.cli.gate import gate
from harness.cli.generate import generate
from harness.cli.golden import golden
from harness.cli.history import history
from harness.cli.selftest import selftest
from harness.exporters.subject import SubjectError
from harness.generate.spec import ImpossibleSpecError

_USAGE_ERRORS = (
    BaselineError,
    GoldenError,
    ImpossibleSpecError,
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
    golden,
    selftest,
):
    app.command()(command)


@app.callback()
def _subcommands() -> None:
    """Proves that an exporter gives the control's bytes, and what it costs."""


def main() -> NoReturn:
    """Run the `harness` command."""
    run_command(app, "harness", usage_errors=_USAGE_ERRORS)
