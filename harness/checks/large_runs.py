"""Judge exports of large runs: the bytes, signed and unsigned, and the queries.

Some faults begin above a size: a page that ends too early, a list of ids that is cut, a query for
every entity past the thousandth. The expected export is computed from the stored rows, because the
control is too slow for such runs.
"""

import filecmp
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.checks.cost_runs import CostRuns
from harness.checks.costs import VARIABLES, Declared, everything
from harness.checks.expected_records import canonical, expected_records, signed
from harness.compare.capture import Spool, spool
from harness.compare.difference import Difference, Kind
from harness.compare.exports import SIGNING_KEY, first_difference, fixed_clock
from harness.compare.records import Records, WithoutTime
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask
from harness.generate.spec import RunSpec
from querygrowth.activity import Activity
from querygrowth.contract import QueryContract
from querygrowth.growth import GrowthReport
from querygrowth.growth_verdicts import judge_growth
from querygrowth.verdict import Verdict, judge

# Every size up to a round number of thousands lies inside. Ids in shuffled order, so that the order
# of ids is not that of the export.
_LARGE = everything(5_001, run_id="large", features=("shuffled_ids",))
_LARGER = everything(20_001, run_id="larger", features=("shuffled_ids",))
_SMALL = everything(10, run_id="small", features=("shuffled_ids",))

# The usual lengths of lists of ids and pages, and their neighbours.
_LIST_LENGTHS = (500, 512, 1_000, 1_024, 2_000, 4_096)
# SQL text may differ by the digits of numbers in it.
_SQL_TOLERATED = 100


def judge_large_run(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge an export with more than 5,000 entities in every table.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the exports.

    Returns:
        The verdict on the bytes, then those on queries.
    """
    return [*_judge_runs(candidate, runs, (_LARGE,), declared.contract, directory)]


def judge_boundaries(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge exports with more than 20,000 entities, and with as many as usual lists and pages hold.

    Takes the arguments of `judge_large_run`.
    """
    by_length = [
        spec
        for length in _LIST_LENGTHS
        for size in (length - 1, length, length + 1)
        for spec in _of_exact_size(size)
    ]
    long_lists = [
        RunSpec(run_id=f"rows-{size}", rows=size, states=0)
        for size in (VARIABLES, VARIABLES + 1, VARIABLES + 2)
    ]
    return [
        verdict
        for specs in ((_LARGER,), tuple(by_length), tuple(long_lists))
        for verdict in _judge_runs(candidate, runs, specs, declared.contract, directory)
    ]


def _of_exact_size(size: int) -> Iterator[RunSpec]:
    """Yield runs that together have exactly `size` entities in every table."""
    yield RunSpec(
        run_id=f"exactly-{size}",
        rows=size,
        routing_groups=1,
        calls=1,
        nodes=size,
        edges=size,
        batches=size,
        members=1,
        artifacts=size,
    )
    # One row that forks: a run with parents has more tokens than parents.
    yield RunSpec(run_id=f"forked-{size}", rows=1, forks=size, states=0, batches=1, members=size)


def _judge_runs(
    candidate: Measured,
    runs: CostRuns,
    specs: Sequence[RunSpec],
    contract: QueryContract,
    directory: Path,
) -> Iterator[Verdict]:
    """Yield the verdicts on large runs in one database, the first of failed bytes and no more."""
    db = runs.stored([_SMALL, *specs]).db
    small = _Exported(candidate, db, _SMALL.run_id, directory).activity
    for spec in specs:
        run_id = spec.run_id
        expected = runs.keep(
            ("expected", spec), lambda run=run_id: ExpectedExport.of(db, run, directory)
        )
        exported = _Exported(candidate, db, run_id, directory)
        differs = _judge_bytes(candidate, expected, exported)
        yield differs
        if differs.failed:
            return
        axis = "entities of every table"
        report = GrowthReport.of(
            candidate.name,
            axis,
            (small.records or 0, exported.activity.records or 0),
            (small, exported.activity),
        )
        yield from judge_growth(report, contract)
        yield _judge_statements(candidate.name, small, exported.activity, contract)


@dataclass(frozen=True)
class ExpectedExport:
    """The expected export of a stored run, in files.

    Attributes:
        records: The records of the unsigned export.
        signed_file: The signed JSON Lines file.
        sha256: Its hash.
        count: The number of records of the unsigned export.
    """

    records: Spool
    signed_file: Path
    sha256: str
    count: int

    @classmethod
    def of(cls, db: LandscapeDB, run_id: str, directory: Path) -> "ExpectedExport":
        """Compute the export of a run.

        Args:
            db: The SQLite database.
            run_id: The run.
            directory: The folder of the files.
        """
        found = list(expected_records(db, run_id))
        records = spool(found, directory / f"expected-{run_id}.records")
        path, digest = directory / f"expected-{run_id}.jsonl", hashlib.sha256()
        with path.open("wb") as file:
            for record in signed(found, run_id, SIGNING_KEY, fixed_clock):
                line = canonical(record) + b"\n"
                digest.update(line)
                file.write(line)
        return cls(records, path, digest.hexdigest(), len(found))


class _Exported:
    """A candidate's signed file, and what that export did; its unsigned records on request."""

    def __init__(self, candidate: Measured, db: LandscapeDB, run_id: str, directory: Path) -> None:
        self.task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)
        self._candidate = candidate
        observation = candidate.observe(self.task, work=())
        self.activity = observation.activity
        self.sha256 = observation.file.sha256
        self.file = self.task.path_for(candidate.name)

    @property
    def subject_takes_clock(self) -> bool:
        return self._candidate.subject(self.task).takes_clock

    def records(self) -> Spool:
        """Export the run again, unsigned."""
        exporter = self._candidate.subject(self.task).build(self.task.db, None, fixed_clock)
        path = self.task.directory / f"{self._candidate.name}.records"
        return spool(exporter.export_run(self.task.run_id), path)


