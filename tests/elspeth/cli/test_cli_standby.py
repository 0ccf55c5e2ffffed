"""A command on a PostgreSQL standby says that it may lag behind."""

import pytest
from command_line import Command
from sample_run import record_sample_run

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder, standby


@pytest.fixture
def recorded(postgres_url: str) -> str:
    with LandscapeDB(postgres_url) as db:
        record_sample_run(LandscapeRecorder(db))
    return postgres_url


def test_a_standby_is_named_with_its_moment_before_an_unknown_run(
    landscape: Command, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The state of a real standby, which these two functions of the server give.
    monkeypatch.setattr(standby, "_STATE", "SELECT true, '2026-01-01T00:00:00Z'")
    ended = landscape("export", "--db", recorded, "--run", "later", "--output", "-")
    warning, error = ended.err.splitlines()
    assert ended.code == 2
    assert warning.startswith("warning: postgresql")
    assert "is a standby, as of 2026-01-01T00:00:00Z: what was recorded since then" in warning
    assert error == "error: Run not found: later; landscape runs lists the runs of a database"


def test_a_primary_is_not_mentioned(landscape: Command, recorded: str) -> None:
    ended = landscape("runs", "--db", recorded)
    assert (ended.code, ended.err) == (0, "")


def test_a_standby_without_a_moment_is_named_too(
    recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "_STATE", "SELECT true, NULL")
    with LandscapeDB(recorded, read_only=True) as db:
        assert "as of an unknown moment" in str(standby.standby_warning(db))
