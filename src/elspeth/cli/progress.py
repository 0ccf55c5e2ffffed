"""Shows the progress of an export on standard error: a bar on a terminal, lines elsewhere."""

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

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.output.publish import Progress as OnProgress

# Few enough lines for the log of a scheduled job; an export of 46,000 records takes 0.4 s.
SECONDS_BETWEEN_LINES = 10.0

SecondsClock = Callable[[], float]
"""Returns seconds since a fixed moment."""


@contextmanager
def show_progress(db: LandscapeDB, run_id: str, *, quiet: bool) -> Iterator[OnProgress | None]:
    """Show on stderr the records written, their total and rate, and the time left.

    Yields the callback of an exporter. When quiet, yields None and sends no query for the total.
    """
    if quiet:
        yield None
        return
    with db.connection() as connection:
        total = sum(count_records(connection, run_id).values())
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
        # A run that is written to at the same time may yield more records than were counted.
        yield lambda done: bar.update(task, completed=min(done, total))


def write_progress_lines(
    total: int, write: Callable[[str], None], clock: SecondsClock = monotonic
) -> OnProgress:
    """Return a callback that writes a line at most every ten seconds.

    A shorter export writes no line.

    Args:
        total: the expected number of records.
        write: writes one line.
        clock: gives the time in seconds.
    """
    started = last = clock()

    def write_line(done: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - started)
            left = max(total - done, 0) / rate if rate else 0.0
            write(f"{done:,} of {total:,} records, {rate:,.0f} a second, {left:,.0f} s left")

    return write_line


class _Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
