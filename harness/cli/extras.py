"""The packages of the extra `harness`, and what a command says when one is not installed."""

from importlib.util import find_spec

from elspeth.cli.runtime import UsageError

EXTRA_PACKAGES = frozenset({"faker", "hypothesis", "jinja2", "markupsafe", "matplotlib", "pytest"})
"""Import names. `harness --help` must work without them, so a command imports them, not `main`."""

REPORT_PACKAGES = ("jinja2", "matplotlib")
"""What the report page is made with."""


def require_packages(names: tuple[str, ...]) -> None:
    """Refuse to start, before anything is measured, when a package is not installed.

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
    """The error about a package of the extra that is not installed."""
    return UsageError(f"{name} is not installed: pip install 'elspeth-landscape[harness]'")
