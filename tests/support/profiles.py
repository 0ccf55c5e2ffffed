"""Profiles: how hard property tests search - `dev` while working, `ci` on a change, `nightly`."""

from collections.abc import Mapping
from types import MappingProxyType

from hypothesis import settings

VARIABLE = "HYPOTHESIS_PROFILE"
"""The environment variable that names the profile."""

DEFAULT_PROFILE = "dev"

EXAMPLES: Mapping[str, int] = MappingProxyType({"dev": 200, "ci": 600, "nightly": 10_000})
"""How many examples a property test tries under each profile."""


class ProfileError(ValueError):
    """There is no profile of that name."""


def load_profile(environ: Mapping[str, str]) -> str:
    """Take the profile that an environment names, for every property declared from now on.

    `ci` tries the same examples every time, so that only a change can turn a test red. No profile
    holds an example to a time. Returns the profile's name; raises ProfileError for an unknown one.
    """
    name = environ.get(VARIABLE) or DEFAULT_PROFILE
    if name not in EXAMPLES:
        raise ProfileError(f"{VARIABLE}={name}: no such profile; known: {', '.join(EXAMPLES)}")
    for each, examples in EXAMPLES.items():
        settings.register_profile(
            each, max_examples=examples, deadline=None, derandomize=each == "ci", print_blob=True
        )
    settings.load_profile(name)
    return name


def fewer_examples(share: float) -> settings:
    """Settings for a property whose examples cost more: that share of the profile's, at least 1."""
    return settings(max_examples=max(1, round(settings().max_examples * share)))
