"""Features: special shapes that a spec can require of a run. One function declares one feature.

To add one, write a function under `@edits_sections`, `@renames_ids` or `@reorders_inserts` in
`structure.py` or `values.py`. The function's name is the feature's name, the first line of its
docstring is the summary, and its body changes the planned run. The arguments of the decorator are
the evidence of the feature in a database and its requirements. Specs, JSON, commands, strategies
and tests find the feature by its name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from harness.generate.features import structure, values
from harness.generate.features.feature import Feature

__all__ = ["FEATURES", "Feature"]

# Structure first: features of values then change the entities that are left.
_MODULES = (structure, values)

FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        each.name: each
        for module in _MODULES
        for each in vars(module).values()
        if isinstance(each, Feature)
    }
)
"""All features by name, in the order in which they act on a run."""
