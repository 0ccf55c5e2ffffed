"""Exporters of different runs and one writer, all at once on one database, for a bounded time.

A finished run never changes: every export of it has to be an undisturbed one. A run that the
writer appends to has to be in a state that was committed as a whole, and never in an earlier one
than the export before it showed.
"""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from appending import Appended, appending_to, begin_growing, transactions_seen
from fault_table import Tally
from sqlalchemy import make_url, text
from survival import KEY, Trail

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.verification.verify import verify
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

_MOST_SECONDS_OF_AN_EXPORT = "120"
_RECORDS = re.compile(r": ([\d,]+) records")
_EVERY_NTH_IS_CSV = 4


@dataclass
class Exports:
    """What became of the exports of one run."""

    run_id: str
    exports: int = 0
    records: int = 0
    verified: int = 0
    torn: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    grew: int = 0
    """How often the run had grown since the export before."""
    status: str | None = None
    """What the run's export_status was in the end."""


@dataclass(frozen=True)
class Load:
    """What exporters and writer did on one backend, and whether all of it was right."""

    backend: str
    seconds: float
    runs: Sequence[Exports]
    appended: Appended
    deadlocks: int

    @property
    def exports(self) -> int:
        return sum(each.exports for each in self.runs)

    @property
    def torn(self) -> Sequence[str]:
        """Exports that show no state that was ever committed."""
        return [torn for each in self.runs for torn in each.torn]

    @property
    def problems(self) -> Sequence[str]:
        """Whatever was not right, in words."""
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
        """Tell it, a line for each figure."""
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
            f"  writer          {self.appended.transactions:,} transactions,"
            f" {self.appended.runs:,} new runs; a run had grown before"
            f" {sum(each.grew for each in self.runs):,} exports of it"
        )


def load(url: str, folder: Path, *, seconds: float, finished: int, growing: int, rows: int) -> Load:
    """Export so many finished and growing runs of a new database again and again."""
    with LandscapeDB(url) as db:
        finished_ids = [f"finished-{number}" for number in range(finished)]
        for seed, run_id in enumerate(finished_ids):
            generate_run(db, RunSpec.typical(rows, run_id=run_id, seed=seed, neighbours=0))
        growing_ids = [f"growing-{number}" for number in range(growing)]
        for run_id in growing_ids:
            begin_growing(db, run_id)
    trails = [
        _trail(folder, url, run_id, "csv" if number % _EVERY_NTH_IS_CSV == 1 else "json")
        for number, run_id in enumerate(finished_ids)
    ]
    trails += [_trail(folder, url, run_id, "json") for run_id in growing_ids]
    start = monotonic()
    with (
        appending_to(url, growing_ids) as appended,
        ThreadPoolExecutor(len(trails)) as exporters,
    ):
        working = [
            exporters.submit(_export_until, start + seconds, trail, trail.run_id in growing_ids)
            for trail in trails
        ]
        runs = [each.result() for each in working]
    took = monotonic() - start
    backend = make_url(url).get_backend_name()
    return Load(backend, took, runs, appended, _deadlocks(url, runs))


def _trail(folder: Path, url: str, run_id: str, export_format: str) -> Trail:
    # A sink for each, for a sink's name is all that tells one pending export from another.
    return Trail.laid(folder / run_id, url, export_format, Tally(), run_id=run_id, sink=run_id)


def _export_until(end: float, trail: Trail, is_growing: bool) -> Exports:
    exports = Exports(trail.run_id)
    seen = 0
    while monotonic() < end:
        ended = trail.export("--timeout", _MOST_SECONDS_OF_AN_EXPORT)
        exports.exports += 1
        told = _RECORDS.search(ended.out)
        if ended.code != 0 or ended.err or told is None:
            exports.errors.append(f"exit {ended.code}: {ended.err.strip()}")
            continue
        exports.records += int(told[1].replace(",", ""))
        exports.verified += verify(trail.target, KEY.encode(), run_id=trail.run_id).ok
        if not is_growing:
            if not trail.is_complete():
                exports.torn.append("is not what an undisturbed export was")
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
        return transactions_seen(map(json.loads, file))


def _deadlocks(url: str, runs: Sequence[Exports]) -> int:
    """How often the database gave up on processes that waited for each other."""
    if make_url(url).get_backend_name() == "sqlite":
        return sum("locked" in error for each in runs for error in each.errors)
    statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with LandscapeDB(url, create_tables=False) as db, db.connection() as connection:
        return int(connection.execute(text(statement)).scalar_one())
