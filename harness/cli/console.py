"""What commands share: options, results on standard output, progress on standard error.

Progress is a bar on a terminal, and plain lines elsewhere.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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

from elspeth.cli.runtime import OutputConsole
from harness.bench.results import Results
from harness.report import Written
from harness.report.terminal import render_failures, render_results
from querygrowth.reports import commands_stopped

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


def output_console() -> Console:
    """A console on standard output; wide enough for whole table rows when it is not a terminal."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    return OutputConsole(highlight=False, width=_PIPED_WIDTH)


def print_results(console: Console, results: Results, written: Written) -> None:
    """Print figures and verdicts, the written files, and at the end the failures and the result."""
    with commands_stopped(os.environ, partial(console.print, markup=False, soft_wrap=True)):
        console.print(render_results(results))
        console.print()
        for line in written.lines:
            console.print(line, soft_wrap=True, markup=False)
        console.print(render_failures(results))


class _Rate(ProgressColumn):
    """Items per second, so far."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, rate and remaining time, if standard error is a terminal.

    Yields a function that takes the number of items done, and the total.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell(step: str) -> None:
    """Print a line about what is about to be done."""
    Console(stderr=True, highlight=False).print(f"... {step}", style="dim")


@contextmanager
def steps_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show which of `total` steps is under way, and the remaining time.

    Yields a function to call with the name of a step before it is done. Where standard error is not
    a terminal, it prints a line.
    """
    if not sys.stderr.isatty():
        yield tell
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=total, completed=-1)
        yield lambda step: bar.update(task, description=escape(step), advance=1)
