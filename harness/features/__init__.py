"""Features: the corners that a run can be asked to reach, each told in one place.

To add one, write a function under `@edits`, `@renames` or `@arranges` in the module it belongs to.
Its name is the feature's name, its docstring what `harness coverage` prints, its body what it does
to a run, and the decorator's arguments how it shows in a database and what it needs of a spec.
Specs, JSON, commands, strategies and coverage find it by its name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from harness.features import (
    disk,
    ids,
    left_out,
    numbers,
    order,
    references,
    texts,
    times,
    unfinished,
)
from harness.features.feature import Feature

__all__ = ["FEATURES", "Feature"]

# What is left out, no later feature can touch.
_MODULES = (left_out, unfinished, order, references, times, texts, numbers, ids, disk)

FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        each.name: each
        for module in _MODULES
        for each in vars(module).values()
        if isinstance(each, Feature)
    }
)
"""Every feature by name, in the order in which they act."""
