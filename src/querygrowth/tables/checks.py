"""Whether a row satisfies the CHECKs and unique keys of its table, before it is sent."""

import random
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import combinations, product

from querygrowth.tables.column_values import ValueSource
from querygrowth.tables.condition_values import proposals
from querygrowth.tables.conditions import Condition
from querygrowth.tables.table_rules import TableRules, UniqueKey

# How many combinations of values are tried to satisfy one CHECK.
_PROPOSED = 3_000


class Checks:
    """The CHECKs and unique keys of one table.

    Args:
        rules: The table's rules.
        sources: The values of columns, by name; a column without one can only be made NULL.
    """

    def __init__(self, rules: TableRules, sources: Mapping[str, ValueSource]) -> None:
        self._rules = rules
        self._sources = sources

    def broken(self, row: Mapping[str, object]) -> Condition | None:
        """The first CHECK that a row does not satisfy."""
        if not self._rules.conditions:
            return None
        stored = self._all_stored(row)
        return next((each for each in self._rules.conditions if not each.allows(stored)), None)

    def repair(
        self, row: MutableMapping[str, object], free: Sequence[str], n: int, chance: random.Random
    ) -> Condition | None:
        """Change a row until it satisfies all CHECKs.

        Args:
            row: The row, which is changed.
            free: The columns that may be changed.
            n: The number of the row.
            chance: Random numbers.

        Returns:
            A CHECK that no change satisfies; None if all are satisfied.
        """
        if not self._rules.conditions:
            return None
        stored = self._all_stored(row)
        for condition in self._rules.conditions:
            if condition.allows(stored):
                continue
            values = self._proposals(condition, row, stored, free, n, chance)
            concerned = [
                each
                for each in self._rules.conditions
                if set(each.columns) & set(condition.columns)
            ]
            # Others that are broken too may need changes of more columns than are tried at once.
            kept = [each for each in concerned if each is condition or each.allows(stored)]
            if not (
                self._repaired(concerned, row, stored, values)
                or (len(kept) < len(concerned) and self._repaired(kept, row, stored, values))
            ):
                return condition
        return None

    def unique_value(
        self, key: UniqueKey, row: Mapping[str, object], *, folded: bool = True
    ) -> tuple[object, ...] | None:
        """The value of a key as the database compares it; None where the row is not compared.

        Args:
            key: A unique key of the table.
            row: The row.
            folded: Whether texts that differ in case alone, or by spaces at the end, are equal, as
                in some databases.
        """
        if key.where is not None:
            stored = self._all_stored(row)
            if set(key.where.columns) <= set(row) and not key.where.value(stored):
                return None
        values = [self._stored(each, row.get(each)) for each in key.columns]
        return comparable(key, values, folded=folded)

    def _all_stored(self, row: Mapping[str, object]) -> dict[str, object]:
        return {column: self._stored(column, value) for column, value in row.items()}

    def _stored(self, column: str, value: object) -> object:
        source = self._sources.get(column)
        return value if source is None else source.stored(value)

    def _proposals(
        self,
        condition: Condition,
        row: Mapping[str, object],
        stored: Mapping[str, object],
        free: Sequence[str],
        n: int,
        chance: random.Random,
    ) -> dict[str, list[object]]:
        """By column of a condition, the values to try."""
        columns = [each for each in condition.columns if each in free]
        # Another column comes first in every row, so that rows differ in what was changed.
        turn = n % max(1, len(columns))
        return {
            each: self._proposed(condition, each, row, stored, n, chance)
            for each in (*columns[turn:], *columns[:turn])
        }

    def _repaired(
        self,
        wanted: Sequence[Condition],
        row: MutableMapping[str, object],
        stored: dict[str, object],
        values: Mapping[str, Sequence[object]],
    ) -> bool:
        tried = 0
        for size in (1, 2, 3):
            for chosen in combinations(values, size):
                for picked in product(*(values[each] for each in chosen)):
                    tried += 1
                    if tried > _PROPOSED:
                        return False
                    changes = dict(zip(chosen, picked, strict=True))
                    after = {
                        **stored,
                        **{each: self._stored(each, value) for each, value in changes.items()},
                    }
                    if all(each.allows(after) for each in wanted):
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
        chance: random.Random,
    ) -> list[object]:
        rule = self._rules.columns[column]
        source = self._sources.get(column)
        if source is None:  # a foreign key, which can only be left out
            return [None] if rule.nullable else []
        found: list[object] = list(source.domain or ())
        if source.stored(row[column]) is row[column] and source.domain is None:
            sample = {**stored}
            if sample[column] is None:
                sample[column] = source.value(n, chance)
            found += [
                each
                for each in proposals(condition, column, sample)
                if type(each) is type(sample[column]) and source.fits(each)
            ]
        found += [source.value(n + more, chance) for more in range(2)]
        if rule.nullable:
            found.append(None)
        # Each once, because the combinations of several columns are tried.
        return list({(type(each), repr(each)): each for each in found}.values())


def comparable(
    key: UniqueKey, values: Iterable[object], *, folded: bool = True
) -> tuple[object, ...] | None:
    """The values of a unique key, so that what a database may hold to be equal is equal.

    Args:
        key: The key.
        values: The values of its columns.
        folded: Whether case, and spaces at the end, make no difference.

    Returns:
        None where a NULL makes the row differ from all others.
    """
    found = []
    for value in values:
        if value is None and not key.nulls_equal:
            return None
        if isinstance(value, str) and folded:
            value = value.casefold().rstrip()
        try:
            hash(value)
        except TypeError:
            value = repr(value)
        found.append(value)
    return tuple(found)
