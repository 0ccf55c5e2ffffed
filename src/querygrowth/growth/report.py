"""What an action did at rising scales, axis by axis: the facts that growth is judged by."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

from querygrowth.counting.action_result import ResultKind
from querygrowth.counting.activity import Activity
from querygrowth.growth.axes import check_rising
from querygrowth.growth.trend import Trend, trend

# Rows for a record that grow by less than this factor need no explanation.
_AS_MANY = 2
# Texts and figures made of several rows may have a part that does not grow.
_LONGER = 0.5
_NUMBER = re.compile(r"\d+")


def table_family(table: str) -> str:
    """The name that tables share which differ in their numbers only: "items_#" for "items_12"."""
    return _NUMBER.sub("#", table)


def by_family(counts: Mapping[str, int]) -> Mapping[str, int]:
    """Counts by table, with one sum for the tables of a family. A single table keeps its name."""
    families: Counter[str] = Counter()
    members: Counter[str] = Counter(table_family(table) for table in counts)
    for table, count in counts.items():
        family = table_family(table)
        families[family if members[family] > 1 else table] += count
    return families


@dataclass(frozen=True)
class AxisGrowth:
    """The activities at the scales of one axis, or of several that grow at once.

    The other axes are at their base sizes.

    Args:
        axis: The name of the axis or axes in messages.
        scales: The sizes that were tried, rising.
        activities: The activity at each size, in the same order.
        same_data: Whether the action did the same at every scale, and every table of the database
            had the same number of rows. False also where the rows could not be counted.
        together: The axes, if several grew at once.
        data: The rows of the tables that the action touched, at each scale; None if they were not
            counted. Only axes that grow at once need them.
        partial: Whether the same measurement has a pass in which all axes grow at once. Fetched
            rows are then compared with the records there, because rows that one axis adds may
            belong to no record while the other axes stay small. It is false for records that level
            off at a number that the sizes of the other axes do not change.
        writes: Whether the action is permitted to change tables. It then reads rows to decide what
            to change, also where nothing is left to change.
    """

    axis: str
    scales: tuple[int, ...]
    activities: tuple[Activity, ...]
    same_data: bool = False
    together: tuple[str, ...] = ()
    data: tuple[int, ...] | None = None
    partial: bool = False
    writes: bool = False

    def trend(self, measure: Callable[[Activity], int], *, in_steps: bool = True) -> Trend:
        """How one count grows along this axis; see `growth.trend.trend` for `in_steps`."""
        return trend(self.scales, [*map(measure, self.activities)], in_steps=in_steps)

    @property
    def records(self) -> tuple[int, ...] | None:
        """The records emitted at each scale; None unless they are known at every scale."""
        known = [act.records for act in self.activities if act.records is not None]
        return tuple(known) if len(known) == len(self.activities) else None

    @property
    def extent(self) -> tuple[int, ...] | None:
        """The amount of data at each scale: the records emitted, else the rows, else the scale.

        None if it is not known: where axes grow at once, the data grow by a product of the scale.
        """
        records, data = self.records, self.data if self.together else self.scales
        rising = [each for each in (records, data) if each is not None and _rises(each)]
        if records is None or records not in rising:
            return data if data in rising else None
        if self.shows_records and not self.partial:
            return records
        # A number may be a sum, or a count of groups, and one axis alone may add rows without
        # records. The records then show the data only if they grow at least as the rest.
        if self.together and (data is None or self.activities[-1].result is ResultKind.SUMMARY):
            return data if data in rising else None
        return max(rising, key=lambda each: each[-1] / (each[0] or 1))

    @property
    def shows_records(self) -> bool:
        """Whether `records` are those that were asked for at every scale; see `Activity`."""
        return (
            all(act.shows_records for act in self.activities)
            and not self._texts_grow()
            and not self._figures_grow()
        )

    @property
    def records_level_off(self) -> bool:
        """Whether the records stop to grow while more and more rows are fetched for them."""
        records, rows = self.records, [act.rows_fetched or 0 for act in self.activities]
        if records is None or not records[0] < records[-2] == records[-1] or rows[-2] >= rows[-1]:
            return False
        # Sums of more and more rows rise. The first ten keys stay the same.
        before, last = self.activities[-2:]
        texts = all(act.result is ResultKind.RECORDS for act in self.activities)
        summary = last.result in {ResultKind.SUMMARY, ResultKind.YES_OR_NO}
        return not summary and (texts or before.figures == last.figures)

    @property
    def same_keys(self) -> bool:
        """Whether the result are the same whole numbers at every scale, as far as is known."""
        kinds = {act.result for act in self.activities}
        return kinds == {ResultKind.KEYS} and len({act.figures for act in self.activities}) == 1

    def _texts_grow(self) -> bool:
        """Whether the texts of a record become longer by as much as rows are fetched for it."""
        # A text may be made of many rows, such as a line with all items of an order. It is then
        # about as many times as long. The digits of a larger number are no such text.
        first, last = self.activities[0], self.activities[-1]
        if not (first.rows_fetched and last.rows_fetched and first.records and last.records):
            return False
        longer = (last.characters / last.records) / (max(1, first.characters) / first.records)
        more = (last.rows_fetched / last.records) / (first.rows_fetched / first.records)
        return more > _AS_MANY and longer > more * _LONGER

    def _figures_grow(self) -> bool:
        """Whether the numbers in a record's texts rise with the rows that are fetched for it."""
        # A text may show a count or a sum of many rows, such as "7 items". The number in a single
        # record may as well be the key of the last of all rows.
        first, last = self.activities[0], self.activities[-1]
        if not (first.rows_fetched and last.rows_fetched and first.records and last.records):
            return False
        higher = last.figures / last.records - first.figures / first.records
        more = last.rows_fetched / last.records - first.rows_fetched / first.records
        return last.records > 1 and more > 0 and higher > more * _LONGER

    def shape_trends(self) -> Mapping[str, Trend]:
        """How the counts of the shapes grow, by the shape's text."""
        texts = dict.fromkeys(sent.shape.text for act in self.activities for sent in act.shapes)
        return {
            text: trend(self.scales, [act.count_of(text) for act in self.activities])
            for text in texts
        }


