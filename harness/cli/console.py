"""Shared by the commands: options, results, progress, and the packages of the extra `harness`.

Results go to standard output. Progress goes to standard error: a bar on a terminal, and lines
elsewhere.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from elspeth.cli.runtime import OutputConsole, UsageError
from harness.bench.results import Results
from harness.report import Written
from harness.report.text import render_failures, render_results
from querygrowth.reports import commands_stopped

EXTRA_PACKAGES = frozenset({"faker", "hypothesis", "jinja2", "markupsafe", "matplotlib", "pytest"})
"""The import names of the extra's packages."""
# `harness --help` must work without them: only modules of commands import them, not `main`.

REPORT_PACKAGES = ("jinja2", "markupsafe", "matplotlib")
"""The packages that the report page is made with."""

CandidateOption = Annotated[
    str, typer.Option("--candidate", metavar="MODULE:ATTRIBUTE", help="The exporter on trial.")
]
SrcOption = Annotated[
    Path | None,
    typer.Option("--src", help="Import the candidate from this directory, in its own process."),
]
PythonOption = Annotated[
    str | None,
    typer.Option("--python", help="Run the candidate with this interpreter, in its own process."),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output", file_okay=False, help="The folder that results and reports are written into."
    ),
]

_PIPED_WIDTH = 180


def require_packages(names: tuple[str, ...]) -> None:
    """Refuse to start when a package is not installed, before minutes of measurement.

    Raises:
        UsageError: Names the package and how to install it.
    """
    for name in names:
        try:
            found = find_spec(name)
        except ImportError:
            found = None
        if found is None:
            raise missing_package(name)


def missing_package(name: str) -> UsageError:
    """Return the error about a package of the extra that is not installed."""
    return UsageError(f"{name} is not installed: pip install 'elspeth-landscape[harness]'")


def output_console() -> Console:
    """Return a console on standard output."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    # Rich would assume 80 columns, and cut the rows of tables that a file or a pipe receives.
    return OutputConsole(highlight=False, width=_PIPED_WIDTH)


def print_results(console: Console, results: Results, written: Written) -> None:
    """Print figures and verdicts, the written files, and at the end the failures and the result."""
    # On GitHub a line that begins with `::` is a command to the runner. Names in the results come
    # from the user's code, so commands are stopped while they are printed.
    with commands_stopped(os.environ, partial(console.print, markup=False, soft_wrap=True)):
        console.print(render_results(results))
        console.print()
        for line in written.lines:
            console.print(line, soft_wrap=True, markup=False)
        console.print(render_failures(results))


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, rate and remaining time, if standard error is a terminal.

    Yields a function that takes the number of finished items, and the total.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell(step: str) -> None:
    """Print a line of progress: the name of a step before it starts."""
    Console(stderr=True, highlight=False).print(f"... {step}", style="dim")


@contextmanager
def steps_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show the current one of `total` steps, and the remaining time.

    Yields a function to call with the name of a step before it starts. Where standard error is not
    a terminal, it prints a line.
    """
    if not sys.stderr.isatty():
        yield tell
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as bar:
        # A step is announced before it starts: the first announcement completes nothing.
        task = bar.add_task("", total=total, completed=-1)
        yield lambda step: bar.update(task, description=escape(step), advance=1)
