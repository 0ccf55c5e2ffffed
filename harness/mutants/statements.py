"""Operators that change a statement: its order, its conditions, its joins and its rows.

Every operator changes the SQL that is sent. The parts of a statement come from the statement, and
the columns from the schema.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import (
    Column,
    Integer,
    Join,
    Select,
    String,
    UniqueConstraint,
    and_,
    exists,
    func,
    join,
    literal,
    or_,
    select,
)

from harness.mutants.designs import Design, is_made_of
from harness.mutants.mutant import Mutant
from harness.mutants.orders import order_mutants
from harness.mutants.query import (
    Condition,
    Key,
    Query,
    StatementSubject,
    column_of,
    joined_condition,
    name_of,
    sides,
    tables_of,
    value_of,
)

LIMITS = (100, 1_000, 10_000)
"""The limits that the operator `limit` adds."""

PAGE_ROWS = 500
"""The rows of a page or a chunk, in operators that read in pages or chunks."""


_ALIKE = frozenset(
    (
        "chunks-unsorted",
        "filter-by-reference",
        "group-by-reference",
        "join-other-column",
        "join-reference-in-run",
        "limit",
        "order-absolute",
        "order-as-integer",
        "order-as-text",
        "order-by-second",
        "order-nocase",
        "order-trimmed",
        "page-loses-row",
        "page-repeats-row",
        "replace-order-key",
    )
)
"""Operators whose mutants are alike in all designs, besides those of missing records."""


def statement_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all statements of a design."""
    for record_type, statement in design.statements.items():
        subject = StatementSubject(design, record_type, Query.of(statement))
        for operators in (order_mutants, _conditions, _joins, _references, _rows, _requirements):
            for mutant in operators(subject):
                is_alike = mutant.operator in _ALIKE or mutant.operator.startswith("skip-")
                if not is_alike or is_made_of(design, mutant.operator, mutant.part):
                    yield mutant


# The conditions.


def _conditions(subject: StatementSubject) -> Iterator[Mutant]:
    for position, condition in enumerate(subject.query.conditions):
        column = column_of(condition)
        name = name_of(column, subject.table)
        is_text = isinstance(column.type, String)
        yield subject.mutant(
            "drop-condition",
            name,
            f"has no condition on {name}",
            partial(Query.with_condition, position=position),
        )
        changes = _widened if is_text else _narrowed
        for operator, does, changed in changes:
            # Records of a run with a similar id are read and not exported there: grouped under
            # parents that the design does not visit.
            if (
                subject.design.groups_by_parent
                and not subject.is_below_run
                and operator in _SIMILAR
            ):
                continue
            yield subject.mutant(
                operator,
                name,
                f"{does} {name}",
                partial(_compare, position=position, comparison=changed),
            )


def _trimmed_equal(column: Key, value: Key) -> Condition:
    return func.trim(column) == func.trim(value)


def _equal_in_lower_case(column: Key, value: Key) -> Condition:
    return func.lower(column) == func.lower(value)


def _starts_with(column: Key, value: Key) -> Condition:
    return func.substr(column, 1, func.length(value)) == value


_widened: tuple[tuple[str, str, Callable[[Key, Key], Condition]], ...] = (
    ("condition-like", "compares by LIKE", lambda column, value: column.like(value)),
    ("condition-nocase", "ignores the case of", _equal_in_lower_case),
    ("condition-trimmed", "ignores blanks at the ends of", _trimmed_equal),
    ("condition-prefix", "takes the argument as the start of", _starts_with),
    (
        "condition-at-least",
        "takes the argument as the least",
        lambda column, value: column >= value,
    ),
    (
        "condition-at-most",
        "takes the argument as the largest",
        lambda column, value: column <= value,
    ),
)
_SIMILAR = frozenset(
    ("condition-like", "condition-nocase", "condition-trimmed", "condition-prefix")
)
_narrowed: tuple[tuple[str, str, Callable[[Key, Key], Condition]], ...] = (
    ("condition-strict", "leaves out the least possible", lambda column, value: column > value),
    ("condition-from-zero", "leaves out negative values of", lambda column, _: column >= 0),
    ("condition-from-one", "leaves out zero and less in", lambda column, _: column >= 1),
)


def _compare(
    query: Query, position: int, comparison: Callable[[Key, Key], Condition]
) -> Select[Any]:
    condition = query.conditions[position]
    return query.with_condition(position, comparison(column_of(condition), value_of(condition)))


