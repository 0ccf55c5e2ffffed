"""Operators of faults from outside: wrong handling of database errors, and effects that stay.

An exporter must end in an error when a query fails. It must not write to the database or change its
process, and must return every connection.
"""

import gc
import logging
import os
import signal
import sqlite3
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape.export.record_types import RECORD_TYPES, RUN, Record
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant
from harness.mutants.records import RowFault, Rows, TableRead, with_row_fault

Change: TypeAlias = Callable[[ExporterClass], ExporterClass]
Records: TypeAlias = Iterator[Record]

# The error of a driver may reach the exporter with SQLAlchemy's wrapper or without it.
_ERRORS = (DBAPIError, CorruptAuditDataError, sqlite3.Error)

# What must outlive an export: a connection that nothing refers to is returned to its pool.
_kept: list[object] = []


def outside_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all operators of faults from outside over one design."""
    for kind in RECORD_TYPES:
        for operator, description, fault in _ERROR_FAULTS:
            # An export without its run ends in an error, as it should after one of the database.
            if kind is not RUN or fault is _retry:
                change = partial(with_row_fault, fault=fault, record_type=kind)
                yield Mutant(operator, design.name, kind.table.name, description, change)
    for operator, description, fault_of_export in _EXPORT_FAULTS:
        if operator == "repeat-export-after-error" and design.groups_by_parent:
            continue  # No record precedes an error of the database: all are read before the first.
        yield Mutant(operator, design.name, "export", description, fault_of_export)
    for statement, description in _WRITES.items():
        part = "-".join(statement.lower().split()[:3])
        write = partial(_after_export, partial(_execute, statement))
        yield Mutant("write-to-database", design.name, part, description, write)
    for part, (description, action) in _PROCESS_CHANGES.items():
        effect = partial(_after_export, partial(_without_database, action))
        yield Mutant("change-process", design.name, part, description, effect)


def _no_rows_on_error(read: TableRead) -> Rows:
    try:
        return read.send()
    except _ERRORS:
        return iter(())


def _end_on_error(read: TableRead) -> Rows:
    try:
        yield from read.send()
    except _ERRORS:
        return


def _retry(read: TableRead) -> Rows:
    try:
        yield from read.send()
    except _ERRORS:
        yield from read.send()


_ERROR_FAULTS: tuple[tuple[str, str, RowFault], ...] = (
    ("swallow-query-error", "an error of the query gives a table without rows", _no_rows_on_error),
    ("swallow-fetch-error", "an error between rows ends the table", _end_on_error),
    ("repeat-after-error", "an error sends the query again and repeats its rows", _retry),
)


def _with_records(
    change: Callable[[Callable[[], Records]], Records], base: ExporterClass
) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            # Read before the generator starts, so that the change may call it twice.
            records = super()._iter_records
            return change(lambda: records(run_id))

    return Faulty


def _without_error(records: Callable[[], Records]) -> Records:
    try:
        yield from records()
    except _ERRORS:
        return


def _again_after_error(records: Callable[[], Records]) -> Records:
    try:
        yield from records()
    except _ERRORS:
        yield from records()


def _silent(base: ExporterClass) -> ExporterClass:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def export_run(self, run_id: str, sign: bool = False) -> Records:
            return _without_error(lambda: super(Faulty, self).export_run(run_id, sign))

    return Faulty


def _keeping(reason: type[BaseException] | None, base: ExporterClass) -> ExporterClass:
    """Leave a connection checked out after an export that ended in `reason`; None: after any."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            connection = self._db.engine.connect()
            try:
                yield from super()._iter_records(run_id)
            except BaseException as error:
                if reason is not None and isinstance(error, reason):
                    _kept.append(connection)
                raise
            finally:
                if reason is None:
                    _kept.append(connection)
                elif connection not in _kept:
                    connection.close()

    return Faulty


def _keeps_transaction(base: ExporterClass) -> ExporterClass:
    def begin(connection: Connection) -> None:
        driver_connection: Any = connection.connection.driver_connection
        cursor = driver_connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute("SELECT run_id FROM runs").fetchall()

    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            yield from super()._iter_records(run_id)
            connection = self._db.engine.connect()
            _kept.append(connection)
            begin(connection)

    return Faulty


_EXPORT_FAULTS: tuple[tuple[str, str, Change], ...] = (
    (
        "sign-truncated",
        "an error ends the records, and the manifest covers those before it",
        partial(_with_records, _without_error),
    ),
    ("swallow-export-error", "an error ends the export silently", _silent),
    (
        "repeat-export-after-error",
        "an error exports the run again after the records before it",
        partial(_with_records, _again_after_error),
    ),
    ("keep-connection", "an export leaves a connection checked out", partial(_keeping, None)),
    (
        "keep-connection-when-abandoned",
        "an export that is closed early leaves a connection checked out",
        partial(_keeping, GeneratorExit),
    ),
    (
        "keep-connection-after-error",
        "an export that ends in an error leaves a connection checked out",
        partial(_keeping, Exception),
    ),
    ("keep-transaction", "an export leaves a read transaction open", _keeps_transaction),
)


def _after_export(action: Callable[[Any], object], base: ExporterClass) -> ExporterClass:
    """Return a subclass that does something with its database after the last record."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def _iter_records(self, run_id: str) -> Records:
            yield from super()._iter_records(run_id)
            action(self._db)

    return Faulty


def _execute(statement: str, db: Any) -> None:
    with db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def _without_database(action: Callable[[], object], _: object) -> None:
    action()


_WRITES = {
    "UPDATE runs SET export_status = 'completed'": "the runs are marked as exported",
    "UPDATE nodes SET run_id = run_id": "an update stores the values that are there already",
    "DELETE FROM batch_outputs": "rows of a table that no export reads are deleted",
    "CREATE TABLE IF NOT EXISTS export_log (run_id TEXT)": "a table is created",
    "CREATE INDEX IF NOT EXISTS ix_export_tokens ON tokens (created_at)": "an index is created",
    "DROP INDEX IF EXISTS ix_checkpoints_run": "an index is dropped",
    "ANALYZE": "statistics are stored",
}
"""Statements that change the database, with their descriptions."""


def _leave_temporary_file() -> None:
    Path(tempfile.mkstemp(prefix="export-")[1]).write_text("left\n", encoding="utf-8")


_PROCESS_CHANGES: dict[str, tuple[str, Callable[[], object]]] = {
    "working-folder": ("the working folder changes", lambda: os.chdir("/")),
    "environment": ("the time zone is set", lambda: os.environ.update(TZ="UTC-3")),
    "umask": ("the umask changes", lambda: os.umask(0)),
    "signal-handler": (
        "interrupts are ignored",
        lambda: (
            threading.current_thread() is threading.main_thread()
            and signal.signal(signal.SIGINT, signal.SIG_IGN)
        ),
    ),
    "warnings": ("warnings are hidden", lambda: warnings.simplefilter("ignore")),
    "logging": ("the log level changes", lambda: logging.getLogger().setLevel(logging.CRITICAL)),
    "garbage-collection": ("garbage collection stops", gc.disable),
    "temporary-file": ("a temporary file is left", _leave_temporary_file),
    "file-in-working-folder": (
        "a file is left in the working folder",
        lambda: Path("export.log").write_text("left\n", encoding="utf-8"),
    ),
    "thread": (
        "a thread that does not end is left",
        lambda: threading.Thread(target=threading.Event().wait).start(),
    ),
}
"""By part: the description of a change to the process, and the action."""
