"""Signals to the processes of a PostgreSQL server: terminated, killed, stalled or suspended."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeAlias

import psutil
import psycopg
from postgres_server import url_text
from sqlalchemy import URL

READING = "idle in transaction"
"""The state of the backend that an export reads from, between two fetches."""
WAITING = "idle"
"""The state of the backend through which an export records its status, before it does."""


@dataclass(frozen=True)
class Server:
    """The processes of the server of one database. Nothing else may use the server."""

    database: URL
    postmaster: psutil.Process

    @classmethod
    def of(cls, database: URL) -> Self:
        with _session(database) as session:
            parent = psutil.Process(session.info.backend_pid).parent()
        assert parent is not None
        return cls(database, parent)

    def backends(self, *states: str) -> Sequence[int]:
        """Return the backends of other connections to the database in one of the states."""
        with _session(self.database) as session:
            found = session.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state = ANY(%s)",
                (list(states),),
            ).fetchall()
        assert found, f"no backend is {states}"
        return [pid for (pid,) in found]

    def terminate(self, *states: str) -> None:
        """Terminate the backends in some states, as an administrator does."""
        pids = self.backends(*states)
        with _session(self.database) as session:
            session.execute("SELECT pg_terminate_backend(unnest(%s::int[]))", (pids,))
        _wait_until(lambda: not any(map(psutil.pid_exists, pids)))

    def send(self, number: int, *states: str) -> None:
        """Send a signal to the backends in some states. After SIGKILL all backends restart."""
        for pid in self.backends(*states):
            os.kill(pid, number)

    def suspend(self) -> None:
        """Stop every process, as on a suspended machine."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        """Continue every stopped process, and wait until the server accepts a connection."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()
        _wait_until(self._answers)

    def _processes(self) -> Sequence[psutil.Process]:
        return (self.postmaster, *self.postmaster.children(recursive=True))

    def _answers(self) -> bool:
        try:
            _session(self.database).close()
        except psycopg.OperationalError:
            return False
        return True


Fault: TypeAlias = Callable[[Server], None]


def _session(database: URL) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url_text(database.set(drivername="postgresql")), autocommit=True)


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition did not hold within a minute")
