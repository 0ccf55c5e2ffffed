"""Compare an old and a new function over drawn databases: the two public functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from querygrowth.counting.engine import AnyEngine, is_engine, sync_engine
from querygrowth.counting.first_argument import Function, is_async
from querygrowth.counting.watch import ActionRunner, action_runner, outside_event_loop
from querygrowth.rewrites.arguments import draw_of, is_plain
from querygrowth.rewrites.database_search import DatabaseSearch
from querygrowth.rewrites.given_database import GivenDatabase
from querygrowth.rewrites.outcome import SameResults, report_of
from querygrowth.rewrites.schema import Schema
from querygrowth.rewrites.trial import (
    Trial,
    check_call,
    without_warnings_of_coroutines,
)
from querygrowth.rewrites.trial_database import OwnDatabase, TrialDatabase
from querygrowth.verdict import Outcome, VerdictError

DEFAULT_DATABASES = 100


class InconclusiveError(VerdictError):
    """The databases could not show whether a rewrite gives the same."""


def assert_same_results(old: Function, new: Function, **options: Any) -> SameResults:
    """Compare as `compare_results` does, with the same arguments, and return what it showed.

    Args:
        old: The function that is right.
        new: The function that replaces it.
        options: The keyword arguments of `compare_results`.

    Raises:
        VerdictError: They differ. The message shows the smallest database on which they do.
        InconclusiveError: The databases could not show it; the message says why.
        ValueError: The arguments are wrong.
    """
    __tracebackhide__ = True
    report = compare_results(old, new, **options)
    if report.outcome is Outcome.FAILED:
        raise VerdictError((report.verdict,))
    if report.outcome is Outcome.INCONCLUSIVE:
        raise InconclusiveError((report.verdict,))
    return report


def compare_results(
    old: Function,
    new: Function,
    *,
    models: Sequence[object],
    arguments: Mapping[str, object] | None = None,
    values: Mapping[str, Sequence[object]] | None = None,
    through: Callable[..., object] | None = None,
    engine: AnyEngine | None = None,
    databases: int = DEFAULT_DATABASES,
    ignore_order: bool = False,
    growth: bool = True,
) -> SameResults:
    """Call two functions on drawn databases, and compare what they return, raise and write.

    The search is deterministic: the same functions and models give the same databases.

    Args:
        old: The function that is right; plain or async. It gets an engine, or a connection or
            session if its first parameter is named or annotated so. A session or connection is
            committed after the call.
        new: The function that replaces it.
        models: The mapped classes or tables that get rows. Tables that their foreign keys lead to,
            and tables that only connect them, get rows too.
        arguments: Further arguments, by name: a column (`Customer.id`) for values that are in the
            database or not, a list of values to choose from, or a Hypothesis strategy.
        values: Values for columns whose values cannot be made, by "table.column".
        through: Makes the first argument of both functions from the engine, such as a test client;
            it may return or be a context manager, plain or async.
        engine: An empty database to use; default: SQLite in a temporary directory.
        databases: How many databases to draw.
        ignore_order: Whether lists are compared without their order everywhere.
        growth: Whether to find out how the queries of both grow.

    Raises:
        ValueError: The arguments are wrong, a table cannot be filled, or the engine's database is
            not empty.
    """
    __tracebackhide__ = True
    wanted = dict(arguments or {})
    check_call(old, wanted, "old")
    check_call(new, wanted, "new")
    if type(databases) is not int or databases < 1:
        raise ValueError(f"databases must be a whole number from 1, got {databases!r}")
    if engine is not None and not is_engine(engine):
        raise ValueError(f"engine must be an SQLAlchemy engine, got {type(engine).__name__}")
    dialect = sqlite_dialect() if engine is None else sync_engine(engine).dialect
    schema = Schema(models, values, dialect)
    draws = {name: draw_of(name, value) for name, value in wanted.items()}

    def compared() -> SameResults:
        __tracebackhide__ = True
        with action_runner() as runner, _database(old, new, through, engine, schema, runner) as db:
            trial = Trial(old, new, db, runner, through, ignore_order)
            # Rows that hold the arguments are the ones that a function selects by them.
            listed = [each for each in wanted.values() if isinstance(each, list | tuple)]
            held = tuple(value for each in listed for value in each if is_plain(value))
            with without_warnings_of_coroutines(db.engine):
                search = DatabaseSearch(trial, schema, draws, databases, held)
                return report_of(search, growth=growth)

    return outside_event_loop(compared)


@contextmanager
def _database(
    old: Function,
    new: Function,
    through: Function | None,
    engine: AnyEngine | None,
    schema: Schema,
    runner: ActionRunner,
) -> Iterator[TrialDatabase]:
    database: OwnDatabase | GivenDatabase
    if engine is not None:
        database = GivenDatabase(engine, schema, runner)
    else:
        database = OwnDatabase(schema, is_async=any(map(is_async, (old, new, through))))
    try:
        yield database
    finally:
        database.close()
