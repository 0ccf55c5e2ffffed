"""The report page: results as one HTML file that loads nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.bench.causes import Failure, failures_by_cause
from harness.bench.measurements import SizeResult
from harness.bench.result_file import Entry
from harness.bench.results import Judgement, Results, Topic
from harness.compare.difference import Difference
from harness.report.charts import Chart, charts_of, history_chart, race_chart
from harness.report.svg import draw
from harness.report.text import (
    bytes_line,
    full_figures,
    headline,
    measurement_cells,
    speed_line,
)
from querygrowth.counting.activity import ShapeActivity
from querygrowth.reports import visible
from querygrowth.verdict import GROWTH, Outcome

_HERE = Path(__file__).parent
_SHOWN_SHAPES = 50
_CHART_OF_METRIC = {"queries": "queries", "rows_per_second": "rate", "peak_mebibytes": "memory"}
# The words of a failure's link to its evidence.
_EVIDENCE_TITLES = {
    "pairing": "the race of both revisions",
    "difference": "the first difference",
    "chart-queries": "the queries as a chart",
    "chart-rate": "the speed as a chart",
    "chart-memory": "the memory as a chart",
    "charts": "the charts",
    "numbers": "both exporters side by side",
}


@dataclass(frozen=True)
class DrawnChart:
    """A chart with its drawing, whose texts are escaped already."""

    key: str
    title: str
    y_label: str
    description: str
    svg: Markup


def render_page(results: Results, *, history: Sequence[Entry] = ()) -> str:
    """Render the page; `history` holds earlier results, oldest first."""
    template = _templates().get_template("page.html.jinja")
    charts = (*charts_of(results), *history_chart(history))
    race = race_chart(results.pairing) if results.pairing else None
    failures = failures_by_cause(results)
    difference = _first_difference(results)
    if difference and any(_shows(each, difference) for each in failures):
        difference = None
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
        failures=[(each, _evidence(each.cause, results, difference)) for each in failures],
        judgements=[
            (each, _failure_of(each, failures) or _evidence(each, results, difference))
            for each in results.ordered_judgements
        ],
        evidence_titles=_EVIDENCE_TITLES,
        difference=difference,
        cells=cells,
        speed=speed_line(results) if measured else "",
        bytes=bytes_line(results) if measured else "",
        charts=[_drawn(chart) for chart in charts],
        race=_drawn(race) if race else None,
        rounds=_rounds(results),
        shapes=_most_sent(measured) if measured else (),
        history=history,
        environment={k.replace("_", " "): v for k, v in asdict(results.environment).items()},
        full=full_figures(results.full) if results.full else {},
        # A file of this package, so it needs no escaping.
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704
    )


def _shows(failure: Failure, difference: Difference) -> bool:
    """Return whether the evidence of a failure already shows the first difference."""
    return set(difference.evidence) <= set(failure.cause.verdict.evidence)


def _failure_of(judgement: Judgement, failures: Sequence[Failure]) -> str:
    """Return the id of the failure that a judgement belongs to; empty for none."""
    for number, failure in enumerate(failures, start=1):
        if judgement == failure.cause or judgement in failure.results:
            return f"failure-{number}"
    return ""


def _evidence(judgement: Judgement, results: Results, difference: Difference | None) -> str:
    """Return the id of the part of the page that shows what a verdict is about; may be empty."""
    if judgement.topic is Topic.SPEED and results.pairing:
        return "pairing"
    if not results.sizes or judgement.verdict.outcome is Outcome.SKIPPED:
        return ""
    if judgement.verdict.kind == GROWTH:
        return "chart-queries"
    if judgement.topic is Topic.EQUIVALENCE and difference:
        return "difference"
    metrics = {f"{each.id} {each.title}": each.metric for each in results.targets}
    chart = _CHART_OF_METRIC.get(metrics.get(judgement.verdict.subject, ""))
    if chart:
        return f"chart-{chart}"
    return "charts" if judgement.topic is Topic.GROWTH else "numbers"


def _templates() -> Templates:
    # StrictUndefined: a misspelt name in the template must raise, not leave a gap in the page.
    return Templates(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: object) -> object:
    # Control characters can reorder or hide the text around them. Markup comes from this package.
    return value if isinstance(value, Markup) else visible(str(value), kept="\n")


def _drawn(chart: Chart) -> DrawnChart:
    picture = Markup(draw(chart))  # noqa: S704 - names in it are escaped where it is drawn
    return DrawnChart(chart.key, chart.title, chart.y_label, chart.description, picture)


def _first_difference(results: Results) -> Difference | None:
    found = (size.comparison.difference for size in results.sizes)
    return next((each for each in found if each), None)


def _most_sent(size: SizeResult) -> Sequence[ShapeActivity]:
    return size.candidate.observation.activity.most_sent[:_SHOWN_SHAPES]


@dataclass(frozen=True)
class _Round:
    """One round of a comparison: seconds of wall time, and head's ratio by both clocks."""

    base: float
    head: float
    ratio: float
    cpu_ratio: float | None


def _rounds(results: Results) -> Iterable[_Round]:
    pairing = results.pairing
    if pairing is None:
        return ()
    cpu_ratios = pairing.cpu.ratios if pairing.cpu else (None,) * pairing.rounds
    sides = (pairing.wall.base.seconds, pairing.wall.head.seconds)
    return map(_Round, *sides, pairing.wall.ratios, cpu_ratios)
