"""Features: special shapes that a spec can require of a run. One function declares one feature.

To add one, write a function under `@edits_sections`, `@renames_ids` or `@reorders_inserts` in a
module of this package. The function's name is the feature's name, the first line of its docstring
is the summary, and its body changes the planned run. The arguments of the decorator are the
evidence of the feature in a database and its requirements. Specs, JSON, commands, strategies and
tests find the feature by its name.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from harness.generate.features import (
    contents,
    ids,
    numbers,
    references,
    repeated,
    structure,
    values,
)
from harness.generate.features.feature import Feature

__all__ = ["FEATURES", "Feature"]

# Structure first: features of values then change the entities that are left.
_MODULES = (structure, references, values, numbers, contents, repeated, ids)
_DECLARED = tuple(
    each for module in _MODULES for each in vars(module).values() if isinstance(each, Feature)
)
_NAMES = frozenset(each.name for each in _DECLARED)

FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        each.name: replace(each, excludes=_NAMES - {each.name}) if each.alone else each
        for each in _DECLARED
    }
)
"""All features by name, in the order in which they act on a run."""
