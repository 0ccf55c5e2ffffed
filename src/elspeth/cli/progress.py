"""How far an export has come, for a person who waits: a bar on a terminal, lines elsewhere."""

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

Clock = Callable[[], float]
"""Seconds since some moment."""


@contextmanager
def shown_progress(count: Callable[[], int]) -> Iterator[OnProgress]:
    """Show the records written, of how many, at what rate and for how long still, on stderr.

    `count` is asked once, first, how many there will be.
    """
    total = count()
    if not sys.stderr.isatty():
        yield lines_of_progress(total, Console(stderr=True, highlight=False, soft_wrap=True).print)
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
        yield lambda done: bar.update(task, completed=min(done, total))


def lines_of_progress(
    total: int, write: Callable[[str], None], clock: Clock = monotonic
) -> OnProgress:
    """Return what writes a line every ten seconds, and none for an export that is done by then."""
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
    """Records a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
