"""The words and figures that all renderings of results share."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.bench.measurements import DesignTimings, FullMeasurement, LargeRun, Measurement
from harness.bench.results import Results, Topic
from harness.exporters.observation import MemoryUse
from harness.exporters.timing import Timing
from querygrowth.reports import Reported, annotations, sarif_log
from querygrowth.verdict import Outcome
from querygrowth.work import VM_STEPS

_TOOL = "landscape export gate"
_RULES: Mapping[str, str] = {
    Topic.VACUITY: "Something was measured",
    Topic.EQUIVALENCE: "The export is the control's, to the byte",
    Topic.GROWTH: "Queries do not grow with the run",
    Topic.BASELINE: "Nothing costs more than the accepted baseline",
    Topic.TARGETS: "The agreed targets are reached",
    Topic.SPEED: "Not slower than the base revision",
    Topic.SELFTEST: "The harness catches its seeded faults",
}
"""What a topic demands, for code scanning."""

_SHOWN_DIGITS = 12


def reported(results: Results) -> tuple[Reported, ...]:
    """Every verdict with its topic, in the order in which reports list them."""
    return tuple(Reported(each.topic.value, each.verdict) for each in results.ordered_judgements)


def render_sarif(results: Results) -> str:
    """Render failures, and what could not be decided, as a SARIF log for code scanning."""
    return sarif_log(reported(results), tool=_TOOL, rules=_RULES, root=Path.cwd())


def render_annotations(results: Results) -> Iterator[str]:
    """Yield a GitHub workflow command for a failure, and for what could not be decided."""
    yield from annotations(reported(results), root=Path.cwd())


def measurement_cells(measured: Measurement, rows: int) -> Mapping[str, str]:
    """The figures of one exporter on one run, with units, by name."""
    activity, file = measured.observation.activity, measured.observation.file
    return {
        "queries": f"{activity.queries:,}",
        "transactions": _count_or_unknown(activity.transactions),
        "session statements": _count_or_unknown(activity.session_statements),
        "rows fetched": _count_or_unknown(activity.rows_fetched),
        "SQLite machine steps": _count_or_unknown(activity.work.get(VM_STEPS)),
        "records": f"{file.records:,}",
        "records/s": f"{measured.records_per_second:,.0f}",
        "rows/s": f"{measured.timing.per_second(rows):,.0f}",
        "first row record": f"{measured.first_row_seconds * 1000:,.1f} ms",
        "peak memory above start": _mebibytes(measured.memory),
        "sha256": f"{file.sha256[:_SHOWN_DIGITS]}...",
    }


def full_figures(full: FullMeasurement) -> Mapping[str, str]:
    """The figures of `bench --full`, with units, by name."""
    figures = [figure for each in full.designs for figure in _design_figures(each)]
    return dict([*figures, *_large_figures(full.large)])


def _design_figures(designs: DesignTimings) -> Iterator[tuple[str, str]]:
    where = f"{designs.database}, {designs.rows:,} rows"
    timings = {
        "control": designs.control,
        "in-memory maps": designs.in_memory_maps,
        "candidate": designs.candidate,
    }
    for name, timing in timings.items():
        yield f"{where}, {name}", _records_per_second(timing, designs.records)


def _large_figures(large: LargeRun) -> Iterator[tuple[str, str]]:
    where = f"SQLite, {large.rows:,} rows"
    yield f"{where}, one job", _records_per_second(large.one_job, large.records)
    if large.two_jobs:
        yield f"{where}, two jobs", _records_per_second(large.two_jobs, large.records)
    if large.dump:
        yield f"{where}, the sqlite3 shell's dump", _records_per_second(large.dump, large.records)
    yield f"{where}, first row record", f"{large.first_row_seconds * 1000:,.1f} ms"
    yield f"{where}, memory of the candidate", _mebibytes(large.candidate_memory)
    yield f"{where}, memory of in-memory maps", _mebibytes(large.in_memory_maps_memory)


def _records_per_second(timing: Timing, records: int) -> str:
    return f"{timing.per_second(records):,.0f} records/s"


def _mebibytes(memory: MemoryUse) -> str:
    return f"{memory.above_start_bytes / 2**20:,.1f} MiB"


def speed_line(results: Results) -> str:
    """The speed-up at the largest run, in words."""
    largest = results.largest
    return f"{largest.speed_up:.1f} times the control's records/s, at {largest.run.rows:,} rows"


def bytes_line(results: Results) -> str:
    """Whether the largest run's files were the same, in words."""
    largest = results.largest
    file = largest.candidate.observation.file
    if largest.comparison.identical:
        return f"identical: {file.size_bytes:,} bytes, sha256 {file.sha256}"
    return "DIFFERENT: the first difference is below"


def headline(results: Results) -> str:
    """The result in one line: the first failure, or how much passed."""
    failures = results.failures
    if failures:
        first = failures[0]
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return f"{first.topic.value}: {first.verdict.subject}: {first.verdict.seen}{others}"
    passed = sum(each.verdict.passed for each in results.judgements)
    if not passed:
        return "nothing was judged"
    undecided = sum(each.verdict.outcome is Outcome.INCONCLUSIVE for each in results.judgements)
    return f"{passed} verdicts passed" + (f", {undecided} inconclusive" if undecided else "")


def _count_or_unknown(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
