"""Fixtures for all tests: databases on both backends, a recorder and a small recorded run."""

import compileall
import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import find, settings
from hypothesis.strategies import none
from postgres_server import execute, new_landscape, server_or_skip
from profiles import load_profile, skip_nightly
from shared_recordings import clock_by_seconds, counted_ids, put_recording
from sqlalchemy import URL, make_url

from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import metadata

pytest_plugins = ["command_line", "run_coverage", "fault_table"]

# The tests of a checkout that only runs under its own import path.
collect_ignore = ["support/foreign"]

# A property test takes the number of its examples when it is declared, so the profile has to be
# loaded before the test modules.
load_profile(os.environ)

# Hundreds of processes that tests start import the products. Without bytecode files, which this
# variable forbids, compiling is a third of the start of the `harness` command.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the products before any test, and not in the processes that tests start."""
    # Before xdist starts its workers.
    if not hasattr(session.config, "workerinput"):
        for folder in ("src", "harness", "fixtures"):
            compileall.compile_dir(session.config.rootpath / folder, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Collect without garbage collection, and leave out of it later what was collected."""
    # 9,000 tests and their modules stay until the end. Visiting them took half of the time.
    gc.disable()
    try:
        return (yield)
    finally:
        # Hypothesis looks among the objects of the collector for what holds its source of random
        # numbers, when it makes that in its first run, and warns if it finds nothing.
        find(none(), lambda _: True, settings=settings(database=None))
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that take long, except in the nightly run."""
    skip_nightly(items)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Put back the handlers of signals that a command leaves, which runs in the test's process."""
    others = (signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, *others)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def import_path() -> Iterator[None]:
    """Restore `sys.path` after every test.

    Loading an exporter can add the working directory, and a child process of a later test would
    import from it.
    """
    before = [*sys.path]
    yield
    sys.path[:] = before


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a server that runs as long as this test process."""
    with server_or_skip() as url:
        yield url


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: URL) -> str:
    """The URL of a database with all tables that the tests of this process share, one at a time."""
    return new_landscape(postgres_server, "landscape_shared")


@pytest.fixture
def postgres_url(shared_postgres_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with empty tables, for a test that changes only rows."""
    # Emptying the tables takes a millisecond, a new database 0.2 seconds.
    yield shared_postgres_url
    end_others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    empty = [f"DELETE FROM {table}" for table in reversed(metadata.sorted_tables)]
    execute(make_url(shared_postgres_url), "; ".join([end_others, *empty]))


@pytest.fixture
def fresh_postgres_url(postgres_server: URL) -> str:
    """The URL of a new PostgreSQL database, for a test that alters tables or settings."""
    return new_landscape(postgres_server, f"landscape_{uuid4().hex}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'audit.db'}"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables, for tests to copy."""
    path = tmp_path_factory.mktemp("empty") / "audit.db"
    LandscapeDB(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def landscape_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty audit trail, on each backend in turn."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    url = str(request.getfixturevalue("sqlite_url"))
    # Creating the tables takes 25 ms more, and a thousand tests need them.
    shutil.copyfile(request.getfixturevalue("empty_database"), make_url(url).database or "")
    return url


@pytest.fixture
def db(landscape_url: str) -> Iterator[LandscapeDB]:
    """An empty audit trail, on each backend in turn."""
    with LandscapeDB(landscape_url) as landscape:
        yield landscape


@pytest.fixture
def recorder_clock() -> Callable[[], datetime]:
    """The clock of `recorder`, which advances by a second."""
    return clock_by_seconds()


@pytest.fixture
def recorder_ids() -> Callable[[], str]:
    """The ids of `recorder`, which count up: id-001, id-002."""
    return counted_ids()


@pytest.fixture
def recorder(
    db: LandscapeDB, recorder_clock: Callable[[], datetime], recorder_ids: Callable[[], str]
) -> LandscapeRecorder:
    """A recorder with `recorder_clock` and `recorder_ids`."""
    return LandscapeRecorder(db, clock=recorder_clock, new_id=recorder_ids)


@pytest.fixture
def dynamic() -> SchemaConfig:
    """A schema without fields."""
    return SchemaConfig.from_dict({"fields": "dynamic"})


@pytest.fixture
def recorded(
    recorder: LandscapeRecorder,
    db: LandscapeDB,
    recorder_clock: Callable[[], datetime],
    recorder_ids: Callable[[], str],
) -> LandscapeRecorder:
    """A recorder of run `r`, with what a node state refers to and an open node state.

    Nodes `source`, `sum` and `sink`, edges `on` and `off`, row `row`, tokens `t` and `u`, and the
    open state `s` of `t` at `sum`.
    """
    put_recording(db, _record_small_run, recorder_clock, recorder_ids)
    return recorder


def _record_small_run(recorder: LandscapeRecorder) -> None:
    dynamic = SchemaConfig.from_dict({"fields": "dynamic"})
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
