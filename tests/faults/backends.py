"""The server processes behind connections to PostgreSQL, and what can happen to them."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

import psutil
import psycopg
from servers import in_full
from sqlalchemy import URL

Fault: TypeAlias = Callable[[URL], None]

READING = "idle in transaction"
"""The state of the backend that an export reads its snapshot from, while nothing is fetched."""
WAITING = "idle"
"""That of the backend in which it records the status."""


def backends(database: URL, *states: str) -> Sequence[int]:
    """The processes that serve other connections to a database, in any of the states given."""
    with _session(database) as session:
        found = session.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            " AND (state = ANY(%s) OR %s = '{}')",
            (list(states), list(states)),
        ).fetchall()
    return [pid for (pid,) in found]


def terminate(*states: str) -> Fault:
    """As an administrator ends connections."""

    def fault(database: URL) -> None:
        pids = backends(database, *states)
        assert pids
        with _session(database) as session:
            session.execute("SELECT pg_terminate_backend(unnest(%s::int[]))", (pids,))
        _wait_until(lambda: not any(map(psutil.pid_exists, pids)))

    return fault


def send(number: int, *states: str) -> Fault:
    """Send a signal to the processes. SIGKILL makes the server restart all of them."""

    def fault(database: URL) -> None:
        pids = backends(database, *states)
        assert pids
        for pid in pids:
            os.kill(pid, number)

    return fault


def stop_everything(database: URL) -> None:
    """Stop the whole server, as a machine that is suspended."""
    postmaster = _postmaster(database)
    for process in (postmaster, *postmaster.children(recursive=True)):
        process.suspend()


@contextmanager
def at_last_continued(database: URL) -> Iterator[None]:
    """Let a server whose processes were stopped go on, however the block ends."""
    postmaster = _postmaster(database)
    try:
        yield
    finally:
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.resume()
        wait_until_it_answers(database)


def wait_until_it_answers(database: URL) -> None:
    """Wait for a server that restarts, or goes on."""

    def answers() -> bool:
        try:
            with _session(database):
                return True
        except psycopg.OperationalError:
            return False

    _wait_until(answers)


def _postmaster(database: URL) -> psutil.Process:
    with _session(database) as session:
        parent = psutil.Process(session.info.backend_pid).parent()
    assert parent is not None
    return parent


def _session(database: URL) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(in_full(database.set(drivername="postgresql")), autocommit=True)


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")
