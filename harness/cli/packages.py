"""The packages of the extra `harness`: their names, and the error when one is not installed."""

from importlib.util import find_spec

from elspeth.cli.runtime import UsageError
from elspeth.core.extras import extra_hint

EXTRA_PACKAGES = frozenset({"faker", "hypothesis", "jinja2", "markupsafe", "matplotlib", "pytest"})
"""The import names of the extra's packages."""
# `harness --help` must work without them: only modules of commands import them, not `main`.

REPORT_PACKAGES = ("jinja2", "markupsafe", "matplotlib")
"""The packages that the report page is made with."""

SEARCH_PACKAGES = ("hypothesis",)
"""The packages that the check `search` draws runs with."""


def require_packages(names: tuple[str, ...]) -> None:
    """Refuse to start when a package is not installed, before minutes of measurement.

    Raises:
        UsageError: Names the package and how to install it.
    """
    for name in names:
        try:
            found = find_spec(name)
        except ImportError:
            found = None
        if found is None:
            raise missing_package(name)


def missing_package(name: str) -> UsageError:
    """Return the error about a package of the extra that is not installed."""
    return UsageError(f"{name} is not installed: {extra_hint('harness')}")
