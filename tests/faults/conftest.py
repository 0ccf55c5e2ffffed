"""Audit trails to inject faults around, in both formats and on either backend."""

import shutil
from pathlib import Path

import pytest
from fault_table import Tally
from sample_run import record_sample_run
from survival import Trail

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder


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


def record(url: str) -> None:
    """Record the sample run in a new or empty database."""
    with LandscapeDB(url) as db:
        record_sample_run(LandscapeRecorder(db))
