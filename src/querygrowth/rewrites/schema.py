"""The tables that get rows, in the order of insertion, with their rules and values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Dialect, Table
from sqlalchemy.orm import configure_mappers

from querygrowth.tables.column_values import UnknownTypeError, ValueSource
from querygrowth.tables.condition_values import bounds_of
from querygrowth.tables.own_rules import own_rules
from querygrowth.tables.table_order import table_order
from querygrowth.tables.table_rules import ForeignKey, Key, TableRules
from querygrowth.tables.user_tables import Lineage, connecting_tables, key_of, user_tables


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
        dialect: That of the database.

    Raises:
        ValueError: A model is none, or `values` names a column that does not exist.
    """

    def __init__(
        self, models: object, values: Mapping[str, Sequence[object]] | None, dialect: Dialect
    ) -> None:
        configure_mappers()
        user = user_tables(models)
        if user.names or not user.asked:
            raise ValueError("models names no table: pass the mapped classes that are read")
        self.tables: Mapping[Key, Table] = user.known
        (self.metadata, *others) = {table.metadata for table in self.tables.values()}
        if others:
            raise ValueError("models must belong to one MetaData")
        self._dialect = dialect
        self.inheritance, joined = _inheritances(user.lineages, self.tables)
        chosen = _with_needed(self.tables[key] for key in user.asked)
        between = connecting_tables(self.tables.values(), [key_of(table) for table in chosen])
        chosen |= {self.tables[key] for key in between}
        for base in chosen & self.inheritance.keys():
            for tables in self.inheritance[base].tables.values():
                chosen = chosen | {*tables}
        chosen = _with_needed(chosen)
        by_key = {key_of(table): table for table in sorted(chosen, key=lambda one: one.fullname)}
        self.rules: Mapping[Table, TableRules] = {
            table: own_rules(table, dialect) for table in by_key.values()
        }
        order = table_order({key: self.rules[table] for key, table in by_key.items()})
        self.order = [self.tables[key] for key in order.tables]
        # Only foreign keys in a cycle of several tables are set after all rows are in.
        self.cyclic: dict[Table, list[ForeignKey]] = {
            table: [
                each
                for each in (*order.updated.get(key, ()), *order.planned.get(key, ()))
                if each.target != key
            ]
            for key, table in by_key.items()
        }
        self.drawn = [table for table in self.order if table not in joined]
        self.depth = self._depths()
        self.values = dict(values or {})
        columns = {f"{t.fullname}.{c.name}" for t in self.order for c in t.columns}
        unknown = sorted(self.values.keys() - columns)
        if unknown:
            raise ValueError(
                f"values names {unknown[0]!r}, which is no column of the tables "
                f"{', '.join(t.fullname for t in self.order)}: write 'table.column'"
            )
        self._sources: dict[Table, dict[str, ValueSource]] = {}
        self._pools: dict[tuple[Column[Any], int], list[object]] = {}

    def sources(self, table: Table) -> Mapping[str, ValueSource]:
        """What makes the values of a table's columns; without those of which no value is known."""
        if table not in self._sources:
            found = self._sources[table] = {}
            rules = self.rules[table]
            in_keys = {column for key in rules.unique for column in key.columns}
            for name, rule in rules.columns.items():
                bounds = bounds_of(name, rules.conditions)
                try:
                    source = ValueSource(
                        rules.name,
                        name,
                        rule.type,
                        self._dialect,
                        bounds,
                        listed=rule.listed,
                        distinct=name in in_keys,
                    )
                except UnknownTypeError:
                    continue
                found[name] = source
        return self._sources[table]

    def pool(self, column: Column[Any], constants: Sequence[object]) -> list[object]:
        """The values to take for a column, without NULL; none if its type is not known.

        Args:
            column: The column.
            constants: What the functions compare with; see `ValueSource.pool`. One sequence that
                only grows belongs to a schema.
        """
        given = self.values.get(f"{column.table.fullname}.{column.name}")
        if given is not None:
            return [*given]
        source = self.sources(column.table).get(column.name)
        if source is None:
            return []
        place = (column, len(constants))
        if place not in self._pools:
            self._pools[place] = source.pool(constants)
        return self._pools[place]

    def _depths(self) -> dict[Table, int]:
        """How many tables lead to a table through foreign keys, one after the other."""
        depth: dict[Table, int] = {}
        for table in self.order:
            parents = [self.tables[key.target] for key in self.rules[table].foreign_keys]
            depth[table] = max((depth[p] + 1 for p in parents if p in depth), default=0)
        return depth


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


def _inheritances(
    lineages: Mapping[Key, Lineage], tables: Mapping[Key, Table]
) -> tuple[dict[Table, _Inheritance], set[Table]]:
    """By the table of a base class its discriminator; and the tables of joined subclasses."""

    def depth(key: Key) -> int:
        parent = lineages[key].parent
        return 0 if parent is None else depth(parent) + 1

    found = {}
    below = sorted((key for key in lineages if lineages[key].parent is not None), key=depth)
    for root, lineage in lineages.items():
        if lineage.parent is None and lineage.below:
            joined = {
                identity: tuple(
                    tables[key]
                    for key in below
                    if lineages[key].root == root and identity in lineages[key].below
                )
                for identity in lineage.below
            }
            found[tables[root]] = _Inheritance(lineage.discriminator, joined)
    return found, {tables[key] for key in below}
