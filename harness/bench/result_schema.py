"""The schema of results.json: pydantic models, the contract with all readers of the file."""

# The models are kept apart from the dataclasses of the program, so that a change of those cannot
# change the file by accident. A change that an older reader would misread raises FORMAT.

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from harness.bench.environment import Environment
from harness.bench.measurements import (
    DesignTimings,
    FullMeasurement,
    LargeRun,
    MeasuredRun,
    Measurement,
    SizeResult,
)
from harness.bench.paired_ratio import Interval, PairedRatio, Pairing
from harness.bench.results import Judgement, Results, Topic
from harness.bench.targets import Target
from harness.bench.timing import Timing
from harness.compare.capture import Refusal
from harness.compare.difference import Difference, Kind
from harness.compare.exports import Comparison
from harness.exporters.observation import MemoryUse, Observation, WrittenFile
from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict

FORMAT = 3
"""The version of the file."""

# Bounded, so that a damaged file is refused here and not by the arithmetic of a report.
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**63 - 1)]
Seconds = Annotated[float, Field(gt=1e-9, lt=1e9)]
Ratio = Annotated[float, Field(gt=1e-9, lt=1e9)]
Bound = Annotated[float, Field(gt=-1e15, lt=1e15)]


class Saved(BaseModel):
    """A part of the file. `makes` is the dataclass of the program that it represents."""

    # Extra keys are forbidden: a reader that ignored one would judge by a part of the results.
    model_config = ConfigDict(
        frozen=True, extra="forbid", from_attributes=True, allow_inf_nan=False
    )
    makes: ClassVar[Callable[..., Any]]

    def restored(self) -> Any:
        """Make the program's object."""
        fields = type(self).model_fields
        return type(self).makes(**{name: _restored(getattr(self, name)) for name in fields})


def _restored(value: Any) -> Any:
    if isinstance(value, Saved):
        return value.restored()
    if isinstance(value, Mapping):
        return {name: _restored(each) for name, each in value.items()}
    return tuple(map(_restored, value)) if isinstance(value, tuple) else value


class SavedSite(Saved):
    """A line of source. The path is relative to the checkout's root, or absolute outside it."""

    makes = CallSite
    path: str
    line: Positive
    function: str


class SavedVerdict(Saved):
    """The expectation and the observation about one subject."""

    makes = Verdict
    subject: str
    outcome: Outcome
    expected: str
    seen: str
    evidence: tuple[str, ...]
    next_step: str
    site: SavedSite | None
    kind: str = ""  # Older files lack it.
    about: str = ""  # Older files lack it.


class SavedJudgement(Saved):
    """A verdict and its topic."""

    makes = Judgement
    topic: Topic
    verdict: SavedVerdict


class SavedEnvironment(Saved):
    """The machine, the versions and the revision of the measurement."""

    makes = Environment
    cpu: str
    cores: Count
    system: str
    python: str
    sqlalchemy: str
    driver: str
    database: str
    commit: str
    lock_digest: str


class SavedRun(Saved):
    """A generated run: its spec as JSON text, and its rows by table."""

    makes = MeasuredRun
    spec: str
    run_id: str
    rows: Positive
    cardinalities: Mapping[str, Count]


class SavedShape(Saved):
    """All queries of one shape: how many, and the line that sent most of them."""

    table: str
    text: str
    count: Count
    site: SavedSite | None

    @model_validator(mode="before")
    @classmethod
    def _from_activity(cls, given: object) -> object:
        if isinstance(given, ShapeActivity):
            shape = given.shape
            site = given.site
            return {"table": shape.table, "text": shape.text, "count": given.count, "site": site}
        return given

    def restored(self) -> ShapeActivity:
        """Make the program's object, without parsing SQL."""
        return ShapeActivity.named(self.table, self.text, self.count, _restored(self.site))


class SavedActivity(Saved):
    """The activity of an export on the database. A count that could not be taken is null.

    `sites` is the line behind most transactions, checkouts and session statements, and `concerns`
    the table and the statement there in words.
    """

    makes = Activity
    shapes: tuple[SavedShape, ...]
    session_statements: Count | None
    transactions: Count | None
    checkouts: Count | None
    rows_fetched: Count | None
    records: Count | None
    bypassed: tuple[str, ...] | None
    work: Mapping[str, Count]
    sites: Mapping[str, SavedSite]
    concerns: Mapping[str, str] = {}


class SavedExport(Saved):
    """The file that an export wrote."""

    makes = WrittenFile
    records: Count
    size_bytes: Count
    sha256: str


class SavedObservation(Saved):
    """The activity and the file of one export."""

    makes = Observation
    subject: str
    activity: SavedActivity
    file: SavedExport


class SavedTiming(Saved):
    """The seconds of every timed round. Rounds of the same number belong together."""

    makes = Timing
    subject: str
    seconds: Annotated[tuple[Seconds, ...], Field(min_length=1)]


