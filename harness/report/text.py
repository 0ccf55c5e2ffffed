"""Results as text: on a terminal, as Markdown, as SARIF and as GitHub annotations.

The HTML page takes its words and figures from here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from harness.bench.causes import failures_by_cause
from harness.bench.measurements import (
    DesignTimings,
    FullMeasurement,
    LargeRun,
    Measurement,
    SizeResult,
)
from harness.bench.results import Judgement, Results, Topic
from harness.bench.timing import Timing
from harness.exporters.observation import MemoryUse
from harness.report.rules import TOOL, rules
from querygrowth.counting.work import VM_STEPS
from querygrowth.reports import (
    Reported,
    annotations,
    code,
    markdown_failure,
    markdown_table,
    plain,
    sarif_log,
    visible,
    visible_verdict,
)
from querygrowth.verdict import Outcome

OUTCOME_STYLES: Mapping[Outcome, str] = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.SKIPPED: "dim",
}
"""How a terminal shows an outcome."""

_EXPLAINED = 3
# A terminal shows the last screen.
_SHOWN_DIGITS = 12


def render_results(results: Results) -> RenderableType:
    """Lay out the figures of the largest size, of the full measurement, and the verdicts."""
    measured: tuple[RenderableType, ...] = ()
    if results.sizes:
        measured = (
            _measurements_table(results.largest),
            Text(),
            Text(f"speed-up   {speed_line(results)}"),
            Text(f"bytes      {bytes_line(results)}"),
            Text(),
        )
    full = (_full_table(results.full), Text()) if results.full else ()
    formulas = (
        Text(visible(f"{name}: queries = {text}")) for name, text in results.formulas.items()
    )
    return Group(*measured, *full, *formulas, render_judgements(results.ordered_judgements))


def render_judgements(judgements: Iterable[Judgement]) -> RenderableType:
    """One line per verdict, in the given order."""
    table = Table(
        "", "topic", "subject", "expected", "seen", box=None, pad_edge=False, show_header=False
    )
    for each in judgements:
        verdict = each.verdict
        mark = Text(verdict.outcome.value, style=OUTCOME_STYLES[verdict.outcome])
        cells = (each.topic.value, verdict.subject, verdict.expected, verdict.seen)
        # Text, not str: rich would read a bracket in a name as markup.
        table.add_row(mark, *(Text(visible(cell)) for cell in cells))
    return table


def render_failures(results: Results) -> RenderableType:
    """Explain the first failures, if any, and end with the result in one line."""
    # The result comes last, next to the prompt, where a person looks first.
    failures = failures_by_cause(results)
    explained = (Text(f"\n{visible_verdict(each.explained())}") for each in failures[:_EXPLAINED])
    rest = len(failures) - _EXPLAINED
    more = (Text(f"\n... and {rest} more: the reports explain them"),) if rest > 0 else ()
    return Group(*explained, *more, Text(f"\n{visible(headline(results))}"))


def render_markdown(results: Results) -> str:
    """Render the summary of a CI job: the outcome, failures explained, figures, every verdict."""
    return "\n".join(_markdown_lines(results)) + "\n"


def render_sarif(results: Results, *, docs_url: str = "") -> str:
    """Render the causes of failures and inconclusive verdicts as a SARIF log for code scanning.

    Args:
        results: The results to report.
        docs_url: The address of the folder of the documentation. Without it no rule has a link.
    """
    return sarif_log(_reported(results), tool=TOOL, rules=rules(docs_url), root=Path.cwd())


def render_annotations(results: Results) -> Iterator[str]:
    """Yield a GitHub workflow command for every cause of failures and inconclusive verdict."""
    yield from annotations(_reported(results), root=Path.cwd())


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
    return "DIFFERENT: see the first difference"


def headline(results: Results) -> str:
    """The result in one line: the first failure, and the number of verdicts by outcome."""
    counts = Counter(each.verdict.outcome for each in results.judgements)
    failures = failures_by_cause(results)
    words = {each: f"{counts[each]} {each}" for each in Outcome if counts[each]}
    following = sum(len(each.results) for each in failures)
    if following:
        verb = "follow" if following > 1 else "follows"
        whole = "it" if len(failures) == 1 else "them"
        words[Outcome.FAILED] = f"{len(failures)} failed and {following} that {verb} from {whole}"
    counted = ", ".join(words.values())
    if failures:
        first = failures[0].cause
        seen, formula = first.verdict.seen, results.formulas.get(first.verdict.subject)
        if formula and first.topic is Topic.GROWTH:
            seen = f"{seen}: queries = {formula}"
        return f"{first.topic.value}: {first.verdict.subject}: {seen} ({counted})"
    if counts.keys() <= {Outcome.SKIPPED}:
        return f"nothing was judged ({counted})" if counted else "nothing was judged"
    return f"verdicts: {counted}"


def _reported(results: Results) -> tuple[Reported, ...]:
    """The failures by their causes, and then all verdicts that did not fail."""
    failures = failures_by_cause(results)
    others = (each for each in results.ordered_judgements if not each.verdict.failed)
    return (
        *(Reported(each.cause.topic.value, each.explained()) for each in failures),
        *(Reported(each.topic.value, each.verdict) for each in others),
    )


def _measurements_table(size: SizeResult) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for role, each in zip(("control", "candidate"), size.measurements, strict=True):
        table.add_column(Text(f"{role}\n{visible(each.observation.subject)}"), justify="right")
    control, candidate = (measurement_cells(each, size.run.rows) for each in size.measurements)
    for name, cell in control.items():
        table.add_row(name, Text(cell), Text(candidate[name]))
    return table


def _full_table(full: FullMeasurement) -> Table:
    table = Table(Column("full measurement"), Column(justify="right"), box=None, pad_edge=False)
    for name, cell in full_figures(full).items():
        table.add_row(name, cell)
    return table


def _markdown_lines(results: Results) -> Iterator[str]:
    yield f"# Landscape export: {results.outcome.value}"
    yield ""
    yield plain(headline(results))
    for each in _reported(results):
        if each.verdict.failed:
            yield from ("", *markdown_failure(each, root=Path.cwd()))
    if results.sizes:
        yield from _markdown_figures(results)
    if results.full:
        yield from ("", "## The full measurement", "", "| figure | |", "|---|---:|")
        for name, cell in full_figures(results.full).items():
            yield f"| {plain(name)} | {plain(cell)} |"
    for name, formula in results.formulas.items():
        yield from ("", f"{plain(name)}: {code(f'queries = {formula}')}")
    yield from ("", "## Every verdict", "", *markdown_table(_every(results)))
    environment = results.environment
    measured_on = f"{environment.machine}; CPython {environment.python}, {environment.database}"
    yield from ("", plain(f"Measured on {measured_on}, revision {environment.commit}"))


def _every(results: Results) -> Iterator[Reported]:
    return (Reported(each.topic.value, each.verdict) for each in results.ordered_judgements)


def _markdown_figures(results: Results) -> Iterator[str]:
    size = results.largest
    control, candidate = (measurement_cells(each, size.run.rows) for each in size.measurements)
    names = [plain(each.observation.subject) for each in size.measurements]
    yield from ("", f"## Both exporters, {size.run.rows:,} rows", "")
    yield f"| | control: {names[0]} | candidate: {names[1]} |"
    yield "|---|---:|---:|"
    for name, cell in control.items():
        yield f"| {name} | {plain(cell)} | {plain(candidate[name])} |"
    yield from ("", f"{plain(speed_line(results))}. Files {plain(bytes_line(results))}.")


def _design_figures(designs: DesignTimings) -> Iterator[tuple[str, str]]:
    where = f"{designs.database}, {designs.rows:,} rows"
    timings = {
        "control": designs.control,
        "in-memory maps": designs.in_memory_maps,
        "candidate": designs.candidate,
    }
    for name, timing in timings.items():
        yield f"{where}, {name}", _rates(timing, designs.records, designs.rows)


def _large_figures(large: LargeRun) -> Iterator[tuple[str, str]]:
    where = f"SQLite, {large.rows:,} rows"
    yield f"{where}, one job", _rates(large.one_job, large.records, large.rows)
    if large.two_jobs:
        yield f"{where}, two jobs", _rates(large.two_jobs, large.records, large.rows)
    if large.dump:
        yield f"{where}, the sqlite3 shell's dump", _rates(large.dump, large.records, large.rows)
    yield f"{where}, first row record", f"{large.first_row_seconds * 1000:,.1f} ms"
    yield f"{where}, memory of the candidate", _mebibytes(large.candidate_memory)
    yield f"{where}, memory of in-memory maps", _mebibytes(large.in_memory_maps_memory)


def _rates(timing: Timing, records: int, rows: int) -> str:
    return f"{timing.per_second(records):,.0f} records/s, {timing.per_second(rows):,.0f} rows/s"


def _mebibytes(memory: MemoryUse) -> str:
    return f"{memory.above_start_bytes / 2**20:,.1f} MiB"


def _count_or_unknown(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
