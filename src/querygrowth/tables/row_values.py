"""Rows of one table that satisfy its keys, foreign keys and CHECKs, made before they are sent."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, count, product
from math import prod
from typing import Any

from querygrowth.tables.column_values import ValueSource
from querygrowth.tables.condition_values import proposals
from querygrowth.tables.conditions import Condition
from querygrowth.tables.table_rules import ColumnRule, ForeignKey, TableRules, UniqueKey

# After so many rows in a row that break a rule, no more are tried; combinations of parents may
# need as many tries as there are combinations.
_TRIES = 300
_MOST_TRIES = 20_000
# How many combinations of values are tried to satisfy one CHECK.
_PROPOSED = 3_000
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
            value = self._value_of(key, row)
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
        free = [each for each in row if each not in fixed and each not in self._linked]
        if not self._satisfied(row, free, n):
            return None
        for key in self.rules.unique:
            value = self._value_of(key, row)
            if value is not None and value in self.taken[key]:
                self.blame[f"{key} has no more values"] += 1
                return None
        return row

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

    # --- CHECKs -----------------------------------------------------------------------------------

    def _satisfied(self, row: dict[str, object], free: Sequence[str], n: int) -> bool:
        """Change a row until it satisfies all CHECKs. False where no change does."""
        if not self.rules.conditions:
            return True
        stored = {column: self._stored(column, value) for column, value in row.items()}
        for condition in self.rules.conditions:
            if not condition.allows(stored) and not self._repaired(condition, row, stored, free, n):
                self.blame[
                    f"CHECK {condition.name or ''} ({condition.text})".replace("  ", " ")
                ] += 1
                return False
        return True

    def _stored(self, column: str, value: object) -> object:
        source = self.sources.get(column)
        return value if source is None else source.stored(value)

    def _repaired(
        self,
        condition: Condition,
        row: dict[str, object],
        stored: dict[str, object],
        free: Sequence[str],
        n: int,
    ) -> bool:
        columns = [each for each in condition.columns if each in free]
        concerned = [
            each for each in self.rules.conditions if set(each.columns) & set(condition.columns)
        ]
        values = {each: self._proposed(condition, each, row, stored, n) for each in columns}
        tried = 0
        for size in (1, 2, 3):
            for chosen in combinations(columns, size):
                for picked in product(*(values[each] for each in chosen)):
                    tried += 1
                    if tried > _PROPOSED:
                        return False
                    changes = dict(zip(chosen, picked, strict=True))
                    after = {
                        **stored,
                        **{each: self._stored(each, value) for each, value in changes.items()},
                    }
                    if all(each.allows(after) for each in concerned):
                        row.update(changes)
                        stored.update(after)
                        return True
        return False

    def _proposed(
        self,
        condition: Condition,
        column: str,
        row: Mapping[str, object],
        stored: Mapping[str, object],
        n: int,
    ) -> list[object]:
        source, rule = self.sources[column], self.rules.columns[column]
        found: list[object] = list(source.domain or ())
        if source.stored(row[column]) is row[column] and source.domain is None:
            sample = {**stored}
            if sample[column] is None:
                sample[column] = source.value(n, self.chance)
            found += [
                each
                for each in proposals(condition, column, sample)
                if type(each) is type(sample[column]) and source.fits(each)
            ]
        found += [source.value(n + more, self.chance) for more in range(2)]
        if rule.nullable:
            found.append(None)
        # Each once, because the combinations of several columns are tried.
        return list({(type(each), repr(each)): each for each in found}.values())

    # --- unique keys ------------------------------------------------------------------------------

    def _value_of(self, key: UniqueKey, row: Mapping[str, object]) -> tuple[object, ...] | None:
        """The value of a key as the database compares it; None where the row is not compared."""
        if key.where is not None:
            stored = {column: self._stored(column, value) for column, value in row.items()}
            if set(key.where.columns) <= set(row) and not key.where.value(stored):
                return None
        return comparable(key, [self._stored(each, row.get(each)) for each in key.columns])


def comparable(key: UniqueKey, values: Iterable[object]) -> tuple[object, ...] | None:
    """The values of a unique key, so that what a database may hold to be equal is equal.

    Args:
        key: The key.
        values: The values of its columns.

    Returns:
        None where a NULL makes the row differ from all others.
    """
    found = []
    for value in values:
        if value is None and not key.nulls_equal:
            return None
        if isinstance(value, str):
            value = value.casefold().rstrip()
        try:
            hash(value)
        except TypeError:
            value = repr(value)
        found.append(value)
    return tuple(found)
