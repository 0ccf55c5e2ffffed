"""`landscape runs`: the runs of a database, newest first, with the number of records of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from elspeth.contracts.models import Run
from elspeth.core.error_text import one_line
from elspeth.core.landscape.counts import count_records_of_all
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder

_COUNTED = {"rows": "row", "tokens": "token", "node states": "node_state"}
"""The headings of the columns that show the count of one record type."""

# "export" is the status of an export by settings, and "-" where none was recorded.
_HEADINGS = ("run", "started", "status", "export", *_COUNTED, "records")
_FIRST_NUMBER = 4


@dataclass(frozen=True)
class ListedRun:
    """One run, and its number of records by type."""

    run: Run
    records: Mapping[str, int]

    @property
    def record_count(self) -> int:
        """The number of records of an unsigned export."""
        return sum(self.records.values())


def list_runs(db: LandscapeDB) -> Sequence[ListedRun]:
    """List the runs, the latest start first, in two queries for any number of runs.

    Raises:
        CorruptAuditDataError: a stored value of a run must not be exported.
        sqlalchemy.exc.DBAPIError: the database fails.
    """
    found = LandscapeRecorder(db).list_runs()
    with db.connection() as connection:
        counts = count_records_of_all(connection)
    # A run that was removed between the two queries has no records any more.
    return [ListedRun(run, counts.get(run.run_id, {})) for run in found]


def table_of(listed: Sequence[ListedRun]) -> Table:
    """Return the runs as a table for a terminal, in which a long id is folded."""
    # Folded, because rich cuts a long text by default, and --run does not accept a cut id.
    table = Table(Column(_HEADINGS[0], overflow="fold"), *_HEADINGS[1:_FIRST_NUMBER], box=None)
    for heading in _HEADINGS[_FIRST_NUMBER:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in listed:
        table.add_row(*map(Text, _cells(each)))
    return table


def lines_of(listed: Sequence[ListedRun]) -> Iterator[str]:
    """Yield the lines of the same table for a file or a pipe, where no line is folded."""
    # rich takes 0.4 ms for a row, so that a list of 10,000 runs took 4 s.
    rows = [_HEADINGS, *(tuple(_cells(each)) for each in listed)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = []
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - cell_len(cell))
            padded.append(f" {cell}{blanks} " if at < _FIRST_NUMBER else f" {blanks}{cell} ")
        yield "".join(padded)


def _cells(listed: ListedRun) -> Iterator[str]:
    run = listed.run
    yield one_line(run.run_id)
    yield f"{in_utc(run.started_at):%Y-%m-%d %H:%M:%S}"
    yield run.status.value
    yield "-" if run.export_status is None else run.export_status.value
    for name in _COUNTED.values():
        yield f"{listed.records.get(name, 0):,}"
    yield f"{listed.record_count:,}"


def in_utc(moment: datetime) -> datetime:
    """Return a stored time with the offset of UTC."""
    # SQLite returns UTC without an offset; PostgreSQL returns the time zone of the session.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
