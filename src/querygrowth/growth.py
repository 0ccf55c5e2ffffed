"""Run an action at increasing scales of one axis at a time, and keep what it did.

What was measured is judged in `querygrowth.growth_verdicts`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from querygrowth.activity import Activity
from querygrowth.call_sites import Project
from querygrowth.listener import is_engine
from querygrowth.trend import Trend, trend
from querygrowth.watch import Action, Caller, caller, outside_event_loop, watch

# At 2 and 20, a loop shows. 501 is one more than the parents whose children SQLAlchemy's
# selectinload fetches with one query, so that its second query shows too.
DEFAULT_SCALES = (2, 20, 501)
BASE_SIZE = 2
ALL_AXES = "all axes"

Populate = Callable[..., object]
Axes = Mapping[str, int] | Sequence[str]
Scales = Sequence[int] | Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class AxisGrowth:
    """What the action did at each scale of one axis, with the other axes at their base sizes."""

    axis: str
    scales: tuple[int, ...]
    activities: tuple[Activity, ...]

    def trend(self, measure: Callable[[Activity], int], *, in_steps: bool = True) -> Trend:
        """How one count grows along this axis; see `querygrowth.trend.trend` for `in_steps`."""
        return trend(self.scales, [measure(each) for each in self.activities], in_steps=in_steps)

    @property
    def extent(self) -> tuple[int, ...]:
        """The amount of data at each scale: the records emitted if they rise, else the scale.

        Where all axes grow at once, the data grows with their product, and only the records show
        that.
        """
        records = [act.records for act in self.activities if act.records is not None]
        rising = len(records) == len(self.scales) and records == sorted(set(records))
        return tuple(records) if rising else self.scales

    def shape_trends(self) -> Mapping[str, Trend]:
        """How the count of each shape grows, by the shape's text."""
        texts = dict.fromkeys(each.shape.text for act in self.activities for each in act.shapes)
        return {text: trend(self.scales, [a.sent(text) for a in self.activities]) for text in texts}


@dataclass(frozen=True)
class GrowthReport:
    """What one action did along every axis that was measured."""

    subject: str
    axes: tuple[AxisGrowth, ...]

    @classmethod
    def of(
        cls, subject: str, axis: str, scales: Sequence[int], activities: Sequence[Activity]
    ) -> "GrowthReport":
        """Build a report from activities that were measured elsewhere, along one axis.

        Args:
            subject: What was measured: an action, an exporter.
            axis: What grew, in the plural, as messages name it ("rows").
            scales: The sizes that were tried, rising.
            activities: What was done at each size, in the same order.

        Raises:
            ValueError: There are fewer than two scales, they do not rise, or their number is not
                that of the activities.
        """
        if len(scales) < 2 or len(scales) != len(activities):
            raise ValueError(
                f"{axis}: growth needs one activity for each of at least two scales, "
                f"got {len(activities)} for {list(scales)}"
            )
        _check_rising(axis, tuple(scales))
        return cls(subject, (AxisGrowth(axis, tuple(scales), tuple(activities)),))

    def along(self, axis: str) -> AxisGrowth:
        """The measurements along one axis; KeyError if there are none."""
        for each in self.axes:
            if each.axis == axis:
                return each
        raise KeyError(axis)


@dataclass(frozen=True)
class _Measurement:
    """How an action is run and watched, the same at every scale; see `measure_growth`."""

    action: Action
    populate: Populate
    work: tuple[str, ...] = ()
    writes: bool = False
    project: Project | None = None

    def run(self, sizes: Mapping[str, int], by: Caller) -> Activity:
        """Populate a database of these sizes, run the action on it, and return what it did."""
        with by.entered(by.call(self.populate, **sizes)) as engine:
            if not is_engine(engine):
                raise ValueError(
                    "populate must return an SQLAlchemy engine (or a context manager that yields "
                    f"one), got {type(engine).__name__}"
                )
            activity = watch(self.action, engine, by=by, work=self.work, project=self.project)
        if activity.written and not self.writes:
            raise ValueError(
                f"the action wrote to {', '.join(activity.written)} but should only read: "
                "pass writes=True if it is meant to write"
            )
        return activity


