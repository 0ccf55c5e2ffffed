"""Databases for the tests, a small recorded run, and how hard property tests search."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from profiles import load_profile
from servers import NoServerError, execute, new_landscape, own_server
from sqlalchemy import URL, make_url

from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import metadata

pytest_plugins = ["command_line", "exercised_shapes", "fault_table"]

# Before any test module declares a property.
load_profile(os.environ)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a server that this test process started and stops at its end."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(own_server())
        except NoServerError as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: URL) -> str:
    """The URL of a database with all tables that the tests of this process take in turns."""
    return new_landscape(postgres_server, "landscape_shared")


@pytest.fixture
def postgres_url(shared_postgres_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with empty tables, for a test that changes rows only.

    Emptying takes a millisecond, a database of one's own a fifth of a second.
    """
    yield shared_postgres_url
    url = make_url(shared_postgres_url)
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    execute(url, "; ".join(f"DELETE FROM {table}" for table in reversed(metadata.sorted_tables)))


@pytest.fixture
def fresh_postgres_url(postgres_server: URL) -> str:
    """The URL of a PostgreSQL database of the test's own: it may alter tables and settings."""
    return new_landscape(postgres_server, f"landscape_{uuid4().hex}")


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
