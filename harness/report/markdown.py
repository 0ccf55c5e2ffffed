"""The Markdown summary of results, for a CI job: failures, both exporters' figures, verdicts."""

from collections.abc import Iterator
from pathlib import Path

from harness.bench.results import Results
from harness.report.text import (
    bytes_line,
    full_figures,
    headline,
    measurement_cells,
    reported,
    speed_line,
)
from querygrowth.reports import code, markdown_failure, markdown_table, plain


def render_markdown(results: Results) -> str:
    """Render a summary: the outcome, failures explained, figures, every verdict."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield f"# Landscape export: {results.outcome.value}"
    yield ""
    yield plain(headline(results))
    for each in reported(results):
        if each.verdict.failed:
            yield from ("", *markdown_failure(each, root=Path.cwd()))
    if results.sizes:
        yield from _figures(results)
    if results.full:
        yield from ("", "## The full measurement", "", "| figure | |", "|---|---:|")
        for name, cell in full_figures(results.full).items():
            yield f"| {plain(name)} | {plain(cell)} |"
    for name, formula in results.formulas.items():
        yield from ("", f"{plain(name)}: {code(f'queries = {formula}')}")
    yield from ("", "## Every verdict", "", *markdown_table(reported(results)))
    environment = results.environment
    measured_on = f"{environment.machine}; CPython {environment.python}, {environment.database}"
    yield from ("", plain(f"Measured on {measured_on}, revision {environment.commit}"))


def _figures(results: Results) -> Iterator[str]:
    size = results.largest
    control, candidate = (measurement_cells(each, size.run.rows) for each in size.measurements)
    names = [plain(each.observation.subject) for each in size.measurements]
    yield from ("", f"## Both exporters, {size.run.rows:,} rows", "")
    yield f"| | control: {names[0]} | candidate: {names[1]} |"
    yield "|---|---:|---:|"
    for name, cell in control.items():
        yield f"| {name} | {plain(cell)} | {plain(candidate[name])} |"
    yield from ("", f"{plain(speed_line(results))}. Files {plain(bytes_line(results))}.")
