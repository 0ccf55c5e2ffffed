"""Judge the memory of exports: by further record, and what is left after each of several exports.

The counts of Python's objects and of the bytes of the database library are sampled first. Only if
objects grew is every allocation traced, which is exact and takes ten times as long. The resident
memory of fresh processes is rough. It is measured where nothing can be sampled, and with --all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from elspeth.core.landscape import LandscapeDB
from harness.checks.cost_runs import CostRuns, everything
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.large_runs import LARGE, LARGER, SMALL, UNORDERED
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import InThisProcess, Measured
from harness.exporters.observation import ExportTask
from harness.exporters.probe.measures import SMALL_OBJECT_BYTES
from harness.generate.spec import RunSpec
from harness.generate.unexported import LONG_COLUMNS, LongValues
from querygrowth.verdict import Outcome, Verdict, judge

# Two sizes, because their difference leaves out what every export needs: modules, the connection,
# and buffers of rows, which both sizes fill.
_RESIDENT = (RunSpec.typical(200, run_id="resident-200"), RunSpec.typical(2000, run_id="resident"))
# Both past all buffers, which are full then: what they hold no longer grows.
_SAMPLED = everything(4_000, run_id="sampled", features=UNORDERED)
_LEAST_SAMPLES = 200
# An id of 32 characters.
_ID_BYTES = 81
# Tried only if memory grew between the first two: a buffer of thousands of rows is no leak.
_HELD_BEYOND_BUFFERS = (
    everything(8_001, run_id="held-8001"),
    everything(11_001, run_id="held-11001"),
)
# Long enough that values of some fetched rows stand out, and only few rows.
_LONG, _LONG_RUN = 10_000, everything(30, run_id="long values")
# What is fetched row by row holds the values of two rows, each of up to three columns.
_LONG_VALUES_AT_A_TIME = 8
# Resident memory comes in pages and arenas, and SQLite caches pages: 300 bytes a record are not
# told apart from none.
_OTHER_BYTES_PER_RECORD = 300

_LEAKS = everything(20, run_id="leaks of small runs")
# The first exports compile statements and fill caches.
_WARMUPS, _EXPORTS = 4, 9
# A cache with a limit, such as one of 128 entries, is full after these.
_WARMUPS_OF_CACHES, _EXPORTS_AFTER = 140, 20
# Correct exporters leave 50 to 180 bytes an export, in the list of results among others.
_LEFT_BYTES = 360


def judge_memory(
    candidate: Measured,
    runs: CostRuns,
    declared: Declared,
    directory: Path,
    depth: Depth = Depth.DEFAULT,
) -> Iterator[Verdict]:
    """Judge how much memory a further record takes.

    The run has as many entities of every table, so that a leak for those of one table shows.

    Args:
        candidate: The exporter on trial. Resident memory is skipped if another process cannot
            import it.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the written exports.
        depth: With ALL, resident memory is measured as well, and exports of 20,000 entities.
    """
    sampled = _sample(candidate, runs, directory, (_SAMPLED, LARGE))
    if sampled is None or depth is Depth.ALL:
        yield _judge_resident(candidate, runs, declared, directory)
    if sampled is not None:
        yield _judge_database(candidate.name, sampled, declared)
    yield _judge_held(candidate, runs, declared, directory, sampled)
    if depth is Depth.ALL:
        # What is held in one part of an export only is hidden by a greater peak in another part.
        larger = _sample(candidate, runs, directory, (LARGE, LARGER))
        yield _judge_held(candidate, runs, declared, directory, larger, (LARGE, LARGER))


def _judge_held(
    candidate: Measured,
    runs: CostRuns,
    declared: Declared,
    directory: Path,
    sampled: "_Sampled | None",
    specs: Sequence[RunSpec] = (),
) -> Verdict:
    """Judge what Python holds: by samples if they show that it is flat, and else by traces."""
    limit = declared.bytes_per_record
    if sampled is not None and sampled.per_record <= limit and sampled.noise <= limit:
        return judge(
            candidate.name,
            True,
            expected=f"at most {limit} bytes held by Python for each record",
            seen=f"memory flat: {sampled.per_record:,.1f} bytes or less for each record",
        )
    held = _held_by(candidate, runs, specs or (_SAMPLED, LARGE), directory)
    if not specs and _per_record(held) > limit:
        held |= _held_by(candidate, runs, _HELD_BEYOND_BUFFERS, directory)
    per_record = _per_record(held)
    grew = per_record > limit
    return judge(
        candidate.name,
        not grew,
        expected=f"at most {limit} bytes held by Python for each record",
        seen=f"memory grew with records: {per_record:,.1f} bytes for each"
        if grew
        else f"memory flat: {max(0.0, per_record):,.1f} bytes for each record",
        evidence=[f"{count:,} records  {peak:,} bytes" for count, peak in held.items()],
        next_step="lists and maps of records or ids, of any table; or declare what is held with "
        "--bytes-per-record",
    )


def _judge_database(name: str, sampled: "_Sampled", declared: Declared) -> Verdict:
    """Judge what the database library holds, such as a sorted copy of a result."""
    limit = max(declared.bytes_per_record, _OTHER_BYTES_PER_RECORD)
    per_record = max(0.0, sampled.database / sampled.records)
    grew = per_record > limit
    return judge(
        name,
        not grew,
        expected=f"at most {limit} bytes held by SQLite for each record",
        seen=f"memory of SQLite grew with records: {per_record:,.0f} bytes for each"
        if grew
        else f"memory of SQLite flat: {per_record:,.0f} bytes for each record",
        next_step="temporary tables and large cells; or declare it with --bytes-per-record",
    )


@dataclass(frozen=True)
class _Sampled:
    """What further records of a run add to the peaks of an export.

    Attributes:
        records: The number of records.
        objects: Objects of up to SMALL_OBJECT_BYTES.
        larger: Bytes of larger objects.
        left_objects: Objects that the smaller export left behind, beyond those of the larger one.
        left_bytes: Bytes of larger objects that it left behind, in the same way.
        database: Bytes of the database library.
    """

    records: int
    objects: int
    larger: int
    left_objects: int
    left_bytes: int
    database: int

    @property
    def per_record(self) -> float:
        """The bytes for each record at most, as if every small object were as large as it can."""
        small = SMALL_OBJECT_BYTES * max(0, self.objects)
        return (small + max(0, self.larger)) / self.records

    @property
    def noise(self) -> float:
        """The bytes for each record by which something else may hide growth.

        A cache that fills in the smaller export, or is freed in the larger one, does.
        """
        fell = _ID_BYTES * max(0, -self.objects) + max(0, -self.larger)
        left = _ID_BYTES * max(0, self.left_objects) + max(0, self.left_bytes)
        return max(fell, left) / self.records


def _sample(
    candidate: Measured, runs: CostRuns, directory: Path, specs: Sequence[RunSpec]
) -> _Sampled | None:
    """Sample two large exports; None where that is not possible."""
    found = []
    for spec in specs:
        stored = runs.stored([SMALL, spec])
        # The first export from a database compiles statements, which a later one finds.
        candidate.sample_held(_task(stored.db, SMALL, directory))
        peaks = candidate.sample_held(_task(stored.db, spec, directory))
        if peaks is None or peaks["samples"] < _LEAST_SAMPLES:
            return None  # An exporter that reads through another engine is not sampled.
        found.append((stored.runs[spec.run_id].cardinalities.records, peaks))
    (fewer, small), (more, large) = found
    return _Sampled(
        records=more - fewer,
        objects=large["objects"] - small["objects"],
        larger=large["bytes"] - small["bytes"],
        left_objects=small["left_objects"] - large["left_objects"],
        left_bytes=small["left_bytes"] - large["left_bytes"],
        database=large["database_bytes"] - small["database_bytes"],
    )


def _held_by(
    candidate: Measured, runs: CostRuns, specs: Sequence[RunSpec], directory: Path
) -> dict[int, int]:
    """Return the bytes that were held at most, by the number of records of the run."""
    held = {}
    for spec in specs:
        stored = runs.stored([SMALL, spec])
        # The first export from a database compiles statements, which a later one finds.
        candidate.measure_held(_task(stored.db, SMALL, directory), tries=1)
        found = candidate.measure_held(_task(stored.db, spec, directory), tries=1)
        held[stored.runs[spec.run_id].cardinalities.records] = found["peaks"][0]
    return held


def _per_record(held: Mapping[int, int]) -> float:
    """Return the bytes for a further record, between the two largest runs."""
    (records, small), (more_records, large) = list(held.items())[-2:]
    return (large - small) / (more_records - records)


def _judge_resident(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Verdict:
    limit = max(declared.bytes_per_record, _OTHER_BYTES_PER_RECORD)
    expected = f"at most {limit} bytes held for each record"
    if isinstance(candidate, InThisProcess) and not candidate.loaded.reference:
        why = "memory not measured: an exporter without a module:attribute has no other process"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    stored = runs.stored(_RESIDENT)
    # Peaks grow for good in a process, so the two sizes are measured in two processes.
    used = {
        stored.runs[spec.run_id].cardinalities.records: candidate.measure_memory(
            _task(stored.db, spec, directory)
        ).above_start_bytes
        for spec in _RESIDENT
    }
    (records, small), (more_records, large) = used.items()
    per_record = (large - small) / (more_records - records)
    grew = per_record > limit
    return judge(
        candidate.name,
        not grew,
        expected=expected,
        seen=f"memory grew with rows: {per_record:,.0f} bytes for each record"
        if grew
        else f"memory flat: {max(0.0, per_record):,.0f} bytes for each record",
        evidence=[
            f"{count:,} records  {above / 2**20:.1f} MiB above start"
            for count, above in used.items()
        ],
        next_step="lists and maps of records; or declare what is held with --bytes-per-record",
    )


def judge_long_values(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Verdict:
    """Judge whether long values that no export holds take memory during an export.

    Takes the arguments of `judge_memory`.
    """
    peaks = {}
    for characters in (2, _LONG):
        stored = runs.stored([_LONG_RUN], LongValues(characters))
        task = _task(stored.db, _LONG_RUN, directory)
        # Each the first from its database, so that both compile statements.
        peaks[characters] = candidate.measure_held(task, tries=1)["peaks"][0]
    short, long = peaks.values()
    records = stored.runs[_LONG_RUN.run_id].cardinalities.records
    granted = max(_LONG * _LONG_VALUES_AT_A_TIME, declared.bytes_per_record * records)
    grew = long - short > granted
    return judge(
        candidate.name,
        not grew,
        expected="the same memory for values that no export holds, however long they are",
        seen="memory grew with the length of values that no export holds"
        if grew
        else "memory flat beside long values that no export holds",
        evidence=[
            f"{characters:,} characters  {peak:,} bytes" for characters, peak in peaks.items()
        ],
        next_step="columns that are fetched and not exported: " + ", ".join(LONG_COLUMNS[:4]),
    )


def judge_leaks(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Verdict:
    """Judge what exports in one process leave behind, each with a new exporter.

    Takes the arguments of `judge_memory`.
    """
    task = _task(runs.stored([_LEAKS]).db, _LEAKS, directory)
    left = candidate.measure_held(task, tries=_WARMUPS + _EXPORTS)["left"]
    if _left_by_each(left, _EXPORTS) > _LEFT_BYTES:
        left = candidate.measure_held(task, tries=_WARMUPS_OF_CACHES + _EXPORTS_AFTER)["left"]
    leaked = _left_by_each(left, _EXPORTS)
    grew = leaked > _LEFT_BYTES
    return judge(
        candidate.name,
        not grew,
        expected=f"at most {_LEFT_BYTES:,} bytes left in the process by each export",
        seen=f"memory leaked: {leaked:,} bytes left by each export"
        if grew
        else f"memory given back: {max(0, leaked):,} bytes left by each export",
        evidence=[
            f"after {n} exports  {held:,} bytes"
            for n, held in [*enumerate(left, start=1)][-_EXPORTS:]
        ],
        next_step="what a class or a module keeps: caches by run, lists that only grow",
    )


def _left_by_each(left: Sequence[int], exports: int) -> int:
    """Return the median of what each of the last exports left: some exports fill a list."""
    last = left[-exports - 1 :]
    return int(median(after - before for before, after in pairwise(last)))


def _task(db: LandscapeDB, spec: RunSpec, directory: Path) -> ExportTask:
    return ExportTask(db, spec.run_id, SIGNING_KEY, fixed_clock, directory)
