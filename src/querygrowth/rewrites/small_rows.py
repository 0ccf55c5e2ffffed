"""Make valid rows for the tables of a schema, few and nasty, or evenly spread for growth.

Foreign keys point to rows that exist, or are NULL where they may be. Keys do not rise with the
order of insertion. Values tie, repeat and are NULL often.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice
from random import Random
from typing import Any

from sqlalchemy import Column, Table

from querygrowth.rewrites.schema import Schema
from querygrowth.tables.checks import Checks
from querygrowth.tables.table_rules import ForeignKey, UniqueKey

# In one database, a column is NULL never, sometimes or nearly always.
_NULL_SHARES = (0.0, 0.2, 0.2, 0.2, 0.2, 0.9)
_FEW_NULLS = (0.0, 0.2)
_HUB_SHARE = 0.4
_WITNESS_SHARE = 0.5
_MOST_TRIES = 12
_FRESH_VALUES = 50


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
        wide: Whether all parents may have children, as many each, and few values are NULL.
        insert: Puts a row into the database; returns the reason if it refuses. None without one.
        witnesses: Values of rows that the old function selected, by table. Half of the rows take
            them, so that a filter with several conditions selects enough rows.
    """

    schema: Schema
    constants: Sequence[object]
    random: Random
    even: bool = False
    wide: bool = False
    insert: Callable[[DrawnRow], str | None] | None = None
    witnesses: Mapping[Table, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    rows: list[DrawnRow] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    _pools: dict[Column[Any], list[object]] = field(default_factory=dict)
    _null_shares: dict[Column[Any], float] = field(default_factory=dict)
    _reaches: dict[ForeignKey, float] = field(default_factory=dict)
    _present: defaultdict[Table, list[DrawnRow]] = field(default_factory=lambda: defaultdict(list))
    _taken: defaultdict[tuple[Table, UniqueKey], set[Any]] = field(
        default_factory=lambda: defaultdict(set)
    )
    _checks: dict[Table, Checks] = field(default_factory=dict)

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
            for key in self.schema.cyclic[row.table]:
                if not key.nullable:
                    continue
                parents = self._parents(key)
                if parents and (self.even or not self._is_null(row.table, key, self.random)):
                    row.later.update(_pointing(key, self.random.choice(parents)))

    def references(self, column: Column[Any]) -> Counter[Any]:
        """How often other rows refer to the values of a column."""
        wanted = (column.table, column.name)
        return Counter(
            value
            for row in self.rows
            for key in self.schema.rules[row.table].foreign_keys
            for own, other in zip(key.columns, key.target_columns, strict=True)
            if (self.schema.tables[key.target], other) == wanted
            and (value := row.complete.get(own)) is not None
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
            checks = self._checks_of(table)
            free = [each for each in values if self._may_change(table, each, fixed)]
            broken = checks.repair(values, free, len(self._present[table]), random)
            if broken is not None:
                reason = f"CHECK {broken.name} ({broken.text})".replace("  ", " ")
                continue
            uniques = self._uniques(table, values, random)
            if uniques is None or checks.broken(values) is not None:
                continue
            row = DrawnRow(table, values)
            refused = self.insert(row) if self.insert is not None else None
            if refused is None:
                for key, taken in uniques.items():
                    self._taken[table, key].add(taken)
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
        rules = self.schema.rules[table]
        # Keys of several columns choose first; others follow what they have chosen.
        for key in sorted(rules.foreign_keys, key=lambda key: (-len(key.columns), key.name)):
            if set(key.columns) <= values.keys():
                continue
            empty = {
                name: None
                for name in key.columns
                if rules.columns[name].nullable and name not in values
            }
            if key in self.schema.cyclic[table] and key.nullable:
                values.update(empty)
                continue
            parents = [
                parent
                for parent in self._parents(key)
                if all(
                    values.get(name, value) == value
                    for name, value in _pointing(key, parent).items()
                )
            ]
            if parents and not (
                key.nullable and not self.even and self._is_null(table, key, random)
            ):
                if self.even:
                    place = len(self._present[table]) % len(parents)
                elif not self.wide and random.random() < _HUB_SHARE:
                    place = 0
                else:
                    place = random.randrange(max(1, int(len(parents) * self._reach(key))))
                values.update(_pointing(key, parents[place]))
            elif key.nullable:
                values.update(empty)
            elif self.schema.tables[key.target] is table:
                # Its first row can only refer to itself.
                for own, other in zip(key.columns, key.target_columns, strict=True):
                    if other not in values:
                        values[other] = self._key_value(table.columns[other], random)
                    values[own] = values[other]
            else:
                return None
        return values

    def _parents(self, key: ForeignKey) -> Sequence[DrawnRow]:
        return self._present[self.schema.tables[key.target]]

    def _is_null(self, table: Table, place: ForeignKey | str, random: Random) -> bool:
        name = place if isinstance(place, str) else place.columns[0]
        column = table.columns[name]
        if column not in self._null_shares:
            shares = _FEW_NULLS if self.wide else _NULL_SHARES
            self._null_shares[column] = self.random.choice(shares)
        return random.random() < self._null_shares[column]

    def _reach(self, key: ForeignKey) -> float:
        """The share of the parents that have children in this database."""
        if key not in self._reaches:
            self._reaches[key] = 1.0 if self.wide else self.random.choice((1.0, 1.0, 0.7, 0.5))
        return self._reaches[key]

    def _fill(self, table: Table, values: dict[str, Any], random: Random) -> None:
        known = self.witnesses.get(table)
        if known and (self.even or random.random() < _WITNESS_SHARE):
            for name, value in random.choice(known).items():
                values.setdefault(name, value)
        part = self.schema.inheritance.get(table)
        for name, rule in self.schema.rules[table].columns.items():
            column = table.columns[name]
            if name in values or rule.always:
                continue
            if part is not None and name == part.column:
                values[name] = random.choice([*part.tables])
            elif column.primary_key and _is_number(column):
                values[name] = self._key_value(column, random)
            elif rule.nullable and not self.even and self._is_null(table, name, random):
                values[name] = None
            elif pool := self.pool(column):
                values[name] = random.choice(pool)
            elif rule.nullable:
                values[name] = None
            elif not rule.automatic and rule.default is None and rule.expression is None:
                raise ValueError(
                    f"no value is known for {table.name}.{name}, which has the type "
                    f'{column.type!r}: pass values={{"{table.fullname}.{name}": [...]}}'
                )

    def pool(self, column: Column[Any]) -> list[object]:
        """The values of a column in this database: a few of all, so that rows tie."""
        if column not in self._pools:
            pool = self.schema.pool(column, self.constants)
            given = f"{column.table.fullname}.{column.name}" in self.schema.values
            if not given and len(pool) > 4:
                met = len(self.schema.pool(column, ())) if self.constants else len(pool)
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

    def _checks_of(self, table: Table) -> Checks:
        if table not in self._checks:
            self._checks[table] = Checks(self.schema.rules[table], self.schema.sources(table))
        return self._checks[table]

    def _may_change(self, table: Table, name: str, fixed: Mapping[str, Any]) -> bool:
        """Whether a value is open: neither a reference, nor a discriminator, nor the user's."""
        part = self.schema.inheritance.get(table)
        rule = self.schema.rules[table].columns[name]
        return not (
            name in fixed
            or (table.columns[name].foreign_keys and not rule.nullable)
            or (part is not None and part.column == name)
            or f"{table.fullname}.{name}" in self.schema.values
        )

    def _uniques(
        self, table: Table, values: dict[str, Any], random: Random
    ) -> dict[UniqueKey, Any] | None:
        """The values that must not repeat, changed until they do not; None if that fails."""
        checks = self._checks_of(table)
        found: dict[UniqueKey, Any] = {}
        for key in self.schema.rules[table].unique:

            def value(key: UniqueKey = key) -> Any:
                return checks.unique_value(key, values, folded=False)

            taken = self._taken[table, key]
            for name in key.columns:
                column = table.columns[name]
                if value() not in taken or column.foreign_keys or name not in values:
                    continue
                others = [*self.pool(column)]
                random.shuffle(others)
                for other in chain(others, self._fresh(column)):
                    values[name] = other
                    if value() not in taken:
                        break
            if value() in taken:
                return None
            if value() is not None:
                found[key] = value()
        return found

    def _fresh(self, column: Column[Any]) -> Sequence[object]:
        """Further values, for a column that must not repeat any."""
        source = self.schema.sources(column.table).get(column.name)
        given = f"{column.table.fullname}.{column.name}" in self.schema.values
        if given or source is None or source.domain is not None:
            return ()
        numbers = islice(count(1), _FRESH_VALUES)
        return [source.value(n, Random(n)) for n in numbers]  # noqa: S311 - not for secrets


def _pointing(key: ForeignKey, parent: DrawnRow) -> dict[str, Any]:
    return {
        own: parent.complete.get(other)
        for own, other in zip(key.columns, key.target_columns, strict=True)
    }


def _is_number(column: Column[Any]) -> bool:
    try:
        return issubclass(column.type.python_type, int) and not column.foreign_keys
    except NotImplementedError:
        return False
