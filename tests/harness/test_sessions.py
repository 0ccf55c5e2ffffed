"""The state of database sessions is described in full, and nothing is written."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text

from elspeth.core.landscape import LandscapeDB
from harness.exporters.probe.session import changed_sessions, session_states


@pytest.fixture
def db(tmp_path: Path) -> Iterator[LandscapeDB]:
    with LandscapeDB(f"sqlite:///{tmp_path / 'x.db'}") as db:
        yield db


def driver(connection: Any) -> Any:
    return connection.connection.driver_connection


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("PRAGMA query_only=ON", "PRAGMA query_only"),
        ("PRAGMA foreign_keys=OFF", "PRAGMA foreign_keys"),
        ("PRAGMA read_uncommitted=ON", "PRAGMA read_uncommitted"),
        ("PRAGMA case_sensitive_like=ON", "PRAGMA case_sensitive_like"),
        ("PRAGMA busy_timeout=1", "PRAGMA busy_timeout"),
        ("CREATE TEMP TABLE kept (id)", "temporary tables"),
        ("ATTACH ':memory:' AS other", "attached databases"),
    ],
)
def test_a_setting_of_a_session_is_seen(db: LandscapeDB, statement: str, name: str) -> None:
    before = session_states(db.engine)
    assert changed_sessions(before, session_states(db.engine)) == []
    with db.engine.connect() as connection:
        driver(connection).execute(statement)
    assert changed_sessions(before, session_states(db.engine))[0].startswith(f"{name} from")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("row_factory", sqlite3.Row), ("text_factory", bytes), ("isolation_level", "IMMEDIATE")],
)
def test_a_setting_of_the_driver_is_seen(db: LandscapeDB, setting: str, value: Any) -> None:
    before = session_states(db.engine)
    with db.engine.connect() as connection:
        setattr(driver(connection), setting, value)
    after = session_states(db.engine)
    assert any(each.startswith(f"{setting} of") for each in changed_sessions(before, after))


def test_a_function_is_named(db: LandscapeDB) -> None:
    before = session_states(db.engine)
    with db.engine.connect() as connection:
        driver(connection).create_function("later", 2, max)
    (change,) = changed_sessions(before, session_states(db.engine))
    assert change.startswith("functions from")
    assert "later" in change


def test_a_session_that_refuses_to_write_is_seen(db: LandscapeDB) -> None:
    before = session_states(db.engine)

    def refuse(action: int, *_: object) -> int:
        is_write = action in (sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_INSERT)
        return sqlite3.SQLITE_DENY if is_write else sqlite3.SQLITE_OK

    with db.engine.connect() as connection:
        driver(connection).set_authorizer(refuse)
    callback, change = changed_sessions(before, session_states(db.engine))
    assert callback.startswith("callbacks of the connection from [] to [")
    assert change.startswith("answer to a write from none to DatabaseError")


def test_every_idle_connection_is_described(db: LandscapeDB) -> None:
    before = session_states(db.engine)
    with db.engine.connect(), db.engine.connect() as second:
        driver(second).execute("PRAGMA query_only=ON")
    after = session_states(db.engine)
    assert len(after) == 2
    assert changed_sessions(before, after)[0] == "PRAGMA query_only from [(0,)] to [(1,)]"


def test_nothing_is_written(db: LandscapeDB) -> None:
    session_states(db.engine)
    with db.engine.connect() as connection:
        found = connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    assert "written_by_the_harness" not in found


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SET statement_timeout = 1000", "setting statement_timeout"),
        ("SET default_transaction_read_only = on", "setting default_transaction_read_only"),
        ("CREATE TEMP TABLE kept (id INTEGER)", "temporary tables"),
        ("SELECT pg_advisory_lock(1)", "advisory locks"),
        ("LISTEN exports", "channels"),
    ],
)
def test_a_setting_of_a_session_on_postgresql_is_seen(
    postgres_server: URL, statement: str, name: str
) -> None:
    engine = create_engine(postgres_server)
    try:
        before = session_states(engine)
        assert before[0]["answer to a write"] == "none"
        assert changed_sessions(before, session_states(engine)) == []
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        assert changed_sessions(before, session_states(engine))[0].startswith(f"{name} from")
    finally:
        engine.dispose()
