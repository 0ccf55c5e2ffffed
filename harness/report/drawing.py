"""Draws a chart as SVG that takes its colours from the page around it, light or dark."""

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from harness.report.charts import Chart, plain
from harness.report.words import visible

# Drawn in these colours, which nothing else uses, and shown in the page's own.
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
    # Ids within one page must differ, and those of one chart must not from one drawing to another.
    with _styled(chart.key):
        figure = Figure(figsize=(4.7, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        _plot(figure.add_subplot(), chart)
        figure.legend(frameon=False, loc="outside lower left")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(buffer.getvalue(), chart)


def _styled(salt: str) -> AbstractContextManager[None]:
    """Set the style of everything drawn in the block; `salt` goes into the ids."""
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
    axes.set_xticks(sizes, [plain(size) for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    values = [y for line in chart.lines for y in line.ys]
    values += [chart.level.value] if chart.level else []
    # Room for flat lines too, which a log axis would otherwise stretch into mountains.
    axes.set_ylim(min(values) / 2, max(values) * 2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    if max(values) / min(values) > 20:
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_minor_formatter(FuncFormatter(_two_and_five))


def _two_and_five(value: float, _: int) -> str:
    """Name the 2s and 5s between powers of ten, where there are too few of those."""
    return plain(value) if f"{value:e}"[0] in "25" else ""


def _embedded(svg: str, chart: Chart) -> str:
    """Take the SVG element alone, and make it an image that a screen reader can read."""
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        element = element.replace(color, variable)
    opening, _, rest = element.partition(">")
    names = f'role="img" aria-labelledby="{chart.key}-title {chart.key}-description"'
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return (
        f'{opening} {names}><title id="{chart.key}-title">{escape(visible(chart.title))}</title>'
        f'<desc id="{chart.key}-description">{escape(visible(chart.description))}</desc>{rest}'
    )
