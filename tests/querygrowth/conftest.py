"""What these tests need beside querygrowth; they also run where nothing else is installed."""

import pytest


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database, from the whole repository's suite."""
    try:
        return str(request.getfixturevalue("fresh_postgres_url"))
    except pytest.FixtureLookupError:
        pytest.skip("needs PostgreSQL, which only the suite of the whole repository starts")
