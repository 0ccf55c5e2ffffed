"""Make valid rows for the tables of a schema, few and nasty, or evenly spread for growth.

Foreign keys point to rows that exist, or are NULL where they may be. Keys do not rise with the
order of insertion. Values tie, repeat and are NULL often.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, Table, UniqueConstraint

from querygrowth.rewrites.column_pools import UnknownTypeError, fresh_values, pool_of
from querygrowth.rewrites.schema import Schema, may_be_null

# In one database, a column is NULL never, sometimes or nearly always.
_NULL_SHARES = (0.0, 0.2, 0.2, 0.2, 0.2, 0.9)
_HUB_SHARE = 0.4
_WITNESS_SHARE = 0.5
_MOST_TRIES = 12


@dataclass
class DrawnRow:
    """One row.

    Args:
        table: Its table.
        values: Its values by column name, as SQLAlchemy binds them.
        later: Values of foreign keys in a cycle, which are set after all rows are in.
    """

    table: Table
    values: dict[str, Any]
    later: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> dict[str, Any]:
        """All values, as they are in the end."""
        return {**self.values, **self.later}

    @property
    def key(self) -> dict[str, Any]:
        """The values of the primary key; of all columns where there is none."""
        columns = self.table.primary_key.columns or self.table.columns
        return {c.name: self.values[c.name] for c in columns if c.name in self.values}


@dataclass
class RowMaker:
    """Makes rows for one database, which it knows.

    Args:
        schema: The tables.
        constants: What the functions compare with.
        random: Decides everything that is open.
        even: Whether to spread rows evenly, without NULLs: for growth.
        insert: Puts a row into the database; returns the reason if it refuses. None without one.
        witnesses: Values of rows that the old function selected, by table. Half of the rows take
            them, so that a filter with several conditions selects enough rows.
    """

    schema: Schema
    constants: Sequence[object]
    random: Random
    even: bool = False
    insert: Callable[[DrawnRow], str | None] | None = None
    witnesses: Mapping[Table, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    rows: list[DrawnRow] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    _pools: dict[Column[Any], list[object]] = field(default_factory=dict)
    _null_shares: dict[Column[Any], float] = field(default_factory=dict)
    _reaches: dict[ForeignKeyConstraint, float] = field(default_factory=dict)
    _present: defaultdict[Table, list[DrawnRow]] = field(default_factory=lambda: defaultdict(list))
    _taken: defaultdict[tuple[str, ...], set[Any]] = field(default_factory=lambda: defaultdict(set))

    def add(self, table: Table, seed: int) -> bool:
        """Add a row to a table, with what belongs to it; whether it was possible.

        Args:
            table: A table of `schema.drawn`.
            seed: Decides the values of the row.
        """
        random = Random(seed)  # noqa: S311 - not for secrets
        row = self._make(table, random, {})
        if row is None:
            return False
        part = self.schema.inheritance.get(table)
        if part is not None:
            for joined in part.tables.get(row.values.get(part.column), ()):
                key = zip(joined.primary_key.columns, table.primary_key.columns, strict=True)
                fixed = {own.name: row.values[base.name] for own, base in key}
                if self._make(joined, random, fixed) is None:
                    return False
        return True

    def finish(self) -> None:
        """Set the foreign keys in cycles, now that all rows are in."""
        for row in self.rows:
            for key in row.table.foreign_key_constraints:
                if key not in self.schema.cyclic or not may_be_null(key):
                    continue
                parents = self._present[key.referred_table]
                if parents and (
                    self.even or not self._is_null(key.columns.values()[0], self.random)
                ):
                    parent = self.random.choice(parents)
                    row.later.update(_pointing(key, parent))

    def references(self, column: Column[Any]) -> Counter[Any]:
        """How often other rows refer to the values of a column."""
        return Counter(
            row.complete[element.parent.name]
            for row in self.rows
            for key in row.table.foreign_key_constraints
            for element in key.elements
            if element.column is column and row.complete.get(element.parent.name) is not None
        )

    def witness(self) -> dict[Table, list[Mapping[str, Any]]]:
        """The values of the rows, apart from those of keys."""
        found: dict[Table, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            columns = [c for c in row.table.columns if not (c.primary_key or c.foreign_keys)]
            values = {c.name: row.values[c.name] for c in columns if c.name in row.values}
            found.setdefault(row.table, []).append(values)
        return found

    def present(self, table: Table) -> Sequence[DrawnRow]:
        """The rows of a table."""
        return self._present[table]

    def _make(self, table: Table, random: Random, fixed: dict[str, Any]) -> DrawnRow | None:
        reason = "its unique columns have no more values"
        for _ in range(_MOST_TRIES):
            values = self._references(table, random, fixed)
            if values is None:
                reason = "a table that it refers to is empty"
                break
            self._fill(table, values, random)
            uniques = self._uniques(table, values, random)
            if uniques is None:
                continue
            row = DrawnRow(table, values)
            refused = self.insert(row) if self.insert is not None else None
            if refused is None:
                for names, taken in uniques:
                    self._taken[names].add(taken)
                self.rows.append(row)
                self._present[table].append(row)
                return row
            reason = refused
        self.refused[table.fullname] = reason
        return None

    def _references(
        self, table: Table, random: Random, fixed: dict[str, Any]
    ) -> dict[str, Any] | None:
        values = dict(fixed)
        keys = sorted(
            table.foreign_key_constraints, key=lambda key: (-len(key.columns), str(key.name))
        )
        for key in keys:
            if set(key.column_keys) <= values.keys():
                continue
            null = may_be_null(key)
            if key in self.schema.cyclic and null:
                values.update(
                    {c.name: None for c in key.columns if c.nullable and c.name not in values}
                )
                continue
            parents = [
                parent
                for parent in self._present[key.referred_table]
                if all(
                    values.get(name, value) == value
                    for name, value in _pointing(key, parent).items()
                )
            ]
            if parents and not (
                null and not self.even and self._is_null(key.columns.values()[0], random)
            ):
                if self.even:
                    place = len(self._present[table]) % len(parents)
                elif random.random() < _HUB_SHARE:
                    place = 0
                else:
                    place = random.randrange(max(1, int(len(parents) * self._reach(key))))
                values.update(_pointing(key, parents[place]))
            elif null:
                for column in key.columns:
                    if column.nullable and not column.primary_key:
                        values.setdefault(column.name, None)
            elif key.referred_table is table:
                # Its first row can only refer to itself.
                for element in key.elements:
                    own = element.column
                    if own.name not in values:
                        values[own.name] = self._key_value(own, random)
                    values[element.parent.name] = values[own.name]
            else:
                return None
        return values

    def _is_null(self, column: Column[Any], random: Random) -> bool:
        if column not in self._null_shares:
            self._null_shares[column] = self.random.choice(_NULL_SHARES)
        return random.random() < self._null_shares[column]

    def _reach(self, key: ForeignKeyConstraint) -> float:
        """The share of the parents that have children in this database."""
        if key not in self._reaches:
            self._reaches[key] = self.random.choice((1.0, 1.0, 0.7, 0.5))
        return self._reaches[key]

    def _fill(self, table: Table, values: dict[str, Any], random: Random) -> None:
        known = self.witnesses.get(table)
        if known and (self.even or random.random() < _WITNESS_SHARE):
            for name, value in random.choice(known).items():
                values.setdefault(name, value)
        part = self.schema.inheritance.get(table)
        for column in table.columns:
            if column.name in values or column.computed is not None:
                continue
            if column.identity is not None and column.identity.always:
                continue
            if part is not None and column.name == part.column:
                values[column.name] = random.choice([*part.tables])
            elif column.primary_key and _is_number(column):
                values[column.name] = self._key_value(column, random)
            elif column.nullable and not self.even and self._is_null(column, random):
                values[column.name] = None
            else:
                self._set_value(column, values, random)

    def _set_value(self, column: Column[Any], values: dict[str, Any], random: Random) -> None:
        try:
            values[column.name] = random.choice(self.pool(column))
        except UnknownTypeError as unknown:
            if column.nullable:
                values[column.name] = None
            elif column.server_default is None and column.default is None:
                raise ValueError(
                    f"no value is known for {unknown}: pass "
                    f'values={{"{column.table.fullname}.{column.name}": [...]}}'
                ) from None

    def pool(self, column: Column[Any]) -> list[object]:
        """The values of a column in this database: a few of all, so that rows tie."""
        if column not in self._pools:
            own = self.schema.values.get(f"{column.table.fullname}.{column.name}")
            pool = [*own] if own is not None else pool_of(column, self.constants)
            if own is None and len(pool) > 4:
                met = len(pool_of(column, ())) if self.constants else len(pool)
                first = pool[: max(0, len(pool) - met)]  # what the functions compare with
                few = self.random.sample(pool, self.random.randrange(2, 6))
                pool = [*self.random.sample(first, min(len(first), 3)), *few]
            self._pools[column] = pool
        return self._pools[column]

    def _key_value(self, column: Column[Any], random: Random) -> int:
        taken = {row.values.get(column.name) for row in self._present[column.table]}
        if self.even:
            return len(taken) + 1
        return random.choice([n for n in range(1, len(taken) + 6) if n not in taken])

    def _uniques(
        self, table: Table, values: dict[str, Any], random: Random
    ) -> list[tuple[tuple[str, ...], Any]] | None:
        """The values that must not repeat, changed until they do not; None if that fails."""
        found = []
        for names in _unique_sets(table):
            if any(values.get(name) is None for name in names):
                continue
            where = (table.fullname, *names)
            for name in names:
                column = table.columns[name]
                if column.foreign_keys or _taken(values, names) not in self._taken[where]:
                    continue
                own = f"{table.fullname}.{name}" in self.schema.values
                others = [*self.pool(column)]
                random.shuffle(others)
                for other in chain(others, () if own else fresh_values(column)):
                    values[name] = other
                    if _taken(values, names) not in self._taken[where]:
                        break
            if _taken(values, names) in self._taken[where]:
                return None
            found.append((where, _taken(values, names)))
        return found


def _taken(values: Mapping[str, Any], names: Sequence[str]) -> str:
    return repr([values.get(name) for name in names])


def _pointing(key: ForeignKeyConstraint, parent: DrawnRow) -> dict[str, Any]:
    return {
        element.parent.name: parent.complete.get(element.column.name) for element in key.elements
    }


def _is_number(column: Column[Any]) -> bool:
    try:
        return issubclass(column.type.python_type, int) and not column.foreign_keys
    except NotImplementedError:
        return False


def _unique_sets(table: Table) -> list[tuple[str, ...]]:
    sets = [tuple(c.name for c in table.primary_key.columns)]
    sets += [
        tuple(c.name for c in each.columns)
        for each in table.constraints
        if isinstance(each, UniqueConstraint)
    ]
    sets += [tuple(c.name for c in each.columns) for each in table.indexes if each.unique]
    return [names for names in dict.fromkeys(sets) if names]
