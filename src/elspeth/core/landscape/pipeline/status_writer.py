"""Writes the export_status of a run, with retries, and lets nothing else change with it.

A trigger on the table of runs may ignore the UPDATE without an error, or change evidence with it.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, literal, literal_column, select, update
from sqlalchemy.exc import DatabaseError, OperationalError

from elspeth.contracts.enums import ExportStatus
from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import export_status_values
from elspeth.core.landscape.schema import EXPORTED_TABLES, runs_table
from elspeth.core.landscape.store.writer import Values

# Longer than a usual transaction of another writer holds its lock.
RETRY_SECONDS = 10.0
_SECONDS_BETWEEN_TRIES = 0.2
_RETRIED_SQLITE_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Without the first one PostgreSQL waits for a row lock without limit, and nothing is retried.
# Limits that a role has for other work would end the record of an export that is complete.
_WRITE_SETTINGS = (
    "SET LOCAL lock_timeout TO '2s'; SET LOCAL statement_timeout TO 0; "
    "SET LOCAL idle_in_transaction_session_timeout TO 0"
)
_PERMANENT_SQLSTATES = ("28", "3D")
"""PostgreSQL's error classes of a refused login and of a database that does not exist."""

_EVIDENCE = frozenset(table.name for table in EXPORTED_TABLES)
_SQLITE_CHANGES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
# As text, so that no stored value can fail to be read.
_EVIDENCE_OF_RUN: ColumnElement[str] = literal_column(
    "(to_jsonb(runs) - ARRAY['export_status', 'export_error', 'exported_at', 'export_format',"
    " 'export_sink'])::text"
)
# Rows that this session has changed since it last told the server, which it never does within a
# transaction. Nothing where the server does not count (track_counts).
_CHANGED_ROWS = """
SELECT relname, sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables
 GROUP BY relname
"""


@dataclass(frozen=True)
class ExportStatusWriter:
    """Writes the export_status of one run, in the database that holds the run.

    A statement that fails on a locked row or database, or while a server restarts, is repeated for
    `retry_seconds`. All methods raise sqlalchemy.exc.DBAPIError if it still fails then, and if the
    database does not record the status or would change evidence with it.
    """

    db: LandscapeDB
    run_id: str
    clock: Clock = utc_now
    retry_seconds: float = RETRY_SECONDS

    def begin(self, export_format: str, sink: str | None) -> None:
        """Write `pending` with the format and the name of the sink, by which it is reconciled."""
        values = export_status_values(ExportStatus.PENDING, self.clock)
        self._write(values | {"export_format": export_format, "export_sink": sink})

    def fail(self, error: str) -> None:
        """Write `failed` and the error."""
        self._write(export_status_values(ExportStatus.FAILED, self.clock, error))

    def complete(self) -> None:
        """Write `completed`, once the export is in place."""
        self._write(export_status_values(ExportStatus.COMPLETED, self.clock))

    def resolve_pending(self, status: ExportStatus, error: str | None = None) -> bool:
        """Write the outcome of an export that was left `pending`; return whether it still was."""
        # The condition is part of the UPDATE: a process that has exported the run since it was
        # judged must not be overruled.
        values = export_status_values(status, self.clock, error)
        return self._write(values, only_if=ExportStatus.PENDING)

    def _write(self, values: Values, only_if: ExportStatus | None = None) -> bool:
        statement = update(runs_table).where(runs_table.c.run_id == self.run_id).values(values)
        if only_if is not None:
            statement = statement.where(runs_table.c.export_status == only_if.value)

        # A transaction per try: PostgreSQL accepts no statement after an error in a transaction,
        # and a lost connection has to be replaced.
        def send() -> bool:
            with self.db.connection() as connection:
                if connection.dialect.name == "postgresql":
                    is_written = self._update_on_postgresql(connection, statement, values)
                else:
                    is_written = _update_on_sqlite(connection, statement)
                if not is_written and only_if is None and self._is_stored(connection):
                    raise _refused(connection, "a trigger, a rule or a policy ignores the UPDATE")
                return is_written

        return _retry(send, self.retry_seconds)

    def _update_on_postgresql(
        self, connection: Connection, statement: Update, values: Values
    ) -> bool:
        connection.exec_driver_sql(_WRITE_SETTINGS)
        this_run = runs_table.c.run_id == self.run_id
        locked = select(_EVIDENCE_OF_RUN).select_from(runs_table).where(this_run).with_for_update()
        before = connection.execute(locked).scalar()
        rows_before = _changed_rows(connection)
        returned = statement.returning(_EVIDENCE_OF_RUN, runs_table.c.export_status)
        after = connection.execute(returned).first()
        if after is None:
            return False
        changed = _changed_rows(connection) - rows_before - Counter(runs=1)
        if tuple(after) != (before, values["export_status"]) or changed.keys() & _EVIDENCE:
            raise _refused(connection, "a trigger or a rule changes evidence with it")
        return True

    def _is_stored(self, connection: Connection) -> bool:
        found = select(literal(1)).where(runs_table.c.run_id == self.run_id)
        return connection.execute(found).first() is not None


def _changed_rows(connection: Connection) -> Counter[str]:
    return Counter({name: int(rows) for name, rows in connection.exec_driver_sql(_CHANGED_ROWS)})


def _update_on_sqlite(connection: Connection, statement: Update) -> bool:
    """Send an UPDATE of a run; SQLite asks before it prepares what triggers would change."""
    driver: Any = connection.connection.driver_connection
    triggers: list[str] = []

    def authorize(action: int, table: str | None, _: object, __: object, by: str | None) -> int:
        # `by` is the trigger that a part of the statement belongs to.
        if by is None or action not in _SQLITE_CHANGES or str(table).lower() not in _EVIDENCE:
            return sqlite3.SQLITE_OK
        triggers.append(f"the trigger {by} changes {table} with it")
        return sqlite3.SQLITE_DENY

    driver.set_authorizer(authorize)
    try:
        return connection.execute(statement).rowcount > 0
    except DatabaseError as error:
        if triggers:
            raise _refused(connection, triggers[0]) from error
        raise
    finally:
        driver.set_authorizer(None)


def _refused(connection: Connection, reason: str) -> DatabaseError:
    """Return the error for a database that does not record the status alone."""
    error = connection.dialect.loaded_dbapi.DatabaseError(
        f"the export_status cannot be recorded: {reason}; drop it from the table runs, or export "
        "with --db and --output, which record no status"
    )
    return DatabaseError("UPDATE runs", None, error)


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
    """Whether the same statement may succeed later."""
    if isinstance(error.orig, sqlite3.Error):
        # The lower byte is the primary code of what may be an extended one.
        return error.orig.sqlite_errorcode & 0xFF in _RETRIED_SQLITE_CODES
    # Without an SQLSTATE the connection was lost before the server answered.
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return not state.startswith(_PERMANENT_SQLSTATES)
