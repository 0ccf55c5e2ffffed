"""Presets: named specs that can be generated with any number of rows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from harness.generate.features import FEATURES
from harness.generate.features.feature import compatible
from harness.generate.spec import ImpossibleSpecError, RunSpec, suggestion

_SOME_OF_EVERYTHING = RunSpec(
    forks=1,
    expansions=1,
    joins=1,
    parents=2,
    states=2,
    retries=1,
    routing_groups=1,
    routing_events=2,
    calls=1,
    nodes=4,
    edges=3,
    batches=1,
    members=2,
    batch_retries=1,
    artifacts=2,
    neighbours=1,
)


def tiny(rows: int = 2, **changes: Any) -> RunSpec:
    """Two rows with one or two of everything, small enough to read."""
    return _varied(changes, rows=rows)


def typical(rows: int = 2000, **changes: Any) -> RunSpec:
    """An ordinary run, 23 records a row."""
    return RunSpec.typical(rows, **changes)


def wide(rows: int = 200, **changes: Any) -> RunSpec:
    """A wide graph: many parallel branches, routes and calls."""
    return _varied(
        changes,
        rows=rows,
        forks=16,
        routing_groups=8,
        routing_events=8,
        calls=8,
        nodes=40,
        edges=120,
        artifacts=40,
    )


def deep(rows: int = 200, **changes: Any) -> RunSpec:
    """A long pipeline: tokens take forty steps and visit nodes several times."""
    return _varied(changes, rows=rows, states=40, nodes=12, edges=12)


def forky(rows: int = 500, **changes: Any) -> RunSpec:
    """Rows that fork, expand and join, so that many tokens have many parents."""
    return _varied(changes, rows=rows, forks=5, expansions=5, joins=5, parents=8)


def retries(rows: int = 500, **changes: Any) -> RunSpec:
    """Steps that fail several times before they succeed."""
    # Fifteen over three steps: five failed attempts for a step.
    return _varied(changes, rows=rows, states=3, retries=15)


def batches(rows: int = 500, **changes: Any) -> RunSpec:
    """A batch for every row, with members and failed attempts."""
    return _varied(changes, rows=rows, batches=rows, members=min(30, rows), batch_retries=2)


def adversarial(rows: int = 20, **changes: Any) -> RunSpec:
    """Many features that every backend can hold and an export has to contain, in one run."""
    # Checks run this preset on both backends, and its export must not be refused.
    portable = [
        each for each in FEATURES.values() if each.portable and each.in_presets and not each.corrupt
    ]
    return _varied(
        changes,
        rows=rows,
        states=3,
        routing_groups=2,
        nodes=6,
        batches=4,
        members=3,
        artifacts=3,
        neighbours=2,
        features={each.name for each in compatible(portable)},
    )


def million(rows: int = 1_000_000, **changes: Any) -> RunSpec:
    """The largest agreed run, a typical one of 23 million records."""
    return RunSpec.typical(rows, **changes)


PRESETS: Mapping[str, Callable[..., RunSpec]] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            tiny,
            typical,
            wide,
            deep,
            forky,
            retries,
            batches,
            adversarial,
            million,
        )
    }
)
"""The presets by name. A preset takes a number of rows, and fields of RunSpec to change."""


def preset(name: str, rows: int | None = None, **changes: Any) -> RunSpec:
    """Return the spec of a preset.

    Args:
        name: A name in PRESETS.
        rows: The number of source rows; default: the preset's.
        **changes: Fields of RunSpec to change.

    Raises:
        ImpossibleSpecError: The name is unknown, or RunSpec refuses the result.
    """
    if name not in PRESETS:
        raise ImpossibleSpecError(f"no preset {name!r}{suggestion(name, PRESETS)}", field="preset")
    make = PRESETS[name]
    return make(**changes) if rows is None else make(rows, **changes)


def _varied(changes: Mapping[str, Any], **axes: Any) -> RunSpec:
    return replace(_SOME_OF_EVERYTHING, **axes | dict(changes))
