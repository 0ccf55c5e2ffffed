"""Choose which tables' rows are copied, so that parents multiply, or the children of a parent."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from querygrowth.tables.table_rules import Key, TableRules, full_name

EVERYTHING = "every row"
_BELOW = "rows below "
MOST_SETS = 12  # that are tried of one test


@dataclass(frozen=True)
class RowSet:
    """The tables whose rows are copied.

    Attributes:
        name: Names it in words: "every row", or "rows below orders".
        parent: The table whose rows stay; None where every row is copied.
        copied: The tables whose rows are copied.
    """

    name: str
    parent: Key | None
    copied: frozenset[Key]


def below_of(parent: str) -> str:
    """The name of the set that copies what is below the rows of a table."""
    return f"{_BELOW}{parent}"


def parent_of(name: str) -> str:
    """The table whose rows stay in a set of this name; empty for the set of every row."""
    return name.removeprefix(_BELOW) if name.startswith(_BELOW) else ""


def row_sets(rules: Mapping[Key, TableRules], filled: Collection[Key]) -> list[RowSet]:
    """The sets of rows that are worth a run: every row, and what is below each parent.

    Below a parent, the parent and what it refers to stay. So its children multiply.

    Args:
        rules: The rules of the tables.
        filled: The tables that have rows.
    """
    children: dict[Key, set[Key]] = {key: set() for key in rules}
    for key, each in rules.items():
        for link in each.foreign_keys:
            if link.target in children:
                children[link.target].add(key)
    parents = {key: {link.target for link in each.foreign_keys} for key, each in rules.items()}
    every = frozenset(filled)
    found = [RowSet(EVERYTHING, None, every)]
    known = {every}
    for parent in sorted(filled, key=full_name):
        copied = _reached([parent], children) & every - {parent}
        if any(link.target == parent for link in rules[parent].foreign_keys):
            copied |= {parent}  # the rows below others in the same table
        copied -= _reached([parent], parents) - {parent}
        copied |= _other_ends(copied, parent, rules, parents) & every
        if copied and frozenset(copied) not in known:
            known.add(frozenset(copied))
            found.append(RowSet(below_of(full_name(parent)), parent, frozenset(copied)))
    return found


def _reached(start: Iterable[Key], steps: Mapping[Key, Collection[Key]]) -> set[Key]:
    """The tables that steps from the first ones reach, without those themselves."""
    found: set[Key] = set()
    waiting = list(start)
    while waiting:
        for key in steps.get(waiting.pop(), ()):
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found


def _other_ends(
    copied: Collection[Key],
    parent: Key,
    rules: Mapping[Key, TableRules],
    parents: Mapping[Key, Collection[Key]],
) -> set[Key]:
    """What has to be copied too, because a key of a copied table consists of foreign keys."""
    above = _reached([parent], parents)
    found: set[Key] = set()
    for key in copied:
        each = rules[key]
        linked = {column for link in each.foreign_keys for column in link.columns}
        connects = any(
            len(unique.columns) > 1 and linked.issuperset(unique.columns) for unique in each.unique
        )
        if connects or linked.issuperset(each.columns):
            targets = {link.target for link in each.foreign_keys}
            if not targets & set(copied):
                found |= targets - {parent} - above
    return found
