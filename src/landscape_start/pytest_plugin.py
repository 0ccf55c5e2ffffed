"""Stop pytest in an environment where another distribution has overwritten files of `elspeth`."""

import pytest

from landscape_start import USAGE_ERROR, installation_problem


def pytest_configure() -> None:
    """Exit with code 2: a test of a mixture of two packages proves nothing about either."""
    problem = installation_problem()
    if problem is not None:
        pytest.exit(problem, returncode=USAGE_ERROR)
