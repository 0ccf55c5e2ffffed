"""Activity: what one action did to its engine, in exact numbers that repeat."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.counting.callsites import CallSite
from harness.counting.driver_trace import DriverTrace, trace_driver, traceable
from harness.counting.listening import AnyEngine
from harness.counting.shapes import Shape
from harness.counting.work import BRANCHES, VM_STEPS, Tally, count_branches, count_vm_steps
from harness.growing.calling import Caller
from harness.growing.emitted import records_in
from harness.queries import Query, QueryLog, count_queries
from harness.verdict import Verdict, judge

Action = Callable[..., object]


@dataclass(frozen=True)
class ShapeActivity:
    """All queries of one shape.

    `values` counts what they carried: the larger of the parameters sent and the rows fetched.
    `site` is the place that sent most of them.
    """

    shape: Shape
    count: int
    values: int
    site: CallSite | None


@dataclass(frozen=True)
class Activity:
    """What one action did.

    `records` is what it emitted, going by what it returned (see `harness.growing.emitted`); None
    if that does not tell. `bypassed` lists queries the driver saw and SQLAlchemy did not,
    None where the driver cannot be asked. `work` holds the opt-in deterministic counts by name.
    """

    queries: int
    session_statements: int
    transactions: int
    checkouts: int
    rows_fetched: int
    records: int | None
    unconsumed: bool
    shapes: tuple[ShapeActivity, ...]
    written: tuple[str, ...]
    bypassed: tuple[str, ...] | None
    cursor_fetches: int
    work: Mapping[str, int]

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries for each table they are about."""
        tables: Counter[str] = Counter()
        for each in self.shapes:
            tables[each.shape.table] += each.count
        return tables

    def sent(self, text: str) -> int:
        """How often the shape with this text was sent."""
        return sum(each.count for each in self.shapes if each.shape.text == text)

    def vacuity(self, subject: str) -> Verdict:
        """Whether there was anything to judge: doing nothing at all would pass every budget."""
        seen, next_step = self._emptiness()
        return judge(
            subject,
            not seen,
            expected="an action that sends queries and whose result is consumed",
            seen=seen or "did something",
            next_step=next_step,
        )

    def _emptiness(self) -> tuple[str, str]:
        if self.unconsumed:
            return "returned an iterator that nobody consumed", "wrap it in list() in the action"
        if not self.checkouts and not self.queries:
            return "the engine was never used", "whether the action uses another engine"
        if not self.queries and not self.bypassed and not self.transactions:
            return "sent no query", "whether the action does its work lazily, or from a cache"
        if self.records == 0:
            return "emitted no record", "whether the population is where the action looks"
        return "", ""


def watch(
    action: Action,
    engine: AnyEngine,
    *,
    by: Caller,
    work: Iterable[str] = (),
    project_root: Path | None = None,
) -> Activity:
    """Run `action(engine)` once and tell what it did.

    `work` names deterministic counts to take beside the queries (`VM_STEPS`, `BRANCHES`); a
    count the engine cannot give raises ValueError before the action runs.
    """
    with ExitStack() as stack:
        trace = stack.enter_context(trace_driver(engine)) if traceable(engine) else None
        tallies = {name: stack.enter_context(_tally(name, engine, project_root)) for name in work}
        log = stack.enter_context(count_queries(engine, project_root=project_root))
        result = by.call(action, engine)
    return activity_of(
        log, trace=trace, result=result, work={name: each.count for name, each in tallies.items()}
    )


def _tally(
    name: str, engine: AnyEngine, project_root: Path | None
) -> AbstractContextManager[Tally]:
    if name == VM_STEPS:
        return count_vm_steps(engine)
    if name == BRANCHES:
        return count_branches(project_root)
    raise ValueError(f"unknown kind of work {name!r}: choose from {VM_STEPS}, {BRANCHES}")


def activity_of(
    log: QueryLog,
    *,
    trace: DriverTrace | None = None,
    result: object = None,
    work: Mapping[str, int] | None = None,
) -> Activity:
    """The activity a finished log tells of; `result` is what the action returned."""
    queries = log.queries
    return Activity(
        queries=len(queries),
        session_statements=log.session_statements,
        transactions=log.transactions_begun,
        checkouts=log.checkouts,
        rows_fetched=log.rows_fetched,
        records=records_in(result),
        unconsumed=isinstance(result, Iterator | AsyncIterator),
        shapes=_by_shape(queries),
        written=tuple(sorted({name for each in queries for name in each.shape.tables_written})),
        bypassed=trace.bypassed if trace else None,
        cursor_fetches=trace.cursor_fetches if trace else 0,
        work=work or {},
    )


def _by_shape(queries: Iterable[Query]) -> tuple[ShapeActivity, ...]:
    groups: defaultdict[Shape, list[Query]] = defaultdict(list)
    for query in queries:
        groups[query.shape].append(query)
    return tuple(_shape_activity(shape, group) for shape, group in groups.items())


def _shape_activity(shape: Shape, queries: list[Query]) -> ShapeActivity:
    sites = Counter(query.site for query in queries if query.site is not None)
    return ShapeActivity(
        shape=shape,
        count=len(queries),
        values=max(
            sum(query.parameter_count for query in queries),
            sum(query.rows_fetched for query in queries),
        ),
        site=sites.most_common(1)[0][0] if sites else None,
    )
