"""Rows of one table that satisfy its keys, foreign keys and CHECKs, made before they are sent."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import prod
from typing import Any

from sqlalchemy import Dialect

from querygrowth.tables.checks import Checks
from querygrowth.tables.column_values import ValueSource
from querygrowth.tables.condition_values import bounds_of
from querygrowth.tables.table_rules import ColumnRule, ForeignKey, TableRules, UniqueKey

# After so many rows in a row that break a rule, no more are tried; combinations of parents may
# need as many tries as there are combinations.
_TRIES = 300
_MOST_TRIES = 20_000
_NULLS = 0.25  # the share of NULLs among unusual values


class Parents:
    """The rows that a foreign key may name.

    Args:
        columns: The columns of the child, in the order of the values.
        rows: The values of the target's columns.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        self.columns = tuple(columns)
        self.rows = [row for row in rows if None not in row]
        self._by_part: dict[tuple[str, ...], dict[tuple[Any, ...], list[tuple[Any, ...]]]] = {}

    def matching(self, fixed: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows that agree with the columns that have a value already."""
        names = tuple(each for each in self.columns if each in fixed)
        if not names:
            return self.rows
        if names not in self._by_part:
            places = [self.columns.index(each) for each in names]
            found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
            for row in self.rows:
                found.setdefault(tuple(row[place] for place in places), []).append(row)
            self._by_part[names] = found
        return self._by_part[names].get(tuple(fixed[each] for each in names), [])


@dataclass
class RowMaker:
    """Makes rows of one table.

    Attributes:
        rules: The table's rules.
        sources: The values of columns, by name; without those that the database makes.
        overrides: The user's values of columns: called with the number of a row.
        parents: The rows that foreign keys may name. A foreign key without an entry waits, so that
            its columns are NULL.
        given: Values of columns of the n-th row that are fixed, such as keys that others use.
        taken: By unique key, the values that rows of the table have.
        start: The number of the first row.
        chance: Random numbers.
        unusual: Whether to prefer values that code often does not expect.
        blame: Why rows were discarded, with how often.
        refusal: The database's reason for refusing rows; empty without one.
    """

    rules: TableRules
    sources: Mapping[str, ValueSource]
    overrides: Mapping[str, Callable[[int], object]]
    parents: Mapping[ForeignKey, Parents]
    given: Sequence[Mapping[str, object]]
    taken: Mapping[UniqueKey, set[tuple[object, ...]]]
    start: int
    chance: random.Random
    unusual: bool = False
    blame: Counter[str] = field(default_factory=Counter)
    refusal: str = ""

    def __post_init__(self) -> None:
        self._digits = self._independent_choices()
        self._linked = {column for key in self.rules.foreign_keys for column in key.columns}
        self._waiting = {
            column
            for key in self.rules.foreign_keys
            if key not in self.parents
            for column in key.columns
            if self.rules.columns[column].nullable
        }
        self._checks = Checks(self.rules, self.sources)
        self._in_keys = {column for key in self.rules.unique for column in key.columns}
        self._numbers = count(self.start)
        self._made = 0

    @property
    def most(self) -> int | None:
        """How many more rows the keys allow at most; None for any number."""
        found = [
            prod(sizes) - len(self.taken[key])
            for key in self.rules.unique
            if (sizes := self._sizes_of(key)) is not None
        ]
        return max(0, min(found)) if found else None

    @property
    def tightest(self) -> str:
        """What limits the number of rows, in words."""
        for key in self.rules.unique:
            sizes = self._sizes_of(key)
            if sizes is not None and prod(sizes) - len(self.taken[key]) == self.most:
                return f"{key} has no more combinations"
        return self.blamed

    @property
    def blamed(self) -> str:
        """The reason for which most rows were discarded."""
        return self.blame.most_common(1)[0][0] if self.blame else "no row could be made"

    def _sizes_of(self, key: UniqueKey) -> list[int] | None:
        """The numbers of values that the parts of a key can have; None where one has no limit."""
        if key.where is not None or not key.columns:
            return None
        sizes: list[int] = []
        rest = set(key.columns)
        for foreign, parents in self.parents.items():
            if rest & set(foreign.columns):
                if foreign.nullable and any(
                    self.rules.columns[each].nullable for each in foreign.columns
                ):
                    return None
                places = [place for place, each in enumerate(foreign.columns) if each in rest]
                sizes.append(len({tuple(row[place] for place in places) for row in parents.rows}))
                rest -= set(foreign.columns)
        for column in rest:
            domain = self._domain(column)
            if domain is None or self.rules.columns[column].nullable:
                return None
            sizes.append(len(domain))
        return sizes

    def _domain(self, column: str) -> tuple[object, ...] | None:
        source = self.sources.get(column)
        return None if source is None or column in self.overrides else source.domain

    def _independent_choices(self) -> list[ForeignKey | str]:
        """What to choose independently: parents, and listed values of unique keys.

        The parts of unique keys come first, so that all their combinations are met soonest.
        """
        in_keys = {column for key in self.rules.unique for column in key.columns}
        links = sorted(self.parents, key=lambda key: not in_keys.issuperset(key.columns))
        linked = {column for key in self.parents for column in key.columns}
        listed = [
            column
            for column in self.sources
            if column in in_keys and column not in linked and self._domain(column) is not None
        ]
        return [*links, *listed]

    def accept(self, row: Mapping[str, object]) -> None:
        """Take note of the unique values of a row that the database has taken."""
        for key, taken in self.taken.items():
            value = self._checks.unique_value(key, row)
            if value is not None:
                taken.add(value)

    def rows(self, number: int) -> Iterator[dict[str, object]]:
        """Yield so many rows, or fewer where the rules allow no more.

        A row counts as accepted when it is yielded.
        """
        tries = min(_MOST_TRIES, max(_TRIES, 2 * self._combinations()))
        while number > 0:
            for _ in range(tries):
                row = self._row(next(self._numbers))
                if row is not None:
                    break
            else:
                return
            self.accept(row)
            self._made += 1
            number -= 1
            yield row

    def skip(self) -> None:
        """Leave out the given values of the next row, of which no row could be made."""
        self._made += 1

    def _combinations(self) -> int:
        return prod(
            max(
                1,
                len(self._domain(each) or ())
                if isinstance(each, str)
                else len(self.parents[each].rows),
            )
            for each in self._digits
        )

    # --- one row ----------------------------------------------------------------------------------

    def _row(self, n: int) -> dict[str, object] | None:
        row: dict[str, object] = dict.fromkeys(self._waiting)
        fixed = dict(self.given[self._made]) if self._made < len(self.given) else {}
        for column, make in self.overrides.items():
            fixed.setdefault(column, make(n))
        row.update(fixed)
        if not self._choose(n, row, fixed):
            return None
        for column, source in self.sources.items():
            if column not in row:
                row[column] = self._value(source, self.rules.columns[column], n)
        free = [each for each in row if each not in fixed]
        broken = self._checks.repair(row, free, n, self.chance)
        if broken is not None:
            self.blame[f"CHECK {broken.name} ({broken.text})".replace("  ", " ")] += 1
            return None
        for key in self.rules.unique:
            value = self._checks.unique_value(key, row)
            if value is not None and value in self.taken[key] and not self._unkey(key, row, fixed):
                self.blame[f"{key} has no more values"] += 1
                return None
        return row

    def _unkey(self, key: UniqueKey, row: dict[str, object], fixed: Mapping[str, object]) -> bool:
        """Take a row out of a unique key that has its values already: NULL is equal to no other."""
        for foreign in self.parents:
            empty = [
                each
                for each in foreign.columns
                if each in key.columns and each not in fixed and self.rules.columns[each].nullable
            ]
            if not foreign.nullable or not empty:
                continue
            tried = {**row, **dict.fromkeys(empty)}
            if (
                self._checks.unique_value(key, tried) is None
                and self._checks.repair(tried, (), 0, self.chance) is None
            ):
                row.update(tried)
                return True
        return False

    def _choose(self, n: int, row: dict[str, object], fixed: Mapping[str, object]) -> bool:
        """Choose parents and listed values. The numbers count through all combinations."""
        quotient, shift = n, 0
        for each in self._digits:
            if isinstance(each, str):
                domain: Sequence[Any] = self._domain(each) or ()
                if each in row:
                    continue
            else:
                present = {
                    column: row[column] for column in each.columns if row.get(column) is not None
                }
                domain = self.parents[each].matching(present)
                if each.nullable and self.unusual and self.chance.random() < _NULLS:
                    domain = ()
            size = len(domain)
            if not size:
                if isinstance(each, str) or not self._set_null(each, row):
                    self.blame[f"{each if isinstance(each, str) else each.name} finds no row"] += 1
                    return False
                continue
            quotient, digit = divmod(quotient, size)
            # Shifted by the digits before, so that the first rows meet all parents of every kind.
            place = self.chance.randrange(size) if self.unusual else (digit + shift) % size
            shift += digit
            if isinstance(each, str):
                row[each] = domain[place]
            else:
                for column, value in zip(each.columns, domain[place], strict=True):
                    if column not in fixed:
                        row[column] = value
        return True

    def _set_null(self, key: ForeignKey, row: dict[str, object]) -> bool:
        free = [
            each
            for each in key.columns
            if self.rules.columns[each].nullable and row.get(each) is None
        ]
        row.update(dict.fromkeys(free))
        return bool(free)

    def _value(self, source: ValueSource, rule: ColumnRule, n: int) -> object:
        if self.unusual:
            if rule.nullable and self.chance.random() < _NULLS:
                return None
            if self.chance.random() < 0.5:
                return source.unusual(self.chance)
        elif rule.nullable and source.is_left_empty:
            return None
        return source.value(n, self.chance)


def source_of(rules: TableRules, name: str, dialect: Dialect, *, seed: int = 0) -> ValueSource:
    """The values of a column, within what its table demands.

    Args:
        rules: The rules of the table.
        name: The column.
        dialect: The dialect of the database.
        seed: Selects the texts.

    Raises:
        UnknownTypeError: No value is known that the column's type takes.
    """
    return ValueSource(
        rules.name,
        name,
        rules.columns[name].type,
        dialect,
        bounds_of(name, rules.conditions),
        rules.lengths.get(name),
        listed=rules.columns[name].listed,
        distinct=any(name in unique.columns for unique in rules.unique),
        seed=seed,
    )
