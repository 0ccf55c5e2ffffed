"""Run an action at increasing scales of its axes, one at a time and all at once.

`measure_growth` returns a `GrowthReport`. `querygrowth.growth.verdicts` judges it. Where something
grows, further runs find the axes that make it grow and the form of the growth.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from querygrowth.contracts.contract import QueryContract, check_contract
from querygrowth.counting.activity import Activity
from querygrowth.counting.database import (
    row_counts_of_file,
    rows_of,
    rows_of_async,
    tables_of,
    tables_of_async,
)
from querygrowth.counting.engine import AnyEngine, populated_engines
from querygrowth.counting.table_names import bare_name
from querygrowth.counting.watch import (
    Action,
    ActionRunner,
    NamedStep,
    action_runner,
    outside_event_loop,
    watch,
)
from querygrowth.growth.axes import (
    DEFAULT_SCALES,
    Axes,
    Plan,
    Populate,
    Scales,
    Sizes,
    check_list,
    name_together,
    next_size,
    plan,
)
from querygrowth.growth.grown import grows_as, reported_counts, undecided_trends
from querygrowth.growth.report import AxisGrowth, GrowthReport, cost_of
from querygrowth.places.call_sites import Project

# The sizes that are added to an axis to decide between forms of growth: at most so many, and at
# most so many times what the first sizes cost in rows and queries.
_MORE_SIZES = 6
_TIMES_THE_FIRST_COST = 7


@dataclass(frozen=True)
class _Sample:
    """What one run showed. `rows` is None where they were not asked for, or cannot be counted."""

    activity: Activity
    rows: Mapping[tuple[str, str], int] | None = None
    asked: bool = False

    def equals(self, other: "_Sample") -> bool:
        """Whether the action did the same on tables of the same sizes, as far as is known."""
        return (
            self.rows is not None
            and self.rows == other.rows
            and _counts(self.activity) == _counts(other.activity)
        )


def _data(samples: Sequence[_Sample]) -> tuple[int, ...] | None:
    """The rows of the touched table that grows most, at each scale; None if they are not known."""
    # Of one table, and not the sum of all: small tables that grow less would make the sum of the
    # first scale larger, and rows in proportion to the largest table grow faster than that sum.
    touched = frozenset().union(*(sample.activity.tables for sample in samples))
    rows = [sample.rows for sample in samples if sample.rows is not None]
    if len(rows) < len(samples):
        return None
    tables = {key: None for each in rows for key in each if key[1] in touched}
    counts = [tuple(each.get(key, 0) for each in rows) for key in tables]
    nothing = (0,) * len(samples)
    return max(counts, key=lambda each: (each[-1] / max(1, each[0]), each[-1]), default=nothing)


def _counts(activity: Activity) -> tuple[object, ...]:
    # Without the work: branches may differ between two runs on the same data.
    return (
        activity.by_table,
        activity.records,
        activity.rows_fetched,
        activity.transactions,
        activity.checkouts,
        activity.session_statements,
        activity.other_statements,
        len(activity.bypassed or ()),
    )


def _rows_needed(activity: Activity, before: Sequence[_Sample], together: bool) -> bool:
    """Whether the rows of all tables have to be counted, which costs a query for every table."""
    # They are counted where nothing else shows whether, or how, the data grew.
    if together and (not activity.shows_records or activity.characters):
        return True
    return all(
        other.equals(before[0]) and _counts(activity) == _counts(other.activity) for other in before
    )


@dataclass
class _Measurement:
    """Runs an action the same way at every scale; see `measure_growth` for the arguments."""

    runner: ActionRunner
    action: Action
    populate: Populate
    planned: Plan
    work: tuple[str, ...]
    work_together: bool
    writes: bool
    project: Project | None
    contract: QueryContract
    tables: set[str] = field(default_factory=set)
    samples: dict[tuple[int, ...], _Sample] = field(default_factory=dict)
    runs: int = 0
    axis: str = ""  # the one that is measured at present, for messages

    def along(self, axes: Sequence[str], scales: Sequence[int]) -> AxisGrowth:
        """Run the action at every scale of one axis, or of several that grow at once."""
        __tracebackhide__ = True
        self.axis = axes[0] if len(axes) == 1 else name_together(axes)
        samples: list[_Sample] = []
        for scale in scales:
            samples.append(self._sample(self._sizes(axes, scale), samples, len(axes) > 1))
        return AxisGrowth(
            self.axis,
            tuple(scales),
            tuple(sample.activity for sample in samples),
            all(sample.equals(samples[0]) for sample in samples),
            together=tuple(axes) if len(axes) > 1 else (),
            data=_data(samples),
            partial=bool(self.planned.together) and len(axes) < len(self.planned.base),
            writes=self.writes,
        )

    def _sizes(self, axes: Sequence[str], scale: int) -> Sizes:
        return {**self.planned.base, **dict.fromkeys(axes, scale)}

    def _sample(self, sizes: Sizes, before: Sequence[_Sample], together: bool) -> _Sample:
        """The sample at these sizes. Sizes that several axes share are measured once."""
        __tracebackhide__ = True
        key = tuple(sizes.values())
        work = self.work if not together or self.work_together else ()
        known = self.samples.get(key)
        if (
            known is None
            or tuple(known.activity.work) != work
            or (not known.asked and _rows_needed(known.activity, before, together))
        ):
            self.samples[key] = known = self._run(sizes, before, together, work)
        return known

    def _run(
        self, sizes: Sizes, before: Sequence[_Sample], together: bool, work: tuple[str, ...]
    ) -> _Sample:
        __tracebackhide__ = True
        runner = self.runner
        self.runs += 1

        with self._populated(sizes) as source:

            def action(_engine: AnyEngine) -> object:
                __tracebackhide__ = True
                with NamedStep("the action", self.axis, sizes):
                    return runner.call(self.action, source)

            try:
                engines = populated_engines(source)
            except ValueError as refused:
                if source is None:
                    raise ValueError(
                        "populate must return an engine on the database that it filled, and "
                        "returned None: is its return or yield missing?"
                    ) from None
                raise ValueError(
                    "populate must return an SQLAlchemy engine (or a context manager that yields "
                    f"one), got {type(source).__name__}: {refused}"
                ) from None
            # An action that deletes leaves no rows to count.
            rows = self._rows(engines, before=True) if self.writes else None
            activity = watch(
                action,
                engines[0],
                runner=runner,
                work=work,
                project=self.project,
                every_engine=True,
                others=engines[1:],
            )
            # The database is gone once the block ends, so its tables are listed here.
            if self.contract.named_tables.keys() - activity.tables - self.tables:
                self.tables |= {bare_name(name) for each in engines for name in self._tables(each)}
            sample = _Sample(activity, rows, asked=self.writes)
            unasked = rows is None and not activity.written
            if unasked and _rows_needed(activity, before, together):
                sample = _Sample(activity, self._rows(engines), asked=True)
        if activity.written and not self.writes:
            raise ValueError(
                f"the action wrote to {', '.join(activity.written)} but should only read: "
                "pass writes=True if it is meant to write"
            )
        return sample

    @contextmanager
    def _populated(self, sizes: Sizes) -> Iterator[object]:
        """Yield what `populate` returns or yields; exceptions of `populate` name the step."""
        __tracebackhide__ = True
        with ExitStack() as stack:
            with NamedStep("populate", self.axis, sizes):
                made = self.runner.call(self.populate, **sizes)
                engine = stack.enter_context(self.runner.entered(made))
            yield engine
            # Not reached if the block raised: its exception passes through the ExitStack as it is.
            with NamedStep("the end of populate", self.axis, sizes):
                stack.close()

    def _tables(self, engine: AnyEngine) -> frozenset[str]:
        if isinstance(engine, Engine):
            return tables_of(engine) or frozenset()
        return self.runner.wait_for(tables_of_async(engine)) or frozenset()

    def _rows(
        self, engines: Sequence[AnyEngine], *, before: bool = False
    ) -> Mapping[tuple[str, str], int] | None:
        """The rows of all tables of all engines together; None where one cannot be asked.

        Args:
            engines: The engines that are asked.
            before: Whether the action runs afterwards. Its connection is not changed.
        """
        total: Counter[tuple[str, str]] = Counter()
        for each in engines:
            rows = self._rows_of(each, before)
            if rows is None:
                return None
            total.update(rows)
        return total

    def _rows_of(self, engine: AnyEngine, before: bool) -> Mapping[tuple[str, str], int] | None:
        if not isinstance(engine, Engine):
            return self.runner.wait_for(rows_of_async(engine))
        if before and engine.dialect.name == "sqlite":
            return row_counts_of_file(engine)
        return rows_of(engine)

    def all_axes(self) -> tuple[AxisGrowth, ...]:
        """Every axis alone, then the axes that only make something grow together."""
        __tracebackhide__ = True
        base, sizes = [*self.planned.base], self.planned.together
        found: list[AxisGrowth] = []
        for axis, tried in self.planned.scales.items():  # a comprehension shows in tracebacks
            found.append(self._with_its_level(self.along([axis], tried)))
        if sizes:
            every = self.along(base, sizes)
            *_, only_there = reported_counts([*found, every], self.contract)
            causes = {self._needed(name, every) for name in only_there} - {tuple(base)}
            found += [*(self.along(axes, sizes) for axes in sorted(causes, key=len)), every]
        reported = reported_counts(found, self.contract)
        return tuple(
            self._decided(axis, names) for axis, names in zip(found, reported, strict=True)
        )

    def _with_its_level(self, axis: AxisGrowth) -> AxisGrowth:
        """The same, no longer partial if records level off, and the other axes do not set where."""
        if not axis.partial or not axis.records_level_off:
            return axis
        # The pass in which all axes grow may be too small for a page of ten or more to fill.
        sizes = {name: size + 1 for name, size in self.planned.base.items()}
        sizes[axis.axis] = axis.scales[-1]
        try:
            more = self._sample(sizes, (), together=False)
        except Exception:  # a size that nobody asked for, which populate may not know
            return axis
        return replace(axis, partial=more.activity.records != axis.activities[-1].records)

    def _needed(self, name: str, every: AxisGrowth) -> tuple[str, ...]:
        """The fewest axes along which a count grows as it does along every axis."""
        needed = [*self.planned.base]
        for axis in self.planned.base:
            fewer = [each for each in needed if each != axis]
            # For two axes nothing is left to find out: alone, neither makes the count grow.
            if len(fewer) > 1 and grows_as(
                every, self.along(fewer, every.scales), self.contract, name
            ):
                needed = fewer
        return tuple(needed)

    def _decided(self, axis: AxisGrowth, names: Collection[str]) -> AxisGrowth:
        """The axis with more scales, as long as several forms of growth fit what it reports."""
        if axis.together and self.work_together:
            return axis
        axes = axis.together or (axis.axis,)
        cost = cost_of(axis)
        left = _TIMES_THE_FIRST_COST * sum(map(cost, axis.scales))
        for _ in range(_MORE_SIZES):
            if not undecided_trends(axis, self.contract, names):
                break
            size = next_size(axis.scales)
            left -= cost(size)
            if left < 0:
                break
            # A population may know the first scales only, and a message about a size that nobody
            # asked for would hide the finding.
            try:
                axis = self.along(axes, sorted({*axis.scales, size}))
            except Exception:
                break
        return axis


def measure_growth(
    action: Action,
    populate: Populate,
    *,
    axes: Axes,
    scales: Scales = DEFAULT_SCALES,
    together: Sequence[int] | None = None,
    work: Iterable[str] = (),
    writes: bool = False,
    subject: str = "",
    project: Project | None = None,
    contract: QueryContract | None = None,
) -> GrowthReport:
    """Run an action at every scale of every axis, one axis at a time, and at all axes at once.

    Of k axes with three scales each, a constant action takes 3 runs for one axis, and 2 k + 3 runs
    for more: the smallest sizes are shared. Growth that only shows where all axes grow takes
    further runs that find the axes which it needs. Growth of an undecided form takes up to six
    more sizes, for up to seven times the cost of the first ones.

    Args:
        action: Called with the engine; plain or async.
        populate: Called with the size of every axis as keyword arguments. Returns an engine on a
            new database of those sizes, or a context manager that yields one; plain or async.
        axes: The axes with their base sizes, or only their names (base size 2).
        scales: The sizes to try on every axis, or a mapping from axes to their sizes.
        together: The sizes of the pass in which all axes grow at once. By default they are chosen
            so that the product of the axes stays below about 2,000; empty for no such pass. Work
            is only counted in it if the sizes are given.
        work: Deterministic counts to take (`VM_STEPS`, `BRANCHES`).
        writes: Whether the action may change tables.
        subject: The name of the action in reports; default: its own name.
        project: The user's own files; default: those below the working directory.
        contract: What is allowed. No further runs are made for growth that it allows. The report
            then holds the tables of the databases, so that a misspelt name can be found.

    Raises:
        ValueError: Before the action runs: there are fewer than three scales, scales that do not
            increase, or axes that do not exist, a size is not a whole number, an argument that
            takes a list got something else, `populate` returns no engine, or the engine cannot
            count a kind of work. After its first run: it wrote although `writes` is false.
        StepError: `populate` or the action raised an exception, which is the cause.
    """
    __tracebackhide__ = True
    check_contract(contract)
    check_list("work", work, 'work=["vm_steps"]')
    planned = plan(axes, scales, together, action, populate)

    def measured() -> GrowthReport:
        __tracebackhide__ = True
        with action_runner() as runner:
            measurement = _Measurement(
                runner=runner,
                action=action,
                populate=populate,
                planned=planned,
                work=tuple(work),
                work_together=together is not None,
                writes=writes,
                project=project,
                contract=contract or QueryContract(),
            )
            axes_grown = measurement.all_axes()
        return GrowthReport(
            subject or _name_of(action),
            axes_grown,
            None if contract is None else frozenset(measurement.tables),
            measurement.runs,
        )

    return outside_event_loop(measured)


def _name_of(action: Action) -> str:
    # A functools.partial and an instance with __call__ have no __qualname__.
    name = getattr(action, "__qualname__", type(action).__name__)
    return str(name).rpartition("<locals>.")[2]
