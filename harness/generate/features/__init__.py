"""Features: the corners that a run can be asked to reach, each told in one place.

To add one, write a function under `@edits`, `@renames` or `@arranges` in the module it belongs to.
The function's name is the feature's name, its docstring the summary, its body what is done to a
run. The decorator's arguments say how the feature shows in a database and what it needs of a spec.
Specs, JSON, commands, strategies and the tests find it by its name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from harness.generate.features import structure, values
from harness.generate.features.feature import Feature

__all__ = ["FEATURES", "Feature"]

# What is left out, no later feature can touch.
_MODULES = (structure, values)

FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        each.name: each
        for module in _MODULES
        for each in vars(module).values()
        if isinstance(each, Feature)
    }
)
"""Every feature by name, in the order in which they act."""
