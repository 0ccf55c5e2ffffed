"""Decide what `fill_tables` fills: the tables, the parents that they need, their order and rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from math import ceil, prod
from typing import Any

from sqlalchemy import Connection

from querygrowth.counting.table_names import TableNames
from querygrowth.tables.rule_reader import RuleReader, tables_in
from querygrowth.tables.stored_rows import StoredRows
from querygrowth.tables.table_order import table_order
from querygrowth.tables.table_rules import Key, TableRules, UniqueKey, full_name
from querygrowth.tables.user_tables import UserTables, resolved_table, rows_by_identity

ALL_OTHERS = "*"
Rows = int | Mapping[str, int]
_PARENT_ROWS = 2  # of a table that nobody asked for, but whose rows others need


class FillPlan:
    """What to fill.

    Args:
        connection: Leads to the database.
        user: The tables that the user has named.
        rows: The rows to add; see `fill_tables`.
        overrides: The user's values of columns; see `fill_tables`.

    Attributes:
        lineages: The inheritances, by table.
        rules: The rules of every table to fill.
        existing: The rows that every table has before.
        order: The order of the tables.
        wanted: The rows to add, by table.
        identities: The discriminators of the rows to add, by the root of an inheritance.
        overrides: The user's values, by table and column, as functions of the row's number.

    Raises:
        ValueError: The arguments name a table or column that does not exist.
    """

    def __init__(
        self,
        connection: Connection,
        user: UserTables,
        rows: Rows,
        overrides: Mapping[Any, object],
    ) -> None:
        self._connection = connection
        self._user = user
        self._reader = RuleReader(connection, user.known)
        self.lineages = user.lineages
        self.rules: dict[Key, TableRules] = {}
        self.existing: dict[Key, int] = {}
        self.wanted: dict[Key, int] = {}
        self.identities: dict[Key, list[object]] = {}
        self.overrides: dict[Key, dict[str, Callable[[int], object]]] = {}
        self._explicit: set[Key] = set()
        self._choose(rows)
        self.order = table_order(self.rules)
        self._count_parents()
        self._count_classes()
        # Rows of classes add up in the tables of their bases, which may then need more parents.
        for key in reversed(self.order.tables):
            for unique in self.rules[key].unique:
                self._widen(key, unique, self.wanted[key])
        self._read_overrides(overrides)

    def rules_of(self, key: Key) -> TableRules:
        """The rules of a table, also of one that is not filled."""
        return self.rules[key] if key in self.rules else self._reader.rules(key)

    def _choose(self, rows: Rows) -> None:
        asked = self._asked()
        numbers = dict(rows) if isinstance(rows, Mapping) else {ALL_OTHERS: rows}
        default = numbers.pop(ALL_OTHERS, 0)
        self.wanted = dict.fromkeys(asked, default)
        for name, number in numbers.items():
            key = self._resolve(name, asked)
            self.wanted[key] = number
            self._explicit.add(key)
        self._read_rules([key for key in self.wanted if self.wanted[key]])

    def _asked(self) -> list[Key]:
        keys = list(self._user.asked)
        if self._user.is_empty:
            found = list(tables_in(self._connection))
            if not found:
                raise ValueError(
                    "the database has no tables: create them first, such as by "
                    "Base.metadata.create_all(engine)"
                )
            return found
        known = list(self._user.known) or list(tables_in(self._connection))
        keys += [self._resolve(name, known) for name in self._user.names]
        return list(dict.fromkeys(keys))

    def _resolve(self, name: object, among: Sequence[Key]) -> Key:
        return resolved_table(name, among, [*self._user.known], tables_in(self._connection))

    def _read_rules(self, keys: Iterable[Key]) -> None:
        """Read the rules of tables, and of all tables that their rows have to refer to."""
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in self.rules:
                continue
            if not self._reader.exists(key):
                raise ValueError(
                    f"the database has no table {full_name(key)}: create it first, such as by "
                    "Base.metadata.create_all(engine)"
                )
            self.rules[key] = rules = self._reader.rules(key)
            stack += [
                each.target
                for each in rules.foreign_keys
                if not each.nullable or self.wanted.get(each.target)
            ]
        # What is found first must not decide the order.
        self.rules = {
            key: self.rules[key]
            for key in sorted(self.rules, key=lambda one: (one[0] or "", one[1]))
        }
        stored = StoredRows(self._connection, self.rules_of)
        for key in self.rules:
            self.existing[key] = stored.count(key)

    def _count_parents(self) -> None:
        """Want rows of tables that others refer to, and enough for keys made of foreign keys."""
        for key in reversed(self.order.tables):
            number = self.wanted.setdefault(key, 0)
            if not number:
                continue
            rules = self.rules[key]
            lineage = self.lineages.get(key)
            for each in rules.foreign_keys:
                if each.nullable or each.target == key or each.target not in self.rules:
                    continue
                if lineage is not None and lineage.parent == each.target:
                    continue
                if not self.wanted.get(each.target) and not self.existing[each.target]:
                    self.wanted[each.target] = _PARENT_ROWS
            for unique in rules.unique:
                self._widen(key, unique, number)

    def _widen(self, key: Key, unique: UniqueKey, number: int) -> None:
        """Want more parents where a key of foreign keys has too few combinations."""
        lineage = self.lineages.get(key)
        parents: list[Key] = []
        rest = set(unique.columns)
        for each in self.rules[key].foreign_keys:
            if rest & set(each.columns) and each.target in self.rules:
                if lineage is not None and each.target == lineage.parent:
                    return
                parents.append(each.target)
                rest -= set(each.columns)
        if rest or unique.where is not None or not parents:
            return
        sizes = {each: self.wanted.get(each, 0) + self.existing[each] for each in parents}
        for parent in parents:
            if prod(sizes[one] for one in parents) >= number + self.existing[key]:
                return
            counted = bool(self.identities) and parent in self.lineages
            if parent not in self._explicit and parent != key and not counted:
                others = prod(sizes[one] for one in parents if one != parent)
                more = ceil((number + self.existing[key]) / max(1, others)) - sizes[parent]
                self.wanted[parent] = self.wanted.get(parent, 0) + max(0, more)
                sizes[parent] += max(0, more)

    def _count_classes(self) -> None:
        """Fix the discriminators of inheritances; a row of a class is one in each of its tables."""
        own = dict(self.wanted)
        for key, lineage in self.lineages.items():
            if key not in self.rules:
                continue
            listed = rows_by_identity(lineage.root, self.lineages, own)
            below = {*map(repr, lineage.below)}
            self.wanted[key] = sum(repr(each) in below for each in listed)
            if key == lineage.root:
                self.identities[key] = listed
                self.wanted[key] = len(listed)

    def _read_overrides(self, overrides: Mapping[Any, object]) -> None:
        for given, value in overrides.items():
            table, column = _column_name(given)
            key = self._resolve(table, [*self.rules])
            columns = (
                self.rules[key].columns if key in self.rules else self._reader.rules(key).columns
            )
            if column not in columns:
                names = TableNames(columns)
                raise ValueError(
                    f"overrides: {full_name(key)} has no column {column}; "
                    f"did you mean {names.nearest(column)}?"
                )
            self.overrides.setdefault(key, {})[column] = _override(f"{table}.{column}", value)


def _column_name(given: Any) -> tuple[str, str]:
    """The table and column that a key of `overrides` names.

    Raises:
        ValueError: It names no column.
    """
    if isinstance(given, str):
        table, dot, column = given.rpartition(".")
        if dot and table and column:
            return table, column
    clause = getattr(given, "__clause_element__", lambda: given)()
    owner = getattr(clause, "table", None)
    if owner is not None and hasattr(clause, "name"):
        return str(getattr(owner, "fullname", owner.name)), str(clause.name)
    raise ValueError(f"overrides: name a column as 'table.column', got {given!r}")


def _override(name: str, value: Any) -> Callable[[int], object]:
    """The values that a user gives for a column, by the number of the row."""
    if callable(value):
        return partial(_called, name, value, _takes_number(value))
    if isinstance(value, list | tuple | range):
        if not value:
            raise ValueError(f"overrides: the list for {name} is empty")
        return lambda n: value[n % len(value)]
    return lambda _n: value


def _takes_number(function: Callable[..., object]) -> bool:
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.default is each.empty
        and each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
        for each in parameters
    )


def _called(name: str, function: Callable[..., object], numbered: bool, n: int) -> object:
    try:
        return function(n) if numbered else function()
    except Exception as error:
        raise ValueError(
            f"overrides: the function for {name} raised {type(error).__name__}: {error}"
        ) from error
