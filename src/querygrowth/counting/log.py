"""Count the queries that SQLAlchemy engines send.

`count_queries(engine)` yields a `QueryLog`. A query is one execution of SELECT, INSERT, UPDATE or
DELETE; an `executemany` is one query. Session statements (BEGIN, SET, LOCK, PRAGMA, SAVEPOINT) are
recognised by their first keyword and counted separately. So are transactions, commits, rollbacks
and pool checkouts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain

from sqlalchemy import Engine

from querygrowth.counting.engine import sync_engine, sync_engines
from querygrowth.counting.every_engine import EveryEngine, record_every_engine
from querygrowth.counting.execution import Execution
from querygrowth.counting.listener import Recording, attached
from querygrowth.counting.query import Query
from querygrowth.counting.query_log import QueryLog
from querygrowth.places.call_sites import Callers, Project, default_project
from querygrowth.places.stack import StackWalker


class CombinedLog(QueryLog):
    """What several engines did: their statements in order of sending, and the sums of their counts.

    Args:
        logs: Returns the logs of the engines; more of them when further engines were used.
    """

    def __init__(self, logs: Callable[[], Sequence[QueryLog]]) -> None:
        super().__init__(Recording(walker=None, keep_parameters=False), "")
        self._logs = logs

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines that are counted. If all of the process are, those that sent something."""
        return tuple(engine for log in self._logs() for engine in log.engines)

    def of(self, source: object) -> QueryLog:
        """The log of one of the engines.

        Args:
            source: The engine, or what leads to it, as `count_queries` takes it.

        Raises:
            ValueError: It leads to no engine, or to one that is not counted.
        """
        engine = sync_engine(source)
        for log in self._logs():
            if engine in log.engines:
                return log
        return super().of(engine)

    @property
    def statements(self) -> tuple[Query, ...]:
        """All statements of every kind, in order of sending."""
        read = [
            (execution.started, number, log.read(0, execution))
            for number, log in enumerate(self._logs())
            for execution in log._executions()
        ]
        # Every engine numbers its transactions and checkouts from 1.
        transactions: dict[tuple[int, int | None], int] = {}
        checkouts: dict[tuple[int, int | None], int] = {}

        def renumbered(known: dict[tuple[int, int | None], int], log: int, n: int | None) -> int:
            return known.setdefault((log, n), len(known) + 1)

        return tuple(
            replace(
                query,
                number=number,
                transaction=query.transaction and renumbered(transactions, log, query.transaction),
                checkout=query.checkout and renumbered(checkouts, log, query.checkout),
            )
            for number, (_, log, query) in enumerate(sorted(read, key=lambda each: each[:2]), 1)
        )

    @property
    def unread(self) -> list[tuple[Execution, QueryLog]]:
        """What was sent, in order, each with the log of its engine, which can `read` it."""
        sent = [each for log in self._logs() for each in log.unread]
        return sorted(sent, key=lambda each: each[0].started)

    @property
    def transactions_begun(self) -> int:
        """Transactions that SQLAlchemy began, empty ones included."""
        return sum(log.transactions_begun for log in self._logs())

    @property
    def commits(self) -> int:
        """Transactions committed."""
        return sum(log.commits for log in self._logs())

    @property
    def rollbacks(self) -> int:
        """Transactions rolled back."""
        return sum(log.rollbacks for log in self._logs())

    @property
    def checkouts(self) -> int:
        """Connections taken from the pools of the engines."""
        return sum(log.checkouts for log in self._logs())

    @property
    def empty_transactions(self) -> tuple[Callers, ...]:
        """Who ended the transactions in which no statement was sent."""
        return tuple(chain.from_iterable(log.empty_transactions for log in self._logs()))

    @property
    def empty_checkouts(self) -> tuple[Callers, ...]:
        """Who returned the connections on which no statement was sent."""
        return tuple(chain.from_iterable(log.empty_checkouts for log in self._logs()))

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries by the table that they are about (`Shape.table`)."""
        return _sum(log.by_table for log in self._logs())

    @property
    def by_shape(self) -> Mapping[str, int]:
        """Queries by normalised statement."""
        return _sum(log.by_shape for log in self._logs())

    @property
    def tables(self) -> frozenset[str]:
        """All tables that a query read or wrote."""
        return frozenset(chain.from_iterable(log.tables for log in self._logs()))

    def _executions(self) -> list[Execution]:
        return [sent for log in self._logs() for sent in log._executions()]


def _sum(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


@contextmanager
def count_queries(
    *sources: object,
    call_sites: bool = True,
    keep_parameters: bool = False,
    project: Project | None = None,
) -> Iterator[QueryLog]:
    """Count what engines send inside the block.

    Other engines are not counted. Blocks may be nested, and statements of any thread count.

    Args:
        sources: The engines, or what leads to them: connections, sessions, session factories,
            functions that yield a session; see `counting.engine.engines_of`. Without any, all
            engines of the process are counted.
        call_sites: Whether to record the line that sent a statement. It is about half of the cost
            of counting.
        keep_parameters: Whether to keep the values that were sent.
        project: Decides which files are the user's own. Default: those below the working directory.

    Yields:
        The log. `log.of(engine)` is the log of one engine, `log.by_engine` counts by engine.

    Raises:
        ValueError: A source leads to no engine.
    """
    engines = sync_engines(sources) if sources else None
    walker = StackWalker(project or default_project()) if call_sites else None
    with ExitStack() as stack:
        if engines is None:
            every = record_every_engine(walker, keep_parameters=keep_parameters)
            yield log_of_every_engine(stack.enter_context(every))
            return
        logs: list[QueryLog] = []
        for engine in engines:
            recording = Recording(walker=walker, keep_parameters=keep_parameters)
            stack.enter_context(attached(engine, recording.listeners()))
            logs.append(QueryLog(recording, engine.dialect.name, engine))
        yield log_of(logs)


def log_of(logs: Sequence[QueryLog]) -> QueryLog:
    """The one log, or what several of them show together."""
    return logs[0] if len(logs) == 1 else CombinedLog(lambda: logs)


def log_of_every_engine(every: EveryEngine) -> QueryLog:
    """The log of all engines that are recorded from the last `begin` to the next."""
    recorded = every.recorded
    known: dict[Engine, QueryLog] = {}
    return CombinedLog(
        lambda: [
            known.setdefault(
                each.engine, QueryLog(each.recording, each.engine.dialect.name, each.engine)
            )
            # A copy, because other threads may use further engines while this one reads.
            for each in list(recorded.values())
        ]
    )
