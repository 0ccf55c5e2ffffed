"""Shared by the commands: options, results and progress.

Results go to standard output. Progress goes to standard error: a bar on a terminal, and lines
elsewhere.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, cast

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
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from elspeth.cli.runtime import OutputConsole, UsageError
from elspeth.core.extras import extra_hint
from harness.bench.results import Results
from harness.report import Written
from harness.report.text import render_failures, render_results
from querygrowth.reports import commands_stopped, visible
from querygrowth.verdict import Outcome

OutputOption = Annotated[
    Path,
    typer.Option(
        "--output", file_okay=False, help="The folder that results and reports are written into."
    ),
]

PACKAGED = "the one that comes with the harness"
"""What the help shows as the default for a file of the package, whose path helps no reader."""

_PIPED_WIDTH = 180


def _postgresql_url(url: str | None) -> str | None:
    """Return the URL of --postgresql, refused when no server can be meant by it."""
    if url is None:
        return None
    try:
        is_postgresql = make_url(url).get_backend_name() == "postgresql"
    except (ArgumentError, ValueError):
        is_postgresql = False
    if not is_postgresql:
        # Without the text: one that does not parse may still hold a password.
        raise typer.BadParameter(
            "not the URL of a server: postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    if find_spec("psycopg") is None:
        raise UsageError(f"psycopg is not installed: {extra_hint('postgresql')}")
    return url


PostgresqlOption = Annotated[
    str | None,
    typer.Option(
        "--postgresql",
        metavar="URL",
        callback=_postgresql_url,
        help="A PostgreSQL server to check on as well; databases are created there and dropped.",
    ),
]


def output_console() -> Console:
    """Return a console on standard output."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    # Rich would assume 80 columns, and cut the rows of tables that a file or a pipe receives.
    return OutputConsole(
        highlight=False, width=_PIPED_WIDTH, file=cast("IO[str]", _WithoutTrailingBlanks())
    )


class _WithoutTrailingBlanks:
    """Standard output without the blanks with which rich fills the last column of a table."""

    # Not an `io` class: the garbage collector would close it, and so flush a broken pipe again.

    def write(self, text: str) -> int:
        # Rich writes whole lines: it sends the output of a `print` in one piece.
        sys.stdout.write(_TRAILING_BLANKS.sub("", text))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()

    @property
    def encoding(self) -> str:
        """That of standard output: rich draws tables in ASCII where it has to."""
        return sys.stdout.encoding


_TRAILING_BLANKS = re.compile(r" +$", re.MULTILINE)


def print_results(console: Console, results: Results, written: Written) -> None:
    """Print figures and verdicts, the written files, and at the end the failures and the result."""
    # On GitHub a line that begins with `::` is a command to the runner. Names in the results come
    # from the user's code, so commands are stopped while they are printed.
    with commands_stopped(os.environ, partial(console.print, markup=False, soft_wrap=True)):
        console.print(render_results(results))
        console.print()
        for line in written.lines:
            console.print(line, soft_wrap=True, markup=False)
        # The result is one line, however long: a terminal wraps it, a file keeps it whole.
        console.print(render_failures(results), soft_wrap=True)


def warn_if_undecided(results: Results) -> None:
    """Print a warning to standard error for every inconclusive verdict, which passes here."""
    for each in results.judgements:
        if each.verdict.outcome is Outcome.INCONCLUSIVE:
            words = f"{each.topic.value}: {each.verdict.subject}: {each.verdict.next_step}"
            # Plain text: a name may hold what rich reads as markup.
            typer.echo(f"warning: not decided: {visible(words)}", err=True)


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
    # A step may name paths, which a line break would tear apart.
    Console(stderr=True, highlight=False).print(f"... {step}", style="dim", soft_wrap=True)


@contextmanager
def steps_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show the current one of `total` steps, and the remaining time.

    Yields a function to call with the name of a step before it starts. Where standard error is not
    a terminal, it prints a line. Results can be printed while the bar is shown.
    """
    if not sys.stderr.isatty():
        yield tell
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
        # Rich would move what is printed to standard output to the bar's console. On a terminal
        # that keeps the bar below the results, but a file or a pipe must still receive them.
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        # A step is announced before it starts: the first announcement completes nothing.
        task = bar.add_task("", total=total, completed=-1)
        yield lambda step: bar.update(task, description=escape(step), advance=1)
