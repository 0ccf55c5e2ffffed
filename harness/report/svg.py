"""Draws a chart as an SVG element whose colours are those of the page, with values on hover."""

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

from harness.report.charts import Chart, Line, format_number
from querygrowth.reports import visible

# Placeholder colours that nothing else uses. matplotlib accepts no CSS variables, so these are
# replaced by the variables of the page's style in the finished SVG.
_INK, _MUTED, _GRID, _LEVEL, _RISE = "#010203", "#010204", "#010205", "#010206", "#01020a"
_SERIES = ("#010207", "#010208", "#010209")
_VARIABLES: Mapping[str, str] = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _LEVEL: "var(--level)",
    _RISE: "var(--bad)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES, start=1)},
}
_MARKERS = ("o", "s", "^")
_STYLES = ("--", ":", "-.")
_MOST_NAMES = 4
_ROOM = 1.15
# Above the highest value.


def draw(chart: Chart) -> str:
    """Draw a chart as an SVG element with its title and its description inside."""
    # The key salts the ids. They must differ between charts of a page, and a page that is rendered
    # again must have the same bytes.
    with _styled(chart.key):
        figure = Figure(figsize=(4.7, 3.4), layout="constrained")
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
    if chart.band:
        axes.axhspan(*chart.band, color=_SERIES[0], alpha=0.15, linewidth=0)
    for number, line in enumerate(chart.lines):
        _plot_line(axes, chart, line, number)
    for level, style in zip(chart.levels, _STYLES, strict=False):
        name = visible(level.name)
        axes.axhline(level.value, color=_LEVEL, linestyle=style, linewidth=1.4, label=name)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.grid(visible=True)
    if chart.is_logarithmic:
        _make_logarithmic(axes, chart)
        return
    values = [y for line in chart.lines for y in line.ys] + [each.value for each in chart.levels]
    top = max(values) * _ROOM or 1
    axes.set_ylim(chart.y_floor, top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))
    if chart.names:
        _name_places(axes, chart)
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))


def _plot_line(axes: Axes, chart: Chart, line: Line, number: int) -> None:
    color, marker = _SERIES[line.series - 1], _MARKERS[line.series - 1]
    axes.plot(
        *(line.xs, line.ys),
        linestyle="-" if line.is_joined else "none",
        color=color,
        marker=marker,
        linewidth=2,
        label=visible(line.label),
    )
    if line.marks_rise and len(set(line.ys)) > 1:
        first = [line.ys[0]] * len(line.ys)
        axes.fill_between(line.xs, first, line.ys, color=_RISE, alpha=0.25, linewidth=0)
    # Larger than the marker, so that a pointer finds it, and not to be seen.
    for place, (x, y) in enumerate(zip(line.xs, line.ys, strict=True)):
        (point,) = axes.plot([x], [y], marker="o", markersize=14, color=color, alpha=0, zorder=9)
        point.set_gid(_point_id(chart, number, place))


def _point_id(chart: Chart, line: int, place: int) -> str:
    return f"{chart.key}-{line}-{place}"


def _name_places(axes: Axes, chart: Chart) -> None:
    """Show as many names of places as there is room for, the last one among them."""
    step = -(-len(chart.names) // _MOST_NAMES)
    shown = range(len(chart.names), 0, -step)
    axes.set_xticks(list(shown), [visible(chart.place(x)).replace(" ", "\n", 1) for x in shown])
    axes.set_xlim(0.7, len(chart.names) + 0.3)
    axes.tick_params(axis="x", labelsize=8)


def _make_logarithmic(axes: Axes, chart: Chart) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({x for line in chart.lines for x in line.xs})
    axes.set_xticks(sizes, [format_number(size) for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    values = [y for line in chart.lines for y in line.ys]
    values += [each.value for each in chart.levels]
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
    """Return the SVG element alone, with the texts for a screen reader and for a pointer."""
    # The XML declaration and the doctype before the element are not allowed inside HTML.
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        element = element.replace(color, variable)
    # matplotlib names the groups of every drawing alike, and an id must be unique within the page.
    element = re.sub(rf'<g id="(?!{chart.key}-)[^"]*">', "<g>", element)
    for number, line in enumerate(chart.lines):
        for place, (x, y) in enumerate(zip(line.xs, line.ys, strict=True)):
            group = f'<g id="{_point_id(chart, number, place)}">'
            value = escape(visible(chart.value(line, x, y)))
            element = element.replace(group, f"{group}<title>{value}</title>", 1)
    opening, _, rest = element.partition(">")
    names = f'role="img" aria-labelledby="{chart.key}-title {chart.key}-description"'
    # Without a fixed size the drawing fills the width that the page gives it.
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return (
        f'{opening} {names}><title id="{chart.key}-title">{escape(visible(chart.title))}</title>'
        f'<desc id="{chart.key}-description">{escape(visible(chart.description))}</desc>{rest}'
    )
