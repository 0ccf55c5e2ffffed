"""What one engine did while it was counted: the readable form of its recording."""

from collections import Counter
from collections.abc import Iterator, Mapping

from sqlalchemy import Engine

from querygrowth.counting.engine import sync_engine
from querygrowth.counting.execution import Execution
from querygrowth.counting.listener import Recording
from querygrowth.counting.query import Query
from querygrowth.counting.shapes import shape_of
from querygrowth.counting.statements import Shape, StatementKind
from querygrowth.places.call_sites import Callers, CallSite, Place, call_site
from querygrowth.places.orm_loads import Load, RawLoad, load_of


class QueryLog:
    """The statements, transactions and checkouts of one engine while it was counted.

    A log may be read at any time. It grows until its `count_queries` block ends.

    Attributes:
        dialect: SQLAlchemy's name of the database.
    """

    # Everything is computed on reading, so that the counted code pays for the recording only.
    # `kind_of` and `shape_of` are cached by text, which makes repeated reading cheap. The cache of
    # `shape_of` has a limit, which a log of many texts exceeds, so a log keeps its shapes.

    def __init__(self, recording: Recording, dialect: str, *engines: Engine) -> None:
        self._recording = recording
        self.dialect = dialect
        # Few places and few reasons stand behind many statements, and reading them is slow. A code
        # object is known by its identity, because equal code may stand in several files.
        self._sites: dict[tuple[int, int], CallSite] = {}
        self._loads: dict[RawLoad, Load | None] = {}
        self._shapes: dict[str, Shape] = {}
        self._engines = engines

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines that are counted. If all of the process are, those that sent something."""
        return self._engines

    @property
    def by_engine(self) -> Mapping[str, int]:
        """Queries by engine, as its URL without password; equal URLs are numbered."""
        counts: dict[str, int] = {}
        for engine in self.engines:
            url = name = engine.url.render_as_string()
            number = 1
            while name in counts:
                number += 1
                name = f"{url} ({number})"
            counts[name] = self.of(engine).total
        return counts

    def of(self, source: object) -> "QueryLog":
        """The log of one of the engines.

        Args:
            source: The engine, or what leads to it, as `count_queries` takes it.

        Raises:
            ValueError: It leads to no engine, or to one that is not counted.
        """
        if sync_engine(source) not in self.engines:
            raise ValueError(f"{sync_engine(source)} is not among the counted engines")
        return self

    @property
    def statements(self) -> tuple[Query, ...]:
        """All statements of every kind, in order of sending."""
        return tuple(
            self.read(number, execution)
            for number, execution in enumerate(self._executions(), start=1)
        )

    @property
    def queries(self) -> tuple[Query, ...]:
        """SELECT, INSERT, UPDATE and DELETE only."""
        return tuple(sent for sent in self.statements if sent.kind is StatementKind.QUERY)

    @property
    def total(self) -> int:
        """The number of queries."""
        return self.kinds.count(StatementKind.QUERY)

    @property
    def session_statements(self) -> int:
        """The number of session statements: BEGIN, SET, LOCK, pragmas, savepoints."""
        return self.kinds.count(StatementKind.SESSION)

    @property
    def other_statements(self) -> int:
        """The number of statements that define or maintain: CREATE, VACUUM, ANALYZE."""
        return self.kinds.count(StatementKind.OTHER)

    @property
    def transactions_begun(self) -> int:
        """Transactions that SQLAlchemy began, empty ones included."""
        return self._recording.transactions_begun

    @property
    def commits(self) -> int:
        """Transactions committed."""
        return self._recording.commits

    @property
    def rollbacks(self) -> int:
        """Transactions rolled back."""
        return self._recording.rollbacks

    @property
    def checkouts(self) -> int:
        """Connections taken from the engine's pool."""
        return self._recording.checkouts

    @property
    def empty_transactions(self) -> tuple[Callers, ...]:
        """Who ended the transactions in which no statement was sent."""
        return tuple(self._recording.empty_transactions)

    @property
    def empty_checkouts(self) -> tuple[Callers, ...]:
        """Who returned the connections on which no statement was sent."""
        return tuple(self._recording.empty_checkouts)

    @property
    def rows_fetched(self) -> int:
        """Rows that left the cursors of queries."""
        return sum(sent.rows_fetched for sent in self._executed_queries())

    @property
    def by_table(self) -> Mapping[str, int]:
        """Queries by the table that they are about (`Shape.table`)."""
        return Counter(self._shape(sent).table for sent in self._executed_queries())

    @property
    def by_shape(self) -> Mapping[str, int]:
        """Queries by normalised statement."""
        return Counter(self._shape(sent).text for sent in self._executed_queries())

    @property
    def by_call_site(self) -> Mapping[str, int]:
        """Queries by the line that sent them, as `file:line in function`."""
        return Counter(str(sent.site) for sent in self.queries if sent.site is not None)

    @property
    def tables(self) -> frozenset[str]:
        """All tables that a query read or wrote."""
        # A shape is mostly sent many times, so equal shapes are dropped first.
        shapes = {self._shape(sent) for sent in self._executed_queries()}
        return frozenset().union(*(shape.tables for shape in shapes))

    def _executions(self) -> list[Execution]:
        # A copy, because other threads may append while this one reads.
        return [
            part for sent in list(self._recording.executions) for part in sent.parts(self.dialect)
        ]

    @property
    def kinds(self) -> list[StatementKind]:
        """The kind of every statement, in order of sending."""
        return [sent.kind for sent in self._executions()]

    def _executed_queries(self) -> Iterator[Execution]:
        return (sent for sent in self._executions() if sent.kind is StatementKind.QUERY)

    def _shape(self, execution: Execution) -> Shape:
        shape = self._shapes.get(execution.sql)
        if shape is None:
            shape = self._shapes[execution.sql] = shape_of(execution.sql, self.dialect)
        return shape

    @property
    def unread(self) -> list[tuple[Execution, "QueryLog"]]:
        """What was sent, in order, each with the log of its engine, which can `read` it."""
        return [(sent, self) for sent in self._executions()]

    def read(self, number: int, execution: Execution) -> Query:
        """The readable form of what this engine sent.

        Args:
            number: Its number in order of sending.
            execution: One of those in `unread`.
        """
        callers = execution.callers
        chain = tuple(map(self._site, callers.chain)) if callers else ()
        first = chain[0] if chain else None
        return Query(
            number=number,
            sql=execution.sql,
            shape=self._shape(execution),
            kind=execution.kind,
            batch_size=execution.parameter_count if execution.executemany else 1,
            parameter_count=0 if execution.executemany else execution.parameter_count,
            rows_fetched=execution.rows_fetched,
            steps=execution.steps,
            failed=execution.failed,
            continued=execution.continued,
            seconds=execution.seconds,
            checkout=execution.checkout,
            transaction=execution.transaction,
            sent_from=self._site(callers.outside) if callers and callers.outside else first,
            project_site=first,
            callers=chain,
            entry=callers.entry_name if callers else "",
            load=self._load(execution.load),
            parameters=execution.parameters,
        )

    def _site(self, place: Place) -> CallSite:
        if isinstance(place, CallSite):
            return place
        key = (id(place[0]), place[1])
        found = self._sites.get(key)
        if found is None:
            found = self._sites[key] = call_site(place)
        return found

    def _load(self, raw: RawLoad | Load | None) -> Load | None:
        if raw is None or isinstance(raw, Load):
            return raw
        if raw not in self._loads:
            self._loads[raw] = load_of(raw)
        return self._loads[raw]
