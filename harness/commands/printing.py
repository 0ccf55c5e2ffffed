"""Printing results on standard output, as wide as a reader or a script needs."""

import os
import sys
from functools import partial

from rich.console import Console

from elspeth.command import OutputConsole
from harness.report import Written
from harness.report.annotations import commands_stopped
from harness.report.terminal import render_failures, render_results
from harness.results import Results

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
