"""Fixtures of querygrowth's tests, which also run where only querygrowth is installed."""

import asyncio

import pytest

# Before CPython 3.12, asyncio makes an event loop where there was none, as pytest-asyncio asks for
# the current one. Nobody closes that loop, and its warning then fails any later test, in the order
# of pytest-randomly. Once a loop was set, asyncio makes none.
asyncio.set_event_loop(None)


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Runs inner suites in the order of their source, whose lines the tests read in that order."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly")
    return pytester


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database, from the whole repository's suite."""
    try:
        return str(request.getfixturevalue("fresh_postgres_url"))
    except pytest.FixtureLookupError:
        pytest.skip("needs PostgreSQL, which only the suite of the whole repository starts")
