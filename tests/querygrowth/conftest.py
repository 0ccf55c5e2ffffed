"""Fixtures of querygrowth's tests, which also run where only querygrowth is installed."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

import pytest
import sqlalchemy
from hypothesis import settings
from profiles import skip_nightly

# A deadline fails on a machine under load. The suite of the whole repository has set none already.
if settings().deadline is not None:
    settings.register_profile("without a deadline", deadline=None)
    settings.load_profile("without a deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that take long also where the suite's own conftest.py is not loaded."""
    skip_nightly(items)


# Before CPython 3.12, asyncio makes an event loop where there was none, as pytest-asyncio asks for
# the current one. Nobody closes that loop, and its warning then fails any later test, in the order
# of pytest-randomly. Once a loop was set, asyncio makes none.
asyncio.set_event_loop(None)


# From CPython 3.13 on, sqlite3 reports a connection that is freed before it is closed, in the test
# that happens to run when garbage is collected. So what the engines of a test have opened is closed
# at its end, unless the test passes the connections (`creator`).
_create_engine = sqlalchemy.create_engine
_opened: list[sqlite3.Connection] = []
_running: list[bool] = []  # one entry during a test of this folder; others run in the same process


@wraps(_create_engine)
def _create_engine_to_be_closed(*arguments: Any, **options: Any) -> sqlalchemy.Engine:
    if _running and "sqlite:" in str(arguments[0]).partition("/")[0]:
        # This thread also closes what other threads have opened.
        options["connect_args"] = {"check_same_thread": False, **options.get("connect_args", {})}
    engine = _create_engine(*arguments, **options)
    if _running and engine.dialect.driver == "pysqlite" and "creator" not in options:
        sqlalchemy.event.listen(engine, "connect", lambda opened, _: _opened.append(opened))
    return engine


sqlalchemy.create_engine = _create_engine_to_be_closed


@pytest.fixture(autouse=True)
def close_databases() -> Iterator[None]:
    """Close the SQLite connections of a test after all of its other fixtures have ended."""
    _running.append(True)
    yield
    _running.pop()
    while _opened:
        with suppress(sqlite3.ProgrammingError):  # a test may check the thread
            _opened.pop().close()


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
