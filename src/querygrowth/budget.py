"""Budgets: what a test may send, as its `query_budget` marker or its own contract says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from querygrowth.activity import activity_of
from querygrowth.call_sites import Project
from querygrowth.contract import QueryContract, judge_vacuity
from querygrowth.growth import DEFAULT_SCALES, Axes, GrowthReport, Populate, Scales
from querygrowth.growth_verdicts import assert_query_growth
from querygrowth.listener import AnyEngine, is_engine
from querygrowth.log import QueryLog, count_queries
from querygrowth.verdict import Verdict, require
from querygrowth.watch import Action

# What a report line holds; plain values, so that a worker process can hand it over.
Counts = dict[str, str | int]


@dataclass(frozen=True)
class Budget:
    """A contract for one test, and the name of the fixture that gives its engine."""

    contract: QueryContract
    engine_fixture: str

    @property
    def expects_queries(self) -> bool:
        """Whether sending nothing is suspicious: not under a budget of zero."""
        return self.contract.total != 0

    def judge(self, log: QueryLog, subject: str) -> tuple[Verdict, ...]:
        """The verdicts on what a test sent, doing nothing included."""
        activity = activity_of(log)
        vacuity = (judge_vacuity(activity, subject),) if self.expects_queries else ()
        return (*vacuity, *self.contract.judge(activity, subject))


def budget(
    total: int | None = None,
    *,
    per_table: int | Mapping[str, int] | None = None,
    transactions: int | None = None,
    engine: str,
) -> Budget:
    """What the marker's arguments mean; ValueError if they set no limit at all."""
    if total is None and per_table is None and transactions is None:
        raise ValueError("query_budget needs a limit: query_budget(5) or query_budget(per_table=1)")
    contract = QueryContract(total=total, per_table=per_table, transactions=transactions)
    return Budget(contract, engine)


def engine_of(value: object) -> AnyEngine:
    """The engine in a fixture's value: itself, or its attribute `engine` or `bind`."""
    for candidate in (value, getattr(value, "engine", None), getattr(value, "bind", None)):
        if is_engine(candidate):
            return candidate
    raise ValueError(
        f"no SQLAlchemy engine in a {type(value).__name__}: "
        "name a fixture that gives an engine, or something with an attribute `engine`"
    )


@dataclass(frozen=True)
class Counter:
    """The fixtures' callables, bound to one test: where its files are and where counts go."""

    subject: str
    project: Project
    default_scales: Scales | None
    report: Callable[[Counts], None]

    @contextmanager
    def count(
        self,
        engine: AnyEngine,
        *,
        contract: QueryContract | None = None,
        keep_parameters: bool = False,
    ) -> Iterator[QueryLog]:
        """Count inside the block; with a contract, judge at its end unless it raised itself."""
        __tracebackhide__ = True  # a failure is about the test's line, not about this one
        with count_queries(engine, keep_parameters=keep_parameters, project=self.project) as log:
            yield log
        self.report(counts_of(log))
        if contract is not None:
            require(Budget(contract, "").judge(log, self.subject))

    def assert_growth(
        self,
        action: Action,
        populate: Populate,
        *,
        axes: Axes,
        scales: Scales | None = None,
        contract: QueryContract | None = None,
        together: Sequence[int] = (),
        work: Iterable[str] = (),
        writes: bool = False,
    ) -> GrowthReport:
        """`assert_query_growth` with this project's root and default scales."""
        __tracebackhide__ = True
        return assert_query_growth(
            action,
            populate,
            axes=axes,
            scales=scales or self.default_scales or DEFAULT_SCALES,
            contract=contract,
            together=together,
            work=work,
            writes=writes,
            project=self.project,
        )


def counts_of(log: QueryLog) -> Counts:
    """A log as one line of the report."""
    tables = sorted(log.by_table.items(), key=lambda item: (-item[1], item[0]))
    return {
        "queries": log.total,
        "transactions": log.transactions_begun,
        "rows": log.rows_fetched,
        "tables": ", ".join(f"{table} {count}" for table, count in tables),
    }
