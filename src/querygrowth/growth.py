"""Growth: run an action at increasing scales of one axis at a time, and keep what it did.

Judging what was measured is left to `querygrowth.growth_verdicts`.
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

DEFAULT_SCALES = (2, 20, 501)
BASE_SIZE = 2
ALL_AXES = "all axes"

Populate = Callable[..., object]
Axes = Mapping[str, int] | Sequence[str]
Scales = Sequence[int] | Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class AxisGrowth:
    """What the action did at each scale of one axis, every other axis held at its base size."""

    axis: str
    scales: tuple[int, ...]
    activities: tuple[Activity, ...]

    def trend(self, measure: Callable[[Activity], int], *, in_steps: bool = True) -> Trend:
        """How one number grows along this axis."""
        return trend(self.scales, [measure(each) for each in self.activities], in_steps=in_steps)

    @property
    def extent(self) -> tuple[int, ...]:
        """How much there was to do: the records emitted, if they rise with the scale; else that.

        Along several axes at once a run grows with their product, which only its records tell.
        """
        records = [act.records for act in self.activities if act.records is not None]
        rising = len(records) == len(self.scales) and records == sorted(set(records))
        return tuple(records) if rising else self.scales

    def shape_trends(self) -> Mapping[str, Trend]:
        """How often each shape is sent, by its text."""
        texts = dict.fromkeys(each.shape.text for act in self.activities for each in act.shapes)
        return {text: trend(self.scales, [a.sent(text) for a in self.activities]) for text in texts}


@dataclass(frozen=True)
class GrowthReport:
    """The growth of one action along every axis that was asked for."""

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
        """The growth along one axis; KeyError if it was not measured."""
        for each in self.axes:
            if each.axis == axis:
                return each
        raise KeyError(axis)


@dataclass(frozen=True)
class Trial:
    """How an action is run and watched, the same at every scale.

    `action` is called with the engine that `populate(**sizes)` gives. `work` names deterministic
    counts to take. Unless `writes`, an action that changes a table is refused.
    """

    action: Action
    populate: Populate
    work: tuple[str, ...] = ()
    writes: bool = False
    project: Project | None = None

    def run(self, sizes: Mapping[str, int], by: Caller) -> Activity:
        """Populate, act, and tell what the action did."""
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
    """Measure `action(engine)` on what `populate(**sizes)` makes, at every scale of every axis.

    `populate` takes the axes as keyword arguments and returns an engine (or a context manager
    that yields one) on a database of those sizes; both callables may be async. `axes` maps each
    axis to its base size, or lists them (base size 2). `scales` are tried on every axis; a mapping
    gives each axis its own. `together` adds a pass in which all axes grow at once. `work` names
    deterministic counts to take (`VM_STEPS`, `BRANCHES`).

    Raises ValueError, before anything runs, for fewer than three scales, scales that do not
    increase and axes that do not exist; and at its first run, for an action that writes although
    `writes` is false.
    """
    base = dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, BASE_SIZE)
    _check_axes(base, populate)
    planned = _planned_scales(base, scales, together)
    trial = Trial(action, populate, tuple(work), writes, project)

    def measured() -> tuple[AxisGrowth, ...]:
        with caller() as by:
            return tuple(_along(axis, planned[axis], base, trial, by) for axis in planned)

    return GrowthReport(subject or _name_of(action), outside_event_loop(measured))


def _along(
    axis: str, scales: tuple[int, ...], base: Mapping[str, int], trial: Trial, by: Caller
) -> AxisGrowth:
    activities = [trial.run(_sizes(axis, scale, base), by) for scale in scales]
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