def measure_growth(
    action: Action,
    populate: Populate,
    *,
    axes: Axes,
    scales: Scales = DEFAULT_SCALES,
    together: Sequence[int] = (),
    work: Iterable[str] = (),
    writes: bool = False,
    subject: str = "",
    project: Project | None = None,
) -> GrowthReport:
    """Run an action at every scale of every axis, one axis at a time.

    Args:
        action: Called with the engine; plain or async.
        populate: Called with the size of every axis as keyword arguments. Returns an engine on a
            new database of those sizes, or a context manager that yields one; plain or async.
        axes: The axes with their base sizes, or only their names (base size 2).
        scales: The sizes to try on every axis, or a mapping from axes to their sizes.
        together: Sizes for a further pass in which all axes grow at once; empty for none.
        work: Deterministic counts to take (`VM_STEPS`, `BRANCHES`).
        writes: Whether the action may change tables.
        subject: What to call the action; default: its name.
        project: The user's own files; default: those below the working directory.

    Raises:
        ValueError: Before anything runs: there are fewer than three scales, scales that do not
            increase, or axes that do not exist. At the first run: the action wrote although
            `writes` is false, the engine is none, or it cannot give a kind of work.
    """
    base = dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, BASE_SIZE)
    _check_axes(base, populate)
    planned = _planned_scales(base, scales, together)
    measurement = _Measurement(action, populate, tuple(work), writes, project)

    def measured() -> tuple[AxisGrowth, ...]:
        with caller() as by:
            return tuple(_along(axis, planned[axis], base, measurement, by) for axis in planned)

    return GrowthReport(subject or _name_of(action), outside_event_loop(measured))


def _along(
    axis: str,
    scales: tuple[int, ...],
    base: Mapping[str, int],
    measurement: _Measurement,
    by: Caller,
) -> AxisGrowth:
    activities = [measurement.run(_sizes(axis, scale, base), by) for scale in scales]
    return AxisGrowth(axis, scales, tuple(activities))


def _sizes(axis: str, scale: int, base: Mapping[str, int]) -> dict[str, int]:
    return dict.fromkeys(base, scale) if axis == ALL_AXES else {**base, axis: scale}


def _planned_scales(
    base: Mapping[str, int], scales: Scales, together: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    if isinstance(scales, Mapping):
        unknown = [axis for axis in scales if axis not in base]
        if unknown:
            raise ValueError(f"no such axis: {', '.join(unknown)}; there are {', '.join(base)}")
        planned = {axis: tuple(scales.get(axis, DEFAULT_SCALES)) for axis in base}
    else:
        planned = {axis: tuple(scales) for axis in base}
    if together:
        planned[ALL_AXES] = tuple(together)
    for axis, tried in planned.items():
        _check_scales(axis, tried)
    return planned


def _check_scales(axis: str, scales: tuple[int, ...]) -> None:
    # Two counts fit a line, a step and a curve alike. A third tells them apart.
    if len(scales) < 3:
        raise ValueError(f"{axis}: at least three scales are needed, got {list(scales)}")
    _check_rising(axis, scales)
    if scales[0] < 0:
        raise ValueError(f"{axis}: a scale cannot be negative, got {scales[0]}")


def _check_rising(axis: str, scales: tuple[int, ...]) -> None:
    if any(after <= before for before, after in pairwise(scales)):
        raise ValueError(f"{axis}: scales must increase, got {list(scales)}")


def _check_axes(base: Mapping[str, int], populate: Populate) -> None:
    if not base:
        raise ValueError("at least one axis is needed to grow along")
    try:
        inspect.signature(populate).bind(**base)
    except TypeError as mismatch:
        raise ValueError(
            f"populate does not take the axes {', '.join(base)} as keyword arguments: {mismatch}"
        ) from None


def _name_of(action: Action) -> str:
    name = getattr(action, "__qualname__", type(action).__name__)
    return str(name).rpartition("<locals>.")[2]
