"""Call the old and the new function on the same rows, each in two orders of reading, and compare.

A call gets the first argument that its function takes: an engine, a connection, a session, or what
`through` makes of the engine.
"""

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis.errors import HypothesisException

from querygrowth.counting.first_argument import (
    ENGINE,
    Function,
    first_argument,
    is_async_engine,
    opened,
    signature_of,
)
from querygrowth.counting.log import count_queries
from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.watch import ActionRunner
from querygrowth.rewrites.differences import (
    CONTENT,
    VALUE,
    Comparison,
    Difference,
    KnownOrders,
    outcome_of,
)
from querygrowth.rewrites.results import Captured, Identity, capture, capture_error
from querygrowth.rewrites.small_rows import DrawnRow
from querygrowth.rewrites.trial_database import Contents, TrialDatabase


@dataclass(frozen=True)
class Called:
    """What one call did: its result, and what all tables held after it if it changed any."""

    result: Captured
    changed: Contents | None


@dataclass(frozen=True)
class Judged:
    """The comparison on one database.

    Args:
        difference: The first difference, if there is one.
        judged: Whether the old result could be compared: it depends on the rows alone.
        records: How many records the old result shows; 2 also if it changed tables.
        result: The old result and its effect, in words that are equal for equal ones.
        error: What the old call raised, in words; empty if it returned.
        reverse: Whether the difference shows only where the database reads in the opposite order.
    """

    difference: Difference | None
    judged: bool
    records: int
    result: str
    error: str
    reverse: bool = False


@dataclass
class Trial:
    """Both functions and what they are called with.

    Args:
        old: The function that is right.
        new: The one that replaces it.
        database: Where they are called.
        runner: Calls them.
        through: Makes the first argument from the engine; None for the usual ones.
        ignore_order: Whether lists are compared without their order.
        unordered: Filled with the places at which the old result has no total order.
        volatile: Filled with the columns that the old function writes differently in every call.
        known: Filled with what the databases show about the order of lists.
    """

    old: Function
    new: Function
    database: TrialDatabase
    runner: ActionRunner
    through: Function | None = None
    ignore_order: bool = False
    unordered: set[str] = field(default_factory=set)
    volatile: set[str] = field(default_factory=set)
    known: KnownOrders = field(default_factory=KnownOrders)

    def judge(self, rows: Sequence[DrawnRow], arguments: Mapping[str, Any]) -> Judged:
        """Compare on these rows.

        Args:
            rows: All rows of the database.
            arguments: The keyword arguments of both functions.
        """
        old = self.call(self.old, rows, arguments)
        again = self.call(self.old, rows, arguments, reverse=True)
        loaded = old.result.relationships
        loaded_again = again.result.relationships
        forth = Comparison(old.result, again.result, self.ignore_order)
        judged = forth.determined
        found: Difference | None = None
        only_reversed = False
        for reverse, relationships in ((False, loaded), (True, loaded_again)):
            new = self.call(self.new, rows, arguments, reverse=reverse, relationships=relationships)
            first, second = (again, old) if reverse else (old, again)
            comparison = Comparison(
                first.result, second.result, self.ignore_order, known=self.known
            )
            difference = comparison.difference(new.result)
            self.unordered |= comparison.unordered
            if difference is not None and not judged:
                # LIMIT without a total order, or the time: the other old result may be the same.
                same = Comparison(second.result, second.result, self.ignore_order)
                if same.difference(new.result) is not None:
                    difference = _other_length(old.result, again.result, new.result)
                else:
                    difference = None
            if found is None:
                found = difference or self._contents_differ(old, again, new)
                only_reversed = reverse
        return Judged(
            difference=found,
            judged=judged,
            records=old.result.records if old.changed is None else 2,
            result=repr((old.result, old.changed)),
            error=outcome_of(old.result) if old.result.raised else "",
            reverse=only_reversed and found is not None,
        )

    def call(
        self,
        function: Function,
        rows: Sequence[DrawnRow],
        arguments: Mapping[str, Any],
        *,
        reverse: bool = False,
        relationships: Mapping[Identity, frozenset[str]] | None = None,
    ) -> Called:
        """Load the rows, call one function, and capture what it returned or raised."""
        self.database.load(rows, reverse=reverse)
        result = self._result(function, arguments, relationships)
        return Called(result, self.database.changed())

    def log_of(
        self, function: Function, rows: Sequence[DrawnRow], arguments: Mapping[str, Any]
    ) -> QueryLog:
        """Load the rows, call one function, and return what it sent, with parameters."""
        # Apart from `call`, because counting is a tenth of its time.
        self.database.load(rows)
        with count_queries(self.database.engine, call_sites=False, keep_parameters=True) as log:
            self._result(function, arguments)
        return log

    def _result(
        self,
        function: Function,
        arguments: Mapping[str, Any],
        relationships: Mapping[Identity, frozenset[str]] | None = None,
    ) -> Captured:
        captured: Captured | None = None
        try:
            with self._first(function) as (first, session):
                value = self.runner.call(function, first, **deepcopy(dict(arguments)))
                captured = capture(
                    value, relationships=relationships, wait_for=self.runner.wait_for
                )
                if session is not None:
                    # The caller of such a function commits.
                    self.runner.call(session.commit)
        except HypothesisException:
            raise
        except Exception as error:
            return capture_error(error)
        return captured

    @contextmanager
    def _first(self, function: Function) -> Iterator[tuple[object, Any]]:
        """The first argument, and what has to be committed."""
        engine = self.database.engine
        if self.through is not None:
            with self.runner.entered(self.runner.call(self.through, engine)) as first:
                yield first, None
            return
        kind = first_argument(function)
        if kind == ENGINE:
            yield engine, None
            return
        with self.runner.entered(opened(engine, kind)) as given:
            yield given, given

    def _contents_differ(self, old: Called, again: Called, new: Called) -> Difference | None:
        calls = (old, again, new)
        if all(each.changed is None for each in calls):
            return None
        before, once_more, after = (each.changed or self.database.loaded for each in calls)
        for table, (columns, rows) in before.items():
            _, other = once_more[table]
            _, replaced = after[table]
            if rows == replaced or other == replaced:
                continue
            kept = [*range(len(columns))]
            if rows != other:
                # The time, or keys in the order of insertion.
                kept = [k for k in kept if _column(rows, k) == _column(other, k)]
                self.volatile |= {
                    f"{table}.{columns[k]}" for k in range(len(columns)) if k not in kept
                }
                if _part(rows, kept) != _part(other, kept):
                    continue
            one, two = _part(rows, kept), _part(replaced, kept)
            if one != two:
                gone = [row for row in one if row not in two]
                came = [row for row in two if row not in one]
                names = ", ".join(columns[k] for k in kept)
                return Difference(
                    CONTENT, f"table {table} ({names})", _some(gone, one), _some(came, two)
                )
        return None


