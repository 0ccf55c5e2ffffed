"""QueryContract: how many queries are agreed on, in words that hold at every size."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from querygrowth.activity import Activity, ShapeActivity
from querygrowth.verdict import Verdict, judge


@dataclass(frozen=True)
class Allowance:
    """A declared reason for one shape to be sent more than once.

    With `chunk`, one query for every `chunk` values sent or fetched, the last one short. With
    `page`, one for every `page` rows fetched and one that finds no more. The allowance covers one
    shape about `table`: the one `containing` names part of, or else the one sent most often.
    """

    table: str
    chunk: int | None = None
    page: int | None = None
    containing: str = ""

    def __post_init__(self) -> None:
        sizes = [size for size in (self.chunk, self.page) if size is not None]
        if len(sizes) != 1 or sizes[0] < 1:
            raise ValueError(f"allow({self.table!r}) needs either chunk or page, of at least 1")

    def covers(self, activity: Activity) -> ShapeActivity | None:
        """The shape this allowance is for, if the action sent it."""
        candidates = [
            each
            for each in activity.shapes
            if each.shape.table == self.table and self.containing in each.shape.text
        ]
        return max(candidates, key=lambda each: each.count, default=None)

    def extra_queries(self, activity: Activity) -> int:
        """Queries granted beyond the first: as many as full chunks or pages need, and no more."""
        covered = self.covers(activity)
        if covered is None:
            return 0
        if self.chunk is not None:
            return max(0, -(-covered.values // self.chunk) - 1)
        return covered.values // self.page if self.page else 0

    def __str__(self) -> str:
        size = f"chunks of {self.chunk}" if self.chunk else f"pages of {self.page}"
        return f"{self.table} in {size}"


@dataclass(frozen=True)
class QueryContract:
    """What an action may cost. Whatever is not limited here must still be the same at every scale.

    `per_table` limits the queries about each table, by one number for all or by a mapping with a
    number for some (`"*"` for all others). `total` limits all queries, `transactions` the
    transactions begun, `rows_per_record` the rows fetched for each record emitted.
    """

    per_table: int | Mapping[str, int] | None = None
    total: int | None = None
    transactions: int | None = None
    rows_per_record: float | None = None
    allowances: tuple[Allowance, ...] = ()

    def __post_init__(self) -> None:
        per_table = self.per_table
        by_table = per_table.values() if isinstance(per_table, Mapping) else [per_table]
        limits = (*by_table, self.total, self.transactions, self.rows_per_record)
        if any(limit is not None and limit < 0 for limit in limits):
            raise ValueError("the limits of a QueryContract cannot be negative")

    def allow(
        self, table: str, *, chunk: int | None = None, page: int | None = None, containing: str = ""
    ) -> "QueryContract":
        """This contract with one more declared allowance."""
        allowance = Allowance(table, chunk=chunk, page=page, containing=containing)
        return replace(self, allowances=(*self.allowances, allowance))

    def unexplained(self, activity: Activity) -> Mapping[str, int]:
        """Queries about each table that no allowance accounts for."""
        counts = dict(activity.by_table)
        for allowance in self.allowances:
            if allowance.table in counts:
                counts[allowance.table] -= allowance.extra_queries(activity)
        return {table: max(0, count) for table, count in counts.items()}

    def limit_for(self, table: str) -> int | None:
        """The most queries agreed on about one table; None if there is no limit."""
        if isinstance(self.per_table, Mapping):
            return self.per_table.get(table, self.per_table.get("*"))
        return self.per_table

    def beyond(self, activity: Activity) -> Mapping[str, int]:
        """The tables with more queries than agreed, and how many more."""
        counts = self.unexplained(activity)
        limits = {table: self.limit_for(table) for table in counts}
        over = {t: counts[t] - limit for t, limit in limits.items() if limit is not None}
        return {table: n for table, n in over.items() if n > 0}

    def excess(self, activity: Activity) -> int:
        """Queries beyond the limits; 0 if the contract is kept."""
        beyond_tables = sum(self.beyond(activity).values())
        if self.total is None:
            return beyond_tables
        return max(beyond_tables, sum(self.unexplained(activity).values()) - self.total)

    def judge(self, activity: Activity, subject: str) -> tuple[Verdict, ...]:
        """A verdict for each limit that is set."""
        return tuple(
            verdict
            for verdict in (
                self._judge_tables(activity, subject),
                _within(
                    self.total,
                    sum(self.unexplained(activity).values()),
                    subject,
                    "queries",
                    evidence=_most_sent(activity),
                ),
                _within(self.transactions, activity.transactions, subject, "transactions"),
                self._judge_rows(activity, subject),
            )
            if verdict is not None
        )

    def _judge_tables(self, activity: Activity, subject: str) -> Verdict | None:
        if self.per_table is None:
            return None
        beyond = self.beyond(activity)
        counts = activity.by_table
        return judge(
            subject,
            not beyond,
            expected=self.promise,
            seen=", ".join(f"{counts[t]} queries about {t}" for t in beyond) or "kept",
            evidence=[
                line
                for each in activity.shapes
                if each.shape.table in beyond
                for line in describe_shape(each)
            ],
            next_step="a loop around the query, or an allowance that is missing",
        )

    def _judge_rows(self, activity: Activity, subject: str) -> Verdict | None:
        if self.rows_per_record is None or not activity.records:
            return None
        fetched = activity.rows_fetched / activity.records
        return judge(
            subject,
            fetched <= self.rows_per_record,
            expected=f"at most {self.rows_per_record:g} fetched rows for each record",
            seen=f"fetched {fetched:.2f} rows for each record",
            evidence=(f"{activity.rows_fetched} rows fetched, {activity.records} records",),
            next_step="rows thrown away in Python, or a join that multiplies them",
        )

    @property
    def promise(self) -> str:
        """The contract in one line."""
        limits = [*_promised_tables(self.per_table)]
        if self.total is not None:
            limits.append(_at_most(self.total, "query", "queries"))
        if self.transactions is not None:
            limits.append(_at_most(self.transactions, "transaction", "transactions"))
        words = ", ".join(limits) or "the same count at every scale"
        if self.allowances:
            words += f", but {', '.join(str(each) for each in self.allowances)}"
        return words


def _promised_tables(per_table: int | Mapping[str, int] | None) -> tuple[str, ...]:
    if per_table is None:
        return ()
    if isinstance(per_table, Mapping):
        return tuple(f"at most {limit} about {table}" for table, limit in per_table.items())
    return (f"{_at_most(per_table, 'query', 'queries')} per table",)


def _at_most(limit: int, one: str, many: str) -> str:
    return f"at most {limit} {one if limit == 1 else many}"


def describe_shape(each: ShapeActivity) -> tuple[str, ...]:
    """Lines that show a shape, how often it was sent, and from where."""
    sent = f"  sent from {each.site}" if each.site else ""
    return tuple(line for line in (f"{each.count}x {each.shape.text}", sent) if line)


def _most_sent(activity: Activity) -> tuple[str, ...]:
    ranked = sorted(activity.shapes, key=lambda each: -each.count)
    return tuple(line for each in ranked[:3] for line in describe_shape(each))


def _within(
    limit: int | None, count: int, subject: str, what: str, *, evidence: tuple[str, ...] = ()
) -> Verdict | None:
    if limit is None:
        return None
    return judge(
        subject,
        count <= limit,
        expected=f"at most {limit} {what}",
        seen=f"{count} {what}",
        evidence=evidence,
        next_step="the shapes above, most sent first" if evidence else "",
    )
