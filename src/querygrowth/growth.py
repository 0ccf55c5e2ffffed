"""Run an action at increasing scales of one axis at a time, and record what it did.

`measure_growth` returns a `GrowthReport`. `querygrowth.growth_verdicts` judges it.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import Connection, Engine

from querygrowth.activity import Activity
from querygrowth.call_sites import Project
from querygrowth.engine import (
    Answer,
    AnyEngine,
    ask,
    ask_async,
    existing_tables,
    is_engine,
    row_counts,
)
from querygrowth.trend import Trend, trend
from querygrowth.watch import (
    Action,
    ActionRunner,
    NamedStep,
    action_runner,
    outside_event_loop,
    watch,
)

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
    """The activities at the scales of one axis, with the other axes at their base sizes.

    Args:
        axis: The name of the axis.
        scales: The sizes that were tried, rising.
        activities: The activity at each size, in the same order.
        same_data: Whether the action did the same at every scale, and every table of the database
            had the same number of rows. False also where the rows could not be counted.
    """

    axis: str
    scales: tuple[int, ...]
    activities: tuple[Activity, ...]
    same_data: bool = False

    def trend(self, measure: Callable[[Activity], int], *, in_steps: bool = True) -> Trend:
        """How one count grows along this axis; see `querygrowth.trend.trend` for `in_steps`."""
        return trend(self.scales, [*map(measure, self.activities)], in_steps=in_steps)

    @property
    def extent(self) -> tuple[int, ...]:
        """The amount of data at each scale: the records emitted if they rise, else the scale."""
        # Where all axes grow at once, the data grows with their product. Only the records show it.
        records = [act.records for act in self.activities if act.records is not None]
        rising = len(records) == len(self.scales) and records == sorted(set(records))
        return tuple(records) if rising else self.scales

    def shape_trends(self) -> Mapping[str, Trend]:
        """How the counts of the shapes grow, by the shape's text."""
        texts = dict.fromkeys(sent.shape.text for act in self.activities for sent in act.shapes)
        return {
            text: trend(self.scales, [act.count_of(text) for act in self.activities])
            for text in texts
        }


