"""Activity: what one action did to its engine, in exact numbers that repeat."""

import asyncio
import inspect
import sys
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    contextmanager,
)
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Row

from querygrowth.call_sites import CallSite, Project
from querygrowth.driver import DriverTrace, trace_driver, traceable
from querygrowth.listener import AnyEngine
from querygrowth.log import Query, QueryLog, count_queries
from querygrowth.statements import Shape
from querygrowth.verdict import Verdict, judge
from querygrowth.work import BRANCHES, VM_STEPS, Tally, count_branches, count_vm_steps

# Call plain and async functions alike, from a test that may itself run inside an event loop.


T = TypeVar("T")


def outside_event_loop(function: Callable[[], T]) -> T:
    """Call `function` where it may start an event loop: in a thread of its own if need be."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="harness") as thread:
        return thread.submit(function).result()


if sys.version_info >= (3, 11):
    from asyncio import Runner
else:

    class Runner:
        """The part of `asyncio.Runner` that `Caller` uses, for Python 3.10."""

        def __enter__(self) -> "Runner":
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
            return self

        def run(self, coroutine: Coroutine[object, object, T]) -> T:
            """The coroutine's result, on the one event loop."""
            return self._loop.run_until_complete(coroutine)

        def __exit__(self, *_error: object) -> None:
            try:
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                self._loop.close()


@contextmanager
def caller() -> Iterator["Caller"]:
    """A Caller whose one event loop lives as long as the block."""
    with Runner() as runner:
        yield Caller(runner)


class Caller:
    """Runs what it is given to its result, on its event loop if that turns out to be async."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> object:
        """The function's result, awaited if it can be."""
        result = function(*args, **kwargs)
        return self._wait_for(result) if inspect.isawaitable(result) else result

    @contextmanager
    def entered(self, resource: object) -> Iterator[object]:
        """What a context manager, async or not, yields; anything else as it is."""
        if isinstance(resource, AbstractContextManager):
            with resource as value:
                yield value
        elif isinstance(resource, AbstractAsyncContextManager):
            value = self._wait_for(resource.__aenter__())
            try:
                yield value
            finally:
                self._wait_for(resource.__aexit__(None, None, None))
        else:
            yield resource

    def _wait_for(self, awaitable: Awaitable[T]) -> T:
        async def result() -> T:
            return await awaitable

        return self._runner.run(result())


# How many records an action emitted, going by what it returned.


_PLAIN = (str, bytes, int, float, Decimal, date, time, timedelta, UUID, type(None))
_RECORD = (tuple, Row, Mapping)


def records_in(result: object) -> int | None:
    """The number of records in a result; None if that cannot be told.

    A number says it itself. A collection has its elements; a tuple, row or mapping among them is
    one record, and what is listed inside it comes on top. Objects of other classes may hold more
    than meets the eye (an ORM instance its loaded children): of those, nothing can be told.
    """
    if isinstance(result, int) and not isinstance(result, bool):
        return result
    if isinstance(result, str | bytes) or not isinstance(result, Mapping | Sequence | Set):
        return None
    elements = result.values() if isinstance(result, Mapping) else result
    try:
        return sum(_records(each) for each in elements)
    except _OpaqueError:
        return None


class _OpaqueError(Exception):
    """An object that may hold records out of sight."""


def _records(value: object) -> int:
    if isinstance(value, _PLAIN):
        return 1
    if isinstance(value, _RECORD):
        return 1 + sum(_records_in_field(each) for each in _fields(value))
    return _listed(value)


def _records_in_field(value: object) -> int:
    """A field is part of its record; only what is listed in it are further ones."""
    if isinstance(value, _PLAIN):
        return 0
    if isinstance(value, _RECORD):
        return sum(_records_in_field(each) for each in _fields(value))
    return _listed(value)


def _listed(value: object) -> int:
    if isinstance(value, Sequence | Set):
        return sum(_records(each) for each in value)
    raise _OpaqueError


def _fields(record: object) -> Sequence[object]:
    if isinstance(record, Mapping):
        return list(record.values())
    return list(record) if isinstance(record, tuple | Row) else []


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

    `records` is what it emitted, going by what it returned (see `querygrowth.activity`); None
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
    project: Project | None = None,
) -> Activity:
    """Run `action(engine)` once and tell what it did.

    `work` names deterministic counts to take beside the queries (`VM_STEPS`, `BRANCHES`); a
    count the engine cannot give raises ValueError before the action runs.
    """
    with ExitStack() as stack:
        trace = stack.enter_context(trace_driver(engine)) if traceable(engine) else None
        tallies = {name: stack.enter_context(_tally(name, engine, project)) for name in work}
        log = stack.enter_context(count_queries(engine, project=project))
        result = by.call(action, engine)
    return activity_of(
        log, trace=trace, result=result, work={name: each.count for name, each in tallies.items()}
    )


def _tally(name: str, engine: AnyEngine, project: Project | None) -> AbstractContextManager[Tally]:
    if name == VM_STEPS:
        return count_vm_steps(engine)
    if name == BRANCHES:
        return count_branches(project)
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
