"""Prove a rewrite: the old and the new function give the same on databases full of nasty rows.

`assert_same_results(old, new, models=[Customer, Order])` draws small databases from the schema,
calls both functions on each, and compares results, exceptions and changed tables. It also says how
the queries of both grow. This module needs the extra `search` (Hypothesis).
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sqlalchemy import Column, Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute

from querygrowth import differences as kinds
from querygrowth.call_sites import CallSite
from querygrowth.code_constants import constants_of
from querygrowth.engine import AnyEngine, is_engine
from querygrowth.formula import ConfoundedAxesError, CountedRun, Formula, attribute
from querygrowth.small_rows import DrawnRow, RowMaker, Schema
from querygrowth.smallest_rows import shrink
from querygrowth.trial import (
    Function,
    Judged,
    Trial,
    check_call,
    is_async,
    name_of,
    without_warnings_of_coroutines,
)
from querygrowth.trial_database import GivenDatabase, OwnDatabase, TrialDatabase
from querygrowth.verdict import Outcome, Verdict, VerdictError
from querygrowth.watch import ActionRunner, action_runner, outside_event_loop

DEFAULT_DATABASES = 100

# How many rows a table gets; Hypothesis tries the first ones first. An empty table makes most
# results empty, so that it must be in few databases only.
_SMALL = st.sampled_from((0, 1, 2, 3, 4))
_LARGER = st.sampled_from((4, 5, 6, 7))
_SHARES = st.sampled_from((_SMALL, _LARGER, _LARGER, _LARGER))
_ABSENT = st.sampled_from((False, False, False, False, True))
_MOST_WITNESS_TRIES, _WITNESSES = 80, 5
_GROWN = (2, 4, 8)
_MOST_GROWN_TABLES = 8
_EXPECTED = "the new function gives what the old one gives"
_ADVICE = {
    kinds.REPEATED: "a join that repeats a parent for each of its children: select the parents "
    "DISTINCT, call unique(), or load the children with selectinload",
    kinds.MISSING: "an inner join drops rows without a partner, and a comparison with NULL is "
    "never true: use an outer join, or IS NULL",
    kinds.ADDED: "a filter or a limit that the new function lacks, or that a NULL passes",
    kinds.ORDER: "the ORDER BY of the new function, with all of its keys, the last of them unique",
    kinds.TYPE: "the types that the new function returns, such as a number made by the database",
    kinds.VALUE: "what the new function computes for NULL, for ties and for no rows",
    kinds.LOADED: "what the old function loaded and the new one does not: add selectinload, or "
    "undefer the column",
    kinds.RAISED: "the rows on which only one of the two raises, or raises something else",
    kinds.CONTENT: "what the new function writes",
}


_REVERSED = {
    True: "where it reads in another order: PRAGMA reverse_unordered_selects = ON",
    False: "where it reads in another order: insert the rows of every table the other way round",
}


class InconclusiveError(VerdictError):
    """The databases could not show whether a rewrite gives the same."""


@dataclass(frozen=True)
class SameResults:
    """What the comparison of two functions showed.

    Args:
        verdict: The judgement. A failed one holds the rows as INSERT statements.
        databases: On how many databases the two were compared.
        old_queries: How the queries of the old function grow, such as "2 + orders".
        new_queries: The same of the new one.
        unordered: The places at which the old result has no total order.
        inserts: The rows of the smallest failing example, as statements; empty without one.
        arguments: The arguments of the smallest failing example.
    """

    verdict: Verdict
    databases: int
    old_queries: str = ""
    new_queries: str = ""
    unordered: tuple[str, ...] = ()
    inserts: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """Passed, failed or inconclusive."""
        return self.verdict.outcome

    def __str__(self) -> str:
        return str(self.verdict)


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
    schema = Schema(models, values)
    draws = {name: _draw(name, value) for name, value in wanted.items()}

    def compared() -> SameResults:
        __tracebackhide__ = True
        with action_runner() as runner, _database(old, new, through, engine, schema, runner) as db:
            trial = Trial(old, new, db, runner, through, ignore_order)
            # Rows that hold the arguments are the ones that a function selects by them.
            listed = [each for each in wanted.values() if isinstance(each, list | tuple)]
            held = tuple(value for each in listed for value in each if _is_plain(value))
            with without_warnings_of_coroutines(db.engine):
                return _Search(trial, schema, draws, databases, growth, held).report()

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


_Drawer = Callable[[SearchStrategy[Any]], Any]
_Draw = Callable[[_Drawer], Callable[[RowMaker], Any]]


def _draw(name: str, value: object) -> _Draw:
    """How an argument is drawn: by Hypothesis first, then from the rows."""
    if isinstance(value, InstrumentedAttribute):
        value = value.property.columns[0]
    if isinstance(value, Column):
        column = value

        def from_rows(draw: _Drawer) -> Callable[[RowMaker], Any]:
            # Hypothesis prefers small seeds, which say nothing of the share of absent values.
            absent, seed = draw(_ABSENT), draw(_SEEDS)
            return lambda maker: _value_of(column, maker, absent, Random(seed))  # noqa: S311

        return from_rows
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], _COLUMNS):
        one = _draw(name, value[0])

        def several(draw: _Drawer) -> Callable[[RowMaker], Any]:
            drawn = [one(draw) for _ in range(draw(_LIST_SIZES))]
            return lambda maker: [each(maker) for each in drawn]

        return several
    if isinstance(value, list | tuple | range) and value:
        value = st.sampled_from(value)
    if isinstance(value, SearchStrategy):
        strategy = value

        def from_strategy(draw: _Drawer) -> Callable[[RowMaker], Any]:
            drawn = draw(strategy)
            return lambda _maker: drawn

        return from_strategy
    raise ValueError(
        f"arguments[{name!r}] must be a column such as Customer.id, [Customer.id] for a list of "
        f"its values, a list of values to choose from, or a Hypothesis strategy, got {value!r}"
    )


_COLUMNS = (Column, InstrumentedAttribute)
_LIST_SIZES = st.sampled_from((0, 1, 2, 3, 4, 5, 6, 4, 5, 6))
_SEEDS = st.integers(0, 2**32 - 1)


def _is_plain(value: object) -> bool:
    return not isinstance(value, (*_COLUMNS, SearchStrategy))


def _value_of(column: Column[Any], maker: RowMaker, absent: bool, random: Random) -> Any:
    """A value of a column: mostly one that is there, of any tenant."""
    present = maker.present(column.table)
    values = [row.complete.get(column.name) for row in present]
    values = [value for value in values if value is not None]
    if values and (maker.even or not absent):
        # Rows that others refer to come up more often, because more is selected by them.
        counts = maker.references(column)
        weights = [1 + 4 * counts[value] for value in values]
        return values[0] if maker.even else random.choices(values, weights)[0]
    others = [value for value in maker.pool(column) if value not in values]
    if column.primary_key and all(type(value) is int for value in values):
        others = [0, 999, *(n for n in range(1, 9) if n not in values)]
    return random.choice(others or values or [None])


class _Doubt(NamedTuple):
    """Why nothing is known, and what to try."""

    seen: str
    next_step: str


@dataclass
class _Search:
    """Draws databases, judges on each, and puts the outcome into words."""

    trial: Trial
    schema: Schema
    draws: Mapping[str, _Draw]
    databases: int
    growth: bool
    constants: tuple[object, ...] = ()
    witnesses: Mapping[Table, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    judged: list[Judged] = field(default_factory=list)
    suspect: tuple[list[DrawnRow], dict[str, Any], Judged] | None = None
    failing: tuple[list[DrawnRow], dict[str, Any], Judged] | None = None
    refused: dict[str, str] = field(default_factory=dict)
    filled: Counter[Table] = field(default_factory=Counter)

    def report(self) -> SameResults:
        """The outcome of the whole."""
        trial = self.trial
        self.constants = (*self.constants, *constants_of(trial.old, trial.new))
        self._learn_parameters()
        self._learn_witnesses()
        self._draw_databases()
        unordered = tuple(sorted(trial.unordered))
        subject = f"{name_of(trial.old)} -> {name_of(trial.new)}"
        if self.failing is not None:
            return self._failure(subject, unordered)
        doubt = self._doubt()
        if doubt:
            verdict = Verdict(
                subject,
                Outcome.INCONCLUSIVE,
                expected="old results of at least two records in half of the databases",
                seen=doubt.seen,
                evidence=self._notes(),
                next_step=doubt.next_step,
                site=_site(trial.old),
            )
            return SameResults(verdict, len(self.judged), unordered=unordered)
        before, after = self._growths() if self.growth else ("", "")
        grown = f"; queries {before} before, {after} after" if before else ""
        verdict = Verdict(
            subject,
            Outcome.PASSED,
            expected=_EXPECTED,
            seen=f"same results over {len(self.judged)} databases{grown}",
            evidence=self._notes(),
        )
        return SameResults(verdict, len(self.judged), before, after, unordered)

    def _learn_parameters(self) -> None:
        """Call both on evenly filled tables, to see which values they send."""
        for seed in range(2):
            maker = self._filled_evenly(dict.fromkeys(self.schema.drawn, 3), seed)
            arguments = self._arguments(maker)
            for function in (self.trial.old, self.trial.new):
                called = self.trial.call(function, maker.rows, arguments, keep_parameters=True)
                self.read |= called.tables
                known = {repr(value) for value in self.constants}
                for value in called.parameters:
                    if repr(value) not in known and not isinstance(value, int):
                        known.add(repr(value))
                        self.constants = (*self.constants, value)

    def _learn_witnesses(self) -> None:
        """Find single rows that the old function selects, unless it selects most of them."""
        found: dict[Table, list[Mapping[str, Any]]] = {}
        hits = 0
        for seed in range(_MOST_WITNESS_TRIES):
            sizes = dict.fromkeys(self.schema.drawn, 1)
            maker = self._filled(sizes, seed, even=False)
            called = self.trial.call(self.trial.old, maker.rows, self._arguments(maker))
            changed = called.contents != self.trial.database.loaded
            if called.result.records or changed:
                hits += 1
                for table, values in maker.witness().items():
                    found.setdefault(table, []).extend(values)
            if hits == _WITNESSES:
                # Where every other row is selected, rows need no help to be.
                self.witnesses = found if seed >= 2 * _WITNESSES else {}
                return
        self.witnesses = found

    def _draw_databases(self) -> None:
        @settings(
            max_examples=self.databases,
            phases=(Phase.generate,),
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def judge(data: st.DataObject) -> None:
            # Nothing is raised for a difference: Hypothesis would shrink its own choices, of which
            # it knows less than `shrink` knows of rows.
            self._judge_one(data.draw)

        judge()
        if self.failing is None and self.suspect is not None:
            [*_, suspected] = self.suspect
            if suspected.difference and not self.trial.known.is_free(suspected.difference.path):
                self.failing = self.suspect

    def _judge_one(self, draw: _Drawer) -> None:
        # All is drawn first, so that what Hypothesis sees does not depend on the database.
        share = draw(_SHARES)
        # Children are more than their parents, so that many parents have several.
        more = 0 if share is _SMALL else 2
        depth = self.schema.depth
        lowest = max(depth[table] for table in self.schema.drawn)
        sizes = [
            draw(share) + more * min(depth[table] - (lowest > 0), 3) for table in self.schema.drawn
        ]
        seeds = [[draw(_SEEDS) for _ in range(size)] for size in sizes]
        seed = draw(_SEEDS)
        drawn = {name: draws(draw) for name, draws in self.draws.items()}
        if self.failing is not None:
            return
        with self.trial.database.inserting() as insert:
            maker = self._maker(seed, insert)
            for table, each in zip(self.schema.drawn, seeds, strict=True):
                for row in each:
                    maker.add(table, row)
            maker.finish()
        self.refused.update(maker.refused)
        self.filled.update(row.table for row in maker.rows)
        arguments = {name: value(maker) for name, value in drawn.items()}
        judged = self.trial.judge(maker.rows, arguments)
        self.judged.append(judged)
        found = judged.difference
        if found is not None and found.kind == kinds.ORDER:
            # Only an order that some database has shown can be broken.
            self.suspect = self.suspect or (maker.rows, arguments, judged)
        elif found is not None:
            self.failing = (maker.rows, arguments, judged)
        if self.failing is None and self.suspect is not None:
            [*_, suspected] = self.suspect
            known = self.trial.known
            if suspected.difference and known.is_fixed(suspected.difference.path):
                self.failing = self.suspect

    def _arguments(self, maker: RowMaker) -> dict[str, Any]:
        """Simple arguments, of rows that are there."""
        return {name: draws(_simplest)(maker) for name, draws in self.draws.items()}

    def _filled_evenly(self, sizes: Mapping[Table, int], seed: int) -> RowMaker:
        return self._filled(sizes, seed, even=True)

    def _filled(self, sizes: Mapping[Table, int], seed: int, *, even: bool) -> RowMaker:
        with self.trial.database.inserting() as insert:
            maker = self._maker(seed, insert, even)
            for table in self.schema.drawn:
                for number in range(sizes[table]):
                    maker.add(table, seed * 1000 + number)
            maker.finish()
        return maker

    def _maker(
        self, seed: int, insert: Callable[[DrawnRow], str | None], even: bool = False
    ) -> RowMaker:
        random = Random(seed)  # noqa: S311 - not for secrets
        return RowMaker(self.schema, self.constants, random, even, insert, witnesses=self.witnesses)

    def _failure(self, subject: str, unordered: tuple[str, ...]) -> SameResults:
        assert self.failing is not None  # noqa: S101 - for the type checker
        rows, arguments, first = self.failing
        latest = first
        kind = first.difference.kind if first.difference else ""

        def fails(rows: Sequence[DrawnRow], arguments: Mapping[str, Any]) -> bool:
            nonlocal latest
            try:
                judged = self.trial.judge(rows, arguments)
            except SQLAlchemyError:
                return False  # the database refuses these rows
            if judged.difference is None or judged.difference.kind != kind:
                return False
            if judged.reverse and not latest.reverse:
                return False  # what shows in any order is easier to reproduce
            latest = judged
            return True

        smallest, given = shrink(self.schema, rows, arguments, fails)
        found = latest.difference
        assert found is not None  # noqa: S101 - for the type checker
        inserts = self.trial.database.statements(smallest)
        counted = "an empty database" if not smallest else f"{len(smallest)} rows"
        evidence = [
            f"before: {found.old}",
            f"after:  {found.new}",
            f"where:  {found.path}",
            *([f"called with {_given(given)}"] if given else []),
            *(["rows that show it:"] if inserts else []),
            *(f"  {insert}" for insert in inserts),
            *([_REVERSED[self.trial.database.dialect == "sqlite"]] if latest.reverse else []),
        ]
        verdict = Verdict(
            subject,
            Outcome.FAILED,
            expected=_EXPECTED,
            seen=f"different results with {'1 row' if len(smallest) == 1 else counted}",
            evidence=tuple(evidence),
            next_step=_ADVICE[found.kind],
            site=_site(self.trial.new),
            kind=found.kind,
        )
        return SameResults(
            verdict,
            len(self.judged),
            unordered=unordered,
            inserts=tuple(inserts),
            arguments=given,
        )

    def _doubt(self) -> _Doubt | None:
        """Why nothing is known, and what to do; None if enough is known."""
        half = len(self.judged) / 2
        empty = [t.fullname for t in self.schema.drawn if not self.filled[t]]
        if empty:
            reason = self.refused.get(empty[0], "it was not tried")
            return _Doubt(
                f"table {empty[0]} got no row in any database: {reason}",
                f'values={{"{empty[0]}.COLUMN": [...]}} with values that the table takes',
            )
        known = {table.name for table in self.schema.order}
        others = {table.name for table in self.schema.metadata.tables.values()} - known
        if self.read & others:
            names = ", ".join(sorted(self.read & others))
            return _Doubt(
                f"the functions use {names}, which got no rows",
                "models=[...]: name the models of all tables that the functions use",
            )
        errors = Counter(judged.error for judged in self.judged if judged.error)
        thin = sum(judged.records < 2 for judged in self.judged)
        total = len(self.judged)
        if sum(errors.values()) > half:
            [(common, _)] = errors.most_common(1)
            return _Doubt(
                f"the old function raised in {sum(errors.values())} of {total} databases, mostly "
                f"{common}",
                "whether the function gets what it needs: arguments={...}, through=..., or values",
            )
        if thin > half:
            return _Doubt(
                f"the old result was empty or a single row in {thin} of {total} databases",
                'values={"table.column": [...]} with values that the function selects, or '
                "arguments that meet rows",
            )
        if total > 2 and len({judged.result for judged in self.judged}) == 1:
            return _Doubt(
                f"the old result was the same in all {total} databases",
                "whether the function reads the database of the engine that it is given, and "
                "whether `models` names the tables that it reads",
            )
        open_ = sum(not judged.judged for judged in self.judged)
        if open_ > half:
            return _Doubt(
                f"the old result depended on the order of reading, or on the time, in {open_} of "
                f"{total} databases",
                "an ORDER BY with a unique last key below a LIMIT, or a fixed clock",
            )
        return None

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.trial.unordered:
            places = ", ".join(sorted(self.trial.unordered))
            notes.append(f"the old result has no total order at {places}: ties in any order")
        if self.trial.volatile:
            columns = ", ".join(sorted(self.trial.volatile))
            notes.append(f"not compared, as every call writes another value: {columns}")
        return tuple(notes)

    def _growths(self) -> tuple[str, str]:
        """How the queries of both functions grow with the tables."""
        tables = self.schema.drawn[:_MOST_GROWN_TABLES]
        base = dict.fromkeys(self.schema.drawn, _GROWN[0])
        sizes = [base, *({**base, table: size} for table in tables for size in _GROWN[1:])]
        sizes.append(dict.fromkeys(self.schema.drawn, _GROWN[1]))
        sizes.append(dict.fromkeys(self.schema.drawn, _GROWN[-1]))
        runs: list[tuple[Mapping[str, int], int, int]] = []
        for each in sizes:
            maker = self._filled_evenly(each, 0)
            arguments = self._arguments(maker)
            counts = [
                self.trial.call(function, maker.rows, arguments).queries
                for function in (self.trial.old, self.trial.new)
            ]
            present = {table.name: len(maker.present(table)) for table in tables}
            runs.append((present, counts[0], counts[1]))
        return (
            _growth([(present, before) for present, before, _ in runs]),
            _growth([(present, after) for present, _, after in runs]),
        )


def _simplest(strategy: SearchStrategy[Any]) -> Any:
    """A simple example of a strategy, the same in every run."""
    if strategy is _SEEDS:
        return 0
    found: list[Any] = []

    @settings(
        max_examples=1,
        phases=(Phase.generate,),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(value: Any) -> None:
        found.append(value)

    keep()
    return found[0]


def _growth(runs: Sequence[tuple[Mapping[str, int], int]]) -> str:
    """A count in words: a formula of the tables' sizes, or its range."""
    counts = [count for _, count in runs]
    if len(set(counts)) == 1:
        return str(counts[0])
    sizes = {name: [present[name] for present, _ in runs] for name in runs[0][0]}
    varied = [name for name, values in sizes.items() if len(set(values)) > 1]
    try:
        formula = attribute(
            [
                CountedRun({name: present[name] for name in varied}, {"queries": count})
                for present, count in runs
            ]
        ).total
    except (ConfoundedAxesError, ValueError):
        formula = None
    if formula is not None and formula.exact:
        return _formula(formula)
    # A loop over what a join gave, such as the customers of the orders: no sum of tables' sizes.
    together = [runs[0], *runs[-2:]]
    formula = attribute(
        [
            CountedRun({"n": size}, {"queries": count})
            for size, (_, count) in zip(_GROWN, together, strict=True)
        ]
    ).total
    if formula.exact:
        return f"{_formula(formula)} with n rows in every table"
    return f"{min(counts)} to {max(counts)} as the tables grow from {_GROWN[0]} to {_GROWN[-1]}"


def _formula(formula: Formula) -> str:
    terms = [_factor(term, name) for name, term in formula.terms.items()]
    constant = [str(formula.constant)] if formula.constant or not terms else []
    return " + ".join([*constant, *terms]).replace("+ -", "- ")


def _factor(term: Fraction, name: str) -> str:
    if term == 1:
        return name
    return f"{term if term.denominator == 1 else float(term)} {name}"


def _given(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _site(function: Function) -> CallSite | None:
    code = getattr(inspect.unwrap(getattr(function, "func", function)), "__code__", None)
    if code is None:
        return None
    return CallSite(code.co_filename, code.co_firstlineno, name_of(function))
