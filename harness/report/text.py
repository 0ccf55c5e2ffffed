"""The words and cells that every rendering shares."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harness.bench.results import Judgement, Measurement, Results, Topic
from querygrowth.call_sites import CallSite
from querygrowth.reports import Reported, annotations, sarif_log
from querygrowth.verdict import Outcome

OUTCOME_WORDS: Mapping[Outcome, str] = {
    Outcome.PASSED: "met",
    Outcome.FAILED: "MISSED",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.SKIPPED: "not judged",
}

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
"""What each topic demands, for code scanning."""

_SHOWN_DIGITS = 12


def reported(results: Results) -> tuple[Reported, ...]:
    """Every verdict with its topic, in the order in which reports list them."""
    return tuple(map(report_of, results.ordered_judgements))


def report_of(judgement: Judgement) -> Reported:
    """The verdict of a judgement, with its place, and its topic."""
    place = judgement.place
    site = CallSite(place.path, place.line, place.function) if place else judgement.verdict.site
    return Reported(judgement.topic.value, replace(judgement.verdict, site=site))


def render_sarif(results: Results) -> str:
    """Render failures, and what could not be decided, as a SARIF log for code scanning."""
    return sarif_log(reported(results), tool=_TOOL, rules=_RULES, root=Path.cwd())


def render_annotations(results: Results) -> Iterator[str]:
    """Yield a GitHub workflow command for a failure, and for what could not be decided."""
    yield from annotations(reported(results), root=Path.cwd())


def measurement_cells(measured: Measurement, rows: int) -> Mapping[str, str]:
    """What was measured of one exporter, by the name of the figure, units included."""
    seen = measured.observation
    return {
        "queries": f"{seen.queries:,}",
        "transactions": f"{seen.transactions:,}",
        "session statements": f"{seen.session_statements:,}",
        "rows fetched": _count_or_unknown(seen.rows_fetched),
        "SQLite machine steps": _count_or_unknown(seen.vm_steps),
        "records": f"{seen.records:,}",
        "records/s": f"{measured.records_per_second:,.0f}",
        "rows/s": f"{measured.timing.per_second(rows):,.0f}",
        "first row record": f"{measured.first_row_seconds * 1000:,.1f} ms",
        "peak memory above start": f"{measured.memory.above_start_bytes / 2**20:,.1f} MiB",
        "sha256": f"{seen.sha256[:_SHOWN_DIGITS]}...",
    }


def speed_line(results: Results) -> str:
    """The speed-up at the largest run, in words."""
    largest = results.largest
    return f"{largest.speed_up:.1f} times the control's records/s, at {largest.run.rows:,} rows"


def bytes_line(results: Results) -> str:
    """Whether the largest run's files were the same, in words."""
    largest = results.largest
    seen = largest.candidate.observation
    if largest.comparison.identical:
        return f"identical: {seen.size_bytes:,} bytes, sha256 {seen.sha256}"
    return "DIFFERENT: the first difference is below"


def headline(results: Results) -> str:
    """How it came out, in one line: the first failure, or what passed."""
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
