"""The processes of a PostgreSQL server, and what can happen to them."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeAlias

import psutil
import psycopg
from servers import in_full
from sqlalchemy import URL

READING = "idle in transaction"
"""The state of the backend that an export reads its snapshot from, while nothing is fetched."""
WAITING = "idle"
"""That of the backend in which it records the status."""


@dataclass(frozen=True)
class Server:
    """The server of a database, whose processes nothing else may need."""

    database: URL
    postmaster: psutil.Process

    @classmethod
    def of(cls, database: URL) -> Self:
        with _session(database) as session:
            parent = psutil.Process(session.info.backend_pid).parent()
        assert parent is not None
        return cls(database, parent)

    def backends(self, *states: str) -> Sequence[int]:
        """The processes of other connections to the database that are in one of the states."""
        with _session(self.database) as session:
            found = session.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state = ANY(%s)",
                (list(states),),
            ).fetchall()
        assert found, f"there is none that is {states}"
        return [pid for (pid,) in found]

    def terminate(self, *states: str) -> None:
        """End connections as an administrator does."""
        pids = self.backends(*states)
        with _session(self.database) as session:
            session.execute("SELECT pg_terminate_backend(unnest(%s::int[]))", (pids,))
        _wait_until(lambda: not any(map(psutil.pid_exists, pids)))

    def send(self, number: int, *states: str) -> None:
        """Send a signal to backends. After SIGKILL the server restarts all of them."""
        for pid in self.backends(*states):
            os.kill(pid, number)

    def stop(self) -> None:
        """Stop every process, as on a machine that is suspended."""
        for process in self._processes():
            process.suspend()

    def go_on(self) -> None:
        """Let every process that was stopped go on, and wait until a new connection is answered."""
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
    return psycopg.connect(in_full(database.set(drivername="postgresql")), autocommit=True)


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")
