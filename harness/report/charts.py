"""The charts of a page, as data: lines over an axis, with their targets and their texts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.bench.measurements import Measurement, SizeResult
from harness.bench.paired_ratio import FAIL_BELOW, Pairing
from harness.bench.result_file import Entry
from harness.bench.results import Results
from querygrowth.counting.work import VM_STEPS

_SHOWN_REVISION = 7


@dataclass(frozen=True)
class Line:
    """One line of a chart, or its points alone.

    Attributes:
        name: Its name in the legend.
        xs: The places of its points, ascending.
        ys: Its values.
        series: The number of its colour: 1 for the control, 2 for the candidate.
        marks_rise: Whether what lies above its first value is shaded, and its growth is said.
        is_joined: Whether a line joins the points.
    """

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    series: int
    marks_rise: bool = False
    is_joined: bool = True

    @property
    def label(self) -> str:
        """Its name, and how it grows if that is marked."""
        if not self.marks_rise or len(self.ys) < 2:
            return self.name
        first, last = self.ys[0], self.ys[-1]
        if len(set(self.ys)) == 1:
            return f"{self.name}: the same at every size"
        return f"{self.name}: from {format_number(first)} to {format_number(last)}"


@dataclass(frozen=True)
class Level:
    """A horizontal level, such as a target."""

    name: str
    value: float


@dataclass(frozen=True)
class Chart:
    """Lines over x. `key` is unique within a page.

    Attributes:
        key: The name of its place in the page.
        title: What it shows.
        x_label: The name of the axis along.
        y_label: The unit of the values.
        lines: The lines.
        levels: Targets and other levels, in the unit of the values.
        band: The ends of a shaded interval of values.
        is_logarithmic: Whether both axes are logarithmic. Otherwise values start at zero, so that a
            constant is level and a proportional count is a diagonal.
        names: The names of the places along x, if they are not numbers.
        y_floor: Where the values start.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    band: tuple[float, float] | None = None
    is_logarithmic: bool = False
    names: tuple[str, ...] = ()
    y_floor: float = 0

    def place(self, x: float) -> str:
        """The name of a place along x."""
        return self.names[int(x) - 1] if self.names else format_number(x)

    def value(self, line: Line, x: float, y: float) -> str:
        """One point in words."""
        unit = f" {self.y_label}" if self.y_label else ""
        return f"{line.name}: {format_number(y)}{unit}, {self.x_label}: {self.place(x)}"

    @property
    def description(self) -> str:
        """The chart in words, for a screen reader."""
        scale = ", both axes logarithmic" if self.is_logarithmic else ""
        sentences = [f"{self.y_label or self.title} against {self.x_label}{scale}"]
        for line in self.lines:
            points = zip(line.xs, line.ys, strict=True)
            texts = (f"{format_number(y)} at {self.place(x)}" for x, y in points)
            sentences.append(f"{line.label}: {', '.join(texts)}")
        sentences += (f"{each.name}: {format_number(each.value)}" for each in self.levels)
        if self.band:
            low, high = map(format_number, self.band)
            sentences.append(f"The shaded interval is {low} to {high}")
        return ". ".join(sentences) + "."


def format_number(value: float) -> str:
    """Format a number for a person: whole and grouped, or with three significant digits."""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:.3g}"


def charts_of(results: Results) -> tuple[Chart, ...]:
    """The charts of results; none without a measured run."""
    if not results.sizes:
        return ()
    return tuple(chart for chart in _charts(results) if chart.lines)


