"""Limits on what one action may send (`QueryContract`), and the judgement of an activity by them.

The limits hold at every size of the data. Growth with the data is judged in
`querygrowth.growth.verdicts`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from querygrowth.contracts.allowance import (
    Allowance,
    check_limit,
    describe_allowances,
    is_fraction,
    is_name,
    is_whole,
)
from querygrowth.contracts.table_limits import counts_by_limit, joined_limits, limited_as
from querygrowth.counting.activity import TRANSACTIONS, Activity, ShapeActivity
from querygrowth.counting.statements import NO_TABLE
from querygrowth.counting.table_names import are_same, is_named
from querygrowth.fixes.queries import fix_of
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict, judge

_SHOWN_SHAPES = 3


@dataclass(frozen=True)
class QueryContract:
    """The limits on what an action may send. They hold at every size of the data.

    Args:
        per_table: The most queries about a table: one number for all, or a mapping from tables
            to numbers (`"*"` for all others). An empty mapping limits nothing and is refused.
        total: The most queries altogether.
        transactions: The most transactions begun.
        rows_per_record: The most rows fetched for a record emitted.
        allowances: Declared reasons for more; `allow` adds one.
        whole_tables: Tables whose rows are meant to be fetched, however many there are;
            `allow_rows` adds some.

    Raises:
        ValueError: A limit is negative or no number, or a name in `per_table` is no string. True
            and False are not numbers here.
    """

    per_table: int | Mapping[str, int] | None = None
    total: int | None = None
    transactions: int | None = None
    rows_per_record: float | None = None
    allowances: tuple[Allowance, ...] = ()
    whole_tables: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        limits: dict[str, object] = {"total": self.total, "transactions": self.transactions}
        if isinstance(self.per_table, Mapping):
            if not self.per_table:
                raise ValueError("per_table must limit at least one table, got an empty mapping")
            for table, limit in self.per_table.items():
                if not is_name(table):
                    raise ValueError(f"per_table must map names of tables, got the name {table!r}")
                if twice := [each for each in self.per_table if are_same(each, table)][1:]:
                    raise ValueError(f"per_table limits one table twice: {table!r}, {twice[0]!r}")
                # None means "no limit" only where an argument is left out.
                check_limit(f"per_table[{table!r}]", limit)
        else:
            limits["per_table"] = self.per_table
        for name, value in limits.items():
            if value is not None:
                check_limit(name, value)
        rows = self.rows_per_record
        if rows is not None and not (is_whole(rows) or is_fraction(rows)):
            raise ValueError(
                f"rows_per_record must be a finite number that is not negative, got {rows!r}"
            )

    def allow(
        self,
        table: str,
        *,
        chunk: int | None = None,
        page: int | None = None,
        containing: str = "",
        of: str | None = None,
    ) -> "QueryContract":
        """Return this contract with one more allowance; see `Allowance` for the arguments."""
        allowance = Allowance(table, chunk=chunk, page=page, containing=containing, of=of)
        return replace(self, allowances=(*self.allowances, allowance))

    def allow_rows(self, *tables: str) -> "QueryContract":
        """Return this contract with tables whose rows are meant to be fetched.

        Rows that queries about these tables fetch may grow in any way: for a report, a sum or a
        median that is made of all of them.

        Args:
            tables: The names of the tables.

        Raises:
            ValueError: There is no table, or a name that is none.
        """
        if not tables or not all(is_name(table) and table != "*" for table in tables):
            raise ValueError(f"allow_rows needs the names of tables, got {tables!r}")
        return replace(self, whole_tables=self.whole_tables | set(tables))

    @property
    def named_tables(self) -> Mapping[str, str]:
        """The tables that the contract names, and the argument that names them."""
        named = {table: f"allow_rows({table!r})" for table in sorted(self.whole_tables)}
        named |= {
            table: f"allow({granted.table!r})"
            for granted in self.allowances
            for table in (granted.table, granted.of)
            if table is not None
        }
        if isinstance(self.per_table, Mapping):
            named |= dict.fromkeys(self.per_table, "per_table")
        return {table: where for table, where in named.items() if table not in ("*", NO_TABLE)}

    def unexplained(self, activity: Activity) -> Mapping[str, int]:
        """Queries by table, less those that an allowance grants."""
        counts = dict(activity.by_table)
        for allowance in self.allowances:
            if covered := allowance.covers(activity):
                counts[covered.shape.table] -= allowance.extra_queries(activity)
        # An action may send fewer queries than its allowance grants.
        return {table: max(0, count) for table, count in counts.items()}

    def unexpected(self, activity: Activity) -> Mapping[str, int]:
        """Queries by table, less those that an allowance grants or SQLAlchemy adds.

        SQLAlchemy splits a bulk INSERT into statements of 1,000 rows or fewer, and a load by
        `selectinload` into one for every 500 parents. These statements are granted here, where
        growth is judged, and not in the limits.
        """
        counts = dict(self.unexplained(activity))
        declared = {granted.covers(activity) for granted in self.allowances}
        for sent in activity.shapes:
            if sent.continued and sent not in declared:
                counts[sent.shape.table] = max(0, counts[sent.shape.table] - sent.continued)
        return counts

    def fetched_rows(self, activity: Activity) -> int | None:
        """The fetched rows, less those of `whole_tables`; None if they were not counted."""
        if activity.rows_fetched is None:
            return None
        return activity.rows_fetched - sum(
            sent.rows_fetched
            for sent in activity.shapes
            if any(
                is_named(name, table, sent.shape.qualified)
                for name in self.whole_tables
                for table in sent.shape.tables
            )
        )

    def limit_for(self, table: str) -> int | None:
        """The most queries about one table; None without a limit."""
        if not isinstance(self.per_table, Mapping):
            return self.per_table
        name = table if table in self.per_table else limited_as(self.per_table, table, ())
        return self.per_table.get("*" if name is None else name)

    def beyond(self, activity: Activity) -> Mapping[str, int]:
        """The tables with more queries than their limit, and how many more."""
        counts = self.unexplained(activity)
        if isinstance(self.per_table, Mapping):
            granted = Counter[int]()
            for allowance in self.allowances:
                granted[id(allowance.covers(activity))] += allowance.extra_queries(activity)
            counts = counts_by_limit(
                self.per_table,
                [(sent, max(0, sent.count - granted[id(sent)])) for sent in activity.shapes],
            )
        limits = {table: self.limit_for(table) for table in counts}
        over = {t: counts[t] - limit for t, limit in limits.items() if limit is not None}
        return {table: n for table, n in over.items() if n > 0}

    def excess(self, activity: Activity) -> int:
        """Queries beyond the limits; 0 if the contract is kept."""
        beyond_tables = sum(self.beyond(activity).values())
        if self.total is None:
            return beyond_tables
        # Not the sum: the same query can be beyond the limit of its table and beyond the total.
        return max(beyond_tables, sum(self.unexplained(activity).values()) - self.total)

    def judge(self, activity: Activity, subject: str) -> tuple[Verdict, ...]:
        """Judge one activity. A limit that is set gives one verdict, which names that limit only.

        Args:
            activity: The counts of the action.
            subject: The name of the action.
        """
        return tuple(self._verdicts(activity, subject))

    def _verdicts(self, activity: Activity, subject: str) -> Iterator[Verdict]:
        if self.per_table is not None:
            yield self._judge_tables(activity, subject)
        if self.total is not None:
            yield self._judge_total(self.total, activity, subject)
        if self.transactions is not None:
            yield judge(
                subject,
                activity.transactions <= self.transactions,
                expected=f"at most {number(self.transactions, 'transaction')}",
                seen=number(activity.transactions, "transaction"),
                next_step="a transaction or session opened for each query, or in a loop",
                site=activity.sites.get(TRANSACTIONS),
            )
        if self.rows_per_record is not None and activity.records:
            yield self._judge_rows(self.rows_per_record, activity, activity.records, subject)

    def _judge_tables(self, activity: Activity, subject: str) -> Verdict:
        beyond = self.beyond(activity)
        shapes = [sent for sent in activity.most_sent if self._counts_for(sent, beyond)]
        site = shapes[0].site if shapes else None
        return judge(
            subject,
            not beyond,
            expected=self._table_limits(beyond),
            seen=", ".join(self._sent_about(table, activity) for table in beyond)
            or "within the limit",
            evidence=_described(shapes, site),
            next_step=_repair(shapes) or "a loop around the query, or an allowance that is missing",
            site=site,
        )

    def _counts_for(self, sent: ShapeActivity, tables: Mapping[str, int]) -> bool:
        if any(is_named(table, sent.shape.table, sent.shape.qualified) for table in tables):
            return True
        if not isinstance(self.per_table, Mapping) or "*" in self.per_table:
            return False
        about = limited_as(self.per_table, sent.shape.table, sent.shape.qualified)
        return about is None and bool({*joined_limits(self.per_table, sent)} & tables.keys())

    def _sent_about(self, table: str, activity: Activity) -> str:
        """How many queries count for the limit of a table, the allowed ones included."""
        if isinstance(self.per_table, Mapping):
            sent = [(each, each.count) for each in activity.shapes]
            count = counts_by_limit(self.per_table, sent)[table]
        else:
            count = activity.by_table[table]
        about = any(
            is_named(table, each.shape.table, each.shape.qualified) for each in activity.shapes
        )
        return f"{number(count, 'query', 'queries')} {'about' if about else 'that read'} {table}"

    def _judge_total(self, limit: int, activity: Activity, subject: str) -> Verdict:
        counted = sum(self.unexplained(activity).values())
        exceptions = describe_allowances(self.allowances)
        granted = activity.queries - counted
        shapes = activity.most_sent[:_SHOWN_SHAPES]
        site = shapes[0].site if shapes else None
        return judge(
            subject,
            counted <= limit,
            expected=f"at most {number(limit, 'query', 'queries')}{exceptions}",
            seen=number(activity.queries, "query", "queries")
            + (f", {granted} of them allowed" if granted else ""),
            evidence=_described(shapes, site),
            next_step=_repair(shapes) or "the shapes above, most sent first",
            site=site,
        )

    def _judge_rows(self, limit: float, activity: Activity, records: int, subject: str) -> Verdict:
        expected = f"at most {limit:g} fetched rows for each record"
        if activity.rows_fetched is None:
            return Verdict(subject, Outcome.SKIPPED, expected, "fetched rows were not counted")
        fetched = activity.rows_fetched / records
        return judge(
            subject,
            fetched <= limit,
            expected=expected,
            seen=f"fetched {fetched:.2f} rows for each record",
            evidence=(f"{activity.rows_fetched} rows fetched, {records} records",),
            next_step="rows thrown away in Python, or a join that multiplies them",
            site=largest_fetch_site(activity),
        )

    def _table_limits(self, broken: Mapping[str, int]) -> str:
        """The limits per table in words: those of the `broken` tables, or all without any."""
        of_broken = [granted for granted in self.allowances if granted.table in broken]
        exceptions = describe_allowances(of_broken if broken else self.allowances)
        if isinstance(self.per_table, Mapping):
            limits = {t: self.limit_for(t) for t in broken} if broken else self.per_table
            words = [
                f"at most {number(n, 'query', 'queries')} about {t}" for t, n in limits.items()
            ]
            return ", ".join(words) + exceptions
        return f"at most {number(self.per_table, 'query', 'queries')} per table{exceptions}"


def check_contract(contract: object) -> None:
    """Refuse a value that is given as a contract and is not one.

    Raises:
        ValueError: `contract` is neither a QueryContract nor None.
    """
    if contract is not None and not isinstance(contract, QueryContract):
        raise ValueError(
            f"contract must be a QueryContract, such as QueryContract(total=5), got {contract!r}"
        )


def largest_fetch_site(activity: Activity) -> CallSite | None:
    """The line whose queries fetched the most rows; None if it is not known."""
    fetching = [sent for sent in activity.shapes if sent.rows_fetched]
    return max(fetching, key=lambda sent: sent.rows_fetched).site if fetching else None


def judge_vacuity(activity: Activity, subject: str) -> Verdict:
    """Judge whether the action did anything: an action that does nothing keeps every limit."""
    seen, next_step = "", ""
    # The order is that of causes: an iterator that was not consumed also sends no query.
    if activity.unconsumed:
        seen = "returned an iterator that was not consumed"
        next_step = "wrap it in list() in the action"
    elif activity.checkouts == 0 and not activity.queries:
        seen, next_step = "the engine was never used", "whether the action uses another engine"
    elif not activity.queries and not activity.bypassed and not activity.transactions:
        seen = "sent no query"
        next_step = "whether the action does its work lazily, or from a cache"
    elif activity.records == 0:
        seen, next_step = "emitted no record", "whether the population is where the action looks"
    return judge(
        subject,
        not seen,
        expected="an action that sends queries and whose result is consumed",
        seen=seen or "did something",
        next_step=next_step,
    )


def number(count: int | None, one: str, many: str = "") -> str:
    """A count with its noun: "1 query", "2 queries". `many` defaults to `one` with an "s"."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _repair(shapes: Sequence[ShapeActivity]) -> str:
    """The repair of the shape sent most, where it loads attributes one object at a time."""
    worst = max(shapes, key=lambda sent: sent.count, default=None)
    if worst is None or worst.count == 1 or worst.cause.load is None or not worst.cause.load.needs:
        return ""
    return fix_of(worst, item="item").next_step


def _described(shapes: Sequence[ShapeActivity], shown: CallSite | None) -> Iterator[str]:
    """Yield lines that show shapes, and the line that sent them unless it is `shown` already."""
    for sent in shapes:
        yield f"{sent.count}x {sent.shape.text}"
        if sent.site and sent.site != shown:
            yield f"  sent from {sent.site}"
        if sent.count > 1:
            yield from (f"  {line}" for line in fix_of(sent, item="item").evidence)
