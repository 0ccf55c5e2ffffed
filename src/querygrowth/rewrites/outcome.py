"""The outcome of a comparison in words: the smallest failing example, or why nothing is known."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from querygrowth.counting.first_argument import Function
from querygrowth.places.call_sites import CallSite
from querygrowth.rewrites import differences as kinds
from querygrowth.rewrites.database_search import DatabaseSearch
from querygrowth.rewrites.query_growths import query_growths
from querygrowth.rewrites.small_rows import DrawnRow
from querygrowth.rewrites.smallest_rows import shrink
from querygrowth.rewrites.trial import name_of
from querygrowth.verdict import Outcome, Verdict

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


def report_of(search: DatabaseSearch, *, growth: bool) -> SameResults:
    """Run a search and put its outcome into words.

    Args:
        search: The search, not yet run.
        growth: Whether to find out how the queries of both functions grow.
    """
    trial = search.trial
    search.run()
    unordered = tuple(sorted(trial.unordered))
    subject = f"{name_of(trial.old)} -> {name_of(trial.new)}"
    if search.failing is not None:
        return _failure(search, subject, unordered)
    doubt = _doubt(search)
    if doubt:
        verdict = Verdict(
            subject,
            Outcome.INCONCLUSIVE,
            expected="old results of at least two records in half of the databases",
            seen=doubt.seen,
            evidence=_notes(search),
            next_step=doubt.next_step,
            site=_site(trial.old),
        )
        return SameResults(verdict, len(search.judged), unordered=unordered)
    before, after = query_growths(search) if growth else ("", "")
    grown = f"; queries {before} before, {after} after" if before else ""
    verdict = Verdict(
        subject,
        Outcome.PASSED,
        expected=_EXPECTED,
        seen=f"same results over {len(search.judged)} databases{grown}",
        evidence=_notes(search),
    )
    return SameResults(verdict, len(search.judged), before, after, unordered)


class _Doubt(NamedTuple):
    """Why nothing is known, and what to try."""

    seen: str
    next_step: str


def _failure(search: DatabaseSearch, subject: str, unordered: tuple[str, ...]) -> SameResults:
    assert search.failing is not None  # noqa: S101 - for the type checker
    rows, arguments, first = search.failing
    latest = first
    kind = first.difference.kind if first.difference else ""

    def fails(rows: Sequence[DrawnRow], arguments: Mapping[str, Any]) -> bool:
        nonlocal latest
        try:
            judged = search.trial.judge(rows, arguments)
        except SQLAlchemyError:
            return False  # the database refuses these rows
        if judged.difference is None or judged.difference.kind != kind:
            return False
        if judged.reverse and not latest.reverse:
            return False  # what shows in any order is easier to reproduce
        latest = judged
        return True

    smallest, given = shrink(search.schema, rows, arguments, fails)
    found = latest.difference
    assert found is not None  # noqa: S101 - for the type checker
    inserts = search.trial.database.statements(smallest)
    counted = "an empty database" if not smallest else f"{len(smallest)} rows"
    evidence = [
        f"before: {found.old}",
        f"after:  {found.new}",
        f"where:  {found.path}",
        *([f"called with {_given(given)}"] if given else []),
        *(["rows that show it:"] if inserts else []),
        *(f"  {insert}" for insert in inserts),
        *([_REVERSED[search.trial.database.dialect == "sqlite"]] if latest.reverse else []),
    ]
    verdict = Verdict(
        subject,
        Outcome.FAILED,
        expected=_EXPECTED,
        seen=f"different results with {'1 row' if len(smallest) == 1 else counted}",
        evidence=tuple(evidence),
        next_step=_ADVICE[found.kind],
        site=_site(search.trial.new),
        kind=found.kind,
    )
    return SameResults(
        verdict,
        len(search.judged),
        unordered=unordered,
        inserts=tuple(inserts),
        arguments=given,
    )


def _doubt(search: DatabaseSearch) -> _Doubt | None:
    """Why nothing is known, and what to do; None if enough is known."""
    half = len(search.judged) / 2
    empty = [t.fullname for t in search.schema.drawn if not search.filled[t]]
    if empty:
        reason = search.refused.get(empty[0], "it was not tried")
        return _Doubt(
            f"table {empty[0]} got no row in any database: {reason}",
            f'values={{"{empty[0]}.COLUMN": [...]}} with values that the table takes',
        )
    known = {table.name for table in search.schema.order}
    others = {table.name for table in search.schema.metadata.tables.values()} - known
    if search.read & others:
        names = ", ".join(sorted(search.read & others))
        return _Doubt(
            f"the functions use {names}, which got no rows",
            "models=[...]: name the models of all tables that the functions use",
        )
    errors = Counter(judged.error for judged in search.judged if judged.error)
    thin = sum(judged.records < 2 for judged in search.judged)
    total = len(search.judged)
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
    if total > 2 and len({judged.result for judged in search.judged}) == 1:
        return _Doubt(
            f"the old result was the same in all {total} databases",
            "whether the function reads the database of the engine that it is given, and "
            "whether `models` names the tables that it reads",
        )
    open_ = sum(not judged.judged for judged in search.judged)
    if open_ > half:
        return _Doubt(
            f"the old result depended on the order of reading, or on the time, in {open_} of "
            f"{total} databases",
            "an ORDER BY with a unique last key below a LIMIT, or a fixed clock",
        )
    return None


def _notes(search: DatabaseSearch) -> tuple[str, ...]:
    notes = []
    if search.trial.unordered:
        places = ", ".join(sorted(search.trial.unordered))
        notes.append(f"the old result has no total order at {places}: ties in any order")
    if search.trial.volatile:
        columns = ", ".join(sorted(search.trial.volatile))
        notes.append(f"not compared, as every call writes another value: {columns}")
    return tuple(notes)


def _given(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _site(function: Function) -> CallSite | None:
    code = getattr(inspect.unwrap(getattr(function, "func", function)), "__code__", None)
    if code is None:
        return None
    return CallSite(code.co_filename, code.co_firstlineno, name_of(function))
