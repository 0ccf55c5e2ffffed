"""The export_status of a run: recorded on a connection of its own, with patience for a lock."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from elspeth.contracts.enums import ExportStatus
from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.schema import runs_table
from elspeth.core.landscape.store.runs import export_status_values
from elspeth.core.landscape.store.writer import Values

PATIENCE_SECONDS = 10.0
_SECONDS_BETWEEN_TRIES = 0.2
_WORTH_ANOTHER_TRY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REFUSED_FOR_GOOD = ("28", "3D")
"""PostgreSQL's classes of a login refused, and of a database that is not there."""


@dataclass(frozen=True)
class ExportStatusRecord:
    """Records how the export of one run goes, in the database that the run is stored in.

    A locked row or database, or a server that is restarting, is tried again for
    `patience_seconds`. Every method raises sqlalchemy.exc.DBAPIError when that does not help.
    """

    db: LandscapeDB
    run_id: str
    clock: Clock = utc_now
    patience_seconds: float = PATIENCE_SECONDS

    def begin(self, export_format: str, sink: str | None) -> None:
        """Record that an export to a sink begins: `pending`."""
        values = export_status_values(ExportStatus.PENDING, self.clock)
        self._set(values | {"export_format": export_format, "export_sink": sink})

    def fail(self, error: str) -> None:
        """Record that it failed, and of what."""
        self._set(export_status_values(ExportStatus.FAILED, self.clock, error))

    def complete(self) -> None:
        """Record that it is in place."""
        self._set(export_status_values(ExportStatus.COMPLETED, self.clock))

    def settle(self, status: ExportStatus, error: str | None = None) -> bool:
        """Record what became of one that was left `pending`; False if it no longer is.

        Whoever exports the run meanwhile has the last word.
        """
        values = export_status_values(status, self.clock, error)
        return self._set(values, only_if=ExportStatus.PENDING)

    def _set(self, values: Values, only_if: ExportStatus | None = None) -> bool:
        statement = update(runs_table).where(runs_table.c.run_id == self.run_id).values(values)
        if only_if is not None:
            statement = statement.where(runs_table.c.export_status == only_if.value)

        def send() -> bool:
            with self.db.connection() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                return connection.execute(statement).rowcount > 0

        return _patiently(send, self.patience_seconds)


def _patiently(send: Callable[[], bool], seconds: float) -> bool:
    end = monotonic() + seconds
    while True:
        try:
            return send()
        except OperationalError as error:
            if monotonic() > end or not _may_pass(error):
                raise
        sleep(_SECONDS_BETWEEN_TRIES)


def _may_pass(error: OperationalError) -> bool:
    """Whether the same may succeed a moment later: something is locked, or starting."""
    if isinstance(error.orig, sqlite3.Error):
        # The lower byte is the primary code of what may be an extended one.
        return error.orig.sqlite_errorcode & 0xFF in _WORTH_ANOTHER_TRY
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return not state.startswith(_REFUSED_FOR_GOOD)
