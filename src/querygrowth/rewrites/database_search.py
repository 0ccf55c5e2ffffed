"""Draw databases with Hypothesis, and judge both functions on each, until they differ."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table

from querygrowth.rewrites import differences as kinds
from querygrowth.rewrites.arguments import SEEDS, Draw, Drawer, simplest
from querygrowth.rewrites.schema import Schema
from querygrowth.rewrites.small_rows import DrawnRow, RowMaker
from querygrowth.rewrites.trial import Judged, Trial, parameters_of
from querygrowth.tables.code_constants import constants_of

# How many rows a table gets. An empty table makes most results empty, so that it must be in few
# databases only.
_SMALL, _LARGER = (0, 1, 2, 3, 4), (4, 5, 6, 7)
_SHARES = (_SMALL, *(_LARGER,) * 7)
_WIDE = (6, 7, 8, 9)
"""The rows of a table where results have been thin so far: empty, or of a single record."""
_THIN_SHARE = 0.4
_REPEATED = 0.05
"""The share of rows that repeat the choices of an earlier row of their table."""
_MOST_WITNESS_TRIES, _WITNESSES = 80, 5


class _FoundError(BaseException):
    """Ends the search. Hypothesis would try to repeat and to shrink an `Exception`."""


@dataclass
class DatabaseSearch:
    """Draws databases and judges on each.

    Args:
        trial: Calls and compares both functions.
        schema: The tables.
        draws: How each argument is drawn.
        databases: How many databases to draw.
        constants: Values that the functions compare with, as far as they are known.
        witnesses: Values of rows that the old function selected, by table.
        read: The tables that the functions read.
        judged: What was found on each database.
        failing: The first rows and arguments on which the two differ.
        refused: Why the database refused rows, by table.
        filled: How many rows each table got.
    """

    trial: Trial
    schema: Schema
    draws: Mapping[str, Draw]
    databases: int
    constants: tuple[object, ...] = ()
    witnesses: Mapping[Table, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    judged: list[Judged] = field(default_factory=list)
    suspect: tuple[list[DrawnRow], dict[str, Any], Judged] | None = None
    failing: tuple[list[DrawnRow], dict[str, Any], Judged] | None = None
    refused: dict[str, str] = field(default_factory=dict)
    filled: Counter[Table] = field(default_factory=Counter)

    def run(self) -> None:
        """Learn what the functions select, then draw all databases."""
        self.constants = (*self.constants, *constants_of(self.trial.old, self.trial.new))
        self._learn_parameters()
        self._learn_witnesses()
        self._draw_databases()

    def _learn_parameters(self) -> None:
        """Call both on evenly filled tables, to see which values they send."""
        for seed in range(2):
            maker = self.filled_evenly(dict.fromkeys(self.schema.drawn, 3), seed)
            arguments = self.arguments(maker)
            for function in (self.trial.old, self.trial.new):
                log = self.trial.log_of(function, maker.rows, arguments)
                self.read.update(*(sent.shape.tables for sent in log.statements))
                known = {repr(value) for value in self.constants}
                for value in parameters_of(log):
                    if repr(value) not in known and not isinstance(value, int):
                        known.add(repr(value))
                        self.constants = (*self.constants, value)

    def _learn_witnesses(self) -> None:
        """Find single rows that the old function selects, unless it selects most of them."""
        found: dict[Table, list[Mapping[str, Any]]] = {}
        hits = 0
        for seed in range(_MOST_WITNESS_TRIES):
            sizes = dict.fromkeys(self.schema.drawn, 1)
            maker = self._filled(sizes, seed, even=False)
            called = self.trial.call(self.trial.old, maker.rows, self.arguments(maker))
            if called.result.records or called.changed is not None:
                hits += 1
                for table, values in maker.witness().items():
                    found.setdefault(table, []).extend(values)
            if hits == _WITNESSES:
                # Where every other row is selected, rows need no help to be.
                self.witnesses = found if seed >= 2 * _WITNESSES else {}
                return
        self.witnesses = found

    def _draw_databases(self) -> None:
        numbers = count()

        @settings(
            max_examples=self.databases,
            phases=(Phase.generate,),
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def judge(data: st.DataObject) -> None:
            # Nothing is raised for a difference: Hypothesis would shrink its own choices, of which
            # it knows less than `shrink` knows of rows.
            self._judge_one(data.draw, next(numbers))
            if self.failing is not None:
                raise _FoundError

        with suppress(_FoundError):
            judge()
        if self.failing is None and self.suspect is not None:
            [*_, suspected] = self.suspect
            if suspected.difference and not self.trial.known.is_free(suspected.difference.path):
                self.failing = self.suspect

    def _judge_one(self, draw: Drawer, number: int) -> None:
        # Hypothesis draws arguments only: its choices depend on the modules that are loaded. It
        # stops when it has drawn all there is, so it draws a number too.
        draw(SEEDS)
        random = Random(number)  # noqa: S311 - not for secrets
        wide = self._is_thin and number % 4 > 0
        share = _WIDE if wide else random.choice(_SHARES) if number else (0,)
        # Children are more than their parents, so that many parents have several.
        more = 2 if share is _LARGER else 0
        depth = self.schema.depth
        lowest = max(depth[table] for table in self.schema.drawn)
        sizes = [
            random.choice(share) + more * min(depth[table] - (lowest > 0), 3)
            for table in self.schema.drawn
        ]
        seeds = [_seeds(random, size) for size in sizes]
        seed = random.getrandbits(32)
        drawn = {name: draws(draw) for name, draws in self.draws.items()}
        with self.trial.database.inserting() as insert:
            maker = self._maker(seed, insert, wide=wide)
            for table, each in zip(self.schema.drawn, seeds, strict=True):
                for row in each:
                    maker.add(table, row)
            maker.finish()
        self.refused.update(maker.refused)
        self.filled.update(row.table for row in maker.rows)
        arguments = {name: value(maker) for name, value in drawn.items()}
        judged = self.trial.judge(maker.rows, arguments)
        self.judged.append(judged)
        found = judged.difference
        if found is not None and found.kind == kinds.ORDER:
            # Only an order that some database has shown can be broken.
            self.suspect = self.suspect or (maker.rows, arguments, judged)
        elif found is not None:
            self.failing = (maker.rows, arguments, judged)
        if self.failing is None and self.suspect is not None:
            [*_, suspected] = self.suspect
            known = self.trial.known
            if suspected.difference and known.is_fixed(suspected.difference.path):
                self.failing = self.suspect

    @property
    def _is_thin(self) -> bool:
        """Whether too many old results show nothing, such as where few parents have children."""
        thin = sum(each.records < 2 for each in self.judged)
        return thin > _THIN_SHARE * len(self.judged)

    def arguments(self, maker: RowMaker) -> dict[str, Any]:
        """Simple arguments, of rows that are there."""
        return {name: draws(simplest)(maker) for name, draws in self.draws.items()}

    def filled_evenly(self, sizes: Mapping[Table, int], seed: int) -> RowMaker:
        """Rows spread evenly over their parents, so many in a table."""
        return self._filled(sizes, seed, even=True)

    def _filled(self, sizes: Mapping[Table, int], seed: int, *, even: bool) -> RowMaker:
        with self.trial.database.inserting() as insert:
            maker = self._maker(seed, insert, even=even)
            for table in self.schema.drawn:
                for number in range(sizes[table]):
                    maker.add(table, seed * 1000 + number)
            maker.finish()
        return maker

    def _maker(
        self,
        seed: int,
        insert: Callable[[DrawnRow], str | None],
        *,
        even: bool = False,
        wide: bool = False,
    ) -> RowMaker:
        random = Random(seed)  # noqa: S311 - not for secrets
        return RowMaker(
            self.schema,
            self.constants,
            random,
            even=even,
            wide=wide,
            insert=insert,
            witnesses=self.witnesses,
        )


def _seeds(random: Random, size: int) -> list[int]:
    """Return a seed for each row of a table."""
    seeds: list[int] = []
    for _ in range(size):
        repeats = seeds and random.random() < _REPEATED
        seeds.append(random.choice(seeds) if repeats else random.getrandbits(32))
    return seeds
