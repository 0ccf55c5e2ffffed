"""Put valid rows into the tables of any schema: `fill_tables`.

The flow: find the tables (`user_tables`), read what the database demands (`table_rules`), order the
tables (`table_order`), make rows (`row_values`, `column_values`), insert them in batches.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial as bound
from inspect import signature
from itertools import islice
from math import ceil, prod
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    TableClause,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

from querygrowth.check_rules import bounds_of
from querygrowth.column_values import UnknownTypeError, ValueSource
from querygrowth.engine import single_engine
from querygrowth.row_values import Parents, RowMaker, comparable
from querygrowth.table_names import TableNames, is_named
from querygrowth.table_order import TableOrder, can_be_updated, table_order
from querygrowth.table_rules import (
    ForeignKey,
    Key,
    RuleReader,
    TableRules,
    UniqueKey,
    full_name,
    tables_in,
)
from querygrowth.user_tables import UserTables, rows_by_identity, user_tables

ALL_OTHERS = "*"
_BATCH = 500
_PARENT_ROWS = 2  # of a table that nobody asked for, but whose rows others need
_MOST_PARENTS = 100_000
_MOST_REFUSALS = 60  # rows that the database refuses one after the other

Rows = int | Mapping[str, int]


@dataclass(frozen=True)
class Refusal:
    """A table that could not be filled.

    Attributes:
        table: The table, with its schema if it has one.
        reason: The constraint or the database's message.
        hint: What to give so that it can be filled.
    """

    table: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.table}: {self.reason}; {self.hint}"


@dataclass(frozen=True)
class Filled:
    """What `fill_tables` did.

    Attributes:
        rows: The rows added, by table, with a table's schema if it has one.
        limited: Why a table took fewer rows than were wanted, by table.
        empty: Columns left NULL because no value is known for them, as "table.column".
        refused: The tables that could not be filled.
    """

    rows: Mapping[str, int]
    limited: Mapping[str, str]
    empty: tuple[str, ...]
    refused: tuple[Refusal, ...]

    def __str__(self) -> str:
        lines = [f"{sum(self.rows.values())} rows in {len(self.rows)} tables"]
        lines += [
            f"  {table}: {self.rows[table]} rows: {why}" for table, why in self.limited.items()
        ]
        lines += [f"  {column}: left NULL" for column in self.empty]
        lines += [f"  not filled: {each}" for each in self.refused]
        return "\n".join(lines)


class FillError(Exception):
    """At least one table could not be filled. Nothing was added.

    Attributes:
        filled: What was and was not filled before everything was taken back.
    """

    def __init__(self, filled: Filled) -> None:
        total = len(filled.rows)
        lines = [f"{len(filled.refused)} of {total} tables cannot be filled:"]
        super().__init__("\n".join([*lines, *(f"  {each}" for each in filled.refused)]))
        self.filled = filled


def fill_tables(
    source: object,
    tables: object = None,
    *,
    rows: Rows = 10,
    overrides: Mapping[Any, object] | None = None,
    seed: int | random.Random = 0,
    unusual: bool = False,
    partial: bool = False,
) -> Filled:
    """Add valid rows to the tables of a database.

    Every row satisfies the constraints of its table: NOT NULL, keys, foreign keys, enums, CHECKs.
    Rows that exist stay, and new ones may refer to them. Equal arguments on equal databases make
    equal rows, unless a default of the user's own columns draws other values.

    Args:
        source: An Engine, whose rows are committed, or a Connection or Session, whose transaction
            stays open. In async code: `await connection.run_sync(fill_tables, Base)`.
        tables: What to fill: models, a declarative base, MetaData, Table objects, names, or a list
            of these; by default all tables of the database. Models give the best rows, because a
            database does not show the classes of an inheritance or the types of Python. Tables that
            the rows have to refer to are filled too, with a few rows if they are empty.
        rows: The rows to add: a number for every table, or numbers by table; "*" stands for the
            tables that are not named.
        overrides: The values of columns, such as `{"users.email": ...}`: a value, a list to repeat,
            or a function without arguments or of the row's number. A key may be a model's attribute.
        seed: Selects the values; a `random.Random` is used as it is, such as Hypothesis draws one.
        unusual: Whether to prefer NULLs, ties, extremes and unusual texts.
        partial: Whether to return although a table could not be filled.

    Returns:
        The rows added by table, and what fell short.

    Raises:
        FillError: A table could not be filled; the message names the constraint and the override to
            give. Nothing was added.
        ValueError: The arguments name a table or column that does not exist, or are of no use.
    """
    wanted = user_tables(tables)
    _check_rows(rows)
    with _transaction(source) as connection:
        job = _Fill(connection, wanted, seed, unusual)
        job.choose(rows, overrides or {})
        job.run()
        filled = job.filled()
        if filled.refused and not partial:
            raise FillError(filled)
    return filled


def _check_rows(rows: Rows) -> None:
    numbers = rows if isinstance(rows, Mapping) else {ALL_OTHERS: rows}
    for table, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            where = "" if table == ALL_OTHERS else f" of {table}"
            raise ValueError(f"rows{where} must be a whole number, 0 or more, got {number!r}")


@contextmanager
def _transaction(source: object) -> Iterator[Connection]:
    """A connection in a transaction, of which an exception takes back what was added."""
    if isinstance(source, Session | scoped_session):
        source = source.connection()
    if isinstance(source, Connection):
        _begin_on_sqlite(source)
        with source.begin_nested():
            yield source
        return
    engine = single_engine(source)
    if not isinstance(engine, Engine):
        raise ValueError(
            "an async engine is filled through its connection: async with engine.begin() as "
            "connection: await connection.run_sync(fill_tables, Base)"
        )
    with engine.connect() as connection, connection.begin():
        _begin_on_sqlite(connection)
        yield connection


def _begin_on_sqlite(connection: Connection) -> None:
    """Begin on the driver too: with sqlite3, the end of the first savepoint commits otherwise."""
    if connection.dialect.name != "sqlite":
        return
    connection.exec_driver_sql("SELECT 1").close()  # lets the user's listener begin
    driver = connection.connection.driver_connection
    inside = getattr(driver, "in_transaction", None)
    if inside is False:
        connection.exec_driver_sql("BEGIN")


@dataclass
class _Fill:
    """One call of `fill_tables`."""

    connection: Connection
    user: UserTables
    seed: int | random.Random
    unusual: bool
    rules: dict[Key, TableRules] = field(default_factory=dict)
    wanted: dict[Key, int] = field(default_factory=dict)
    explicit: set[Key] = field(default_factory=set)
    overrides: dict[Key, dict[str, Callable[[int], object]]] = field(default_factory=dict)
    order: TableOrder = field(default_factory=TableOrder)
    added: dict[Key, int] = field(default_factory=dict)
    limited: dict[Key, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    refused: dict[Key, Refusal] = field(default_factory=dict)
    planned: dict[Key, list[dict[str, object]]] = field(default_factory=dict)
    existing: dict[Key, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reader = RuleReader(self.connection, self.user.known)

    def filled(self) -> Filled:
        return Filled(
            rows={full_name(key): self.added.get(key, 0) for key in self.order.tables},
            limited={full_name(key): why for key, why in self.limited.items()},
            empty=tuple(self.empty),
            refused=tuple(self.refused.values()),
        )

    # --- what to fill -----------------------------------------------------------------------------

    def choose(self, rows: Rows, overrides: Mapping[Any, object]) -> None:
        """Find the tables, the parents that they need, their order, and how many rows to add."""
        asked = self._asked()
        numbers = dict(rows) if isinstance(rows, Mapping) else {ALL_OTHERS: rows}
        default = numbers.pop(ALL_OTHERS, 0)
        self.wanted = dict.fromkeys(asked, default)
        for name, number in numbers.items():
            key = self._resolve(name, asked)
            self.wanted[key] = number
            self.explicit.add(key)
        self._read_rules([key for key in self.wanted if self.wanted[key]])
        self.order = table_order(self.rules)
        self._count_parents()
        self._count_classes()
        self._read_overrides(overrides)

    def _asked(self) -> list[Key]:
        keys = list(self.user.asked)
        if self.user.is_empty:
            return list(tables_in(self.connection))
        known = list(self.user.known) or list(tables_in(self.connection))
        keys += [self._resolve(name, known) for name in self.user.names]
        return list(dict.fromkeys(keys))

    def _resolve(self, name: object, among: Sequence[Key]) -> Key:
        """The table that a user's name means.

        Raises:
            ValueError: There is no such table, or several.
        """
        table = getattr(name, "__table__", name)
        named = getattr(table, "fullname", table)
        if not isinstance(named, str):
            raise ValueError(f"a table is named by a text or a model, got {name!r}")
        for candidates in (among, [*self.user.known], tables_in(self.connection)):
            found = [
                key
                for key in candidates
                if is_named(named, key[1], () if key[0] is None else (full_name(key),))
            ]
            exact = [key for key in found if full_name(key) == named]
            found = exact or found
            if len(found) == 1:
                return found[0]
            if found:
                listed = ", ".join(full_name(key) for key in found)
                raise ValueError(f"{named} may be one of {listed}: name it with its schema")
        names = TableNames(full_name(key) for key in [*among, *self.user.known])
        nearest = f"; did you mean {names.nearest(named)}?" if names else ""
        raise ValueError(f"there is no table {named}{nearest}")

    def _read_rules(self, keys: Iterable[Key]) -> None:
        """Read the rules of tables, and of all tables that their rows have to refer to."""
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in self.rules:
                continue
            if not self.reader.exists(key):
                raise ValueError(
                    f"the database has no table {full_name(key)}: create it first, such as by "
                    "Base.metadata.create_all(engine)"
                )
            self.rules[key] = rules = self.reader.rules(key)
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
        for key in self.rules:
            self.existing[key] = self._count(key)

    def _count_parents(self) -> None:
        """Want rows of tables that others refer to, and enough for keys made of foreign keys."""
        for key in reversed(self.order.tables):
            number = self.wanted.setdefault(key, 0)
            if not number:
                continue
            rules = self.rules[key]
            lineage = self.user.lineages.get(key)
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
        lineage = self.user.lineages.get(key)
        parents: list[Key] = []
        rest = set(unique.columns)
        for each in self.rules[key].foreign_keys:
            if rest & set(each.columns) and each.target in self.rules and not each.nullable:
                if lineage is not None and each.target == lineage.parent:
                    return
                parents.append(each.target)
                rest -= set(each.columns)
        if rest or unique.where is not None or not parents:
            return
        sizes = {each: self.wanted.get(each, 0) + self.existing[each] for each in parents}
        for each in parents:
            if prod(sizes[one] for one in parents) >= number + self.existing[key]:
                return
            if each not in self.explicit and each != key:
                others = prod(sizes[one] for one in parents if one != each)
                more = ceil((number + self.existing[key]) / max(1, others)) - sizes[each]
                self.wanted[each] = self.wanted.get(each, 0) + max(0, more)
                sizes[each] += max(0, more)

    def _count_classes(self) -> None:
        """Fix the discriminators of inheritances; a row of a class is one in each of its tables."""
        own = dict(self.wanted)
        self.identities: dict[Key, list[object]] = {}
        for key, lineage in self.user.lineages.items():
            if key not in self.rules:
                continue
            listed = rows_by_identity(lineage.root, self.user.lineages, own)
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
                self.rules[key].columns if key in self.rules else self.reader.rules(key).columns
            )
            if column not in columns:
                names = TableNames(columns)
                raise ValueError(
                    f"overrides: {full_name(key)} has no column {column}; "
                    f"did you mean {names.nearest(column)}?"
                )
            self.overrides.setdefault(key, {})[column] = _override(f"{table}.{column}", value)

    # --- filling ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Fill all tables in order, then set the foreign keys that had to wait."""
        if any(self.order.planned.values()):
            self._check_at_the_end()
        for key in self.order.tables:
            number = self.wanted.get(key, 0)
            if number:
                self._fill(key, number)
        for key, links in self.order.updated.items():
            for link in links:
                if self.added.get(key):
                    self._update(key, link)

    def _check_at_the_end(self) -> None:
        """Ask the database to check foreign keys at the end of the transaction."""
        statement = {
            "sqlite": "PRAGMA defer_foreign_keys = ON",
            "postgresql": "SET CONSTRAINTS ALL DEFERRED",
        }.get(self.connection.dialect.name)
        if statement:
            self.connection.exec_driver_sql(statement)

    def _fill(self, key: Key, number: int) -> None:
        rules = self.rules[key]
        try:
            with self._savepoint():
                maker = self._maker(key, number)
                self._insert(key, maker, number)
        except _CannotFillError as error:
            self.added[key] = 0
            self.refused[key] = Refusal(rules.name, error.reason, error.hint)

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        with self.connection.begin_nested():
            yield

    def _maker(self, key: Key, number: int) -> RowMaker:
        rules = self.rules[key]
        chance = self._chance(key)
        sources = self._sources(rules)
        overrides = self.overrides.get(key, {})
        waiting = [*self.order.updated.get(key, ()), *self.order.planned.get(key, ())]
        parents = {
            each: self._parents(key, each)
            for each in rules.foreign_keys
            if each not in waiting and not set(each.columns) <= set(overrides)
        }
        given = self._given(key, number, sources, chance)
        return RowMaker(
            rules=rules,
            sources=sources,
            overrides=overrides,
            parents=parents,
            given=given,
            taken=self._taken(key),
            start=self.existing[key],
            chance=chance,
            unusual=self.unusual,
        )

    def _chance(self, key: Key) -> random.Random:
        # One for each table, so that another table changes no row of this one.
        if isinstance(self.seed, random.Random):
            return self.seed
        return random.Random(f"{self.seed} {full_name(key)}")  # noqa: S311 - test data

    def _sources(self, rules: TableRules) -> dict[str, ValueSource]:
        found: dict[str, ValueSource] = {}
        linked = {column for each in rules.foreign_keys for column in each.columns}
        in_keys = {column for each in rules.unique for column in each.columns}
        overrides = self.overrides.get(rules.key, {})
        for name, rule in rules.columns.items():
            made = rule.automatic or rule.expression is not None
            if rule.always or name in linked or name in overrides:
                continue
            if made and name not in in_keys and rule.default is None:
                continue
            try:
                found[name] = source = ValueSource(
                    rules.name,
                    name,
                    rule.type,
                    self.connection.dialect,
                    bounds_of(name, rules.conditions),
                    rules.lengths.get(name),
                    seed=self.seed if isinstance(self.seed, int) else 0,
                )
            except UnknownTypeError as unknown:
                if made:
                    continue
                if not rule.nullable:
                    raise _CannotFillError(f"{name}: {unknown}", _hint(rules, [name])) from None
                self.empty.append(f"{rules.name}.{name}")
                continue
            if rule.default is not None and not self.unusual and name not in in_keys:
                source.use_default(rule.default)
        return found

    def _clause(self, key: Key) -> TableClause:
        schema, name = key
        columns = [
            sql_column(each.name, each.type) for each in self._rules_of(key).columns.values()
        ]
        return sql_table(name, *columns, schema=schema)

    def _rules_of(self, key: Key) -> TableRules:
        return self.rules[key] if key in self.rules else self.reader.rules(key)

    def _count(self, key: Key) -> int:
        table = sql_table(key[1], schema=key[0])
        return self.connection.scalar(select(func.count()).select_from(table)) or 0

    def _values(self, key: Key, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """The values of columns in all rows of a table, in the order of its primary key."""
        table = self._clause(key)
        statement = select(*(table.c[each] for each in columns)).limit(_MOST_PARENTS)
        order = [table.c[each] for each in self._rules_of(key).primary_key]
        return [tuple(row) for row in self.connection.execute(statement.order_by(*order))]

    def _parents(self, key: Key, link: ForeignKey) -> Parents:
        lineage = self.user.lineages.get(key)
        rows = self._values(link.target, link.target_columns) if self._has_rows(link.target) else []
        own_key = set(link.columns) == set(self.rules[key].primary_key)
        if lineage is not None and lineage.parent == link.target and own_key:
            root = self._clause(lineage.root)
            names = self._rules_of(lineage.root).primary_key
            statement = select(*(root.c[each] for each in names)).where(
                root.c[lineage.discriminator].in_(lineage.below)
            )
            right = {tuple(row) for row in self.connection.execute(statement)}
            rows = [row for row in rows if row in right]
        if not rows and not link.nullable:
            reason = f"{link.name} needs rows of {full_name(link.target)}"
            if link.target in self.refused:
                raise _CannotFillError(reason, "it could not be filled itself")
            raise _CannotFillError(reason, f"give rows={{{full_name(link.target)!r}: ...}}")
        return Parents(link.columns, rows)

    def _has_rows(self, key: Key) -> bool:
        return bool(self.added.get(key) or self.existing.get(key) or key not in self.rules)

    def _taken(self, key: Key) -> dict[UniqueKey, set[tuple[object, ...]]]:
        found: dict[UniqueKey, set[tuple[object, ...]]] = {}
        for unique in self.rules[key].unique:
            found[unique] = set()
            if self.existing[key]:
                rows = self._values(key, unique.columns)
                values = (comparable(unique, row) for row in rows)
                found[unique].update(value for value in values if value is not None)
        return found

    # --- keys before rows -------------------------------------------------------------------------

    def _given(
        self, key: Key, number: int, sources: Mapping[str, ValueSource], chance: random.Random
    ) -> list[dict[str, object]]:
        """The values of rows that are fixed beforehand: discriminators, and keys of a cycle."""
        lineage = self.user.lineages.get(key)
        given: list[dict[str, object]] = [{} for _ in range(number)]
        if lineage is not None and key == lineage.root:
            for row, identity in zip(given, self.identities[key], strict=True):
                row[lineage.discriminator] = identity
        for row, values in zip(given, self.planned.get(key, ()), strict=False):
            row.update(values)
        for link in self.order.planned.get(key, ()):
            if link.target == key:
                for row, values in zip(given, self._planned(key, link, number), strict=True):
                    row.update(values)
            targets = given if link.target == key else self._planned_rows(link)
            for place, row in enumerate(given):
                target = targets[place % len(targets)] if targets else {}
                for column, other in zip(link.columns, link.target_columns, strict=True):
                    if other in target:
                        row[column] = target[other]
        del sources, chance
        return given

    def _planned_rows(self, link: ForeignKey) -> list[dict[str, object]]:
        number = self.wanted.get(link.target, 0)
        if link.target not in self.planned:
            self.planned[link.target] = self._planned(link.target, link, number)
        return self.planned[link.target]

    def _planned(self, key: Key, link: ForeignKey, number: int) -> list[dict[str, object]]:
        """Keys for rows that do not exist yet."""
        rules = self.rules[key]
        first = self.existing[key]
        chance = self._chance(key)
        found: list[dict[str, object]] = [{} for _ in range(number)]
        linked = {column for each in rules.foreign_keys for column in each.columns}
        for name in link.target_columns:
            rule = rules.columns[name]
            if name in linked or rule.always:
                raise _CannotFillError(
                    f"{link.name} is in a cycle whose keys cannot be made beforehand",
                    "make one of its columns nullable, or insert these rows yourself",
                )
            source = ValueSource(
                rules.name,
                name,
                rule.type,
                self.connection.dialect,
                bounds_of(name, rules.conditions),
            )
            last = self._largest(key, name) if rule.automatic else 0
            for place, row in enumerate(found):
                row[name] = (
                    last + place + 1 if rule.automatic else source.value(first + place, chance)
                )
        return found

    def _largest(self, key: Key, column: str) -> int:
        found = self.connection.scalar(select(func.max(self._clause(key).c[column])))
        return int(found or 0)

    def _advance_sequences(self, key: Key) -> None:
        """Let PostgreSQL continue after numbers that were given."""
        if self.connection.dialect.name != "postgresql":
            return
        rules = self.rules[key]
        for name in rules.primary_key:
            if not rules.columns[name].automatic or rules.columns[name].constant:
                continue
            quoted = self.connection.dialect.identifier_preparer.format_table(self._clause(key))
            sequence = self.connection.scalar(select(func.pg_get_serial_sequence(quoted, name)))
            if sequence:
                self.connection.scalar(select(func.setval(sequence, self._largest(key, name))))

    # --- inserting --------------------------------------------------------------------------------

    def _insert(self, key: Key, maker: RowMaker, number: int) -> None:
        rules = self.rules[key]
        most = maker.most
        possible = number if most is None else min(number, most)
        rows = maker.rows(possible)
        added = 0
        while batch := list(islice(rows, _BATCH)):
            added += self._insert_batch(key, batch, maker)
        self.added[key] = added
        if added < number:
            self.limited[key] = why = maker.tightest
            if not added:
                raise _CannotFillError(why, _hint(rules, _columns_in(why, rules)))
        if key in self.planned or any(
            each.target == key for each in self.order.planned.get(key, ())
        ):
            self._advance_sequences(key)

    def _insert_batch(self, key: Key, batch: list[dict[str, object]], maker: RowMaker) -> int:
        try:
            with self._savepoint():
                self._send(key, batch)
        except Exception as error:  # the user's types and listeners may raise any
            return self._insert_one_by_one(key, batch, maker, error)
        return len(batch)

    def _send(self, key: Key, batch: list[dict[str, object]]) -> None:
        table = self._clause(key)
        expressions = {
            name: rule.expression
            for name, rule in self.rules[key].columns.items()
            if rule.expression is not None and name not in batch[0]
        }
        statement = insert(table).values(expressions) if expressions else insert(table)
        if not batch[0] and not expressions:
            for _ in batch:  # no column needs a value
                self.connection.execute(insert(table).values({}))
            return
        self.connection.execute(statement, batch if batch[0] else [{}] * len(batch))

    def _insert_one_by_one(
        self, key: Key, batch: list[dict[str, object]], maker: RowMaker, error: Exception
    ) -> int:
        """Insert what the database takes of a batch that it refused, and try other rows instead."""
        added, refusals, number = 0, 0, len(batch)
        waiting = iter(batch)
        while added < number and refusals < _MOST_REFUSALS:
            row = next(waiting, None) or next(maker.rows(1), None)
            if row is None:
                break
            try:
                with self._savepoint():
                    self._send(key, [row])
            except Exception as refused:
                error = refused
                refusals += 1
            else:
                added += 1
                refusals = 0
        if added < number and refusals:
            rules = self.rules[key]
            reason = _reason(error)
            raise _CannotFillError(
                f"the database refuses its rows: {reason}", _hint(rules, _columns_in(reason, rules))
            )
        return added

    def _update(self, key: Key, link: ForeignKey) -> None:
        """Set a foreign key that waited, in the rows that have none yet."""
        rules = self.rules[key]
        if not rules.primary_key or not can_be_updated(link, rules):
            return
        if set(link.columns) & set(self.overrides.get(key, {})):
            return
        table = self._clause(key)
        free = [each for each in link.columns if rules.columns[each].nullable]
        places = [link.columns.index(each) for each in free]
        fixed = [each for each in link.columns if each not in free]
        statement = select(*(table.c[each] for each in (*rules.primary_key, *fixed)))
        statement = statement.where(and_(*(table.c[each].is_(None) for each in free)))
        statement = statement.order_by(*(table.c[each] for each in rules.primary_key))
        rows = self.connection.execute(statement).all()[-self.added[key] :]
        parents = self._parents(key, link)
        change = (
            update(table)
            .where(
                and_(
                    *(
                        table.c[each] == bindparam(f"key_{each}", type_=table.c[each].type)
                        for each in rules.primary_key
                    )
                )
            )
            .values({each: bindparam(f"new_{each}", type_=table.c[each].type) for each in free})
        )
        once = any(set(each.columns) <= set(link.columns) for each in rules.unique)
        chance = self._chance(key)
        changes: list[dict[str, object]] = []
        width = len(rules.primary_key)
        for number, row in enumerate(rows):
            present = dict(zip(fixed, row[width:], strict=True))
            candidates = parents.matching(present)
            place = self._place(number, len(candidates), link.target == key, once, chance)
            if place is None:
                continue
            chosen = candidates[place]
            changes.append(
                {
                    **{f"key_{n}": v for n, v in zip(rules.primary_key, row[:width], strict=True)},
                    **{f"new_{n}": chosen[p] for n, p in zip(free, places, strict=True)},
                }
            )
        self._send_changes(change, changes)

    def _place(
        self, number: int, size: int, own: bool, once: bool, chance: random.Random
    ) -> int | None:
        """Which parent a row gets. Rows of one table make a tree whose first row has none."""
        if not size or (once and number >= size):
            return None
        if own:
            return None if number == 0 else (number - 1) // (1 if once else 2) % size
        if self.unusual and not once:
            return chance.randrange(size)
        return number % size

    def _send_changes(self, change: Any, changes: list[dict[str, object]]) -> None:
        for start in range(0, len(changes), _BATCH):
            batch = changes[start : start + _BATCH]
            try:
                with self._savepoint():
                    self.connection.execute(change, batch)
            except DBAPIError:
                # NULL is valid. Rows that a rule keeps from a parent stay without one.
                for each in batch:
                    try:
                        with self._savepoint():
                            self.connection.execute(change, [each])
                    except DBAPIError:
                        continue


class _CannotFillError(Exception):
    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def _reason(error: Exception) -> str:
    """The database's own words, in one line."""
    original = getattr(error, "orig", None) or error
    text = " ".join(str(original).split()) or type(original).__name__
    return text if isinstance(error, DBAPIError) else f"{type(original).__name__}: {text}"


def _columns_in(text: str, rules: TableRules) -> list[str]:
    words = {*"".join(each if each.isalnum() or each == "_" else " " for each in text).split()}
    return [each for each in rules.columns if each in words]


def _hint(rules: TableRules, columns: Sequence[str]) -> str:
    named = columns or [
        each.name for each in rules.columns.values() if not each.automatic and not each.nullable
    ]
    column = named[0] if named else "COLUMN"
    return f"give its values: overrides={{'{rules.name}.{column}': ...}}"


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
    table = getattr(clause, "table", None)
    if table is not None and hasattr(clause, "name"):
        return str(getattr(table, "fullname", table.name)), str(clause.name)
    raise ValueError(f"overrides: name a column as 'table.column', got {given!r}")


def _override(name: str, value: Any) -> Callable[[int], object]:
    """The values that a user gives for a column, by the number of the row."""
    if callable(value):
        try:
            parameters = signature(value).parameters.values()
        except (TypeError, ValueError):
            return lambda _n: value()
        needed = [
            each
            for each in parameters
            if each.default is each.empty
            and each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
        ]
        return bound(value) if needed else lambda _n: value()
    if isinstance(value, list | tuple | range):
        if not value:
            raise ValueError(f"overrides: the list for {name} is empty")
        return lambda n: value[n % len(value)]
    return lambda _n: value
