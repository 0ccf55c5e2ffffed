"""Exports of several runs beside a writer process, all on one database at once, for a set time.

A finished run does not change, so every export of it has to have the bytes of an undisturbed one.
An export of a growing run has to show a committed state, which must not be older than the state
that the export before it showed.
"""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from audit_trail import Trail
from fault_table import Tally
from landscape_command import KEY
from landscape_command import ended as end_of
from sqlalchemy import make_url, text
from writer_process import Written, begin_growing_run, count_transactions, running_writer

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.verification.verify import verify
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

_TIMEOUT_SECONDS = "120"
_RECORDS = re.compile(r": ([\d,]+) records")
_EVERY_NTH_IS_CSV = 4
_LEAST_EXPORTS = 2
"""An exporter makes so many even on a machine that is too busy for one in the given time."""


@dataclass
class RunExports:
    """The results of all exports of one run."""

    run_id: str
    exports: int = 0
    records: int = 0
    verified: int = 0
    torn: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    grew: int = 0
    """The number of exports before which the run had grown."""
    status: str | None = None
    """The final export_status of the run."""


@dataclass(frozen=True)
class LoadResult:
    """The results of the exporters and the writer on one backend."""

    backend: str
    seconds: float
    runs: Sequence[RunExports]
    written: Written
    deadlocks: int

    @property
    def exports(self) -> int:
        return sum(each.exports for each in self.runs)

    @property
    def torn(self) -> Sequence[str]:
        """Exports that show a state that was never committed."""
        return [torn for each in self.runs for torn in each.torn]

    @property
    def problems(self) -> Sequence[str]:
        """Everything that was wrong, as messages."""
        found = [
            f"{each.run_id}: {problem}"
            for each in self.runs
            for problem in (*each.torn, *each.errors)
        ]
        found += [
            f"{each.run_id}: export_status {each.status}"
            for each in self.runs
            if each.status != "completed"
        ]
        found += [f"{each.run_id}: never exported" for each in self.runs if not each.exports]
        if sum(each.verified for each in self.runs) != self.exports:
            found.append("not every export verifies")
        if self.deadlocks:
            found.append(f"{self.deadlocks} deadlocks")
        return found

    def lines(self) -> Iterator[str]:
        """Yield the report, one line for a figure."""
        records = sum(each.records for each in self.runs)
        verified = sum(each.verified for each in self.runs)
        yield f"{self.backend}: {len(self.runs)} exporters and a writer, {self.seconds:.0f} seconds"
        yield f"  exports         {self.exports:,}"
        yield f"  records         {records:,}"
        yield f"  records/s       {records / self.seconds:,.0f}"
        yield f"  verified        {verified:,}/{self.exports:,}"
        yield f"  torn            {len(self.torn)}"
        yield f"  deadlocks       {self.deadlocks}"
        yield f"  errors          {sum(len(each.errors) for each in self.runs)}"
        yield (
            f"  writer          {self.written.transactions:,} transactions,"
            f" {self.written.runs:,} new runs; a run had grown before"
            f" {sum(each.grew for each in self.runs):,} exports of it"
        )


def run_load(
    url: str, folder: Path, *, seconds: float, finished: int, growing: int, rows: int
) -> LoadResult:
    """Export finished and growing runs of an empty database again and again, beside a writer.

    Args:
        url: The database.
        folder: The folder for the targets.
        seconds: The duration of the load. Each exporter makes at least two exports.
        finished: The number of finished runs, each with an exporter.
        growing: The number of growing runs, each with an exporter.
        rows: Source rows of a finished run.
    """
    with LandscapeDB(url) as db:
        finished_ids = [f"finished-{number}" for number in range(finished)]
        for seed, run_id in enumerate(finished_ids):
            generate_run(db, RunSpec.typical(rows, run_id=run_id, seed=seed, neighbours=0))
        growing_ids = [f"growing-{number}" for number in range(growing)]
        for run_id in growing_ids:
            begin_growing_run(db, run_id)
    trails = [
        _trail(folder, url, run_id, "csv" if number % _EVERY_NTH_IS_CSV == 1 else "json")
        for number, run_id in enumerate(finished_ids)
    ]
    trails += [_trail(folder, url, run_id, "json") for run_id in growing_ids]
    start = monotonic()
    with (
        running_writer(url, growing_ids) as written,
        ThreadPoolExecutor(len(trails)) as exporters,
    ):
        working = [
            exporters.submit(_export_until, start + seconds, trail, trail.run_id in growing_ids)
            for trail in trails
        ]
        runs = [each.result() for each in working]
    took = monotonic() - start
    backend = make_url(url).get_backend_name()
    return LoadResult(backend, took, runs, written, _deadlocks(url, runs))


def _trail(folder: Path, url: str, run_id: str, export_format: str) -> Trail:
    # A pending export is known by the name of its sink, so every run has its own sink.
    return Trail.create(folder / run_id, url, export_format, Tally(), run_id=run_id, sink=run_id)


def _export_until(end: float, trail: Trail, is_growing: bool) -> RunExports:
    exports = RunExports(trail.run_id)
    seen = 0
    while exports.exports < _LEAST_EXPORTS or monotonic() < end:
        # A new process, because only a main thread receives signals.
        with trail.started(*trail.by_settings, "--timeout", _TIMEOUT_SECONDS) as process:
            ended = end_of(process)
        exports.exports += 1
        found = _RECORDS.search(ended.out)
        if ended.code != 0 or ended.err or found is None:
            exports.errors.append(f"exit {ended.code}: {ended.err.strip()}")
            continue
        exports.records += int(found[1].replace(",", ""))
        exports.verified += verify(trail.target, KEY.encode(), run_id=trail.run_id).ok
        if not is_growing:
            if not trail.is_complete():
                exports.torn.append("differs from an undisturbed export")
            continue
        try:
            transactions = _transactions_in(trail.target)
        except ValueError as error:
            exports.torn.append(str(error))
            continue
        if transactions < seen:
            exports.torn.append(f"shows {transactions} transactions after it had shown {seen}")
        exports.grew += transactions > seen
        seen = transactions
    exports.status = trail.recorded().status
    return exports


def _transactions_in(path: Path) -> int:
    with path.open("rb") as file:
        return count_transactions(map(json.loads, file))


def _deadlocks(url: str, runs: Sequence[RunExports]) -> int:
    """Return the number of deadlocks that the database has counted."""
    if make_url(url).get_backend_name() == "sqlite":
        return sum("locked" in error for each in runs for error in each.errors)
    statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with LandscapeDB(url, create_tables=False) as db, db.connection() as connection:
        return int(connection.execute(text(statement)).scalar_one())