class SavedMemory(Saved):
    """Resident memory of a fresh process: before the export, and at its highest."""

    makes = MemoryUse
    start_bytes: Count
    peak_bytes: Count


class SavedMeasurement(Saved):
    """All that was measured of one exporter on one run."""

    makes = Measurement
    observation: SavedObservation
    timing: SavedTiming
    memory: SavedMemory
    first_row_seconds: Seconds


class SavedDifference(Saved):
    """The first difference of two exports."""

    makes = Difference
    kind: Kind
    expected: str
    found: str
    place: str
    number: Count | None
    record_type: str
    record: str
    field: str
    byte_offset: Count | None
    around: tuple[str, ...]
    hint: str


class SavedRefusal(Saved):
    """The error that both exports ended in."""

    makes = Refusal
    type_name: str
    message: str


class SavedComparison(Saved):
    """Two exports of one run compared; `difference` is null where they are the same."""

    makes = Comparison
    control: str
    candidate: str
    run_id: str
    records: Count
    difference: SavedDifference | None
    control_sha256: str | None
    candidate_sha256: str | None
    refusal: SavedRefusal | None


class SavedSize(Saved):
    """Both exporters on a run of one size."""

    makes = SizeResult
    run: SavedRun
    control: SavedMeasurement
    candidate: SavedMeasurement
    comparison: SavedComparison

    @model_validator(mode="after")
    def _same_rounds(self) -> Self:
        _check_rounds(self.control.timing, self.candidate.timing)
        return self


class SavedDesigns(Saved):
    """Three designs of an exporter, timed in turn on one run in one database."""

    makes = DesignTimings
    database: str
    rows: Positive
    records: Count
    control: SavedTiming
    in_memory_maps: SavedTiming
    candidate: SavedTiming

    @model_validator(mode="after")
    def _same_rounds(self) -> Self:
        _check_rounds(self.control, self.in_memory_maps, self.candidate)
        return self


class SavedLargeRun(Saved):
    """The candidate on a run of 50 times the usual size; a missing timing is null."""

    makes = LargeRun
    rows: Positive
    records: Count
    small_run_records: Count
    small_run: SavedTiming
    one_job: SavedTiming
    two_jobs: SavedTiming | None
    dump: SavedTiming | None
    first_row_seconds: Seconds
    candidate_memory: SavedMemory
    in_memory_maps_memory: SavedMemory

    @model_validator(mode="after")
    def _same_rounds(self) -> Self:
        _check_rounds(self.small_run, self.one_job, self.two_jobs, self.dump)
        return self


class SavedFull(Saved):
    """The measurements of `harness bench --full`."""

    makes = FullMeasurement
    designs: tuple[SavedDesigns, ...]
    large: SavedLargeRun


class SavedInterval(Saved):
    """A confidence interval of a ratio."""

    makes = Interval
    low: Ratio
    high: Ratio


class SavedRatio(Saved):
    """Two revisions by one clock: seconds of base to seconds of head, higher is better."""

    makes = PairedRatio
    base: SavedTiming
    head: SavedTiming
    ratio: Ratio
    interval: SavedInterval


class SavedPairing(Saved):
    """Two revisions timed in turn, by wall time and by CPU time.

    `records` and `cpu` are null in results that were first written in an older format.
    """

    makes = Pairing
    rows: Positive
    records: Positive | None
    wall: SavedRatio
    cpu: SavedRatio | None

    @model_validator(mode="after")
    def _same_rounds(self) -> Self:
        clocks = [self.wall, *([self.cpu] if self.cpu else [])]
        _check_rounds(*(side for each in clocks for side in (each.base, each.head)))
        return self


class SavedTarget(Saved):
    """An agreed number. Exactly one of `exactly`, `at_least` and `at_most` is not null."""

    makes = Target
    id: str
    title: str
    metric: str
    unit: str
    exactly: bool | Bound | None
    at_least: Bound | None
    at_most: Bound | None
    rows: int | None
    from_rows: int | None


class SavedResults(Saved):
    """All observations of a round of the harness, and its judgements.

    The sizes ascend. A report, and the gate's decision, need nothing else.
    """

    format: Literal[3]
    environment: SavedEnvironment
    measured_at: AwareDatetime
    sizes: tuple[SavedSize, ...]
    full: SavedFull | None
    formulas: Mapping[str, str]
    pairing: SavedPairing | None
    targets: tuple[SavedTarget, ...]
    judgements: tuple[SavedJudgement, ...]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        rows = [each.run.rows for each in self.sizes]
        if rows != sorted(set(rows)):
            raise ValueError(f"the sizes do not ascend: {rows}")
        return self

    def restored(self) -> Results:
        """Make the program's object."""
        names = [name for name in type(self).model_fields if name != "format"]
        return Results(**{name: _restored(getattr(self, name)) for name in names})


def _check_rounds(*timings: SavedTiming | None) -> None:
    # Ratios pair the timings of one round, and would raise in a report.
    if len({len(each.seconds) for each in timings if each}) > 1:
        raise ValueError("timings of the same rounds differ in their number of rounds")
