"""Judge exports of large runs: the bytes, signed and unsigned, and the queries.

Some faults begin above a size: a page that ends too early, a list of ids that is cut, a query for
every entity past the thousandth. The expected export is computed from the stored rows, because the
control is too slow for such runs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

from elspeth.core.landscape import LandscapeDB
from harness.checks.cost_runs import CostRuns, everything
from harness.checks.declared import Declared
from harness.checks.expected_records import expected_records, signed
from harness.checks.record_counts import VARIABLES
from harness.checks.script_runs import CONNECTIONS, build, read, start
from harness.compare.call_outcomes import Step
from harness.compare.capture import Refusal, Spool, spool
from harness.compare.difference import Difference, Kind
from harness.compare.exports import SIGNING_KEY, first_difference, fixed_clock
from harness.compare.records import Records, WithoutTime
from harness.exporters.canonical_json import canonical
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask, Observation
from harness.exporters.probe import exports
from harness.generate.spec import RunSpec
from querygrowth.contracts.contract import QueryContract
from querygrowth.counting.activity import Activity
from querygrowth.growth.report import GrowthReport
from querygrowth.growth.verdicts import judge_growth
from querygrowth.verdict import GROWTH, Verdict, judge

# Ids in shuffled order, so that the order of ids is not that of the export. Ties at the end of any
# page, so that an export that continues after a time or a sequence number loses entities.
UNORDERED = ("shuffled_ids", "times_of_every_kind", "null_sequences")
"""The features of large runs."""
# More than 10,000 entities, the commonest size of a page, of every table but two: a row has two
# tokens, each with a state, a call and an event. 10,000 rows would double the time of the check;
# `judge_variables` counts more. As many token parents are in the first run of BELOW_ONE_PARENT.
LARGE = replace(
    everything(5_001, run_id="large", features=UNORDERED),
    nodes=10_001,
    edges=10_001,
    batches=10_001,
    artifacts=10_001,
)
"""The large run of the default check."""
LARGER = everything(20_001, run_id="larger", features=UNORDERED)
"""The largest run of all checks."""
SMALL = everything(10, run_id="small", features=UNORDERED)
"""The run that is stored beside a large one."""

_BELOW_ONE = 1_100
# More than Python's limit of recursion, which a generator for every sibling reaches.
BELOW_ONE_PARENT = (
    RunSpec(run_id="one row", rows=1, forks=10_001, states=0, batches=1, members=_BELOW_ONE),
    RunSpec(run_id="one token", rows=1, states=_BELOW_ONE),
    RunSpec(
        run_id="one state",
        rows=1,
        routing_groups=1,
        routing_events=_BELOW_ONE,
        calls=_BELOW_ONE,
    ),
)
"""Runs with as many entities below one row, token, state or batch."""

_READ_BEFORE_ABANDONED = (1, 1, 2_000)
_NO_EXPORTER: Step = {"step": "drop", "exporters": ["a"]}

# The usual lengths of lists of ids and pages, and their neighbours.
_LIST_LENGTHS = (500, 512, 1_000, 1_024, 2_000, 4_096)
# SQL text may differ by the digits of numbers in it.
_SQL_TOLERATED = 100
_ENDLESS_FACTOR = 10


def judge_large_run(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge an export with more than 10,000 entities of all tables, and with many below one parent.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the exports.

    Returns:
        The verdict on the bytes, then those on queries.
    """
    found = [*_judge_runs(candidate, runs, (LARGE,), declared, directory)]
    if not any(each.failed for each in found):
        found += _judge_runs(candidate, runs, BELOW_ONE_PARENT, declared, directory)
        db = runs.stored([SMALL, LARGE]).db
        found.append(judge_abandoned(candidate, db, LARGE.run_id, directory))
    return found


def judge_abandoned(candidate: Measured, db: LandscapeDB, run_id: str, directory: Path) -> Verdict:
    """Judge what abandoned exports of a large run leave in use.

    A thread that fills a buffer for the reader never ends once the buffer is full, and keeps its
    connection and its snapshot. A small run never fills it.

    Args:
        candidate: The exporter on trial.
        db: The database.
        run_id: The run.
        directory: The folder for the records.
    """
    steps: list[Step] = [CONNECTIONS]
    for count in _READ_BEFORE_ABANDONED:
        steps += [build(), start("records", run_id, sign=True), read("records", count)]
        steps += [{"step": "close", "iterator": "records"}, _NO_EXPORTER, CONNECTIONS]
    with TemporaryDirectory(prefix="harness-", dir=directory) as folder:
        outcomes = candidate.perform({"steps": steps}, [db], Path(folder))
    states = zip(steps, outcomes, strict=True)
    before, *after = (outcome for step, outcome in states if step is CONNECTIONS)
    used = max((each["checked_out"] or 0) - (before["checked_out"] or 0) for each in after)
    left = f"{used} connections in use" if used > 0 else ""
    if not left and any(each["locked"] for each in after):
        left = "an open transaction"
    # A thread that serves all exports stays. One for each export adds up.
    if not left and after[-1]["threads"] > after[0]["threads"]:
        left = "a thread that does not end"
    return judge(
        candidate.name,
        not left,
        expected="an abandoned export of a large run leaves nothing in use",
        seen=f"an abandoned export of a large run leaves {left or 'nothing in use'}",
        next_step="when its iterator is closed, end the thread that reads ahead",
    )


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
        for specs in ((LARGER,), tuple(by_length), tuple(long_lists))
        for verdict in _judge_runs(candidate, runs, specs, declared, directory)
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
    declared: Declared,
    directory: Path,
) -> Iterator[Verdict]:
    """Yield the verdicts on large runs in one database, the first of failed bytes and no more."""
    db = runs.stored([SMALL, *specs]).db
    small = _Exported.by(candidate, db, SMALL.run_id, directory).activity
    for spec in specs:
        run_id = spec.run_id
        expected = runs.keep(("expected", spec), partial(ExpectedExport.of, db, run_id, directory))
        exported = _Exported.by(candidate, db, run_id, directory)
        differs = _judge_bytes(expected, exported)
        yield differs
        if differs.failed:
            return
        if declared.worker_processes and candidate.used_processes:
            continue  # What they send cannot be counted.
        axis = "entities of every table"
        report = GrowthReport.of(
            candidate.name,
            axis,
            (small.records or 0, exported.activity.records or 0),
            (small, exported.activity),
        )
        costs = judge_growth(report, declared.contract)
        for each in (
            *costs,
            _judge_statements(candidate.name, small, exported.activity, declared.contract),
        ):
            # The bytes are right, so that the failure must not be shown as one of bytes.
            yield replace(each, kind=GROWTH) if each.failed and not each.kind else each


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


