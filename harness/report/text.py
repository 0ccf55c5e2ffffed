"""The words and cells that every rendering shares."""

from collections.abc import Mapping
from dataclasses import replace

from harness.bench.results import Measurement, Results
from querygrowth.verdict import Outcome, Verdict

OUTCOME_WORDS: Mapping[Outcome, str] = {
    Outcome.PASSED: "met",
    Outcome.FAILED: "MISSED",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.SKIPPED: "not judged",
}

_SHOWN_DIGITS = 12


def visible(text: str, *, kept: str = "") -> str:
    """Text of unknown origin with control characters escaped, but for those that are `kept`.

    What a terminal obeys, what turns the direction of writing, and what no encoding can write
    comes out as its code.
    """
    return "".join(
        char
        if char.isprintable() or char in kept
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def visible_verdict(verdict: Verdict) -> Verdict:
    """The verdict with each of its texts on one line."""
    return replace(
        verdict,
        subject=visible(verdict.subject),
        expected=visible(verdict.expected),
        seen=visible(verdict.seen),
        evidence=tuple(map(visible, verdict.evidence)),
        next_step=visible(verdict.next_step),
    )


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
