"""Features: special shapes that a run can be asked to hold. One function declares one feature.

To add one, write a function under `@edits_sections`, `@renames_ids` or `@reorders_inserts` in
`structure.py` or `values.py`. The function's name is the feature's name, the first line of its
docstring is the summary, and its body changes the planned run. The decorator's arguments say how
the feature shows in a database and what a spec needs for it. Specs, JSON, commands, strategies and
tests find the feature by its name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from harness.generate.features import structure, values
from harness.generate.features.feature import Feature

__all__ = ["FEATURES", "Feature"]

# Structure first: a later feature must not change what an earlier one has left out.
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