@contextmanager
def without_warnings_of_coroutines(engine: object) -> Iterator[None]:
    """Ignore the coroutines that SQLAlchemy leaves behind where it refuses a lazy load."""
    if not is_async_engine(engine):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        yield
        gc.collect()  # they warn when they are freed


def _column(rows: Sequence[tuple[object, ...]], place: int) -> list[str]:
    return sorted(repr(row[place]) for row in rows)


def _part(rows: Sequence[tuple[object, ...]], kept: Sequence[int]) -> list[tuple[object, ...]]:
    return sorted((tuple(row[k] for k in kept) for row in rows), key=repr)


def _some(rows: Sequence[tuple[object, ...]], of: Sequence[object]) -> str:
    words = f"{len(of)} rows" if len(of) != 1 else "1 row"
    return f"{words}, among them {', '.join(map(repr, rows[:3]))}" if rows else words


def _other_length(old: Captured, again: Captured, new: Captured) -> Difference | None:
    """The one thing known of an old result that depends on the order: how many items it has."""
    lengths = [len(getattr(each.root, "items", ())) for each in (old, again, new)]
    if any(each.raised for each in (old, again, new)) or lengths[0] != lengths[1]:
        return None
    if lengths[0] == lengths[2]:
        return None
    return Difference(VALUE, "result", f"{lengths[0]} items", f"{lengths[2]} items")


def parameters_of(log: QueryLog) -> Iterator[object]:
    """All values that were sent, one by one."""
    for query in log.statements:
        yield from _flat(query.parameters)


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from _flat(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _flat(each)
    elif value is not None:
        yield value


def check_call(function: Function, arguments: Mapping[str, Any], role: str) -> None:
    """Check that a function can be called with its first argument and these.

    Raises:
        ValueError: It takes others.
    """
    if not callable(function):
        raise ValueError(f"{role} must be a function, got {function!r}")
    signature = signature_of(function)
    if signature is None:
        return
    try:
        signature.bind(object(), **arguments)
    except TypeError as refused:
        given = "".join(f", {name}=..." for name in arguments)
        raise ValueError(
            f"{role} is called as {name_of(function)}(engine or session{given}), but takes "
            f"{signature}: {refused}; draw its other arguments with arguments={{...}}"
        ) from None


def name_of(function: Function) -> str:
    """The function's own name."""
    bare = function.func if isinstance(function, partial) else function
    name = getattr(bare, "__qualname__", type(bare).__name__)
    return str(name).rpartition("<locals>.")[2]