@dataclass(frozen=True)
class GrowthReport:
    """The measurements of one action along all its axes.

    Args:
        subject: The name of the action.
        axes: The measurements, by axis.
        tables: The tables of the measured databases, as far as a contract names tables that the
            action did not touch; None if the spelling of tables is not to be judged.
    """

    subject: str
    axes: tuple[AxisGrowth, ...]
    tables: frozenset[str] | None = None

    @classmethod
    def of(
        cls, subject: str, axis: str, scales: Sequence[int], activities: Sequence[Activity]
    ) -> "GrowthReport":
        """Build a report from activities that were measured elsewhere, along one axis.

        Args:
            subject: The name of the action.
            axis: The name of the axis in messages, in the plural ("rows").
            scales: The sizes that were tried, rising.
            activities: The activity at each size, in the same order.

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

    @classmethod
    def of_axes(cls, subject: str, axes: Mapping[str, Mapping[int, Activity]]) -> "GrowthReport":
        """Build a report from activities that were measured elsewhere, along several axes.

        Args:
            subject: The name of the action.
            axes: By the name of an axis, the activities by the sizes that were tried, rising.

        Raises:
            ValueError: As for `of`.
        """
        reports = (
            cls.of(subject, axis, [*tried], [*tried.values()]) for axis, tried in axes.items()
        )
        return cls(subject, tuple(axis for report in reports for axis in report.axes))

    def along(self, axis: str) -> AxisGrowth:
        """The measurements along one axis.

        Raises:
            KeyError: The axis was not measured.
        """
        return {growth.axis: growth for growth in self.axes}[axis]

    @property
    def touched_tables(self) -> frozenset[str]:
        """All tables that the action read or wrote, at any scale of any axis."""
        return frozenset().union(*(act.tables for axis in self.axes for act in axis.activities))


@dataclass(frozen=True)
class _Sample:
    """What one scale showed. `rows` is None where rows were not counted, or could not be."""

    activity: Activity
    rows: Mapping[tuple[str, str], int] | None = None

    def equals(self, other: "_Sample") -> bool:
        """Whether the action did the same on tables of the same sizes, as far as is known."""
        return (
            self.rows is not None
            and self.rows == other.rows
            and _counts(self.activity) == _counts(other.activity)
        )


def _counts(activity: Activity) -> tuple[object, ...]:
    # Without the work: branches may differ between two runs on the same data.
    return (
        activity.by_table,
        activity.records,
        activity.rows_fetched,
        activity.transactions,
        activity.checkouts,
        activity.session_statements,
        len(activity.bypassed or ()),
    )


@dataclass
class _Measurement:
    """Runs an action the same way at every scale; see `measure_growth` for the arguments."""

    runner: ActionRunner
    action: Action
    populate: Populate
    base: Mapping[str, int]
    work: tuple[str, ...]
    writes: bool
    project: Project | None
    named_tables: frozenset[str]
    tables: set[str] = field(default_factory=set)

    def along(self, axis: str, scales: tuple[int, ...]) -> AxisGrowth:
        """Run the action at every scale of one axis."""
        __tracebackhide__ = True
        sizes = [
            dict.fromkeys(self.base, scale) if axis == ALL_AXES else {**self.base, axis: scale}
            for scale in scales
        ]
        samples: list[_Sample] = []
        for each in sizes:
            samples.append(self._run(axis, each, samples))
        return AxisGrowth(
            axis,
            scales,
            tuple(sample.activity for sample in samples),
            all(sample.equals(samples[0]) for sample in samples),
        )

    def _run(self, axis: str, sizes: Mapping[str, int], before: Sequence[_Sample]) -> _Sample:
        __tracebackhide__ = True
        runner = self.runner

        def action(engine: AnyEngine) -> object:
            __tracebackhide__ = True
            with NamedStep("the action", axis, sizes):
                return runner.call(self.action, engine)

        with self._populated(axis, sizes) as engine:
            if not is_engine(engine):
                raise ValueError(
                    "populate must return an SQLAlchemy engine (or a context manager that yields "
                    f"one), got {type(engine).__name__}"
                )
            activity = watch(action, engine, runner=runner, work=self.work, project=self.project)
            # The database is gone once the block ends, so its tables are listed here. The counts
            # are complete by now, and the queries of the listing are not among them.
            if self.named_tables - activity.tables - self.tables:
                self.tables |= self._ask(engine, existing_tables) or frozenset()
            sample = _Sample(activity)
            # Rows cost a query for every table. They are counted only for as long as nothing else
            # shows that the data grew.
            if all(
                other.equals(before[0]) and _counts(activity) == _counts(other.activity)
                for other in before
            ):
                sample = _Sample(activity, self._ask(engine, row_counts))
        if activity.written and not self.writes:
            raise ValueError(
                f"the action wrote to {', '.join(activity.written)} but should only read: "
                "pass writes=True if it is meant to write"
            )
        return sample

    @contextmanager
    def _populated(self, axis: str, sizes: Mapping[str, int]) -> Iterator[object]:
        """Yield what `populate` returns or yields; an exception of its own names the step."""
        __tracebackhide__ = True
        raised: BaseException | None = None
        with ExitStack() as stack:
            with NamedStep("populate", axis, sizes):
                made = self.runner.call(self.populate, **sizes)
                engine = stack.enter_context(self.runner.entered(made))
            try:
                yield engine
            except BaseException as error:
                raised = error
                raise
            finally:
                with NamedStep("the end of populate", axis, sizes):
                    if raised is None:
                        stack.close()

    def _ask(self, engine: AnyEngine, question: Callable[[Connection], Answer]) -> Answer | None:
        if isinstance(engine, Engine):
            return ask(engine, question)
        return self.runner.wait_for(ask_async(engine, question))


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
    named_tables: Collection[str] | None = None,
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
        subject: The name of the action in reports; default: its own name.
        project: The user's own files; default: those below the working directory.
        named_tables: The tables that a contract names. The report then holds the tables of the
            databases, so that a misspelt name can be found.

    Raises:
        ValueError: Before the action runs: there are fewer than three scales, scales that do not
            increase, or axes that do not exist, a size is not a whole number, an argument that
            takes a list got something else, `populate` returns no engine, or the engine cannot
            count a kind of work. After its first run: it wrote although `writes` is false.
        StepError: `populate` or the action raised an exception, which is the cause.
    """
    __tracebackhide__ = True
    _check_list("axes", axes, 'axes=["orders"]')
    _check_list("work", work, 'work=["vm_steps"]')
    base = dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, BASE_SIZE)
    _check_axes(base, populate)
    for axis, size in base.items():
        _check_sizes(f"the base size of {axis}", [size])
    planned = _planned_scales(base, scales, together)

    def measured() -> GrowthReport:
        __tracebackhide__ = True
        with action_runner() as runner:
            measurement = _Measurement(
                runner=runner,
                action=action,
                populate=populate,
                base=base,
                work=tuple(work),
                writes=writes,
                project=project,
                named_tables=frozenset(named_tables or ()),
            )
            axes_grown: list[AxisGrowth] = []
            for axis, tried in planned.items():
                axes_grown.append(measurement.along(axis, tried))
        return GrowthReport(
            subject or _name_of(action),
            tuple(axes_grown),
            None if named_tables is None else frozenset(measurement.tables),
        )

    return outside_event_loop(measured)


