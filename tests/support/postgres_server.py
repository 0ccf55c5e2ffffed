"""Temporary PostgreSQL servers for tests, and databases on them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from sqlalchemy import URL, make_url

from elspeth.core.landscape.database import LandscapeDB
from harness.bench.postgresql import temporary_postgresql


class NoServerError(RuntimeError):
    """PostgreSQL cannot start here."""


@contextmanager
def temporary_server() -> Iterator[URL]:
    """Run a new server on a private socket while the block runs, and yield its URL."""
    with ExitStack() as stack:
        try:
            url = make_url(stack.enter_context(temporary_postgresql()))
            # The data need not survive a power cut, and flushing is slow.
            execute(url, "ALTER SYSTEM SET fsync = off")
            execute(url, "SELECT pg_reload_conf()")
        except Exception as error:
            raise NoServerError(f"PostgreSQL cannot start here: {error!r}") from error
        yield url.set(drivername="postgresql+psycopg", password=None)


@contextmanager
def server_or_skip() -> Iterator[URL]:
    """Run a new server like `temporary_server`, or skip the test if PostgreSQL cannot start."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(temporary_server())
        except NoServerError as error:
            pytest.skip(str(error))
        yield url


def new_landscape(server: URL, name: str) -> str:
    """Make a database with all tables, and return its URL."""
    execute(server, f"CREATE DATABASE {name}")
    url = url_text(server.set(database=name))
    LandscapeDB(url).close()
    return url


def execute(server: URL, statement: str) -> None:
    """Execute a statement outside of a transaction."""
    with psycopg.connect(
        url_text(server.set(drivername="postgresql")), autocommit=True
    ) as connection:
        connection.execute(statement)


def url_text(url: URL) -> str:
    """Return a URL as text, with its password."""
    return url.render_as_string(hide_password=False)