def race_chart(pairing: Pairing) -> Chart:
    """The ratio of every round of a race, with its interval and the allowed loss."""
    clocks = {"wall time": pairing.wall, **({"CPU time": pairing.cpu} if pairing.cpu else {})}
    rounds = tuple(float(number) for number in range(1, pairing.rounds + 1))
    lines = tuple(
        Line(name, rounds, each.ratios, series, is_joined=False)
        for series, (name, each) in enumerate(clocks.items(), start=1)
    )
    lowest = min(min(line.ys) for line in lines)
    return Chart(
        "race",
        "Ratio of head to base, higher is better; shaded: the 99 % interval of wall time",
        "round",
        "times base's speed",
        lines,
        (Level("as fast as base", 1), Level("below this a loss fails", FAIL_BELOW)),
        band=(pairing.wall.interval.low, pairing.wall.interval.high),
        # The ratios lie close together: from zero, none could be told from another.
        y_floor=max(0.0, min(lowest, pairing.wall.interval.low, FAIL_BELOW) - 0.05),
    )


def history_chart(history: Sequence[Entry]) -> tuple[Chart, ...]:
    """The chart of the speed-up of earlier results by date and revision, if there are two."""
    if len(history) < 2:
        return ()
    numbers = tuple(float(number) for number in range(1, len(history) + 1))
    line = Line("candidate", numbers, tuple(each.speed_up for each in history), 2)
    names = tuple(
        f"{_day(each.measured_at)} {each.commit[:_SHOWN_REVISION]}"
        f"{', changed here' if each.changed else ''}"
        for each in history
    )
    title, unit = "Earlier results against the control", "times its records/s"
    return (Chart("history", title, "date and revision", unit, (line,), names=names),)


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")


def _charts(results: Results) -> Iterator[Chart]:
    sizes, rows = results.sizes, "source rows of the run"
    control, candidate = _lines(
        sizes, lambda each: each.observation.activity.queries, marks_rise=True
    )
    # Apart, as the control's count would press the candidate's to the axis.
    levels = _levels(results, "queries")
    yield _chart("queries", "Queries of the candidate", rows, "queries", (candidate,), levels)
    yield _chart("control", "Queries of the control", rows, "queries", (control,))
    work = _lines(sizes, lambda each: each.observation.activity.work.get(VM_STEPS))
    yield _chart("work", "Work of the database", rows, "SQLite machine steps", work)
    rates = tuple(
        Line(
            f"{role} {sizes[0].measurements[side].observation.subject}",
            tuple(float(size.run.rows) for size in sizes),
            tuple(size.measurements[side].timing.per_second(size.run.rows) for size in sizes),
            side + 1,
        )
        for side, role in enumerate(("control", "candidate"))
    )
    levels = _levels(results, "rows_per_second")
    yield Chart("rate", "Speed of a signed export", rows, "rows/s", rates, levels, None, True)
    memory = _lines(sizes, lambda each: each.memory.above_start_bytes / 2**20)
    levels = _levels(results, "peak_mebibytes")
    yield _chart("memory", "Peak memory above the start", rows, "MiB", memory, levels)


def _chart(
    key: str,
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    levels: tuple[Level, ...] = (),
) -> Chart:
    drawn = tuple(line for line in lines if line.xs)
    return Chart(key, title, x_label, y_label, drawn, levels)


def _levels(results: Results, metric: str) -> tuple[Level, ...]:
    """The agreed numbers of a metric, which is in the unit of the chart."""
    return tuple(
        Level(f"{each.id}, {bound} {format_number(float(value))}", float(value))
        for each in results.targets
        if each.metric == metric
        for bound, value in (
            ("at least", each.at_least),
            ("at most", each.at_most),
            ("exactly", each.exactly),
        )
        if value is not None
    )


def _lines(
    sizes: Sequence[SizeResult],
    measure: Callable[[Measurement], float | None],
    *,
    marks_rise: bool = False,
) -> tuple[Line, Line]:
    """Return a line for the control and one for the candidate; unknown values are left out."""
    lines = []
    for side, role in enumerate(("control", "candidate")):
        points = [(size.run.rows, measure(size.measurements[side])) for size in sizes]
        known = [(float(x), float(y)) for x, y in points if y is not None]
        name = f"{role} {sizes[0].measurements[side].observation.subject}"
        xs, ys = tuple(x for x, _ in known), tuple(y for _, y in known)
        lines.append(Line(name, xs, ys, side + 1, marks_rise))
    return lines[0], lines[1]
