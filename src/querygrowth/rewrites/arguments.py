"""Draw the arguments that two functions on trial are called with: ids that exist, and others."""

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sqlalchemy import Column
from sqlalchemy.orm import InstrumentedAttribute

from querygrowth.rewrites.small_rows import RowMaker

Drawer = Callable[[SearchStrategy[Any]], Any]
"""Draws a value of a strategy, as Hypothesis's `data.draw`."""
Draw = Callable[[Drawer], Callable[[RowMaker], Any]]
"""Draws what is open in an argument; the rows decide the rest."""

_COLUMNS = (Column, InstrumentedAttribute)
_LIST_SIZES = st.sampled_from((0, 1, 2, 3, 4, 5, 6, 4, 5, 6))
_ABSENT = st.sampled_from((False, False, False, False, True))
SEEDS = st.integers(0, 2**32 - 1)


def draw_of(name: str, value: object) -> Draw:
    """How an argument is drawn: by Hypothesis first, then from the rows."""
    if isinstance(value, InstrumentedAttribute):
        value = value.property.columns[0]
    if isinstance(value, Column):
        column = value

        def from_rows(draw: Drawer) -> Callable[[RowMaker], Any]:
            # Hypothesis prefers small seeds, which say nothing of the share of absent values.
            absent, seed = draw(_ABSENT), draw(SEEDS)
            return lambda maker: _value_of(column, maker, absent, Random(seed))  # noqa: S311

        return from_rows
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], _COLUMNS):
        one = draw_of(name, value[0])

        def several(draw: Drawer) -> Callable[[RowMaker], Any]:
            drawn = [one(draw) for _ in range(draw(_LIST_SIZES))]
            return lambda maker: [each(maker) for each in drawn]

        return several
    if isinstance(value, list | tuple | range) and value:
        value = st.sampled_from(value)
    if isinstance(value, SearchStrategy):
        strategy = value

        def from_strategy(draw: Drawer) -> Callable[[RowMaker], Any]:
            drawn = draw(strategy)
            return lambda _maker: drawn

        return from_strategy
    raise ValueError(
        f"arguments[{name!r}] must be a column such as Customer.id, [Customer.id] for a list of "
        f"its values, a list of values to choose from, or a Hypothesis strategy, got {value!r}"
    )


def is_plain(value: object) -> bool:
    """Whether a listed value stands for itself, and is neither a column nor a strategy."""
    return not isinstance(value, (*_COLUMNS, SearchStrategy))


def _value_of(column: Column[Any], maker: RowMaker, absent: bool, random: Random) -> Any:
    """A value of a column: mostly one that is there, of any tenant."""
    present = maker.present(column.table)
    values = [row.complete.get(column.name) for row in present]
    values = [value for value in values if value is not None]
    if values and (maker.even or not absent):
        # Rows that others refer to come up more often, because more is selected by them.
        counts = maker.references(column)
        weights = [1 + 4 * counts[value] for value in values]
        return values[0] if maker.even else random.choices(values, weights)[0]
    others = [value for value in maker.pool(column) if value not in values]
    if column.primary_key and all(type(value) is int for value in values):
        others = [0, 999, *(n for n in range(1, 9) if n not in values)]
    return random.choice(others or values or [None])


def simplest(strategy: SearchStrategy[Any]) -> Any:
    """A simple example of a strategy, the same in every run."""
    if strategy is SEEDS:
        return 0
    found: list[Any] = []

    @settings(
        max_examples=1,
        phases=(Phase.generate,),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(value: Any) -> None:
        found.append(value)

    keep()
    return found[0]
