"""One entry of the corpus."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., object]


@dataclass(frozen=True)
class Rewrite:
    """An old function, and functions that replace it.

    Args:
        old: The function that is right by definition.
        right: Rewrites that give the same.
        wrong: Rewrites that do not, by the kind of the difference to be found.
        models: The models that get rows.
        options: Further arguments of `compare_results`.
    """

    old: Function
    right: tuple[Function, ...]
    wrong: Mapping[Function, str]
    models: tuple[type, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
