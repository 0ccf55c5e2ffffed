"""Audit trails to inject faults around, in both formats and on either backend."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from backends import Server
from fault_table import Tally
from laying import laid_with_many_rows, record
from servers import NoServerError, in_full, new_landscape, own_server
from sqlalchemy import URL, make_url
from survival import Trail


@pytest.fixture(params=["json", "csv"])
def export_format(request: pytest.FixtureRequest) -> str:
    """Each of the formats that settings can ask for."""
    return str(request.param)


@pytest.fixture
def backend() -> str:
    """SQLite, unless a test is parametrized with other backends."""
    return "sqlite"


@pytest.fixture(scope="session")
def recorded_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the sample run, to be copied."""
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    record(f"sqlite:///{path}")
    return path


@pytest.fixture
def trail_url(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str, recorded_database: Path
) -> str:
    """The URL of a database with the sample run, this test's own."""
    if backend == "sqlite":
        return f"sqlite:///{shutil.copy(recorded_database, tmp_path / 'audit.db')}"
    url = str(request.getfixturevalue("postgres_url"))
    record(url)
    return url


@pytest.fixture
def trail(tmp_path: Path, trail_url: str, export_format: str, tally: Tally) -> Trail:
    """An audit trail whose target holds an old export."""
    trail = Trail.laid(tmp_path / "trail", trail_url, export_format, tally)
    trail.put_old_export()
    return trail


@pytest.fixture(scope="session")
def fragile_server() -> Iterator[URL]:
    """A PostgreSQL server whose processes a test may stop and kill: it restarts, or goes on."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(own_server())
        except NoServerError as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture
def server(fragile_server: URL) -> Iterator[Server]:
    """That server, with a database of the test's own that holds the sample run."""
    url = new_landscape(fragile_server, f"landscape_{uuid4().hex}")
    record(url)
    server = Server.of(make_url(url))
    yield server
    server.go_on()


@pytest.fixture
def fragile(server: Server, tmp_path: Path, export_format: str, tally: Tally) -> Trail:
    """An audit trail of many rows on that server."""
    return laid_with_many_rows(tmp_path / "trail", in_full(server.database), export_format, tally)


@pytest.fixture
def trail_of_many_rows(
    fresh_postgres_url: str, tmp_path: Path, export_format: str, tally: Tally
) -> Trail:
    """A run that takes several fetches, in a database of its own."""
    record(fresh_postgres_url)
    return laid_with_many_rows(tmp_path / "trail", fresh_postgres_url, export_format, tally)
