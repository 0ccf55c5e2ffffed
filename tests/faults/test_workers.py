"""Fault 8 with --jobs: a worker that loses its connection to PostgreSQL takes the export along."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from holding import CALL, announcing, assert_nobody_left, held, send_on
from servers import in_full
from sqlalchemy import make_url
from survival import F3, FINE, Trail, ended

BEFORE_WORKERS = {
    "prelude": announcing("elspeth.core.landscape.export.parallel", "worker_processes"),
    "event": CALL,
}
"""The parent has its snapshot, and no worker is there yet."""
_WAITING_WORKERS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE % IN ACCESS SHARE MODE'"
)


@contextmanager
def workers_held(trail: Trail) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Let no worker begin to read; gives a session to look after them in.

    Whoever asks for a table alone waits for the parent, and every worker waits behind that.
    """
    url = in_full(make_url(trail.url).set(drivername="postgresql"))
    with (
        psycopg.connect(url, autocommit=True) as session,
        psycopg.connect(url) as queueing,
        ThreadPoolExecutor(1) as threads,
    ):
        asked = threads.submit(queueing.execute, "LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE")
        pid = queueing.info.backend_pid
        while not session.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", (pid,)
        ).fetchone():
            time.sleep(0.01)
        try:
            yield session
        finally:
            queueing.cancel()
            wait([asked])


def waiting_workers(session: psycopg.Connection[tuple[object, ...]], count: int) -> list[object]:
    """Wait for so many workers, and return their processes on the server."""
    while len(found := session.execute(_WAITING_WORKERS).fetchall()) < count:
        time.sleep(0.01)
    return [pid for (pid,) in found]


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_loses_its_backend_fails_the_export_and_its_rows_are_named(
    trail_of_many_rows: Trail, number: int
) -> None:
    trail = trail_of_many_rows
    with trail.injection() as injection:
        with held(trail, *trail.by_settings, "--jobs", "2", **BEFORE_WORKERS) as parent:
            with workers_held(trail) as session:
                send_on(parent)
                pids = waiting_workers(session, 2)
                session.execute("SELECT pg_terminate_backend(%s)", (pids[number],))
            failed = ended(parent)
        injection.endured(failed, replace(F3, says="database: "))
        for told in (failed.err, trail.recorded().error or ""):
            assert re.search("while a worker exported .+ to before row [0-9]+$", told)
        injection.assert_exportable_again()


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
def test_workers_that_were_held_and_lose_nothing_write_the_same(trail_of_many_rows: Trail) -> None:
    """So it is the lost connection that the export above fails of."""
    trail = trail_of_many_rows
    with trail.injection() as injection:
        with held(trail, *trail.by_settings, "--jobs", "2", **BEFORE_WORKERS) as parent:
            with workers_held(trail) as session:
                send_on(parent)
                waiting_workers(session, 2)
            done = ended(parent)
        injection.survived(done, FINE)


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
def test_workers_that_wait_for_ever_are_given_up_after_the_timeout(
    trail_of_many_rows: Trail,
) -> None:
    trail = trail_of_many_rows
    with trail.injection() as injection:
        limited = (*trail.by_settings, "--jobs", "2", "--timeout", "5")
        with held(trail, *limited, **BEFORE_WORKERS) as parent, workers_held(trail):
            send_on(parent)
            failed = ended(parent)
            assert_nobody_left(parent.pid)
        injection.survived(failed, replace(F3, says="not done within the 5 seconds"))
