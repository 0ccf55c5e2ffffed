"""Results on a terminal: both exporters side by side, every verdict, and failures explained."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from harness.bench.measurements import FullMeasurement, SizeResult
from harness.bench.results import Judgement, Results
from harness.report.text import (
    bytes_line,
    full_figures,
    headline,
    measurement_cells,
    speed_line,
)
from querygrowth.reports import visible, visible_verdict
from querygrowth.verdict import Outcome

OUTCOME_STYLES: Mapping[Outcome, str] = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.SKIPPED: "dim",
}
_EXPLAINED = 3


def render_results(results: Results) -> RenderableType:
    """Lay out the figures of the largest size, of the full measurement, and the verdicts."""
    measured: tuple[RenderableType, ...] = ()
    if results.sizes:
        measured = (
            _measurements(results.largest),
            Text(),
            Text(f"speed-up   {speed_line(results)}"),
            Text(f"bytes      {bytes_line(results)}"),
            Text(),
        )
    full = (_full(results.full), Text()) if results.full else ()
    formulas = (
        Text(visible(f"{name}: queries = {text}")) for name, text in results.formulas.items()
    )
    return Group(*measured, *full, *formulas, render_judgements(results.ordered_judgements))


def render_judgements(judgements: Iterable[Judgement]) -> RenderableType:
    """One line per verdict, in the order given."""
    table = Table(
        "", "topic", "subject", "expected", "seen", box=None, pad_edge=False, show_header=False
    )
    for each in judgements:
        verdict = each.verdict
        mark = Text(verdict.outcome.value, style=OUTCOME_STYLES[verdict.outcome])
        cells = (each.topic.value, verdict.subject, verdict.expected, verdict.seen)
        table.add_row(mark, *(Text(visible(cell)) for cell in cells))
    return table


def render_failures(results: Results) -> RenderableType:
    """Explain the first failures, if any, and end with the result in one line."""
    failures = results.failures
    explained = (Text(f"\n{visible_verdict(each.verdict)}") for each in failures[:_EXPLAINED])
    rest = len(failures) - _EXPLAINED
    more = (Text(f"\n... and {rest} more: the reports explain them"),) if rest > 0 else ()
    return Group(*explained, *more, Text(f"\n{visible(headline(results))}"))


def _full(full: FullMeasurement) -> Table:
    table = Table(Column("full measurement"), Column(justify="right"), box=None, pad_edge=False)
    for name, cell in full_figures(full).items():
        table.add_row(name, cell)
    return table


def _measurements(size: SizeResult) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for role, each in zip(("control", "candidate"), size.measurements, strict=True):
        table.add_column(Text(f"{role}\n{visible(each.observation.subject)}"), justify="right")
    control, candidate = (measurement_cells(each, size.run.rows) for each in size.measurements)
    for name, cell in control.items():
        table.add_row(name, Text(cell), Text(candidate[name]))
    return table
