"""The tables that get rows, in the order of insertion, from mapped classes or metadata."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table
from sqlalchemy import inspect as mapped
from sqlalchemy.orm import Mapper, configure_mappers


@dataclass(frozen=True)
class _Inheritance:
    """The discriminator of a table: its column, and what follows from its value."""

    column: str
    tables: Mapping[Any, tuple[Table, ...]]  # the joined tables of every identity


class Schema:
    """The tables that get rows, in the order of insertion.

    Args:
        models: Mapped classes, tables, metadata, or a declarative base.
        values: Values by "table.column": a list of values to choose from.

    Raises:
        ValueError: A model is none, or `values` names a column that does not exist.
    """

    def __init__(
        self, models: Sequence[object], values: Mapping[str, Sequence[object]] | None = None
    ) -> None:
        configure_mappers()
        named, self.metadata, mappers = _named_tables(models)
        chosen = _with_needed(named)
        chosen |= _associations(self.metadata, chosen)
        self.inheritance, joined = _inheritance(mappers)
        for base in chosen & self.inheritance.keys():
            for tables in self.inheritance[base].tables.values():
                chosen = chosen | {*tables}
        chosen = _with_needed(chosen)
        # Only foreign keys in a cycle are set later: those for which no order exists.
        self.order, self.cyclic = _ordered(chosen)
        self.drawn = [table for table in self.order if table not in joined]
        self.values = dict(values or {})
        self.depth = _depths(self.order)
        columns = {f"{t.fullname}.{c.name}" for t in self.order for c in t.columns}
        unknown = sorted(self.values.keys() - columns)
        if unknown:
            raise ValueError(
                f"values names {unknown[0]!r}, which is no column of the tables "
                f"{', '.join(t.fullname for t in self.order)}: write 'table.column'"
            )


def _named_tables(models: Any) -> tuple[set[Table], MetaData, set[Mapper[Any]]]:
    if isinstance(models, MetaData | type) or not isinstance(models, Iterable):
        models = [models]
    found: set[Table] = set()
    mappers: set[Mapper[Any]] = set()
    for model in models:
        if isinstance(model, Table):
            found.add(model)
        elif isinstance(model, MetaData):
            found.update(model.tables.values())
        elif _is_base(model):
            found.update(model.metadata.tables.values())
            mappers.update(model.registry.mappers)
        else:
            mapper = mapped(model, raiseerr=False)
            if not isinstance(mapper, Mapper):
                raise ValueError(
                    f"models takes mapped classes, tables, metadata or a declarative base, "
                    f"got {model!r}"
                )
            mappers.update(mapper.registry.mappers)
            found.update(table for table in mapper.tables if isinstance(table, Table))
    if not found:
        raise ValueError("models names no table: pass the mapped classes that the functions read")
    (metadata, *others) = {table.metadata for table in found}
    if others:
        raise ValueError("models must belong to one MetaData")
    return found, metadata, mappers


def _is_base(model: Any) -> bool:
    """Whether this is a declarative base, and no mapped class."""
    parts = isinstance(model, type) and hasattr(model, "metadata") and hasattr(model, "registry")
    return parts and mapped(model, raiseerr=False) is None


def _with_needed(tables: Iterable[Table]) -> set[Table]:
    """The tables with those that their foreign keys lead to."""
    found: set[Table] = set()
    open_ = [*tables]
    while open_:
        table = open_.pop()
        if table not in found:
            found.add(table)
            open_ += [key.referred_table for key in table.foreign_key_constraints]
    return found


def _associations(metadata: MetaData, chosen: set[Table]) -> set[Table]:
    """The tables that only connect chosen ones: all their columns are foreign keys."""
    return {
        table
        for table in metadata.tables.values()
        if len(table.foreign_key_constraints) > 1
        and all(column.foreign_keys for column in table.columns)
        and all(key.referred_table in chosen for key in table.foreign_key_constraints)
    }


def _inheritance(mappers: Iterable[Mapper[Any]]) -> tuple[dict[Table, _Inheritance], set[Table]]:
    """By the table of a base class its discriminator; and the tables of joined subclasses."""
    found: dict[Table, _Inheritance] = {}
    joined: set[Table] = set()
    for mapper in mappers:
        column = mapper.polymorphic_on
        table = mapper.local_table
        if mapper.inherits or not isinstance(column, Column) or not isinstance(table, Table):
            continue
        tables: dict[Any, tuple[Table, ...]] = {}
        for identity, sub in mapper.polymorphic_map.items():
            if sub.concrete:
                continue
            own = tuple(t for t in sub.tables if isinstance(t, Table) and t is not table)
            tables[identity] = own
            joined.update(own)
        if tables:
            found[table] = _Inheritance(column.name, tables)
    return found, joined


def _ordered(tables: set[Table]) -> tuple[list[Table], set[ForeignKeyConstraint]]:
    """The tables, parents first, and the foreign keys that no order satisfies."""
    waiting = sorted(tables, key=lambda table: table.fullname)
    order: list[Table] = []
    cyclic: set[ForeignKeyConstraint] = set()

    def missing(table: Table) -> list[ForeignKeyConstraint]:
        done = {*order, table}
        return [k for k in table.foreign_key_constraints if k.referred_table not in done]

    while waiting:
        ready = next((table for table in waiting if not missing(table)), None)
        if ready is None:
            # The one with the fewest open keys that may be NULL breaks the cycle.
            ready = min(waiting, key=lambda t: (not all(map(may_be_null, missing(t))), t.fullname))
            cyclic.update(missing(ready))
        order.append(ready)
        waiting.remove(ready)
    return order, cyclic


def _depths(order: Sequence[Table]) -> dict[Table, int]:
    """How many tables lead to a table through foreign keys, one after the other."""
    depth: dict[Table, int] = {}
    for table in order:
        parents = [k.referred_table for k in table.foreign_key_constraints]
        depth[table] = max((depth[p] + 1 for p in parents if p in depth), default=0)
    return depth


def may_be_null(key: ForeignKeyConstraint) -> bool:
    """Whether a row may have no parent by this key."""
    return any(column.nullable and not column.primary_key for column in key.columns)
