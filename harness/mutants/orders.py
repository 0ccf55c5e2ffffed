"""Operators that change the order of a statement, key by key."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Column, DateTime, Integer, Select, String, cast, collate, func

from harness.mutants.mutant import Mutant
from harness.mutants.query import (
    Key,
    Query,
    StatementSubject,
    column_of,
    is_nulls_last,
    name_of,
    replace_at,
)


def order_mutants(subject: StatementSubject) -> Iterator[Mutant]:
    """Yield the mutants of a statement's order."""
    keys = subject.query.keys
    for position, key in enumerate(keys):
        column = column_of(key)
        # A design that groups children by parent takes the order of parents from the parents'
        # statement: an ancestor's key in the order of a child's has no effect there.
        if subject.design.groups_by_parent and column.table is not subject.table:
            continue
        name = name_of(column, subject.table)
        yield subject.mutant(
            "drop-order-key",
            name,
            f"does not sort by {name}",
            partial(Query.with_key, position=position),
        )
        for operator, does, changed in _changed_keys(column, is_nulls_last(key)):
            yield subject.mutant(
                operator, name, f"{does} {name}", partial(_sort_by, position=position, key=changed)
            )
        if position + 1 < len(keys):
            other = name_of(column_of(keys[position + 1]), subject.table)
            yield subject.mutant(
                "swap-order-keys",
                f"{name},{other}",
                f"sorts by {other} before {name}",
                partial(_swap_keys, position=position),
            )
        for wrong in _other_keys(subject, column):
            yield subject.mutant(
                "replace-order-key",
                f"{name},{wrong.name}",
                f"sorts by {wrong.name} instead of {name}",
                partial(_sort_by, position=position, key=wrong),
            )


def _changed_keys(column: Column[Any], nulls_last: bool) -> Iterator[tuple[str, str, Key]]:
    """Yield an operator, what it does, and the key that it sorts by instead of a column."""

    def placed(key: Key) -> Key:
        return key.nulls_last() if nulls_last else key

    yield "reverse-order-key", "sorts downwards by", placed(column.desc())
    match column.type:
        case Integer():
            yield "order-as-text", "sorts as text by", placed(cast(column, String))
            yield "order-absolute", "sorts by the absolute value of", placed(func.abs(column))
        case DateTime():
            # SQLite stores a timestamp as text: the first 19 characters end with the second.
            yield "order-by-second", "sorts by the second of", placed(func.substr(column, 1, 19))
        case String():
            yield "order-as-integer", "sorts as a number by", placed(cast(column, Integer))
            yield "order-nocase", "ignores the case of", placed(collate(column, "NOCASE"))
            yield "order-trimmed", "ignores blanks at the ends of", placed(func.trim(column))
    if column.nullable:
        yield "order-nulls-first", "sorts NULL first in", column.nulls_first()
        yield "order-null-as-zero", "sorts NULL as zero in", func.coalesce(column, 0)


def _other_keys(subject: StatementSubject, column: Column[Any]) -> Iterator[Column[Any]]:
    """Yield the columns that a wrong order may take: the key and the times of the same table."""
    used = {column_of(key) for key in subject.query.keys}
    if column.table is not subject.table:
        return
    for other in subject.table.c:
        if other not in used and (other.primary_key or isinstance(other.type, DateTime)):
            yield other


def _sort_by(query: Query, position: int, key: Key) -> Select[Any]:
    return query.with_key(position, key)


def _swap_keys(query: Query, position: int) -> Select[Any]:
    first, second = query.keys[position : position + 2]
    keys = replace_at(query.keys, position + 1)
    return replace(query, keys=replace_at(keys, position, second, first)).select()
