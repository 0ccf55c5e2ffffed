"""Fault 28: a pooler gives the session of an audit trail to another client, or runs out of them."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from audit_trail import Trail, record
from fault_injection import IO_FAILURE, SUCCEEDED, inject_fault
from fault_table import Tally
from pgbouncer import pooler_or_skip
from postgres_server import url_text
from sample_run import record_sample_run
from sqlalchemy import make_url, text

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder

MODES = ("transaction", "session")
SETTINGS = "SELECT name, setting FROM pg_settings ORDER BY name"
LEFT_IN_A_SESSION = (
    "SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors),"
    " (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),"
    " (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),"
    " (SELECT count(*) FROM pg_listening_channels())"
)


def session_state(pooled: str) -> list[object]:
    """Return the settings of the one session behind a pooler, and what is left open in it."""
    url = url_text(make_url(pooled).set(drivername="postgresql"))
    with psycopg.connect(url, prepare_threshold=None) as connection:
        settings = dict(connection.execute(SETTINGS).fetchall())
        # pgbouncer sets this one for each client.
        settings.pop("application_name")
        return [settings, connection.execute(LEFT_IN_A_SESSION).fetchall()]


def trail_behind(pooled: str, folder: Path, tally: Tally) -> Trail:
    trail = Trail.create(folder, pooled, "json", tally)
    trail.put_old_export()
    return trail


@pytest.mark.fault(28, short=2)
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_in_the_session_that_another_client_gets_next(
    fresh_postgres_url: str, tmp_path: Path, tally: Tally, mode: str
) -> None:
    record(fresh_postgres_url)
    # A client keeps its session in session mode, and an export by settings has two connections.
    sessions = 1 if mode == "transaction" else 4
    with pooler_or_skip(fresh_postgres_url, mode, sessions=sessions) as pooled:
        before = session_state(pooled)
        trail = trail_behind(pooled, tmp_path / "trail", tally)
        with inject_fault(trail) as injection:
            with LandscapeDB.from_url(pooled, read_only=True) as reading:
                reading.check_schema()
                # A seventh time: psycopg would prepare what it sends for the sixth time.
                for _ in range(7):
                    with reading.connection() as connection:
                        connection.execute(text("SELECT count(*) FROM runs"))
                    with reading.read_snapshot() as snapshot:
                        snapshot.connection.execute(text("SELECT count(*) FROM rows"))
            assert session_state(pooled) == before
            injection.assert_survived(trail.export(), SUCCEEDED)
            assert session_state(pooled) == before
            with LandscapeDB(pooled) as writing:
                recorder = LandscapeRecorder(writing)
                record_sample_run(recorder, run_id="run-2")
                for _ in range(7):
                    assert len(recorder.list_runs()) == 2
        assert session_state(pooled) == before


@pytest.mark.fault(28)
@pytest.mark.parametrize("mode", MODES)
def test_jobs_share_one_snapshot_through_a_pooler(
    fresh_postgres_url: str, tmp_path: Path, tally: Tally, mode: str
) -> None:
    # The transaction that exports the snapshot stays open, so it keeps its session.
    record(fresh_postgres_url)
    with pooler_or_skip(fresh_postgres_url, mode) as pooled:
        trail = trail_behind(pooled, tmp_path / "trail", tally)
        with inject_fault(trail) as injection:
            injection.assert_survived(trail.export("--jobs", "2"), SUCCEEDED)


@pytest.mark.fault(28)
def test_jobs_without_a_session_for_each_worker_fail_the_export(
    fresh_postgres_url: str, tmp_path: Path, tally: Tally
) -> None:
    record(fresh_postgres_url)
    with pooler_or_skip(fresh_postgres_url, "transaction", sessions=1, seconds_to_wait=1) as pooled:
        trail = trail_behind(pooled, tmp_path / "trail", tally)
        with inject_fault(trail) as injection:
            injection.assert_survived(
                trail.export("--jobs", "2"), replace(IO_FAILURE, message="query_wait_timeout")
            )


@pytest.mark.fault(28)
def test_a_pooler_without_transactions_is_an_error(
    fresh_postgres_url: str, tmp_path: Path, tally: Tally
) -> None:
    record(fresh_postgres_url)
    trail = trail_behind(fresh_postgres_url, tmp_path / "trail", tally)
    with (
        pooler_or_skip(fresh_postgres_url, "statement") as pooled,
        inject_fault(trail) as injection,
    ):
        failed = replace(trail, url=pooled).landscape(*replace(trail, url=pooled).to_path)
        assert failed.code == 3
        assert "transaction blocks not allowed" in failed.err
        assert "Traceback" not in failed.err
        injection.assert_survived(trail.export(), SUCCEEDED)
