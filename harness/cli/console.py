"""Progress of a command on standard error: a bar on a terminal, a plain line elsewhere."""

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

# Options that several commands share.


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

# Printing results on standard output, as wide as a reader or a script needs.


_PIPED_WIDTH = 180


def output_console() -> Console:
    """A console on standard output that shortens nothing for a script."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    return OutputConsole(highlight=False, width=_PIPED_WIDTH)


def print_results(console: Console, results: Results, written: Written) -> None:
    """Print the measurements and verdicts, where the files are, and how it came out, last."""
    with commands_stopped(os.environ, partial(console.print, markup=False, soft_wrap=True)):
        console.print(render_results(results))
        console.print()
        for line in written.lines:
            console.print(line, soft_wrap=True, markup=False)
        console.print(render_failures(results))


class _Rate(ProgressColumn):
    """How many a second, so far."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far something is, at what rate, and how long it will take.

    Yields the function to tell how many are done, and of how many. Shows nothing when standard
    error is no terminal.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell(step: str) -> None:
    """Say what is about to be done, for a person who waits."""
    Console(stderr=True, highlight=False).print(f"... {step}", style="dim")


@contextmanager
def steps_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show which of so many steps is under way, and the time left going by those before it.

    Yields the function to tell of each step before it is done. A plain line for each where
    standard error is no terminal.
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
