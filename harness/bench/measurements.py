"""Measurements of exporters on generated runs: facts, without judgement."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.bench.timing import Timing
from harness.compare.exports import Comparison
from harness.exporters.observation import MemoryUse, Observation

# Rates and ratios are properties and not fields: a file of results holds the measured values, and
# nothing that could disagree with them.


@dataclass(frozen=True)
class MeasuredRun:
    """The exported run: its spec as JSON text, and its number of rows in each table."""

    # As text: a later version of RunSpec may have other fields, and must not refuse old results.
    spec: str
    run_id: str
    rows: int
    cardinalities: Mapping[str, int]


@dataclass(frozen=True)
class Measurement:
    """All that was measured of one exporter on one run."""

    observation: Observation
    timing: Timing
    memory: MemoryUse
    first_row_seconds: float

    @property
    def records_per_second(self) -> float:
        """Records written in the median round, the manifest included."""
        return self.timing.per_second(self.observation.file.records)


@dataclass(frozen=True)
class SizeResult:
    """Both exporters on a run of one size, and their files compared."""

    run: MeasuredRun
    control: Measurement
    candidate: Measurement
    comparison: Comparison

    @property
    def speed_up(self) -> float:
        """The candidate's records/s, as a multiple of the control's."""
        return self.candidate.timing.times_faster_than(self.control.timing)

    @property
    def measurements(self) -> tuple[Measurement, Measurement]:
        """The control's and the candidate's."""
        return self.control, self.candidate


@dataclass(frozen=True)
class DesignTimings:
    """Three designs of an exporter, timed in turn on one run in one database.

    `in_memory_maps` is the usual cure of an N+1 export: one query per table, and maps of the whole
    run in memory.
    """

    database: str
    rows: int
    records: int
    control: Timing
    in_memory_maps: Timing
    candidate: Timing


@dataclass(frozen=True)
class LargeRun:
    """The candidate on the large run of `bench --full`, where the control would take hours.

    All timings are of the same rounds. `small_run` is the candidate on the usual run, of
    `small_run_records`. `two_jobs` is None for a candidate that takes no jobs, `dump` where the
    sqlite3 shell, which writes the same columns as JSON, is not installed.
    """

    rows: int
    records: int
    small_run_records: int
    small_run: Timing
    one_job: Timing
    two_jobs: Timing | None
    dump: Timing | None
    first_row_seconds: float
    candidate_memory: MemoryUse
    in_memory_maps_memory: MemoryUse

    @property
    def rate_ratio(self) -> float:
        """Records/s on the large run against the usual one: 1 when the rate does not fall."""
        large = self.one_job.per_second(self.records)
        return large / self.small_run.per_second(self.small_run_records)


@dataclass(frozen=True)
class FullMeasurement:
    """The measurements of `bench --full`: other designs and databases, and a large run."""

    designs: tuple[DesignTimings, ...]
    large: LargeRun

    def on(self, database: str) -> DesignTimings | None:
        """The designs' timings in one database; None where it was not measured."""
        return next((each for each in self.designs if each.database == database), None)


@dataclass(frozen=True)
class Measurements:
    """The measurements that targets are judged by: the largest run, and the full measurement."""

    largest: SizeResult
    full: FullMeasurement | None = None