def _planned_scales(
    base: Mapping[str, int], scales: Scales, together: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    _check_list("scales", scales, "scales=(2, 20, 501)")
    _check_list("together", together, "together=(2, 20, 60)")
    if isinstance(scales, Mapping):
        for axis, tried in scales.items():
            _check_list(f"scales[{axis!r}]", tried, "(2, 20, 501)")
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


def _check_list(name: str, value: object, example: str) -> None:
    # A string is iterable too. Its characters would be taken for names.
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list, such as {example}, got {value!r}")


def _check_scales(axis: str, scales: tuple[int, ...]) -> None:
    _check_sizes(axis, scales)
    # Two counts fit a line, a step and a curve alike. A third count decides between them.
    if len(scales) < 3:
        raise ValueError(f"{axis}: at least three scales are needed, got {list(scales)}")
    _check_rising(axis, scales)


def _check_sizes(name: str, sizes: Sequence[object]) -> None:
    for size in sizes:
        if not isinstance(size, int) or isinstance(size, bool):
            raise ValueError(f"{name}: a size must be a whole number, got {size!r}")
        if size < 0:
            raise ValueError(f"{name}: a size cannot be negative, got {size}")


def _check_rising(axis: str, scales: tuple[int, ...]) -> None:
    if any(after <= before for before, after in pairwise(scales)):
        raise ValueError(f"{axis}: scales must increase, got {list(scales)}")


def _check_axes(base: Mapping[str, int], populate: Populate) -> None:
    if not base:
        raise ValueError("at least one axis is needed to grow along")
    for axis in base:
        if not isinstance(axis, str):
            raise ValueError(f"axes must be names, such as axes=['orders'], got {axis!r}")
    # Checked before anything runs, because a population at the largest scale may take long.
    try:
        inspect.signature(populate).bind(**base)
    except TypeError as mismatch:
        raise ValueError(
            f"populate does not take the axes {', '.join(base)} as keyword arguments: {mismatch}"
        ) from None


def _name_of(action: Action) -> str:
    # A functools.partial and an instance with __call__ have no __qualname__.
    name = getattr(action, "__qualname__", type(action).__name__)
    return str(name).rpartition("<locals>.")[2]