@dataclass(frozen=True)
class _Exported:
    """A candidate's signed file of a run, and what that export did."""

    candidate: Measured
    task: ExportTask
    observation: Observation

    @classmethod
    def by(cls, candidate: Measured, db: LandscapeDB, run_id: str, directory: Path) -> "_Exported":
        task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)
        return cls(candidate, task, candidate.observe(task, work=()))

    @property
    def activity(self) -> Activity:
        return self.observation.activity


def _judge_bytes(expected: ExpectedExport, exported: _Exported) -> Verdict:
    found = None
    if exported.observation.file.sha256 != expected.sha256:
        found = _difference_in_files(expected, exported)
    found = found or _difference_in_records(expected, exported)
    return judge(
        exported.candidate.name,
        found is None,
        expected="the export of a large run as its stored rows give it, to the byte",
        seen=f"{found.headline} (large runs)"
        if found
        else f"the same large export to the byte, signed and not ({expected.count:,} records)",
        evidence=(f"run        {exported.task.run_id}", *(found.evidence if found else ())),
        next_step=found.hint if found else "",
        kind=found.verdict_kind if found and found.kind is Kind.ORDER else "",
    )


def _difference_in_records(expected: ExpectedExport, exported: _Exported) -> Difference | None:
    """Export the run again, unsigned, and find the first difference."""
    task = replace(exported.task, signing_key=None)
    answer = exported.candidate.export_records(task, max_records=_ENDLESS_FACTOR * expected.count)
    if answer["error"]:
        return Difference(
            Kind.ERROR, "no error", str(Refusal(**answer["error"])), number=answer["record_count"]
        )
    return first_difference(expected.records, Spool(task.directory / exports.RECORDS))


def _difference_in_files(expected: ExpectedExport, exported: _Exported) -> Difference | None:
    """Export the run again, signed, and find the first difference; None if only the time differs.

    The hash has shown that the file differs, and the file of the observation is gone.
    """
    candidate = exported.candidate
    with TemporaryDirectory(prefix="harness-", dir=exported.task.directory) as folder:
        task = replace(exported.task, directory=Path(folder))
        candidate.export(task, max_records=_ENDLESS_FACTOR * expected.count)
        # The file has the records in another order of keys, and few candidates need them.
        found = list(expected_records(task.db, task.run_id))
        records = signed(found, task.run_id, SIGNING_KEY, fixed_clock)
        sides: tuple[Records, Records] = (
            spool(records, Path(folder, "expected.signed")),
            Spool(Path(folder, exports.RECORDS)),
        )
        if not candidate.takes_clock:
            sides = (WithoutTime(sides[0], SIGNING_KEY), WithoutTime(sides[1], SIGNING_KEY))
        difference = first_difference(*sides)
        return difference or _difference_in_lines(
            expected, Path(folder, exports.JSONL), with_manifest=candidate.takes_clock
        )


def _difference_in_lines(
    expected: ExpectedExport, path: Path, *, with_manifest: bool
) -> Difference | None:
    """Find the first line that differs in a JSON Lines file; None if no line does.

    The records of the two are the same. The line of the manifest holds a time.
    """
    if not path.exists():
        # Without a method for files: the harness writes the records, which are the same.
        return None
    with expected.signed_file.open("rb") as first, path.open("rb") as second:
        for number, (line, found) in enumerate(zip_longest(first, second), start=1):
            if line != found and (with_manifest or number != expected.count + 1):
                return Difference(
                    Kind.BYTES,
                    expected=str(line),
                    found=str(found),
                    place=path.name,
                    number=number,
                    hint="canonical JSON (RFC 8785), one record a line",
                )
    return None


def _judge_statements(
    name: str, small: Activity, large: Activity, contract: QueryContract
) -> Verdict:
    """Judge that the statements of a large run are as long, and have as many parameters."""
    chunks = {each.table: each.chunk or 0 for each in contract.allowances}
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
        next_step="a list of ids in a statement: a join, or chunks declared with --chunked",
    )