def cost_of(axis: AxisGrowth) -> Callable[[int], float]:
    """The cost of a size in rows and queries: those seen, continued by the power seen last."""
    dimensions = len(axis.together) or 1

    def cost(activity: Activity, scale: int) -> float:
        return float(scale**dimensions + activity.queries + (activity.rows_fetched or 0))

    costs = {
        scale: max(1.0, cost(activity, scale))
        for scale, activity in zip(axis.scales, axis.activities, strict=True)
    }
    before, last = axis.scales[-2:]
    seen = log(costs[last] / costs[before]) / log(last / max(1, before)) if last > 1 else 1.0
    power = max(1.0, seen)
    return lambda scale: costs.get(scale, costs[last] * (scale / last) ** power)


def _rises(counts: Sequence[int]) -> bool:
    return list(counts) == sorted(set(counts))


@dataclass(frozen=True)
class GrowthReport:
    """The measurements of one action along all its axes.

    Args:
        subject: The name of the action.
        axes: The measurements, single axes first, then those that grew at once: few of them first.
        tables: The tables of the measured databases, as far as a contract names tables that the
            action did not touch; None if the spelling of tables is not to be judged.
        runs: How often the action ran.
    """

    subject: str
    axes: tuple[AxisGrowth, ...]
    tables: frozenset[str] | None = None
    runs: int = 0

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
        check_rising(axis, tuple(scales))
        grown = AxisGrowth(axis, tuple(scales), tuple(activities))
        return cls(subject, (grown,), runs=len(activities))

    @classmethod
    def of_axes(cls, subject: str, axes: Mapping[str, Mapping[int, Activity]]) -> "GrowthReport":
        """Build a report from activities that were measured elsewhere, along several axes.

        Args:
            subject: The name of the action.
            axes: By the name of an axis, the activities by the sizes that were tried, rising.

        Raises:
            ValueError: As for `of`.
        """
        reports = [
            cls.of(subject, axis, [*tried], [*tried.values()]) for axis, tried in axes.items()
        ]
        return cls(
            subject,
            tuple(axis for report in reports for axis in report.axes),
            runs=sum(report.runs for report in reports),
        )

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
