"""Stop pytest in an environment where another distribution has overwritten files of `elspeth`."""

import pytest

from landscape_start import USAGE_ERROR, mixed_installation


def pytest_configure() -> None:
    """Exit with code 2: a test of a mixture of two packages proves nothing about either."""
    mixture = mixed_installation()
    if mixture is not None:
        pytest.exit(str(mixture), returncode=USAGE_ERROR)
