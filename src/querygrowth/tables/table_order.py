"""The order in which tables are filled, and the foreign keys that have to wait for a cycle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from querygrowth.tables.table_rules import ForeignKey, Key, TableRules


@dataclass
class TableOrder:
    """An order, parents first.

    Attributes:
        tables: The tables in order.
        updated: Foreign keys, by table, that are NULL at first and set once all tables have rows.
        planned: Foreign keys, by table, whose targets get their keys before their rows, because the
            keys may not be NULL. The database checks them at the end of the transaction.
    """

    tables: tuple[Key, ...] = ()
    updated: dict[Key, list[ForeignKey]] = field(default_factory=dict)
    planned: dict[Key, list[ForeignKey]] = field(default_factory=dict)


def table_order(tables: Mapping[Key, TableRules]) -> TableOrder:
    """Order tables so that every row finds the rows that it names.

    Args:
        tables: The rules of the tables. Foreign keys to other tables are ignored.
    """
    found = TableOrder()
    waiting: set[tuple[Key, Key]] = set()
    for key, rules in tables.items():
        for each in rules.foreign_keys:
            if each.target == key:
                _defer(found, key, each, rules)
    while True:
        graph = {
            key: {
                each.target
                for each in rules.foreign_keys
                if each.target in tables
                and each.target != key
                and (key, each.target) not in waiting
            }
            for key, rules in tables.items()
        }
        try:
            found.tables = tuple(TopologicalSorter(graph).static_order())
        except CycleError as cycle:
            # A node of the cycle is named by the one after it.
            nodes = cycle.args[1]
            links = [(after, before) for before, after in pairwise(nodes)]
            link = min(links, key=lambda one: _cost(tables[one[0]], one[1]))
            waiting.add(link)
            for each in tables[link[0]].foreign_keys:
                if each.target == link[1]:
                    _defer(found, link[0], each, tables[link[0]])
        else:
            return found


def _cost(rules: TableRules, target: Key) -> int:
    """How bad it is to let the foreign keys to a target wait; 0 is best."""
    keys = [each for each in rules.foreign_keys if each.target == target]
    if all(can_be_updated(each, rules) for each in keys):
        return 0
    return 1 if all(each.deferrable for each in keys) else 2


def can_be_updated(key: ForeignKey, rules: TableRules) -> bool:
    """Whether a foreign key can be NULL at first and be set later, by the primary key."""
    shared = {
        column for other in rules.foreign_keys if other is not key for column in other.columns
    }
    return (
        key.nullable
        and bool(rules.primary_key)
        and any(rules.columns[each].nullable and each not in shared for each in key.columns)
    )


def _defer(found: TableOrder, table: Key, key: ForeignKey, rules: TableRules) -> None:
    where = found.updated if can_be_updated(key, rules) or key.nullable else found.planned
    where.setdefault(table, []).append(key)
