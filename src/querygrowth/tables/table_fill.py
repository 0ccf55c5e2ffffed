"""Fill one table after the other: choose its parents, make rows, insert them in batches."""

import random
from collections.abc import Mapping
from itertools import islice
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select, update
from sqlalchemy.exc import DBAPIError

from querygrowth.tables.column_values import UnknownTypeError, ValueSource
from querygrowth.tables.condition_values import bounds_of
from querygrowth.tables.fill_plan import FillPlan
from querygrowth.tables.fill_report import (
    CannotFillError,
    Refusal,
    columns_in,
    database_words,
    hint,
)
from querygrowth.tables.row_values import Parents, RowMaker, source_of
from querygrowth.tables.stored_rows import StoredRows
from querygrowth.tables.table_order import can_be_updated
from querygrowth.tables.table_rules import ForeignKey, Key, TableRules, UniqueKey, full_name

_BATCH = 500
_MOST_REFUSALS = 60  # rows that the database refuses one after the other


class TableFill:
    """Adds the rows of a plan.

    Args:
        connection: In a transaction.
        plan: What to add.
        seed: Selects the values.
        unusual: Whether to prefer values that code often does not expect.

    Attributes:
        added: The rows added, by table.
        limited: Why a table took fewer rows than planned, by table.
        empty: The columns left NULL because no value is known, as "table.column".
        refused: The tables that took no row.
    """

    def __init__(
        self,
        connection: Connection,
        plan: FillPlan,
        seed: int | random.Random,
        unusual: bool,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._seed = seed
        self._unusual = unusual
        self._stored = StoredRows(connection, plan.rules_of)
        self._planned_keys: dict[Key, list[dict[str, object]]] = {}
        self.added: dict[Key, int] = {}
        self.limited: dict[Key, str] = {}
        self.empty: list[str] = []
        self.refused: dict[Key, Refusal] = {}

    def fewer_than_planned(self) -> dict[Key, int]:
        """The rows of the tables that took fewer than keys were made for."""
        return {
            key: self.added.get(key, 0)
            for key, rows in self._planned_keys.items()
            if self.added.get(key, 0) < len(rows)
        }

    def fill(self, key: Key) -> None:
        """Add the rows that a table should get, or note why it takes none."""
        number = self._plan.wanted[key]
        rules = self._plan.rules[key]
        try:
            with self._connection.begin_nested():
                maker = self._maker(key, number)
                self._insert(key, maker, number)
        except CannotFillError as error:
            self.added[key] = 0
            self.limited.pop(key, None)
            self.refused[key] = Refusal(rules.name, error.reason, error.hint)

    def _maker(self, key: Key, number: int) -> RowMaker:
        rules = self._plan.rules[key]
        chance = self._chance(key)
        sources = self._sources(rules)
        overrides = self._plan.overrides.get(key, {})
        waiting = [*self._plan.order.updated.get(key, ()), *self._plan.order.planned.get(key, ())]
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
            start=self._plan.existing[key],
            chance=chance,
            unusual=self._unusual,
        )

    def _chance(self, key: Key) -> random.Random:
        # One for each table, so that another table changes no row of this one.
        if isinstance(self._seed, random.Random):
            return self._seed
        return random.Random(f"{self._seed} {full_name(key)}")  # noqa: S311 - test data

    def _sources(self, rules: TableRules) -> dict[str, ValueSource]:
        found: dict[str, ValueSource] = {}
        linked = {column for each in rules.foreign_keys for column in each.columns}
        chosen_here = {column for each in rules.unique for column in each.columns}
        # A default of the database satisfies what is demanded of the column alone.
        chosen_here |= {
            column
            for each in rules.conditions
            if len(each.columns) > 1
            for column in each.columns
            if rules.columns[column].constant
        }
        overrides = self._plan.overrides.get(rules.key, {})
        for name, rule in rules.columns.items():
            made = rule.automatic or rule.expression is not None
            if rule.always or name in linked or name in overrides:
                continue
            if made and name not in chosen_here and rule.default is None:
                continue
            try:
                found[name] = source = source_of(
                    rules,
                    name,
                    self._connection.dialect,
                    seed=self._seed if isinstance(self._seed, int) else 0,
                )
            except UnknownTypeError as unknown:
                if made:
                    continue
                if not rule.nullable:
                    raise CannotFillError(f"{name}: {unknown}", hint(rules, [name])) from None
                self.empty.append(f"{rules.name}.{name}")
                continue
            if rule.default is not None and not self._unusual and name not in chosen_here:
                source.use_default(rule.default)
        return found

    def _parents(self, key: Key, link: ForeignKey) -> Parents:
        lineage = self._plan.lineages.get(key)
        rows = (
            self._stored.values(link.target, link.target_columns)
            if self._has_rows(link.target)
            else []
        )
        own_key = set(link.columns) == set(self._plan.rules[key].primary_key)
        if lineage is not None and lineage.parent == link.target and own_key:
            root = self._stored.clause(lineage.root)
            names = self._plan.rules_of(lineage.root).primary_key
            statement = select(*(root.c[each] for each in names)).where(
                root.c[lineage.discriminator].in_(lineage.below)
            )
            right = {tuple(row) for row in self._connection.execute(statement)}
            rows = [row for row in rows if row in right]
        if not rows and not link.nullable:
            reason = f"{link.name} needs rows of {full_name(link.target)}"
            if link.target in self.refused:
                raise CannotFillError(reason, "it could not be filled itself")
            raise CannotFillError(reason, f"give rows={{{full_name(link.target)!r}: ...}}")
        return Parents(link.columns, rows)

    def _has_rows(self, key: Key) -> bool:
        return bool(
            self.added.get(key) or self._plan.existing.get(key) or key not in self._plan.rules
        )

    def _taken(self, key: Key) -> dict[UniqueKey, set[tuple[object, ...]]]:
        if self._plan.existing[key]:
            return self._stored.taken(key)
        return {unique: set() for unique in self._plan.rules[key].unique}

    # --- keys before rows -------------------------------------------------------------------------

    def _given(
        self, key: Key, number: int, sources: Mapping[str, ValueSource], chance: random.Random
    ) -> list[dict[str, object]]:
        """The values of rows that are fixed beforehand: discriminators, and keys of a cycle."""
        lineage = self._plan.lineages.get(key)
        given: list[dict[str, object]] = [{} for _ in range(number)]
        if lineage is not None and key == lineage.root:
            for row, identity in zip(given, self._plan.identities[key], strict=True):
                row[lineage.discriminator] = identity
        for row, values in zip(given, self._planned_keys.get(key, ()), strict=False):
            row.update(values)
        for link in self._plan.order.planned.get(key, ()):
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
        number = self._plan.wanted.get(link.target, 0)
        if link.target not in self._planned_keys:
            self._planned_keys[link.target] = self._planned(link.target, link, number)
        return self._planned_keys[link.target]

    def _planned(self, key: Key, link: ForeignKey, number: int) -> list[dict[str, object]]:
        """Keys for rows that do not exist yet."""
        rules = self._plan.rules[key]
        first = self._plan.existing[key]
        chance = self._chance(key)
        found: list[dict[str, object]] = [{} for _ in range(number)]
        linked = {column for each in rules.foreign_keys for column in each.columns}
        for name in link.target_columns:
            rule = rules.columns[name]
            if name in linked or rule.always:
                raise CannotFillError(
                    f"{link.name} is in a cycle whose keys cannot be made beforehand",
                    "make one of its columns nullable, or insert these rows yourself",
                )
            source = ValueSource(
                rules.name,
                name,
                rule.type,
                self._connection.dialect,
                bounds_of(name, rules.conditions),
                distinct=True,
            )
            last = self._stored.largest(key, name) if rule.numbered else 0
            for place, row in enumerate(found):
                row[name] = (
                    last + place + 1 if rule.numbered else source.value(first + place, chance)
                )
        return found

    def _advance_sequences(self, key: Key, maker: RowMaker) -> None:
        for name in self._plan.rules[key].primary_key:
            given = name in maker.sources or any(name in each for each in maker.given)
            if given and self._plan.rules[key].columns[name].numbered:
                self._stored.advance_sequence(key, name)

    # --- inserting --------------------------------------------------------------------------------

    def _insert(self, key: Key, maker: RowMaker, number: int) -> None:
        most = maker.most
        possible = number if most is None else min(number, most)
        rows = maker.rows(possible)
        added = 0
        while batch := list(islice(rows, _BATCH)):
            added += self._insert_batch(key, batch, maker)
        self.added[key] = added
        if added < number:
            self.limited[key] = why = maker.refusal or maker.tightest
            if not added:
                raise CannotFillError(why, self._hint(key, why))
        self._advance_sequences(key, maker)

    def _insert_batch(self, key: Key, batch: list[dict[str, object]], maker: RowMaker) -> int:
        try:
            with self._connection.begin_nested():
                self._stored.insert(key, batch)
        except Exception as error:  # the user's types and listeners may raise any
            return self._insert_one_by_one(key, batch, maker, error)
        return len(batch)

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
                with self._connection.begin_nested():
                    self._stored.insert(key, [row])
            except Exception as refused:
                error = refused
                refusals += 1
                maker.refusal = f"the database refuses more: {database_words(refused)}"
            else:
                added += 1
                refusals = 0
        if added < number and refusals and not added:
            reason = database_words(error)
            raise CannotFillError(
                f"the database refuses its rows: {reason}", self._hint(key, reason)
            )
        return added

    def _hint(self, key: Key, reason: str) -> str:
        rules = self._plan.rules[key]
        return hint(
            rules, columns_in(reason, rules), reason, given=self._plan.overrides.get(key, {})
        )

    def check_given_links(self) -> None:
        """Refuse tables whose foreign keys the user's values lead to rows that do not exist."""
        # SQLite checks foreign keys only where it is told to.
        for key, given in self._plan.overrides.items():
            rules = self._plan.rules.get(key)
            for link in () if rules is None else rules.foreign_keys:
                if self.added.get(key) and set(link.columns) & set(given):
                    missing = self._stored.orphans(key, link)
                    if missing:
                        values = ", ".join(map(repr, missing))
                        self.refused[key] = Refusal(
                            full_name(key),
                            f"{link.name}: {full_name(link.target)} has no row {values}",
                            self._hint(key, " ".join(link.columns)),
                        )

    def update(self, key: Key, link: ForeignKey) -> None:
        """Set a foreign key that waited, in the rows that have none yet."""
        rules = self._plan.rules[key]
        if not rules.primary_key or not can_be_updated(link, rules):
            return
        if set(link.columns) & set(self._plan.overrides.get(key, {})):
            return
        table = self._stored.clause(key)
        free = [each for each in link.columns if rules.columns[each].nullable]
        places = [link.columns.index(each) for each in free]
        fixed = [each for each in link.columns if each not in free]
        statement = select(*(table.c[each] for each in (*rules.primary_key, *fixed)))
        statement = statement.where(and_(*(table.c[each].is_(None) for each in free)))
        statement = statement.order_by(*(table.c[each] for each in rules.primary_key))
        rows = self._connection.execute(statement).all()[-self.added[key] :]
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
        if self._unusual and not once:
            return chance.randrange(size)
        return number % size

    def _send_changes(self, change: Any, changes: list[dict[str, object]]) -> None:
        for start in range(0, len(changes), _BATCH):
            batch = changes[start : start + _BATCH]
            try:
                with self._connection.begin_nested():
                    self._connection.execute(change, batch)
            except DBAPIError:
                # NULL is valid. Rows that a rule keeps from a parent stay without one.
                for each in batch:
                    try:
                        with self._connection.begin_nested():
                            self._connection.execute(change, [each])
                    except DBAPIError:
                        continue