def _judge_bytes(candidate: Measured, expected: ExpectedExport, exported: _Exported) -> Verdict:
    run_id = exported.task.run_id
    found = None
    if exported.sha256 != expected.sha256:
        found = _difference_in_files(expected, exported)
    if found is None:
        records = exported.records()
        if not filecmp.cmp(expected.records.path, records.path, shallow=False):
            found = _difference(expected.records, records, "unsigned")
    return judge(
        candidate.name,
        found is None,
        expected="the export of a large run as its stored rows give it, to the byte",
        seen=found.headline
        if found
        else f"the same large export to the byte, signed and not ({expected.count:,} records)",
        evidence=(f"run        {run_id}", *(found.evidence if found else ())),
        next_step=found.hint if found else "",
    )


def _difference_in_files(expected: ExpectedExport, exported: _Exported) -> Difference | None:
    """Find the first difference between the signed files; None if only the time differs."""
    with expected.signed_file.open("rb") as first, exported.file.open("rb") as second:
        pairs = enumerate(zip_longest(first, second), start=1)
        number, (line, found) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
    try:
        difference = _difference(
            Spool(expected.signed_file), Spool(exported.file), "signed", exported.subject_takes_clock
        )
    except ValueError:  # A line is not JSON.
        difference = None
    # The manifest is the last line. The records have shown that it is right but for its time.
    at_manifest = number == expected.count + 1
    if difference is None and (exported.subject_takes_clock or not at_manifest):
        return Difference(
            Kind.BYTES,
            expected=str(line),
            found=str(found),
            place=exported.file.name,
            number=number,
            hint="canonical JSON (RFC 8785), one record a line",
        )
    return difference


def _difference(
    expected: Records, found: Records, form: str, same_clock: bool = True
) -> Difference | None:
    """Find the first difference between records that are read from files."""
    if not same_clock:
        expected = WithoutTime(expected, SIGNING_KEY)
        found = WithoutTime(found, SIGNING_KEY)
    difference = first_difference(expected, found)
    return difference and replace(difference, hint=f"{form}; {difference.hint}".rstrip("; "))


def _judge_statements(
    name: str, small: Activity, large: Activity, contract: QueryContract
) -> Verdict:
    """Judge that the statements of a large run are as long, and have as many parameters."""
    chunks = {each.table: each.chunk or each.page or 0 for each in contract.allowances}
    known = {shape.shape.text: shape for shape in small.shapes}
    longer = []
    for shape in large.shapes:
        before = known.get(shape.shape.text)
        if before is None:
            continue  # a query that the small run does not send: the counts of queries judge it
        # A declared list of ids is as long as its chunk, in parameters or in the text.
        granted = chunks.get(shape.shape.table, 0)
        parameters = shape.most_parameters - before.most_parameters
        characters = shape.longest_sql - before.longest_sql
        if parameters > granted or (not granted and characters > _SQL_TOLERATED):
            longer.append(
                f"{shape.shape.table}: {before.most_parameters} -> {shape.most_parameters} "
                f"parameters, {before.longest_sql:,} -> {shape.longest_sql:,} characters"
            )
    return judge(
        name,
        not longer,
        expected="statements of the same length at every size, or a declared chunk",
        seen=f"statements grew with the run: {longer[0]}" if longer else "statements constant",
        evidence=longer[1:4],
        next_step="a list of ids in a statement: a join, or a declared chunk",
    )
