"""Shows how far an export has come: a bar on a terminal, lines elsewhere, both on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

from elspeth.core.landscape.output.publish import Progress as OnProgress

SECONDS_BETWEEN_LINES = 10.0

SecondsClock = Callable[[], float]
"""Returns seconds since a fixed moment."""


@contextmanager
def show_progress(count: Callable[[], int]) -> Iterator[OnProgress]:
    """Show the records written, their total and rate, and the time left.

    Args:
        count: returns the total; called once, first.
    """
    total = count()
    if not sys.stderr.isatty():
        yield write_progress_lines(
            total, Console(stderr=True, highlight=False, soft_wrap=True).print
        )
        return
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("records", total=total)
        # A run that is written to meanwhile may yield more records than were counted.
        yield lambda done: bar.update(task, completed=min(done, total))


def write_progress_lines(
    total: int, write: Callable[[str], None], clock: SecondsClock = monotonic
) -> OnProgress:
    """Return a callback that writes a line at most every ten seconds.

    An export that is done within ten seconds writes none.

    Args:
        total: the expected number of records.
        write: writes one line.
        clock: gives the time in seconds.
    """
    started = last = clock()

    def tell(done: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - started)
            left = max(total - done, 0) / rate if rate else 0.0
            write(f"{done:,} of {total:,} records, {rate:,.0f} a second, {left:,.0f} s left")

    return tell


class _Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
