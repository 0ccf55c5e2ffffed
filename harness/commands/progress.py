"""Progress of a command on standard error: a bar on a terminal, a plain line elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
