"""Charts of results, and their drawing as SVG in the colours of the page, light or dark."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import log
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from harness.bench.measurements import Measurement, SizeResult
from harness.bench.result_file import Entry
from harness.bench.results import Results
from querygrowth.reports import visible
from querygrowth.work import VM_STEPS


@dataclass(frozen=True)
class Line:
    """One line of a chart. With `shows_slope` its label has the slope in log-log scale."""

    # The slope is the growth: 0 for a constant count, 1 for one that is proportional to the rows.

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    shows_slope: bool = False

    @property
    def slope(self) -> float | None:
        """The power of x with which y grows from the first point to the last; None if not shown."""
        if not self.shows_slope or len(self.xs) < 2 or min(self.ys) <= 0:
            return None
        return log(self.ys[-1] / self.ys[0]) / log(self.xs[-1] / self.xs[0])

    @property
    def label(self) -> str:
        """Its name, and its slope if that is shown."""
        return self.name if self.slope is None else f"{self.name} (slope {self.slope:.2f})"

    @property
    def words(self) -> str:
        """The line's points in words, for a screen reader."""
        points = zip(self.xs, self.ys, strict=True)
        texts = (f"{format_number(y)} at {format_number(x)}" for x, y in points)
        return f"{self.label}: {', '.join(texts)}"


@dataclass(frozen=True)
class Level:
    """A horizontal level, such as a target."""

    name: str
    value: float


@dataclass(frozen=True)
class Chart:
    """Lines over x. `key` is unique within a page; both axes are logarithmic if `log`."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    level: Level | None = None
    log: bool = True

    @property
    def description(self) -> str:
        """The chart in words, for a screen reader."""
        scale = ", both axes logarithmic" if self.log else ""
        sentences = [
            f"{self.y_label} against {self.x_label}{scale}",
            *(each.words for each in self.lines),
        ]
        if self.level:
            sentences.append(f"{self.level.name}: {format_number(self.level.value)}")
        return ". ".join(sentences) + "."


def format_number(value: float) -> str:
    """Format a number for a person: whole and grouped, or with three significant digits."""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:.3g}"


def charts_of(results: Results) -> tuple[Chart, ...]:
    """The charts of results; none without a measured run."""
    if not results.sizes:
        return ()
    return tuple(chart for chart in _charts(results) if chart.lines)


def trend_charts(history: Sequence[Entry]) -> tuple[Chart, ...]:
    """The chart of the speed-up of earlier results, if there are at least two."""
    if len(history) < 2:
        return ()
    numbers = tuple(float(number) for number in range(1, len(history) + 1))
    line = Line("candidate against control", numbers, tuple(each.speed_up for each in history))
    title, unit = "Earlier results against the control", "times its records/s"
    return (Chart("history", title, "result, oldest first", unit, (line,), log=False),)


def _charts(results: Results) -> Iterator[Chart]:
    sizes, rows = results.sizes, "source rows of the run"
    queries = _lines(sizes, lambda each: each.observation.activity.queries, shows_slope=True)
    yield Chart("queries", "Queries of an export", rows, "queries", queries)
    rates = _lines(sizes, lambda each: each.records_per_second)
    yield Chart("rate", "Speed of a signed export", rows, "records/s", rates, _rate_level(results))
    memory = _lines(sizes, lambda each: each.memory.above_start_bytes / 2**20)
    yield Chart("memory", "Peak memory above the start", rows, "MiB", memory)
    work = _lines(
        sizes, lambda each: each.observation.activity.work.get(VM_STEPS), shows_slope=True
    )
    yield Chart("work", "Work of the database", rows, "SQLite machine steps", work)


def _rate_level(results: Results) -> Level | None:
    # The target is in rows/s and the chart in records/s. The largest run gives the factor.
    agreed = [each.at_least for each in results.targets if each.metric == "rows_per_second"]
    if not agreed or agreed[0] is None:
        return None
    largest = results.largest
    per_row = largest.candidate.observation.file.records / largest.run.rows
    return Level(f"target, {agreed[0]:,.0f} rows/s", agreed[0] * per_row)


def _lines(
    sizes: Sequence[SizeResult],
    measure: Callable[[Measurement], float | None],
    *,
    shows_slope: bool = False,
) -> tuple[Line, ...]:
    """Return a line for the control and one for the candidate, where there are points to draw."""
    first = sizes[0]
    names = [each.observation.subject for each in first.measurements]
    both = [
        Line(f"{role} {name}", *_points(sizes, side, measure), shows_slope=shows_slope)
        for side, (role, name) in enumerate(zip(("control", "candidate"), names, strict=True))
    ]
    return tuple(line for line in both if line.xs)


def _points(
    sizes: Sequence[SizeResult], side: int, measure: Callable[[Measurement], float | None]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # A logarithmic axis cannot show zero.
    points = [(size.run.rows, measure(size.measurements[side])) for size in sizes]
    known = [(float(x), float(y)) for x, y in points if y is not None and y > 0]
    return tuple(x for x, _ in known), tuple(y for _, y in known)


# Placeholder colours that nothing else uses. matplotlib accepts no CSS variables, so these are
# replaced by the variables of the page's style in the finished SVG.
_INK, _MUTED, _GRID, _LEVEL = "#010203", "#010204", "#010205", "#010206"
_SERIES = ("#010207", "#010208", "#010209")
_VARIABLES: Mapping[str, str] = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _LEVEL: "var(--level)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES, start=1)},
}
_MARKERS = ("o", "s", "^")


def draw(chart: Chart) -> str:
    """Draw a chart as an SVG element with its title and its description inside."""
    # The key salts the ids. They must differ between charts of a page, and a page that is rendered
    # again must have the same bytes.
    with _styled(chart.key):
        figure = Figure(figsize=(4.7, 3.5), layout="constrained")
        # Not pyplot, which keeps every figure and looks for a display.
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        _plot(figure.add_subplot(), chart)
        figure.legend(frameon=False, loc="outside lower left")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(buffer.getvalue(), chart)


def _styled(salt: str) -> AbstractContextManager[None]:
    """Set matplotlib's style in the block; `salt` goes into the ids."""
    # Text stays text, so that it can be selected and takes the page's font. Without parse_math, a
    # name with two dollar signs would be read as a formula.
    return mpl.rc_context(
        {
            "svg.hashsalt": salt,
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": _INK,
            "text.parse_math": False,
            "axes.labelcolor": _INK,
            "axes.edgecolor": _MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": _MUTED,
            "ytick.color": _MUTED,
            "xtick.labelcolor": _INK,
            "ytick.labelcolor": _INK,
            "grid.color": _GRID,
            "grid.linewidth": 0.7,
        }
    )