# The joins.


def _joins(subject: StatementSubject) -> Iterator[Mutant]:
    for position, each in enumerate(subject.query.joins):
        child, parent = sides(each.onclause)
        place = f"{child.table.name}-{parent.table.name}"
        joined = f"{child.table.name} to {parent.table.name}"
        yield subject.mutant(
            "outer-join",
            place,
            f"joins {joined} by an outer join",
            partial(Query.with_join, position=position, change=_made_outer),
        )
        for operator, does, comparison in _loose_joins:
            yield subject.mutant(
                operator,
                place,
                f"{does} when it joins {joined}",
                partial(
                    Query.with_join,
                    position=position,
                    change=partial(_joined_by, comparison=comparison),
                ),
            )
        for side, column in (("child", child), ("parent", parent)):
            for other in _references_of(column):
                yield subject.mutant(
                    "join-other-column",
                    f"{place},{other.table.name}.{other.name}",
                    f"joins {joined} by {other.name} instead of {column.name}",
                    partial(
                        Query.with_join,
                        position=position,
                        change=partial(_joined_on, other=other, is_child=side == "child"),
                    ),
                )


def _made_outer(each: Join) -> Join:
    return join(each.left, each.right, each.onclause, isouter=True)


_loose_joins: tuple[tuple[str, str, Callable[[Key, Key], Condition]], ...] = (
    ("join-nocase", "ignores the case of ids", _equal_in_lower_case),
    ("join-trimmed", "ignores blanks at the ends of ids", _trimmed_equal),
)


def _joined_by(each: Join, comparison: Callable[[Key, Key], Condition]) -> Join:
    return joined_condition(each, comparison(*sides(each.onclause)))


def _joined_on(each: Join, other: Column[Any], is_child: bool) -> Join:
    child, parent = sides(each.onclause)
    return joined_condition(each, other == parent if is_child else child == other)


def _references_of(column: Column[Any]) -> Iterator[Column[Any]]:
    """Yield the other columns of a table that hold an id: its key and its references."""
    for other in column.table.c:
        is_id = other.primary_key or other.foreign_keys
        if is_id and other is not column and other.name != "run_id":
            yield other


# References to tables that the statement does not need. They may lead to another run.


def _references(subject: StatementSubject) -> Iterator[Mutant]:
    joined = set(tables_of(subject.query.source))
    for column in subject.table.c:
        for target in (key.column for key in column.foreign_keys):
            table = target.table
            if table in joined or table.name == "runs":
                continue
            if "run_id" in table.c:
                yield subject.mutant(
                    "join-reference-in-run",
                    column.name,
                    f"keeps only records whose {column.name} is in the same run",
                    partial(_join_reference, column=column, target=target, in_run=True),
                )
                yield subject.mutant(
                    "filter-by-reference",
                    column.name,
                    f"finds the run through {column.name}",
                    partial(_filter_by_reference, column=column, target=target),
                )
            if column.nullable:
                yield subject.mutant(
                    "join-reference",
                    column.name,
                    f"joins {table.name} by {column.name}, which may be NULL",
                    partial(_join_reference, column=column, target=target, in_run=False),
                )


def _join_reference(
    query: Query, column: Column[Any], target: Column[Any], in_run: bool
) -> Select[Any]:
    run = value_of(query.conditions[0])
    on = and_(column == target, target.table.c.run_id == run) if in_run else column == target
    return replace(query, source=join(query.source, target.table, on)).select()


def _filter_by_reference(query: Query, column: Column[Any], target: Column[Any]) -> Select[Any]:
    source = join(query.source, target.table, column == target)
    run = target.table.c.run_id == value_of(query.conditions[0])
    return replace(query, source=source).with_condition(0, run)


# The rows of the result.


