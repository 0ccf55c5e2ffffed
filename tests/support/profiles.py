"""Hypothesis profiles: the number of examples of a property test under dev, ci and nightly."""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest
from hypothesis import settings

VARIABLE = "HYPOTHESIS_PROFILE"
"""The environment variable that names the profile."""

DEFAULT_PROFILE = "dev"

EXAMPLES: Mapping[str, int] = MappingProxyType({"dev": 150, "ci": 600, "nightly": 10_000})
"""The number of examples of a property test, by profile."""


class ProfileError(ValueError):
    """The profile is unknown."""


def is_nightly() -> bool:
    """Whether the tests run in their long form."""
    return os.environ.get(VARIABLE) == "nightly"


def skip_nightly(items: Sequence[pytest.Item]) -> None:
    """Skip tests that take long, except in the nightly run."""
    if is_nightly():
        return
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.skip(reason=f"long: runs with {VARIABLE}=nightly"))


def load_profile(environ: Mapping[str, str]) -> str:
    """Load the profile that an environment names, for all properties declared after this call.

    `ci` tries the same examples every time, so that only a change of the code can fail a test;
    `dev` does so where the variable `CI` is set. No profile sets a Hypothesis deadline, because a
    busy machine would exceed it. Returns the name of the profile.

    Raises:
        ProfileError: The profile is unknown.
    """
    name = environ.get(VARIABLE) or DEFAULT_PROFILE
    if name not in EXAMPLES:
        raise ProfileError(f"{VARIABLE}={name}: no such profile; known: {', '.join(EXAMPLES)}")
    repeated = {"ci", "dev"} if environ.get("CI") else {"ci"}
    for each, examples in EXAMPLES.items():
        settings.register_profile(
            each,
            max_examples=examples,
            deadline=None,
            derandomize=each in repeated,
            print_blob=True,
        )
    settings.load_profile(name)
    return name


def fewer_examples(share: float) -> settings:
    """Return settings with a share of the profile's examples, at least one of them."""
    return settings(max_examples=max(1, round(settings().max_examples * share)))