def _plot(axes: Axes, chart: Chart) -> None:
    axes.patch.set_alpha(0)
    for line, color, marker in zip(chart.lines, _SERIES, _MARKERS, strict=False):
        axes.plot(
            line.xs, line.ys, color=color, marker=marker, linewidth=2, label=visible(line.label)
        )
    if chart.level:
        value, name = chart.level.value, visible(chart.level.name)
        axes.axhline(value, color=_LEVEL, linestyle="--", linewidth=1.4, label=name)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.grid(visible=True)
    if chart.log:
        _make_logarithmic(axes, chart)
    else:
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _make_logarithmic(axes: Axes, chart: Chart) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({x for line in chart.lines for x in line.xs})
    axes.set_xticks(sizes, [format_number(size) for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    values = [y for line in chart.lines for y in line.ys]
    values += [chart.level.value] if chart.level else []
    # A log axis scaled to its data alone would show the noise of a flat line as a slope.
    axes.set_ylim(min(values) / 2, max(values) * 2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))
    if max(values) / min(values) > 20:
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_minor_formatter(FuncFormatter(_two_and_five))


def _two_and_five(value: float, _: int) -> str:
    # Powers of ten alone would leave a short range without labels.
    return format_number(value) if f"{value:e}"[0] in "25" else ""


def _embedded(svg: str, chart: Chart) -> str:
    """Return the SVG element alone, with the title and text that a screen reader needs."""
    # The XML declaration and the doctype before the element are not allowed inside HTML.
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        element = element.replace(color, variable)
    opening, _, rest = element.partition(">")
    names = f'role="img" aria-labelledby="{chart.key}-title {chart.key}-description"'
    # Without a fixed size the drawing fills the width that the page gives it.
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return (
        f'{opening} {names}><title id="{chart.key}-title">{escape(visible(chart.title))}</title>'
        f'<desc id="{chart.key}-description">{escape(visible(chart.description))}</desc>{rest}'
    )
