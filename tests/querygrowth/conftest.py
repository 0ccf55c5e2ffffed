"""Fixtures of querygrowth's tests, which also run where only querygrowth is installed."""

import pytest


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database, from the whole repository's suite."""
    try:
        return str(request.getfixturevalue("fresh_postgres_url"))
    except pytest.FixtureLookupError:
        pytest.skip("needs PostgreSQL, which only the suite of the whole repository starts")
