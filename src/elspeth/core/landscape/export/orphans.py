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
from types import MappingProxyType
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
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
from elspeth.core.landscape.export.record_types import primary_key_columns
from elspeth.core.landscape.export.snapshot import database_state, driver_errors
from elspeth.core.landscape.schema import (
    artifacts_table,
    batch_members_table,
    batches_table,
    calls_table,
    edges_table,
    node_states_table,
    nodes_table,
    routing_events_table,
    rows_table,
    runs_table,
    token_parents_table,
    tokens_table,
)

# The key in a connection's `info` of the states in which a search found no orphan, by whether it
# searched for missing runs. `info` belongs to the driver's connection, like the counters that the
# states consist of.
_WITHOUT_ORPHANS = "landscape state without orphans"
# Only where somebody asks for it: elsewhere every export sends the same queries.
_searches_once: ContextVar[bool] = ContextVar("one search of orphans", default=False)

# By column of a child through which an export reaches it: the key of the parent.
_PARENTS: Mapping[Column[Any], Column[Any]] = MappingProxyType(
    {
        tokens_table.c.row_id: rows_table.c.row_id,
        token_parents_table.c.token_id: tokens_table.c.token_id,
        node_states_table.c.token_id: tokens_table.c.token_id,
        routing_events_table.c.state_id: node_states_table.c.state_id,
        calls_table.c.state_id: node_states_table.c.state_id,
        batch_members_table.c.batch_id: batches_table.c.batch_id,
    }
)
_RUNS: Mapping[Column[Any], Column[Any]] = MappingProxyType(
    {
        table.c.run_id: runs_table.c.run_id
        for table in (nodes_table, edges_table, rows_table, batches_table, artifacts_table)
    }
)


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

    Args:
        connection: The database.
        run_id: The run that is exported. Orphans that lead to other runs only are not reported.
        left_out: What the export leaves out. A row that belongs to a left-out table in place of
            its usual parent is left out with that table.
        accept: Called with every such orphan in place of the error.

    Raises:
        CorruptAuditDataError: There is such an orphan; the error names the first one.
    """
    if _may_have_orphans(connection, _PARENTS, left_out):
        _report(find_orphans(connection, left_out, run_id), accept)


def refuse_rows_without_run(
    connection: Connection, run_id: str, accept: AcceptOrphan | None = None
) -> None:
    """Refuse a row whose run is missing and that leads to a run, or pass it to `accept`.

    Nobody can say to which run it belonged if it leads to none: it is not reported then.

    Args:
        connection: The database.
        run_id: The run that is exported.
        accept: Called with every such row in place of the error.

    Raises:
        CorruptAuditDataError: There is such a row; the error names the first one.
    """
    if _may_have_orphans(connection, _RUNS, NOTHING):
        _report(find_rows_without_run(connection, run_id), accept)


def _may_have_orphans(
    connection: Connection, parents: Mapping[Column[Any], Column[Any]], left_out: LeftOut
) -> bool:
    state = database_state(connection) if _searches_once.get() else None
    if state is None:
        return _search(connection, parents, left_out)
    found_none: dict[bool, Any] = connection.info.setdefault(_WITHOUT_ORPHANS, {})
    searched, for_runs = (state, dict(left_out.parents)), parents is _RUNS
    if found_none.get(for_runs) == searched:
        return False
    if _search(connection, parents, left_out):
        return True
    found_none[for_runs] = searched
    return False


def _search(
    connection: Connection, parents: Mapping[Column[Any], Column[Any]], left_out: LeftOut
) -> bool:
    # The usual cost is one query on indexes, 3 % of an export of 2.3 million records.
    return not _foreign_keys_hold(connection, parents) and _has_orphans(
        connection, parents, left_out
    )


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


def _report(orphans: Iterator[Orphan], accept: AcceptOrphan | None) -> None:
    for orphan in orphans:
        if accept is None:
            raise orphan.error
        accept(orphan)


def count_orphans(connection: Connection, run_id: str, left_out: LeftOut = NOTHING) -> int:
    """Return how many `refuse_orphans` and `refuse_rows_without_run` would report."""
    found: list[Orphan] = []
    refuse_orphans(connection, run_id, left_out, found.append)
    refuse_rows_without_run(connection, run_id, found.append)
    return len(found)


def find_orphans(
    connection: Connection, left_out: LeftOut = NOTHING, run_id: str | None = None
) -> Iterator[Orphan]:
    """Yield the orphans of a database, by table and key.

    Args:
        connection: The database.
        left_out: As in `refuse_orphans`.
        run_id: Leave out the orphans that lead to other runs only than this one; None yields all.
    """
    return _find(connection, _PARENTS, left_out, run_id)


def find_rows_without_run(connection: Connection, run_id: str | None = None) -> Iterator[Orphan]:
    """Yield the rows with a run id whose run is missing, by table and key.

    Args:
        connection: The database.
        run_id: Leave out the rows that do not lead to this run; None yields all.
    """
    return _find(connection, _RUNS, NOTHING, run_id)


def _find(
    connection: Connection,
    parents: Mapping[Column[Any], Column[Any]],
    left_out: LeftOut,
    run_id: str | None,
) -> Iterator[Orphan]:
    for reference, parent in parents.items():
        orphan = reference.table.alias("orphan")
        key = [orphan.c[column.name] for column in primary_key_columns(reference.table)]
        named = orphan.c[reference.name]
        is_orphan = _is_orphan(named, reference, parent, left_out)
        statement = select(*key, named).where(*is_orphan)
        if run_id is not None:
            leads = list(_leads(reference.table, orphan))
            to_run = [lead.where(lead.selected_columns[0] == run_id) for lead in leads]
            # A row that names a run leads to that run, missing or not, if to no other.
            to_none = () if reference in _RUNS else (~or_(*map(exists, leads)),)
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


def _has_orphans(
    connection: Connection, parents: Mapping[Column[Any], Column[Any]], left_out: LeftOut
) -> bool:
    # Only the column itself is selected, so that an index on it answers the whole query.
    orphans = (
        select(reference).where(*_is_orphan(reference, reference, parent, left_out))
        for reference, parent in parents.items()
    )
    return connection.execute(union_all(*orphans).limit(1)).first() is not None


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
    for lead in _LEADS[table.name]:
        yield lead.where(
            *(table.c[name] == orphan.c[name] for name in key),
            lead.selected_columns[0].is_not(None),
        ).correlate(orphan)


def _through_row(tokens: Any) -> Select[Any]:
    return select(rows_table.c.run_id).select_from(tokens.join(rows_table))


# By table of a child: the queries for the runs that its references lead to, besides the one to its
# parent. A token has no other reference, but others refer to it.
_OTHER = tokens_table.alias()
_LEADS: Mapping[str, Sequence[Select[Any]]] = MappingProxyType(
    {
        tokens_table.name: (
            select(nodes_table.c.run_id).select_from(
                tokens_table.join(node_states_table).join(nodes_table)
            ),
            select(batches_table.c.run_id).select_from(
                tokens_table.join(batch_members_table).join(batches_table)
            ),
            *(
                select(rows_table.c.run_id).select_from(
                    tokens_table.join(
                        token_parents_table,
                        token_parents_table.c[mine] == tokens_table.c.token_id,
                    )
                    .join(_OTHER, token_parents_table.c[its] == _OTHER.c.token_id)
                    .join(rows_table, _OTHER.c.row_id == rows_table.c.row_id)
                )
                for mine, its in (
                    ("token_id", "parent_token_id"),
                    ("parent_token_id", "token_id"),
                )
            ),
        ),
        token_parents_table.name: (
            _through_row(
                token_parents_table.join(
                    tokens_table, token_parents_table.c.parent_token_id == tokens_table.c.token_id
                )
            ),
        ),
        node_states_table.name: (
            select(nodes_table.c.run_id).select_from(node_states_table.join(nodes_table)),
        ),
        routing_events_table.name: (
            select(edges_table.c.run_id).select_from(routing_events_table.join(edges_table)),
        ),
        # A call refers to its state alone.
        calls_table.name: (select(null().label("run_id")).select_from(calls_table),),
        batch_members_table.name: (_through_row(batch_members_table.join(tokens_table)),),
        nodes_table.name: (
            select(rows_table.c.run_id).select_from(nodes_table.join(rows_table)),
            select(batches_table.c.run_id).select_from(nodes_table.join(batches_table)),
            select(artifacts_table.c.run_id).select_from(nodes_table.join(artifacts_table)),
            *(
                select(edges_table.c.run_id).select_from(
                    nodes_table.join(edges_table, edges_table.c[end] == nodes_table.c.node_id)
                )
                for end in ("from_node_id", "to_node_id")
            ),
            select(rows_table.c.run_id).select_from(
                nodes_table.join(node_states_table)
                .join(tokens_table)
                .join(rows_table, rows_table.c.row_id == tokens_table.c.row_id)
            ),
        ),
        edges_table.name: (
            *(
                select(nodes_table.c.run_id).select_from(
                    edges_table.join(nodes_table, edges_table.c[end] == nodes_table.c.node_id)
                )
                for end in ("from_node_id", "to_node_id")
            ),
        ),
        rows_table.name: (
            select(nodes_table.c.run_id).select_from(rows_table.join(nodes_table)),
            select(nodes_table.c.run_id).select_from(
                rows_table.join(tokens_table)
                .join(node_states_table)
                .join(nodes_table, node_states_table.c.node_id == nodes_table.c.node_id)
            ),
        ),
        batches_table.name: (
            select(nodes_table.c.run_id).select_from(batches_table.join(nodes_table)),
            _through_row(batches_table.join(batch_members_table).join(tokens_table)),
        ),
        artifacts_table.name: (
            select(nodes_table.c.run_id).select_from(artifacts_table.join(nodes_table)),
            _through_row(artifacts_table.join(node_states_table).join(tokens_table)),
        ),
    }
)


# One message, which begins with SET: it belongs to the opening of a snapshot and reads the
# catalogue only, so a trace that counts queries does not count it.
_FOREIGN_KEYS = """
SET LOCAL row_security TO off;
SELECT a.attrelid::regclass::text, a.attname
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
  JOIN pg_attribute p ON p.attrelid = k.confrelid AND k.confkey = ARRAY[p.attnum]
 WHERE k.contype = 'f' AND k.convalidated AND a.attnotnull
   AND (k.conrelid, a.attname, k.confrelid, p.attname) IN ({references})
   AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
   AND (c.relkind = 'p' OR NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid))
"""


def _foreign_keys_hold(connection: Connection, parents: Mapping[Column[Any], Column[Any]]) -> bool:
    """Whether PostgreSQL's catalogue says that no orphan can exist."""
    # Validated: checked for rows that were there before. NOT NULL: an empty reference violates no
    # foreign key. Only children of a table without heirs, whose rows it would not cover.
    if connection.dialect.name != "postgresql":
        return False
    references = ", ".join(
        f"('{child.table.name}'::regclass, '{child.name}', "
        f"'{parent.table.name}'::regclass, '{parent.name}')"
        for child, parent in parents.items()
    )
    statement = _FOREIGN_KEYS.format(references=references)
    cursor: Any = connection.connection.cursor()
    try:
        with driver_errors(connection, statement):
            cursor.execute(statement)
            # psycopg begins with the result of SET.
            if cursor.description is None:
                cursor.nextset()
            return len(set(map(tuple, cursor.fetchall()))) == len(parents)
    finally:
        cursor.close()
