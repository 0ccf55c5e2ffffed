"""Shrink the rows and arguments of a failing example, as long as it still fails."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from querygrowth.rewrites.schema import Schema
from querygrowth.rewrites.small_rows import DrawnRow

# A call of both functions takes milliseconds; so many end in seconds.
_MOST_TRIES = 600

Example = tuple[Sequence[DrawnRow], Mapping[str, Any]]


def shrink(
    schema: Schema,
    rows: Sequence[DrawnRow],
    arguments: Mapping[str, Any],
    fails: Callable[[Sequence[DrawnRow], Mapping[str, Any]], bool],
) -> tuple[list[DrawnRow], dict[str, Any]]:
    """The smallest example found: no row can go, and no value can be simpler.

    Args:
        schema: The tables.
        rows: The rows of the failing example.
        arguments: Its arguments.
        fails: Whether an example is valid and still fails.
    """
    best, given = [*rows], dict(arguments)
    tried: set[str] = set()

    def is_smaller(rows: Sequence[DrawnRow], arguments: Mapping[str, Any]) -> bool:
        # The last rounds make the same examples again, and a call takes a thousand times as long.
        example = repr([[(r.table.fullname, r.values, r.later) for r in rows], arguments])
        if example in tried:
            return False
        tried.add(example)
        return fails(rows, arguments)

    progress = True
    while progress and len(tried) < _MOST_TRIES:
        progress = False
        for make in (_with_fewer_rows, _with_simpler_keys, _with_simpler_values):
            place = 0
            while place < len(best) and len(tried) < _MOST_TRIES:
                before = len(best)
                for smaller in make(schema, best, place):
                    if is_smaller(smaller, given):
                        best, progress = smaller, True
                        break
                else:
                    place += 1
                    continue
                if make is not _with_fewer_rows and len(best) == before:
                    continue
        for name, value in given.items():
            for simpler in (0, 1, 2) if type(value) is int else ():
                if abs(simpler) >= abs(value):
                    break
                if is_smaller(best, {**given, name: simpler}):
                    given[name], progress = simpler, True
                    break
    return best, given


def _with_fewer_rows(
    schema: Schema, rows: Sequence[DrawnRow], place: int
) -> Iterator[list[DrawnRow]]:
    """Without one row, counted from the end, and without the rows that need it."""
    gone = rows[len(rows) - 1 - place]
    if gone.table in schema.drawn:
        yield _without(rows, gone)


def _without(rows: Sequence[DrawnRow], gone: DrawnRow) -> list[DrawnRow]:
    removed = [gone]
    kept = [row for row in rows if row is not gone]
    while removed:
        parent = removed.pop()
        left: list[DrawnRow] = []
        for row in kept:
            changed: DrawnRow | None = row
            for key in row.table.foreign_key_constraints:
                pairs = [(e.parent, e.column.name) for e in key.elements]
                if key.referred_table is not parent.table or any(
                    row.complete.get(own.name) is None
                    or row.complete.get(own.name) != parent.complete.get(theirs)
                    for own, theirs in pairs
                ):
                    continue
                free = [own.name for own, _ in pairs if own.nullable and not own.primary_key]
                changed = _set(changed, dict.fromkeys(free)) if free and changed else None
            if changed is None:
                removed.append(row)
            else:
                left.append(changed)
        kept = left
    return kept


def _with_simpler_keys(
    _schema: Schema, rows: Sequence[DrawnRow], place: int
) -> Iterator[list[DrawnRow]]:
    """With a primary key of a row made the lowest that is free, and all references to it."""
    row = rows[place]
    for column in row.table.primary_key.columns:
        value = row.values.get(column.name)
        if type(value) is not int or column.foreign_keys:
            continue
        taken = {other.values.get(column.name) for other in rows if other.table is row.table}
        for lower in range(1, value):
            if lower not in taken:
                yield [_renumbered(other, row, column.name, value, lower) for other in rows]
                break


def _renumbered(other: DrawnRow, row: DrawnRow, name: str, old: int, new: int) -> DrawnRow:
    changes: dict[str, Any] = {name: new} if other is row else {}
    for key in other.table.foreign_key_constraints:
        if key.referred_table is not row.table:
            continue
        for element in key.elements:
            if element.column.name == name and other.complete.get(element.parent.name) == old:
                changes[element.parent.name] = new
    return _set(other, changes) if changes else other


def _with_simpler_values(
    schema: Schema, rows: Sequence[DrawnRow], place: int
) -> Iterator[list[DrawnRow]]:
    """With one value of a row made NULL, or the simplest of its type, or that of another row."""
    row = rows[place]
    keys = {column.name for column in row.table.primary_key.columns}
    base = schema.inheritance.get(row.table)
    for column in row.table.columns:
        value = row.values.get(column.name)
        if column.name in keys or value is None or (base and base.column == column.name):
            continue
        for simpler in _simpler(schema, rows, row, column, value):
            changed = _set(row, {column.name: simpler})
            yield [changed if other is row else other for other in rows]


def _simpler(
    schema: Schema, rows: Sequence[DrawnRow], row: DrawnRow, column: Any, value: Any
) -> list[Any]:
    """Values that are simpler than the present one, the simplest first."""
    if column.foreign_keys:
        return [None] if column.nullable else []
    own = f"{column.table.fullname}.{column.name}" in schema.values
    pool = schema.pool(column, ())
    pool = pool if own else pool[:2]
    order = ([None] if column.nullable else []) + pool
    known = [repr(each) for each in order]
    return order[: known.index(repr(value))] if repr(value) in known else order


def _set(row: DrawnRow, changes: Mapping[str, Any]) -> DrawnRow:
    later = {name: value for name, value in row.later.items() if name not in changes}
    return replace(row, values={**row.values, **changes}, later=later)
