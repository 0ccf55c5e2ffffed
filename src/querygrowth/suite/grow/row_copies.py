"""Copy the rows of a database consistently, as often as wanted, and delete the copies by key."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Boolean, Connection, Integer, String, types

from querygrowth.suite.grow.copied_schema import Schema
from querygrowth.suite.grow.row_sets import RowSet, row_sets
from querygrowth.tables.column_values import UnknownTypeError, ValueSource
from querygrowth.tables.row_values import RowMaker, source_of
from querygrowth.tables.stored_rows import StoredRows
from querygrowth.tables.table_order import table_order
from querygrowth.tables.table_rules import ForeignKey, Key, TableRules, UniqueKey

Row = dict[str, Any]
Identity = tuple[object, ...]

MOST_ROWS = 12  # that are copied of a table into which the test has put rows
FEW_ROWS = 2  # that are copied of any other table
_MOST_READ = 400  # rows; a larger table is not copied
LOCKED = re.compile(
    r"database is locked|lock timeout|lock wait timeout|deadlock|could not obtain lock", re.I
)
# What applications look up by name, without a constraint that says so.
_NAMES = re.compile(
    r"(^|_)(name|title|slug|label|username|login|user|email|mail|code|key|token|path|url|uri|sku"
    r"|handle|nick|nickname|phone|isbn|number|identifier|reference|external_id)$",
    re.I,
)
# One row of many is the default one.
_DEFAULTS = re.compile(r"(^|_)(default|primary|current|main|selected|preferred)($|_)", re.I)


@dataclass
class Original:
    """A row, and its copies; None stands for a copy that was refused."""

    row: Row
    copies: list[Row | None] = field(default_factory=list)


@dataclass
class Copies:
    """The copies of one table's rows.

    Attributes:
        of: The rows with their copies, by the identity of the row.
        made: The identities of all copies.
    """

    of: dict[Identity, Original] = field(default_factory=dict)
    made: set[Identity] = field(default_factory=set)


class RowCopier:
    """Copies the rows of one database during one run of a test.

    Attributes:
        copies: The copies, by table.
        names: The sets of rows that were worth a run, with the tables that they copy.
        refused: Why rows could not be copied, by table, in the database's words or ours.
    """

    def __init__(self) -> None:
        self.copies: dict[Key, Copies] = {}
        self.names: dict[str, frozenset[str]] = {}
        self.refused: dict[str, str] = {}
        self._numbers = iter(range(1, 1_000_000))

    def grow(
        self, connection: Connection, schema: Schema, name: str, number: int, own: Sequence[str]
    ) -> int:
        """Copy rows until each has so many copies.

        Args:
            connection: In a transaction.
            schema: The tables of its database.
            name: The name of the set of rows.
            number: How many copies each row should have.
            own: The names of the tables into which this test has put rows.

        Returns:
            The number of copies added.
        """
        stored = StoredRows(connection, schema.rules.__getitem__)
        rows = self._rows(stored, schema, {each.casefold() for each in own})
        if not rows:
            return 0
        sets = {each.name: each for each in row_sets(schema.rules, rows.keys())}
        self.names |= {
            each.name: frozenset(key[1].casefold() for key in each.copied) for each in sets.values()
        }
        chosen = sets.get(name)
        if chosen is None or not number:
            return 0
        order = table_order({key: schema.rules[key] for key in chosen.copied})
        return sum(
            self._copy(_TableCopier(schema, key, stored, connection), chosen, rows[key], number)
            for key in order.tables
            if key in rows
        )

    def _rows(self, stored: StoredRows, schema: Schema, own: set[str]) -> dict[Key, list[Row]]:
        """The rows to copy, by table, without the copies. Copies that are gone are forgotten."""
        found: dict[Key, list[Row]] = {}
        for key, rules in schema.rules.items():
            columns = list(rules.columns)
            read = stored.values(key, columns, _MOST_READ + 1)
            if not read or len(read) > _MOST_READ:
                if read:
                    self.refused[rules.name] = f"has more than {_MOST_READ} rows"
                continue
            rows = [dict(zip(columns, each, strict=True)) for each in read]
            there = {identity(rules, row) for row in rows}
            copies = self.copies.get(key)
            if copies is not None:
                copies.made &= there
                for original in copies.of.values():
                    original.copies = [
                        copy
                        for copy in original.copies
                        if copy is None or identity(rules, copy) in there
                    ]
                rows = [row for row in rows if identity(rules, row) not in copies.made]
            most = MOST_ROWS if key[1].casefold() in own else FEW_ROWS
            if rows:
                found[key] = rows[-most:]
        return found

    def _copy(
        self,
        table: "_TableCopier",
        chosen: RowSet,
        rows: Sequence[Row],
        number: int,
    ) -> int:
        rules, key = table.rules, table.rules.key
        copies = self.copies.setdefault(key, Copies())
        added = 0
        for row in _parents_first(rules, rows):
            if chosen.parent == key and not _is_below(rules, row):
                continue
            made = copies.of.setdefault(identity(rules, row), Original(row)).copies
            while len(made) < number:
                remapped = self._remapped(rules, chosen, row, len(made))
                made.append(copy := table.copy(row, remapped, self.token()))
                if copy is not None:
                    copies.made.add(identity(rules, copy))
                    added += 1
        if table.reason:
            self.refused.setdefault(rules.name, table.reason)
        if added and (numbered := table.numbered):
            table.stored.advance_sequence(key, numbered)
        return added

    def _remapped(self, rules: TableRules, chosen: RowSet, row: Row, number: int) -> Row:
        """The values of foreign keys whose target has a copy too: those of the same copy."""
        found: Row = {}
        for link in rules.foreign_keys:
            if link.target in chosen.copied and link.target in self.copies:
                copy = self._copy_of(link, row, number)
                if copy is not None:
                    pairs = zip(link.columns, link.target_columns, strict=True)
                    found.update({mine: copy[theirs] for mine, theirs in pairs})
        return found

    def _copy_of(self, link: ForeignKey, row: Row, number: int) -> Row | None:
        wanted = [row[each] for each in link.columns]
        for original in self.copies[link.target].of.values():
            if [original.row[each] for each in link.target_columns] == wanted:
                return original.copies[number] if number < len(original.copies) else None
        return None

    def token(self) -> int:
        """A number that no other copy has."""
        return next(self._numbers)


def identifying(rules: TableRules) -> tuple[str, ...]:
    """The columns that tell a row from others: the primary key, or all without one."""
    return rules.primary_key or tuple(rules.columns)


def identity(rules: TableRules, row: Mapping[str, Any]) -> Identity:
    """The values that tell a row from others."""
    return tuple(_hashable(row.get(each)) for each in identifying(rules))


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _is_below(rules: TableRules, row: Row) -> bool:
    """Whether a row refers to another one of its table."""
    return any(
        link.target == rules.key and all(row[each] is not None for each in link.columns)
        for link in rules.foreign_keys
    )


def _parents_first(rules: TableRules, rows: Sequence[Row]) -> list[Row]:
    """The rows in an order in which a row of the same table comes before those that name it."""
    links = [link for link in rules.foreign_keys if link.target == rules.key]
    waiting, found = list(rows), []
    while links and waiting:
        for link in links:
            open_keys = {tuple(row[each] for each in link.target_columns) for row in waiting}
            free = [
                row
                for row in waiting
                if tuple(row[each] for each in link.columns) not in open_keys
                or all(
                    row[a] == row[b] for a, b in zip(link.columns, link.target_columns, strict=True)
                )
            ]
            found += free
            waiting = [row for row in waiting if not any(row is each for each in free)]
        if not free:
            break
    return found + waiting


class _TableCopier:
    """Copies rows of one table, and changes what has to differ."""

    def __init__(
        self, schema: Schema, key: Key, stored: StoredRows, connection: Connection
    ) -> None:
        self.rules = schema.rules[key]
        self.stored = stored
        self._connection = connection
        self._schema = schema
        self._maker: RowMaker | None = None
        self._given: list[Row] = []
        self._linked = {column for link in self.rules.foreign_keys for column in link.columns}
        self._last: dict[str, int] = {}
        self.reason = ""

    @property
    def numbered(self) -> str:
        """The column whose sequence has to continue after the copies; empty without one."""
        names = [name for name in self._last if self.rules.columns[name].numbered]
        return names[0] if names else ""

    def copy(self, row: Row, remapped: Row, token: int) -> Row | None:
        """Insert a copy of a row, and return it; None if it cannot be had."""
        given = {
            name: value
            for name, value in {**row, **remapped}.items()
            if not self._is_made_by_database(name)
        }
        self._alter(given, remapped, token)
        # The rules leave out a primary key that the database makes.
        automatic = [each for each in self.rules.primary_key if self.rules.columns[each].automatic]
        for unique in (UniqueKey("the primary key", tuple(automatic)), *self.rules.unique):
            if not self._alter_key(unique, given, row, token):
                self.reason = f"one row each for {unique}"
                return None
        maker = self._row_maker()
        self._given.append(given)
        made = next(maker.rows(1), None)
        if made is None:
            maker.skip()
            self.reason = maker.blamed
            return None
        try:
            with self._connection.begin_nested():
                self.stored.insert(self.rules.key, [made])
        except Exception as error:  # the database, a type or a listener of the user refuses it
            if LOCKED.search(str(error)):
                raise
            self.reason = str(error).strip().partition("\n")[0]
            return None
        return made

    def _is_made_by_database(self, name: str) -> bool:
        rule = self.rules.columns[name]
        if rule.always:
            return True
        keyed = name in self.rules.primary_key or name in self._linked
        return rule.automatic and not rule.constant and not keyed

    def _row_maker(self) -> RowMaker:
        if self._maker is None:
            sources = self._schema.sources.get(self.rules.key)
            if sources is None:
                sources = self._schema.sources[self.rules.key] = dict(self._all_sources())
            self._maker = RowMaker(
                rules=self.rules,
                sources=sources,
                overrides={},
                parents={},
                given=self._given,
                taken=self.stored.taken(self.rules.key),
                start=1_000,
                chance=random.Random(0),  # noqa: S311 - test data
            )
        return self._maker

    def _all_sources(self) -> Iterator[tuple[str, ValueSource]]:
        for name, rule in self.rules.columns.items():
            if name not in self._linked and not rule.always:
                with suppress(UnknownTypeError):
                    yield name, source_of(self.rules, name, self._connection.dialect)

    def _alter(self, given: Row, remapped: Row, token: int) -> None:
        """Change what applications expect to be there once."""
        for name, value in given.items():
            rule = self.rules.columns[name]
            if name in remapped or name in self._linked or name in self.rules.primary_key:
                continue
            if isinstance(value, str) and _NAMES.search(name) and _is_text(rule.type):
                given[name] = _renamed(value, token, getattr(rule.type, "length", None))
            elif value is True and _DEFAULTS.search(name) and isinstance(rule.type, Boolean):
                given[name] = False

    def _alter_key(self, unique: UniqueKey, given: Row, row: Row, token: int) -> bool:
        """Make the values of a unique key differ, and return whether that can be."""
        columns = [each for each in unique.columns if each in given]
        if any(given[each] != row[each] for each in columns) or not columns:
            return True
        if any(given[each] is None for each in columns) and not unique.nulls_equal:
            return True
        free = [each for each in columns if each not in self._linked]
        for name in sorted(free, key=lambda each: not _NAMES.search(each)):
            if self.rules.columns[name].always:
                return True
            if self._changed(name, given, token):
                return True
        return False

    def _changed(self, name: str, given: Row, token: int) -> bool:
        rule, value = self.rules.columns[name], given[name]
        if isinstance(value, str) and _is_text(rule.type):
            given[name] = _renamed(value, token, getattr(rule.type, "length", None))
        elif isinstance(value, int) and isinstance(rule.type, Integer) and value is not True:
            last = self._last.get(name)
            if last is None:
                last = self.stored.largest(self.rules.key, name)
            given[name] = self._last[name] = last + 1
        elif isinstance(value, bool) or isinstance(rule.type, types.Enum):
            return False
        else:
            del given[name]  # the maker of rows finds a new value
        return True


def _is_text(kind: Any) -> bool:
    return isinstance(kind, String) and not isinstance(kind, types.Enum)


def _renamed(value: str, token: int, longest: int | None) -> str:
    """A text that differs, with the same beginning, and the domain of an address."""
    name, at, domain = value.partition("@")
    end = f"-{token}{at}{domain}"
    return name[: longest - len(end)] + end if longest and len(name + end) > longest else name + end
