"""The runs in which several axes, or entities of every kind, grow together.

A join of two children of one parent fetches their product, and that product shows only if both
grow. A query for each open state shows only if the number of open states grows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

from harness.generate.features import FEATURES
from harness.generate.features.feature import compatible
from harness.generate.spec import RunSpec

SpecsBySize: TypeAlias = Mapping[int, RunSpec]
"""Runs of one shape by their sizes, rising."""

# A single row: all that refers to a state or a token then refers to the same one.
_ONE_OF_EACH = RunSpec(rows=1, routing_groups=1, calls=1, batches=1, members=1, artifacts=1)

# Three sizes, because two give no slope that could rise. A run of a size has a few records for
# each unit, so that a product of two tables stands out against the tables that do not multiply.
_SIZES = (3, 9, 27)
# The records of these runs grow with the square of the size or faster.
_SQUARE_SIZES, _ALL_SIZES = (2, 4, 8), (1, 2, 3)

_TOGETHER: Mapping[str, tuple[Sequence[int], Callable[[int], RunSpec]]] = MappingProxyType(
    {
        "all entities of a run": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, rows=n, nodes=n, edges=n, batches=n, artifacts=n),
        ),
        "all references to a node": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, rows=n, nodes=2, edges=n, batches=n, artifacts=n),
        ),
        "all tokens of a row": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, forks=n, expansions=n, joins=n, retries=1),
        ),
        "generations of tokens": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, forks=n, features=frozenset(("lineage_in_a_chain",))),
        ),
        "all children of a token": (
            _SIZES,
            lambda n: replace(
                _ONE_OF_EACH,
                states=n,
                retries=n,
                routing_groups=n,
                batches=n,
                batch_retries=1,
                artifacts=n,
            ),
        ),
        "parents and states of joined tokens": (
            _SQUARE_SIZES,
            lambda n: replace(
                _ONE_OF_EACH, forks=n, joins=2 * n, parents=n, states=n, routing_groups=n
            ),
        ),
        "parents and batches of a token": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, forks=n, joins=1, parents=n, batches=n, artifacts=n),
        ),
        "all children of a state": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, routing_events=n, calls=n, batches=n, artifacts=n),
        ),
        "members of a batch and artifacts": (
            _SIZES,
            lambda n: replace(_ONE_OF_EACH, forks=n, members=n, batch_retries=1, artifacts=n),
        ),
        "all axes": (
            _ALL_SIZES,
            lambda n: RunSpec(
                rows=n,
                forks=n,
                expansions=n,
                joins=n,
                parents=n,
                states=n,
                retries=n,
                routing_groups=n,
                routing_events=n,
                calls=n,
                nodes=n,
                edges=n,
                batches=n,
                members=n,
                batch_retries=n,
                artifacts=n,
            ),
        ),
    }
)

# A loop over a list up to the entity that is looked for: few branches beside those of a record.
_LIST_SIZES = (10, 30, 90)

# Every feature changes one entity in two to five, so that its entities grow between these sizes
# and those without it do as well.
_KIND_SIZES = (8, 24)
# The first ids of `short_ids` are the same in all runs, and a database takes an id once. Integers
# that descend change the order of entities only, and generations of tokens grow above.
_NOT_KINDS = frozenset(("short_ids", "descending_integers", "lineage_in_a_chain"))


@cache
def axes_together() -> Mapping[str, SpecsBySize]:
    """Return runs in which axes grow together: all of them, and all below one parent."""
    return {
        name: {size: replace(make(size), run_id=f"{name} {size}") for size in sizes}
        for name, (sizes, make) in _TOGETHER.items()
    }


@cache
def references_to_all() -> Mapping[str, SpecsBySize]:
    """Return runs in which entities refer to all of the others, and both grow."""
    everywhere = frozenset(("references_to_all_entities",))
    return {
        "children of a token that refer to all others": {
            size: replace(
                _ONE_OF_EACH,
                run_id=f"references {size}",
                states=size,
                # One more, because the first step is at the second node.
                nodes=size + 1,
                edges=size,
                routing_groups=size,
                batches=size,
                artifacts=size,
            )
            for size in _LIST_SIZES
        },
        "rows that refer to all others": {
            size: replace(
                _ONE_OF_EACH,
                run_id=f"references of rows {size}",
                rows=size,
                nodes=size,
                batches=size,
                artifacts=size,
                features=everywhere,
            )
            for size in _LIST_SIZES
        },
    }


@cache
def kinds_of_entities(*, on_sqlite: bool) -> Mapping[str, SpecsBySize]:
    """Return runs in which entities of every status, type and feature grow in number.

    Features that only change ids or an order make no further kind of entity. Those of a refused
    run, and of a run without whole tables are left out as well.

    Args:
        on_sqlite: Whether the features count that only SQLite stores, such as long texts.
    """
    return {
        f"entities of every kind ({number})": {
            size: _of_kinds(size, f"kinds {number}, {size}", features) for size in _KIND_SIZES
        }
        for number, features in enumerate(_feature_groups(on_sqlite), start=1)
    }


def _feature_groups(on_sqlite: bool) -> Iterator[frozenset[str]]:
    """Yield groups of features that go together, until every feature was in one."""
    left = [
        each
        for each in FEATURES.values()
        if each.edit and (each.portable or on_sqlite) and not (each.corrupt or each.alone)
        if each.name not in _NOT_KINDS
    ]
    while left:
        group = compatible(left)
        left = [each for each in left if each not in group]
        yield frozenset(each.name for each in group)


def _of_kinds(size: int, run_id: str, features: frozenset[str]) -> RunSpec:
    return RunSpec(
        run_id=run_id,
        rows=size,
        forks=1,
        joins=1,
        parents=2,
        states=3,
        retries=1,
        routing_groups=2,
        routing_events=2,
        calls=1,
        nodes=size,
        edges=size,
        batches=size,
        members=2,
        batch_retries=1,
        artifacts=size,
        neighbours=1,
        features=features,
    )
