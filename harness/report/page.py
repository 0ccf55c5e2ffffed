"""The report page: results as one HTML file that needs nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.bench.history import Entry
from harness.bench.results import Results
from harness.compare.difference import Difference
from harness.exporters.observation import ShapeCount
from harness.report.charts import Chart, charts_of, draw, trend_charts
from harness.report.text import (
    OUTCOME_WORDS,
    bytes_line,
    headline,
    measurement_cells,
    speed_line,
)
from querygrowth.reports import visible

_HERE = Path(__file__).parent
_SHOWN_SHAPES = 50


@dataclass(frozen=True)
class DrawnChart:
    """A chart with its picture, which holds nothing but what the drawing escaped."""

    key: str
    title: str
    y_label: str
    description: str
    svg: Markup


def render_page(results: Results, *, history: Sequence[Entry] = ()) -> str:
    """Render the page; `history` holds earlier results, oldest first."""
    template = _templates().get_template("page.html.jinja")
    charts = (*charts_of(results), *trend_charts(history))
    measured = results.largest if results.sizes else None
    cells = {}
    if measured:
        roles = zip(("control", "candidate"), measured.measurements, strict=True)
        cells = {role: measurement_cells(each, measured.run.rows) for role, each in roles}
    return template.render(
        results=results,
        outcome=results.outcome.value,
        headline=headline(results),
        control=measured.control.observation.subject if measured else "control",
        candidate=measured.candidate.observation.subject if measured else "candidate",
        failures=results.failures,
        judgements=results.ordered_judgements,
        difference=_first_difference(results),
        cells=cells,
        speed=speed_line(results) if measured else "",
        bytes=bytes_line(results) if measured else "",
        charts=[_drawn(chart) for chart in charts],
        rounds=_rounds(results),
        shapes=_most_sent(measured.candidate.observation.shapes if measured else ()),
        history=history,
        environment={k.replace("_", " "): v for k, v in asdict(results.environment).items()},
        words=OUTCOME_WORDS,
        # The only text beside the charts that is not escaped: a file of this package.
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704
    )


def _templates() -> Templates:
    return Templates(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: object) -> object:
    """Show control characters of a text; what is markup is of this package."""
    return value if isinstance(value, Markup) else visible(str(value), kept="\n")


def _drawn(chart: Chart) -> DrawnChart:
    picture = Markup(draw(chart))  # noqa: S704 - names in it are escaped where it is drawn
    return DrawnChart(chart.key, chart.title, chart.y_label, chart.description, picture)


def _first_difference(results: Results) -> Difference | None:
    compared = (*(size.comparison for size in results.sizes), *results.comparisons)
    return next((each.difference for each in compared if each.difference), None)


def _rounds(results: Results) -> Iterable[tuple[float, float]]:
    pairing = results.pairing
    return zip(pairing.base.seconds, pairing.head.seconds, strict=True) if pairing else ()


def _most_sent(shapes: Sequence[ShapeCount]) -> Sequence[ShapeCount]:
    return sorted(shapes, key=lambda each: -each.count)[:_SHOWN_SHAPES]
