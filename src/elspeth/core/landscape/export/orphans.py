"""Orphans: child rows whose parent row is missing, and the runs that they may belong to.

An export goes from parents to children and would leave an orphan out without an error. Child tables
have no run id, so an orphan is judged by its other references: what leads to other runs only
belongs to them. A row with a run id whose run is missing belongs to the runs that its other
references lead to.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Select,
    Table,
    and_,
    exists,
    null,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy import column as column_named

from elspeth.contracts.errors import IS_NULL, CorruptAuditDataError
from elspeth.core.landscape.export.completeness import NOTHING, LeftOut
from elspeth.core.landscape.export.damage import DAMAGE, damage_queries, damaged
from elspeth.core.landscape.export.record_types import primary_key_columns
from elspeth.core.landscape.export.reference_paths import (
    LEADS,
    PARENTS,
    RUNS,
    foreign_keys_hold,
)
from elspeth.core.landscape.export.snapshot import database_state

# The key in a connection's `info` of the state in which a search found no orphan. `info` belongs to
# the driver's connection, like the counters that the state consists of.
_WITHOUT_ORPHANS = "landscape state without orphans"
# Only where somebody asks for it: elsewhere every export sends the same queries.
_searches_once: ContextVar[bool] = ContextVar("one search of orphans", default=False)
_REFERENCES: Mapping[Column[Any], Column[Any]] = MappingProxyType({**PARENTS, **RUNS})


@dataclass(frozen=True, slots=True)
class Orphan:
    """A child row whose parent row is missing.

    Attributes:
        table: The table of the child.
        primary_key: The child's key, by column.
        column: The column that names the parent.
        problem: What is wrong with it.
        runs: The runs that its other references lead to, sorted; empty if they lead to none.
    """

    table: str
    primary_key: Mapping[str, Any]
    column: str
    problem: str
    runs: Sequence[str] = ()

    @property
    def error(self) -> CorruptAuditDataError:
        """The error that refuses it."""
        return CorruptAuditDataError(self.table, self.primary_key, self.column, self.problem)

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value!r}" for name, value in self.primary_key.items())
        where = "leads to no run"
        if self.runs:
            where = f"leads to run {', '.join(map(repr, self.runs))}"
        return f"{self.table} ({key}): {self.column} {self.problem}; it {where}"


AcceptOrphan: TypeAlias = Callable[[Orphan], None]
"""Called with every orphan that an export leaves out."""


def refuse_orphans(
    connection: Connection,
    run_id: str,
    left_out: LeftOut = NOTHING,
    accept: AcceptOrphan | None = None,
) -> None:
    """Refuse a database with an orphan that may belong to a run, or pass it to `accept`.

    A child that leads to no run at all may belong to every run. A row whose run is missing belongs
    to the runs that its other references lead to, and to no other.

    Args:
        connection: The database.
        run_id: The run that is exported. Orphans that lead to other runs only are not reported.
        left_out: What the export leaves out. A row that belongs to a left-out table in place of
            its usual parent is left out with that table.
        accept: Called with every such orphan in place of the error.

    Raises:
        CorruptAuditDataError: There is such an orphan; the error names the first one.
    """
    if not _may_have_orphans(connection, left_out):
        return
    for orphan in find_orphans(connection, left_out, run_id):
        if accept is None:
            raise orphan.error
        accept(orphan)


def _may_have_orphans(connection: Connection, left_out: LeftOut) -> bool:
    state = database_state(connection) if _searches_once.get() else None
    searched = (state, dict(left_out.parents))
    if state is not None and connection.info.get(_WITHOUT_ORPHANS) == searched:
        return False
    # The usual cost is one query on indexes, 3 % of an export of 2.3 million records.
    if not foreign_keys_hold(connection, _REFERENCES) and _has_orphans(connection, left_out):
        return True
    if state is not None:
        connection.info[_WITHOUT_ORPHANS] = searched
    return False


@contextmanager
def searching_orphans_once() -> Iterator[None]:
    """Let the exports of a block search an SQLite database once, and again when it has changed.

    The search reads the keys of the whole database: for exports of many runs it would cost the
    square of their number.
    """
    token = _searches_once.set(True)
    try:
        yield
    finally:
        _searches_once.reset(token)


def count_orphans(connection: Connection, run_id: str, left_out: LeftOut = NOTHING) -> int:
    """Return how many orphans `refuse_orphans` would report."""
    found: list[Orphan] = []
    refuse_orphans(connection, run_id, left_out, found.append)
    return len(found)


def find_orphans(
    connection: Connection, left_out: LeftOut = NOTHING, run_id: str | None = None
) -> Iterator[Orphan]:
    """Yield the orphans of a database, by table and key.

    Args:
        connection: The database.
        left_out: As in `refuse_orphans`.
        run_id: Leave out the orphans that do not belong to this run; None yields all.
    """
    for reference, parent in _REFERENCES.items():
        orphan = reference.table.alias("orphan")
        key = [orphan.c[column.name] for column in primary_key_columns(reference.table)]
        named = orphan.c[reference.name]
        is_orphan = _is_orphan(named, reference, parent, left_out)
        statement = select(*key, named).where(*is_orphan)
        if run_id is not None:
            leads = list(_leads(reference.table, orphan))
            to_run = [lead.where(lead.selected_columns[0] == run_id) for lead in leads]
            # A row that names a run leads to that run, missing or not, if to no other.
            to_none = () if reference in RUNS else (~or_(*map(exists, leads)),)
            statement = statement.where(or_(*map(exists, to_run), *to_none))
        for *identity, value in connection.execute(statement.order_by(*key)):
            problem = f"names {value!r}, which is not among the {parent.table}"
            if value is None:
                problem = IS_NULL
            is_it = and_(*(part == found for part, found in zip(key, identity, strict=True)))
            runs = union(
                *(
                    lead.select_from(orphan).where(is_it).correlate(None)
                    for lead in _leads(reference.table, orphan)
                )
            )
            yield Orphan(
                reference.table.name,
                {part.name: found for part, found in zip(key, identity, strict=True)},
                reference.name,
                problem,
                sorted(map(str, connection.execute(runs).scalars())),
            )


def _has_orphans(connection: Connection, left_out: LeftOut) -> bool:
    """Whether there is any orphan. Raises DBAPIError for a damaged file, which could hide one."""
    parents = tuple((table, tuple(names)) for table, names in left_out.parents.items())
    found = connection.execute(_search(connection.dialect.name, parents)).first()
    if found is not None and found[0] is not None:
        raise damaged(connection, str(found[0]))
    return found is not None


# Kept, because to build it takes as long as an export of fifty records.
@lru_cache(maxsize=16)
def _search(dialect: str, parents: tuple[tuple[str, tuple[str, ...]], ...]) -> CompoundSelect[Any]:
    """Return the query for damage and for orphans.

    Args:
        dialect: As `damage_queries` takes it.
        parents: The items of `LeftOut.parents`.
    """
    left_out = LeftOut(parents=dict(parents))
    # Only the column itself is selected, so that an index on it answers the whole query.
    orphans = (
        select(null().label(DAMAGE), reference).where(
            *_is_orphan(reference, reference, parent, left_out)
        )
        for reference, parent in _REFERENCES.items()
    )
    # One query, and damage first: a damaged index names parents that were never stored.
    return union_all(*damage_queries(dialect), *orphans).limit(1)


def _is_orphan(
    named: ColumnElement[Any],
    reference: Column[Any],
    referred: Column[Any],
    left_out: LeftOut,
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions under which a row is an orphan, by the value `named` of `reference`."""
    parent = referred.table.alias("parent")
    key = parent.c[referred.name]
    yield ~exists(select(1).select_from(parent).where(key == named))
    for name in left_out.parents.get(reference.table.name, ()):
        other: ColumnElement[Any] = column_named(name)
        yield ~and_(named.is_(None), other.is_not(None))


def _leads(table: Table, orphan: FromClause) -> Iterator[Select[Any]]:
    """Yield the queries for the runs that the other references of a row of `orphan` lead to."""
    key = [column.name for column in primary_key_columns(table)]
    for lead in LEADS[table.name]:
        yield lead.where(
            *(table.c[name] == orphan.c[name] for name in key),
            lead.selected_columns[0].is_not(None),
        ).correlate(orphan)