def _rows(subject: StatementSubject) -> Iterator[Mutant]:
    yield subject.mutant("offset-one", "", "skips its first row", lambda q: q.select().offset(1))
    yield subject.mutant("distinct", "", "drops duplicates", lambda q: q.select().distinct())
    if subject.record_type.name == "run":
        return  # It returns one row, so every operator below would change nothing.
    for limit in LIMITS:
        yield subject.mutant(
            "limit", str(limit), f"returns {limit:,} rows at most", partial(_limit, limit=limit)
        )
    own = subject.table.c[subject.record_type.primary_key[-1]]
    for operator, does, change in (
        ("page-loses-row", "loses the row after every full page", _lose_at_pages),
        ("page-repeats-row", "repeats the last row of every full page", _repeat_at_pages),
        ("chunks-unsorted", "sorts chunks of ids apart", partial(_sort_chunks, by=own)),
    ):
        yield subject.mutant(operator, str(PAGE_ROWS), f"{does} ({PAGE_ROWS} rows)", change)
    first = column_of(subject.query.keys[0])
    if not _is_unique_in_run(first):
        yield subject.mutant(
            "keyset-not-unique",
            name_of(first, subject.table),
            f"continues after a page of {PAGE_ROWS} by the next {first.name}, which is not unique",
            _keyset_pages,
        )
    for column in subject.record_type.columns:
        if column.foreign_keys:
            yield subject.mutant(
                "group-by-reference",
                column.name,
                f"returns one row for each {column.name}",
                partial(_group_by, column=column),
            )


def _limit(query: Query, limit: int) -> Select[Any]:
    return query.select().limit(limit)


def _lose_at_pages(query: Query) -> Select[Any]:
    return query.numbered(lambda number: number % (PAGE_ROWS + 1) != 0)


def _repeat_at_pages(query: Query) -> Select[Any]:
    return query.numbered(lambda number: number % PAGE_ROWS == 0, repeat=True)


def _sort_chunks(query: Query, by: Column[Any]) -> Select[Any]:
    number = func.row_number().over(order_by=[by]).label("number")
    place = func.row_number().over(order_by=[*query.keys]).label("place")
    inner = replace(query, columns=(*query.columns, number, place), keys=()).select().subquery()
    *columns, numbers, places = inner.c
    return select(*columns).order_by((numbers - 1) // PAGE_ROWS, places)


def _keyset_pages(query: Query) -> Select[Any]:
    number = func.row_number().over(order_by=[*query.keys]).label("number")
    key = column_of(query.keys[0]).label("key_of_page")
    inner = replace(query, columns=(*query.columns, key, number), keys=()).select().cte("numbered")
    last = inner.alias("last")
    *columns, keys, numbers = inner.c
    # The last row of the page before. Rows that tie with it are lost.
    before = ((numbers - 1) // PAGE_ROWS) * PAGE_ROWS
    is_tied = exists(
        select(literal(1)).where(
            last.c.number == before, last.c.key_of_page.is_not_distinct_from(keys)
        )
    )
    return select(*columns).where(~is_tied).order_by(numbers)


def _group_by(query: Query, column: Column[Any]) -> Select[Any]:
    return query.select().group_by(column)


def _is_unique_in_run(column: Column[Any]) -> bool:
    """Whether the schema makes a column unique among the rows of a run."""
    unique = [each for each in column.table.constraints if isinstance(each, UniqueConstraint)]
    return {"run_id", column.name} in [{each.name for each in found.columns} for found in unique]


# Conditions that a correct statement does not have.


def _requirements(subject: StatementSubject) -> Iterator[Mutant]:
    for column in subject.record_type.columns:
        name = column.name
        enum = subject.record_type.enums.get(name)
        for member in enum or ():
            yield subject.mutant(
                "skip-enum-value",
                f"{name},{member.value}",
                f"leaves out records with {name} {member.value}",
                partial(_require, condition=column != member.value),
            )
        for operator, does, condition in _required(column, is_enum=enum is not None):
            yield subject.mutant(
                operator, name, f"{does} {name}", partial(_require, condition=condition)
            )


def _required(column: Column[Any], *, is_enum: bool) -> Iterator[tuple[str, str, Condition]]:
    def or_null(condition: Condition) -> Condition:
        return or_(column.is_(None), condition) if column.nullable else condition

    if column.nullable:
        yield "skip-null", "leaves out records without", column.is_not(None)
    match column.type:
        case Integer():
            yield "skip-zero", "leaves out records with zero in", or_null(column != 0)
            yield "skip-negative", "leaves out records with less than zero in", or_null(column >= 0)
        case String() if not is_enum:
            yield "skip-empty", "leaves out records with an empty text in", or_null(column != "")


def _require(query: Query, condition: Condition) -> Select[Any]:
    return replace(query, conditions=(*query.conditions, condition)).select()
