"""Fault 8 with --jobs: a worker that loses its connection to PostgreSQL fails the whole export."""

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from audit_trail import Trail
from fault_injection import IO_FAILURE, SUCCEEDED, inject_fault
from landscape_command import ended
from paused_process import CALL, assert_no_process_left, audit_call, paused, resume
from postgres_server import url_text
from sqlalchemy import make_url

BEFORE_WORKERS = {
    "prelude": audit_call("elspeth.core.landscape.export.parallel", "worker_processes"),
    "event": CALL,
}
"""The parent has its snapshot, and no worker has started."""
_WAITING_WORKERS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE % IN ACCESS SHARE MODE'"
)


@contextmanager
def workers_blocked(trail: Trail) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Block the workers before they read, and yield a session to observe them in.

    A request for an exclusive lock waits for the parent, and every worker waits behind the request.
    """
    url = url_text(make_url(trail.url).set(drivername="postgresql"))
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
    """Wait until some workers are blocked, and return their processes on the server."""
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
    with inject_fault(trail) as injection:
        with paused(trail, *trail.by_settings, "--jobs", "2", **BEFORE_WORKERS) as parent:
            with workers_blocked(trail) as session:
                resume(parent)
                pids = waiting_workers(session, 2)
                session.execute("SELECT pg_terminate_backend(%s)", (pids[number],))
            failed = ended(parent)
        injection.assert_intact(failed, replace(IO_FAILURE, message="database: "))
        for error in (failed.err, trail.recorded().error or ""):
            assert re.search("while a worker exported .+ to before row [0-9]+$", error)
        injection.assert_exportable_again()


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
def test_workers_that_were_only_blocked_write_the_same_bytes(trail_of_many_rows: Trail) -> None:
    """This shows that the export above fails because of the lost connection."""
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        with paused(trail, *trail.by_settings, "--jobs", "2", **BEFORE_WORKERS) as parent:
            with workers_blocked(trail) as session:
                resume(parent)
                waiting_workers(session, 2)
            done = ended(parent)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
def test_workers_that_stay_blocked_fail_the_export_after_the_timeout(
    trail_of_many_rows: Trail,
) -> None:
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        limited = (*trail.by_settings, "--jobs", "2", "--timeout", "600")
        with paused(trail, *limited, **BEFORE_WORKERS) as parent, workers_blocked(trail) as session:
            resume(parent)
            waiting_workers(session, 2)
            # The timer by hand: seconds are too few to get here on a busy machine.
            parent.send_signal(signal.SIGALRM)
            failed = ended(parent)
            assert_no_process_left(parent.pid)
        injection.assert_survived(
            failed, replace(IO_FAILURE, message="not done within the 600 seconds")
        )
