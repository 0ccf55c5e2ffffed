"""The assertions of a test about its queries: no growth, a contract, a budget.

`assert_query_growth` needs no pytest. `QueryCounter` and `query_budget` are the part of the pytest
plugin that needs SQLAlchemy; the plugin imports this module when a test first counts.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from querygrowth.contracts.budget import is_plainly_kept
from querygrowth.contracts.contract import QueryContract, check_contract, judge_vacuity
from querygrowth.contracts.table_limits import doubtful_tables, misspelt_table
from querygrowth.counting.activity import activity_of
from querygrowth.counting.database import tables_of
from querygrowth.counting.first_argument import signature_of
from querygrowth.counting.log import count_queries
from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.watch import Action
from querygrowth.growth.axes import DEFAULT_SCALES, Axes, Populate, Scales
from querygrowth.growth.measure import measure_growth
from querygrowth.growth.report import GrowthReport
from querygrowth.growth.verdicts import judge_growth
from querygrowth.places.call_sites import CallSite, Project
from querygrowth.verdict import InconclusiveWarning, Outcome, Verdict, require


def assert_query_growth(
    action: Action,
    populate: Populate | None = None,
    *,
    axes: Axes | None = None,
    scales: Scales = DEFAULT_SCALES,
    models: object = None,
    tables: object = None,
    new_database: Callable[[], object] | None = None,
    overrides: Mapping[Any, object] | None = None,
    contract: QueryContract | None = None,
    together: Sequence[int] | None = None,
    work: Iterable[str] = (),
    writes: bool = False,
    subject: str = "",
    project: Project | None = None,
) -> GrowthReport:
    """Measure as `measure_growth` does, judge, and return the report.

    Args:
        action: Called with an engine; plain or async.
        populate: Called with the size of every axis; returns an engine on such a database.
        axes: The axes with their base sizes, or only their names.
        models: Instead of `populate`: the models, declarative base, MetaData or tables to grow. New
            SQLite databases are filled with valid rows, and the tables are the axes. The action may
            then take a session or a connection too. Of a base, the tables that it uses are axes.
        tables: Instead of `models`: "all" for the tables of all models that are imported, or a list
            of their names.
        new_database: Makes the empty databases to fill, with tables; see `filled_axes`.
        overrides: The values of columns of filled tables; see `fill_tables`.
        scales: The sizes to try, for all axes or by axis.
        contract: Limits and allowances. Without one, queries must be the same at every scale.
        together: Sizes to try with all axes growing at once; default: chosen if there is more than
            one axis; empty for no such pass.
        work: Deterministic counts to take (`VM_STEPS`, `BRANCHES`).
        writes: Whether the action may change tables.
        subject: The name of the action in verdicts; default: its own name.
        project: The user's own files; default: those below the working directory.

    Raises:
        VerdictError: At least one verdict failed, or the contract names a table that does not
            exist. The message shows all failed verdicts.
        TypeError: The action does not take one argument.
        ValueError: The arguments are wrong; see `measure_growth`.

    Warns:
        InconclusiveWarning: The data did not grow along an axis, so nothing is known about it.
    """
    __tracebackhide__ = True  # in pytest, the failing line is the caller's
    check_contract(contract)
    _check_action(action)
    filling = (models, tables, new_database, overrides)
    if any(each is not None for each in filling):
        from querygrowth.tables import filled_axes  # most tests need none of it

        if populate is not None:
            raise ValueError("give populate with its axes, or models, not both")
        filled = filled_axes(
            models,
            tables=tables,
            action=action,
            axes=axes,
            most=_largest(scales),
            new_database=new_database,
            overrides=overrides,
        )
        populate, axes = filled.populate, filled.axes
    if populate is None or axes is None:
        raise ValueError("give populate and axes=[...], or models=[...] to fill tables")
    report = measure_growth(
        action,
        populate,
        axes=axes,
        scales=scales,
        together=together,
        work=work,
        writes=writes,
        subject=subject,
        project=project,
        contract=contract,
    )
    verdicts = judge_growth(report, contract)
    require(verdicts)
    # The test goes on, because rows may grow in ways that their number does not show. A test that
    # passed without a word would hide that nothing was tried.
    warn_of_inconclusive(verdicts)
    return report


def _check_action(action: Action) -> None:
    """Refuse an action that cannot be called with the engine, before any data is made."""
    signature = signature_of(action)
    if signature is None:
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(
            f"query_growth calls the action with one argument, the engine of each size ({error}); "
            "write lambda engine: ..., or with models= also lambda session: ..."
        ) from None


def _largest(scales: object) -> int:
    tried = scales.values() if isinstance(scales, Mapping) else [scales]
    sizes = [each for some in tried if isinstance(some, list | tuple | range) for each in some]
    # Scales of other kinds are refused where they are used.
    return max((each for each in sizes if isinstance(each, int)), default=DEFAULT_SCALES[-1])


def warn_of_inconclusive(verdicts: Iterable[Verdict]) -> None:
    """Show the inconclusive verdicts as warnings, which pytest shows for the test."""
    for verdict in verdicts:
        if verdict.outcome is Outcome.INCONCLUSIVE:
            warnings.warn(InconclusiveWarning(str(verdict)), stacklevel=3)


def query_budget(
    total: int | None = None,
    *,
    per_table: int | Mapping[str, int] | None = None,
    transactions: int | None = None,
    engine: object,
) -> QueryContract:
    """Build the contract that the arguments of the marker `query_budget` describe.

    Args:
        total: The most queries that the test may send.
        per_table: The most queries about a table: one number for all tables, or a mapping.
        transactions: The most transactions that the test may begin.
        engine: The name of the fixture that gives the engine, or a list of such names.

    Raises:
        TypeError: An argument does not exist.
        ValueError: No limit is set, or an argument has an impossible value.
    """
    if total is None and per_table is None and transactions is None:
        raise ValueError("query_budget needs a limit: query_budget(5) or query_budget(per_table=1)")
    if not all(isinstance(name, str) for name in fixture_names(engine)):
        raise ValueError(f"query_budget: engine must be the name of a fixture, got {engine!r}")
    try:
        return QueryContract(total=total, per_table=per_table, transactions=transactions)
    except ValueError as refused:
        raise ValueError(f"query_budget: {refused}") from None


def fixture_names(engine: object) -> tuple[object, ...]:
    """The fixtures that the argument `engine` of the marker names."""
    return tuple(engine) if isinstance(engine, list | tuple) and engine else (engine,)


@dataclass(frozen=True, repr=False)
class QueryCounter:
    """Counts and judges for one test.

    Attributes:
        subject: The name of the test.
        site: The line that defines the test.
        project: Decides which files are the user's own.
        default_scales: The scales of the project's settings, if it sets them.
    """

    subject: str
    site: CallSite
    project: Project
    default_scales: Scales | None

    def __repr__(self) -> str:
        # pytest shows the fixtures of a failed test, and more than a name would hide the verdict.
        return f"QueryCounter({self.subject!r})"

    def count(
        self,
        *sources: object,
        contract: QueryContract | None = None,
        keep_parameters: bool = False,
    ) -> AbstractContextManager[QueryLog]:
        """Count inside the block. With a contract, judge at its end, unless the block raised.

        Args:
            sources: The engines, or what leads to them, as `count_queries` takes them. Without
                any, all engines of the process are counted.
            contract: The limits on what the block may send, through all engines together.
            keep_parameters: Whether to keep the values that were sent.

        Raises:
            VerdictError: The contract is broken, or names a table that does not exist.
            ValueError: A source leads to no engine, or `contract` is not a contract. The block has
                not run.

        Warns:
            InconclusiveWarning: It is not known whether a table exists that the contract names.
        """
        check_contract(contract)
        counted = count_queries(*sources, keep_parameters=keep_parameters, project=self.project)
        return counted if contract is None else _JudgedBlock(self, counted, contract)

    def judge(self, log: QueryLog, contract: QueryContract) -> tuple[Verdict, ...]:
        """Judge the queries of a test. A test without any breaks every contract but a total of 0.

        Args:
            log: The statements that the test sent.
            contract: The limits.
        """
        names_nothing = not contract.named_tables and contract.rows_per_record is None
        if names_nothing and is_plainly_kept(contract, log):
            return ()
        activity = activity_of(log)
        # The database is asked only if a name is in doubt.
        answers: list[frozenset[str] | None] = []
        if contract.named_tables.keys() - activity.tables:
            answers = [tables_of(engine) for engine in log.engines]
        listed = frozenset().union(*(tables or () for tables in answers))
        misspelt = misspelt_table(
            contract, activity.tables, listed, subject=self.subject, site=self.site
        )
        if misspelt is not None:
            return (misspelt,)  # other broken limits may only follow from the misspelling
        doubtful = None
        if None in answers:
            doubtful = doubtful_tables(
                contract, activity.tables, listed, subject=self.subject, site=self.site
            )
        vacuity = None if contract.total == 0 else judge_vacuity(activity, self.subject)
        found = (doubtful, vacuity, *contract.judge(activity, self.subject))
        return tuple(each for each in found if each is not None)

    def assert_growth(
        self,
        action: Action,
        populate: Populate | None = None,
        *unnamed: object,
        **arguments: Any,
    ) -> GrowthReport:
        """Call `assert_query_growth`, by default with the project's files and scales.

        Args:
            action: Called with an engine; plain or async.
            populate: Called with the size of every axis; returns an engine on such a database. Not
                needed with `models`.
            unnamed: None is accepted.
            arguments: The other arguments of `assert_query_growth`.

        Raises:
            VerdictError: See `assert_query_growth`.
            ValueError: See `assert_query_growth`.
            TypeError: An argument is missing, has no name, or has one that does not exist.
        """
        __tracebackhide__ = True
        _check_named(unnamed, arguments)
        if arguments.get("scales") is None:
            arguments["scales"] = self.default_scales or DEFAULT_SCALES
        return assert_query_growth(action, populate, **{"project": self.project, **arguments})


@dataclass(frozen=True)
class _JudgedBlock(AbstractContextManager[QueryLog]):
    """A counted block that is judged at its end.

    No generator with `contextmanager`, since a failure would show the code of contextlib.
    """

    counter: QueryCounter
    counted: AbstractContextManager[QueryLog]
    contract: QueryContract
    logs: list[QueryLog] = field(default_factory=list)

    def __enter__(self) -> QueryLog:
        __tracebackhide__ = True
        self.logs.append(self.counted.__enter__())
        return self.logs[-1]

    def __exit__(self, *error: Any) -> None:
        __tracebackhide__ = True  # the failing line is the test's
        self.counted.__exit__(*error)
        if error[0] is None:
            verdicts = self.counter.judge(self.logs.pop(), self.contract)
            require(verdicts)
            warn_of_inconclusive(verdicts)


def _check_named(unnamed: Sequence[object], arguments: Mapping[str, object]) -> None:
    """Refuse arguments of `query_growth` in words about that name, which is the one in the test."""
    __tracebackhide__ = True
    known = [*inspect.signature(assert_query_growth).parameters][2:]
    if unnamed or not {"axes", "models", "tables"} & arguments.keys():
        raise TypeError(
            'query_growth takes the axes by name: query_growth(..., axes=["orders"]); or give '
            "models=[Order] to fill tables"
        )
    for name in arguments.keys() - {*known}:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise TypeError(f"query_growth has no argument {name!r}: {hint}")
