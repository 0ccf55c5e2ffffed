"""Judge what one test sends: by its `query_budget` marker, or by a contract given to a fixture.

The pytest plugin imports this module when a test first asks for it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

from sqlalchemy import Engine, StaticPool, inspect

from querygrowth.activity import activity_of
from querygrowth.call_sites import CallSite, Project
from querygrowth.contract import QueryContract, judge_vacuity
from querygrowth.growth import DEFAULT_SCALES, Axes, GrowthReport, Populate, Scales
from querygrowth.growth_verdicts import assert_query_growth
from querygrowth.listener import AnyEngine, is_engine
from querygrowth.log import QueryLog, count_queries
from querygrowth.statements import NO_TABLE
from querygrowth.verdict import Outcome, Verdict, require
from querygrowth.watch import Action

# The counts of one test for the report. Plain values, so that an xdist worker can send them.
Counts = dict[str, str | int]

_SYSTEM_SCHEMAS = frozenset({"information_schema", "mysql", "performance_schema", "sys"})
_SHOWN_TABLES = 10
_RESEMBLES = 0.75


def query_budget(
    total: int | None = None,
    *,
    per_table: int | Mapping[str, int] | None = None,
    transactions: int | None = None,
    engine: object,
) -> QueryContract:
    """The contract that the arguments of the marker `query_budget` describe.

    Args:
        total: The most queries that the test may send.
        per_table: The most queries about a table: one number for all tables, or a mapping.
        transactions: The most transactions that the test may begin.
        engine: The name of the fixture that gives the engine.

    Raises:
        TypeError: An argument does not exist.
        ValueError: No limit is set, or an argument has a value that it cannot have.
    """
    if total is None and per_table is None and transactions is None:
        raise ValueError("query_budget needs a limit: query_budget(5) or query_budget(per_table=1)")
    if not isinstance(engine, str):
        raise ValueError(f"query_budget: engine must be the name of a fixture, got {engine!r}")
    limits: dict[str, object] = {"total": total, "transactions": transactions}
    if isinstance(per_table, Mapping):
        limits |= {f"per_table[{table!r}]": limit for table, limit in per_table.items()}
    else:
        limits["per_table"] = per_table
    for name, limit in limits.items():
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise ValueError(
                f"query_budget: {name} must be a whole number that is not negative, got {limit!r}"
            )
    return QueryContract(total=total, per_table=per_table, transactions=transactions)


def engine_of(value: object) -> AnyEngine:
    """The engine in a fixture's value: the value itself, or its attribute `engine` or `bind`.

    Raises:
        ValueError: There is no engine in it.
    """
    for candidate in (value, getattr(value, "engine", None), getattr(value, "bind", None)):
        if is_engine(candidate):
            return candidate
    raise ValueError(
        f"no SQLAlchemy engine in a value of type {type(value).__name__}: "
        "name a fixture that gives an engine, or something with an attribute `engine`"
    )


@dataclass(frozen=True)
class QueryCounter:
    """What the plugin does for one test.

    Attributes:
        subject: The name of the test.
        site: Where the test is defined.
        project: Which files are the user's own.
        default_scales: The scales of the project's settings, if there are any.
        report: Takes the counts for the report.
    """

    subject: str
    site: CallSite
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
        """Count inside the block. With a contract, judge at its end, unless the block raised.

        Args:
            engine: An `Engine` or an `AsyncEngine`.
            contract: What the block may send.
            keep_parameters: Whether to keep the values that were sent.

        Raises:
            VerdictError: The contract is broken, or names a table that does not exist.
        """
        __tracebackhide__ = True  # the failing line is the test's
        with count_queries(engine, keep_parameters=keep_parameters, project=self.project) as log:
            yield log
        self.report(counts_of(log))
        if contract is not None:
            require(self.judge(log, contract, engine))

    def judge(
        self, log: QueryLog, contract: QueryContract, engine: AnyEngine
    ) -> tuple[Verdict, ...]:
        """Judge what a test sent. Sending nothing at all breaks every contract but a total of 0.

        Args:
            log: What the test sent.
            contract: What it may send.
            engine: The engine that was counted.
        """
        misspelt = self._misspelt_tables(log, contract, engine)
        if misspelt is not None:
            return (misspelt,)  # what else is broken may only follow from the misspelling
        activity = activity_of(log)
        vacuity = () if contract.total == 0 else (judge_vacuity(activity, self.subject),)
        return (*vacuity, *contract.judge(activity, self.subject))

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
        """Call `assert_query_growth` with the project's root and default scales."""
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

    def _misspelt_tables(
        self, log: QueryLog, contract: QueryContract, engine: AnyEngine
    ) -> Verdict | None:
        """A failure if the contract names tables that do not exist, else None."""
        named = _named_tables(contract)
        touched = log.tables - {NO_TABLE}
        unknown = [table for table in named if table not in touched]
        if not unknown:
            return None
        existing = _tables_in(engine)
        if existing & touched or not touched:
            unknown = [table for table in unknown if table not in existing]
        else:
            # The database cannot be asked, or is no longer the one that the test saw. Only a name
            # that resembles a table of this test's statements is certain to be misspelt.
            others = touched - named.keys()
            unknown = [t for t in unknown if get_close_matches(t, others, cutoff=_RESEMBLES)]
        known = sorted(touched | existing)
        if not unknown or not known:
            return None
        return Verdict(
            subject=self.subject,
            outcome=Outcome.FAILED,
            expected="a contract that names existing tables",
            seen="; ".join(
                f"there is no table {table}, the nearest is "
                f"{get_close_matches(table, known, n=1, cutoff=0)[0]}"
                for table in unknown
            ),
            evidence=(
                *(f"{table} is named in {named[table]}" for table in unknown),
                f"known tables: {_listed(known)}",
            ),
            next_step=f"the contract of {self.site}",
            site=self.site,
        )


def counts_of(log: QueryLog) -> Counts:
    """The counts of a log for one line of the report."""
    tables = sorted(log.by_table.items(), key=lambda item: (-item[1], item[0]))
    return {
        "queries": log.total,
        "transactions": log.transactions_begun,
        "rows": log.rows_fetched,
        "tables": ", ".join(f"{table} {count}" for table, count in tables),
    }


def _named_tables(contract: QueryContract) -> dict[str, str]:
    """The tables that a contract names, and where it names them."""
    named = {each.table: f"allow({each.table!r})" for each in contract.allowances}
    if isinstance(contract.per_table, Mapping):
        named |= dict.fromkeys(contract.per_table, "per_table")
    return {table: where for table, where in named.items() if table not in ("*", NO_TABLE)}


def _tables_in(engine: AnyEngine) -> frozenset[str]:
    """The tables and views of an engine's database; empty where it cannot be asked.

    An async engine cannot be asked, because this code does not run in its event loop. With a
    StaticPool, the user's open transaction is on the only connection, and giving that connection
    back would roll it back.
    """
    if not isinstance(engine, Engine) or isinstance(engine.pool, StaticPool):
        return frozenset()
    found: set[str] = set()
    try:
        inspector = inspect(engine)
        for schema in {*inspector.get_schema_names()} - _SYSTEM_SCHEMAS:
            found.update(inspector.get_table_names(schema), inspector.get_view_names(schema))
    except Exception:  # a pool, driver or database that refuses, each in its own words
        return frozenset()
    return frozenset(found)


def _listed(tables: Sequence[str]) -> str:
    more = len(tables) - _SHOWN_TABLES
    return ", ".join(tables[:_SHOWN_TABLES]) + (f" and {more} more" if more > 0 else "")
