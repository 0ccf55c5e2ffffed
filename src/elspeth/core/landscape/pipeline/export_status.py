"""Writes the export_status of a run on a separate connection, and retries while it is locked."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from elspeth.contracts.enums import ExportStatus
from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import export_status_values
from elspeth.core.landscape.schema import runs_table
from elspeth.core.landscape.store.writer import Values

RETRY_SECONDS = 10.0
_SECONDS_BETWEEN_TRIES = 0.2
_RETRIED_SQLITE_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PERMANENT_SQLSTATES = ("28", "3D")
"""PostgreSQL's error classes of a refused login and of a database that does not exist."""


@dataclass(frozen=True)
class ExportStatusWriter:
    """Writes the export_status of one run, in the database that holds the run.

    A locked row or database, or a server that restarts, is tried again for `retry_seconds`. Every
    method raises sqlalchemy.exc.DBAPIError when that does not help.
    """

    db: LandscapeDB
    run_id: str
    clock: Clock = utc_now
    retry_seconds: float = RETRY_SECONDS

    def begin(self, export_format: str, sink: str | None) -> None:
        """Write `pending`: an export in this format to this sink begins."""
        values = export_status_values(ExportStatus.PENDING, self.clock)
        self._write(values | {"export_format": export_format, "export_sink": sink})

    def fail(self, error: str) -> None:
        """Write `failed`, with the error."""
        self._write(export_status_values(ExportStatus.FAILED, self.clock, error))

    def complete(self) -> None:
        """Write `completed`: the export is in place."""
        self._write(export_status_values(ExportStatus.COMPLETED, self.clock))

    def resolve_pending(self, status: ExportStatus, error: str | None = None) -> bool:
        """Write the outcome of an export that was left `pending`; return whether it still was.

        The condition is part of the UPDATE, so a process that exports the run meanwhile wins.
        """
        values = export_status_values(status, self.clock, error)
        return self._write(values, only_if=ExportStatus.PENDING)

    def _write(self, values: Values, only_if: ExportStatus | None = None) -> bool:
        statement = update(runs_table).where(runs_table.c.run_id == self.run_id).values(values)
        if only_if is not None:
            statement = statement.where(runs_table.c.export_status == only_if.value)

        def send() -> bool:
            with self.db.connection() as connection:
                # Without it PostgreSQL waits for a row lock without end, and nothing is retried.
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                return connection.execute(statement).rowcount > 0

        return _retry(send, self.retry_seconds)


def _retry(send: Callable[[], bool], seconds: float) -> bool:
    deadline = monotonic() + seconds
    while True:
        try:
            return send()
        except OperationalError as error:
            if monotonic() > deadline or not _is_temporary(error):
                raise
        sleep(_SECONDS_BETWEEN_TRIES)


def _is_temporary(error: OperationalError) -> bool:
    """Whether the same statement may succeed a moment later."""
    if isinstance(error.orig, sqlite3.Error):
        # The lower byte is the primary code of what may be an extended one.
        return error.orig.sqlite_errorcode & 0xFF in _RETRIED_SQLITE_CODES
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return not state.startswith(_PERMANENT_SQLSTATES)
