"""Audit trails to inject faults into, in both export formats and on both backends."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from audit_trail import Trail, record, trail_with_many_rows
from fault_table import Tally
from formats import FORMATS
from postgres_processes import Server
from postgres_server import new_landscape, server_or_skip, url_text
from shared_statements import shared_statements
from sqlalchemy import URL, make_url

__all__ = ["shared_statements"]


@pytest.fixture(params=FORMATS)
def export_format(request: pytest.FixtureRequest) -> str:
    """The export formats that settings can name."""
    return str(request.param)


@pytest.fixture
def backend() -> str:
    """SQLite, unless a test is parametrized with another backend."""
    return "sqlite"


@pytest.fixture(scope="session")
def recorded_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the sample run, for tests to copy."""
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    record(f"sqlite:///{path}")
    return path


@pytest.fixture
def trail_url(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str, recorded_database: Path
) -> str:
    """The URL of a database with the sample run, for one test alone."""
    if backend == "sqlite":
        return f"sqlite:///{shutil.copy(recorded_database, tmp_path / 'audit.db')}"
    url = str(request.getfixturevalue("postgres_url"))
    record(url)
    return url


@pytest.fixture
def trail(tmp_path: Path, trail_url: str, export_format: str, tally: Tally) -> Trail:
    """An audit trail whose target holds an old export."""
    trail = Trail.create(tmp_path / "trail", trail_url, export_format, tally)
    trail.put_old_export()
    return trail


@pytest.fixture(scope="session")
def fragile_server() -> Iterator[URL]:
    """A PostgreSQL server whose processes a test may stop and kill."""
    with server_or_skip() as url:
        yield url


@pytest.fixture
def server(fragile_server: URL) -> Iterator[Server]:
    """The fragile server with a new database that holds the sample run."""
    url = new_landscape(fragile_server, f"landscape_{uuid4().hex}")
    record(url)
    server = Server.of(make_url(url))
    yield server
    server.resume()


@pytest.fixture
def fragile(server: Server, tmp_path: Path, export_format: str, tally: Tally) -> Trail:
    """An audit trail of many rows on the fragile server."""
    return trail_with_many_rows(tmp_path / "trail", url_text(server.database), export_format, tally)


@pytest.fixture
def trail_of_many_rows(
    fresh_postgres_url: str, tmp_path: Path, export_format: str, tally: Tally
) -> Trail:
    """An audit trail in a new PostgreSQL database; its export takes several fetches."""
    record(fresh_postgres_url)
    return trail_with_many_rows(tmp_path / "trail", fresh_postgres_url, export_format, tally)
