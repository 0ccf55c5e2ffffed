"""The export_status of a run is written, with retries while the database is locked."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sample_run import fixed_clock, record_sample_run
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from elspeth.contracts import ExportStatus, Run
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.pipeline.status_writer import ExportStatusWriter
from elspeth.core.landscape.schema import rows_table, runs_table


@pytest.fixture
def status(db: LandscapeDB, recorder: LandscapeRecorder) -> ExportStatusWriter:
    record_sample_run(recorder)
    if db.engine.dialect.name == "sqlite":
        # The driver would wait for five seconds before each try.
        event.listen(db.engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 1"))
        db.engine.dispose()
    return ExportStatusWriter(db, "run-1", fixed_clock, retry_seconds=0.5)


def run_of(db: LandscapeDB) -> Run:
    run = LandscapeRecorder(db).get_run("run-1")
    assert run is not None
    return run


def lock(connection: Connection) -> None:
    """Hold what an update of the run needs."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT 1 FROM runs WHERE run_id = 'run-1' FOR UPDATE"))


def test_the_status_goes_from_pending_to_completed(
    db: LandscapeDB, status: ExportStatusWriter
) -> None:
    status.begin("json", "audit")
    run = run_of(db)
    assert (run.export_status, run.export_format, run.export_sink) == (
        ExportStatus.PENDING,
        "json",
        "audit",
    )
    assert run.exported_at is None
    status.complete()
    assert run_of(db).export_status is ExportStatus.COMPLETED
    assert run_of(db).exported_at is not None


def test_a_failure_is_recorded_with_its_error_and_cleared_by_success(
    db: LandscapeDB, status: ExportStatusWriter
) -> None:
    status.fail("disk full")
    assert (run_of(db).export_status, run_of(db).export_error) == (ExportStatus.FAILED, "disk full")
    status.complete()
    assert run_of(db).export_error is None


def test_resolving_changes_only_a_pending_status(
    db: LandscapeDB, status: ExportStatusWriter
) -> None:
    assert not status.resolve_pending(ExportStatus.FAILED, "cut off")
    assert run_of(db).export_status is None
    status.begin("json", "audit")
    assert status.resolve_pending(ExportStatus.FAILED, "cut off")
    assert run_of(db).export_error == "cut off"
    assert not status.resolve_pending(ExportStatus.COMPLETED)
    assert run_of(db).export_status is ExportStatus.FAILED


def test_a_permanent_lock_is_an_error(db: LandscapeDB, status: ExportStatusWriter) -> None:
    with db.engine.connect() as other:
        lock(other)
        with pytest.raises(OperationalError, match="lock"):
            status.complete()
        other.rollback()
    assert run_of(db).export_status is None


def test_a_temporary_lock_is_waited_for(db: LandscapeDB, status: ExportStatusWriter) -> None:
    tried = threading.Event()
    event.listen(db.engine, "handle_error", lambda _: tried.set())
    held = threading.Event()

    def hold() -> None:
        with db.engine.connect() as other, ExitStack() as stack:
            lock(other)
            stack.callback(other.rollback)
            held.set()
            assert tried.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    patient = ExportStatusWriter(db, "run-1", fixed_clock, retry_seconds=60)
    patient.complete()
    thread.join()
    assert run_of(db).export_status is ExportStatus.COMPLETED


def test_a_permanent_error_is_not_retried(db: LandscapeDB, status: ExportStatusWriter) -> None:
    tries: list[object] = []
    event.listen(db.engine, "handle_error", tries.append)
    patient = ExportStatusWriter(db, "run-1", fixed_clock, retry_seconds=600)
    rename = "ALTER TABLE runs RENAME COLUMN {} TO {}"
    with db.connection() as connection:
        connection.exec_driver_sql(rename.format("export_error", "other"))
    try:
        with pytest.raises(DBAPIError, match="export_error"):
            patient.complete()
    finally:
        with db.connection() as connection:
            connection.exec_driver_sql(rename.format("other", "export_error"))
    assert len(tries) == 1


BEFORE_UPDATE = "CREATE TRIGGER ours BEFORE UPDATE ON runs BEGIN {}; END"
AFTER_UPDATE = "CREATE TRIGGER ours AFTER UPDATE OF export_status ON runs BEGIN {}; END"
OF_ROWS = "UPDATE rows SET source_data_ref = 'elsewhere'"
# Name: statement for SQLite; body and moment of the function for PostgreSQL; what the error says.
TRIGGERS = {
    "ignores the update": (
        BEFORE_UPDATE.format("SELECT RAISE(IGNORE)"),
        "RETURN NULL",
        "BEFORE",
        "ignores the UPDATE",
    ),
    "changes the run": (
        AFTER_UPDATE.format("UPDATE runs SET completed_at = '2020-01-01 00:00:00.000000'"),
        "NEW.completed_at := '2020-01-01'; RETURN NEW",
        "BEFORE",
        "changes (runs|evidence) with it",
    ),
    "changes the status": (
        AFTER_UPDATE.format("UPDATE RUNS SET export_status = 'completed'"),
        "NEW.export_status := 'none'; RETURN NEW",
        "BEFORE",
        "changes (runs|evidence) with it",
    ),
    "changes other evidence": (
        AFTER_UPDATE.format(OF_ROWS),
        f"{OF_ROWS}; RETURN NEW",
        "AFTER",
        "changes (rows|evidence) with it",
    ),
}


@pytest.fixture(params=TRIGGERS)
def problem(request: pytest.FixtureRequest, db: LandscapeDB) -> Iterator[str]:
    """The problem of a trigger that stands in the way of a status."""
    on_sqlite, function, moment, problem = TRIGGERS[request.param]
    with create_trigger(db, on_sqlite, function, moment):
        yield problem


@contextmanager
def create_trigger(db: LandscapeDB, on_sqlite: str, function: str, moment: str) -> Iterator[None]:
    if db.engine.dialect.name == "sqlite":
        create, drop = [on_sqlite], ["DROP TRIGGER ours"]
    else:
        create = [
            f"CREATE FUNCTION ours() RETURNS trigger AS $$BEGIN {function}; END$$ LANGUAGE plpgsql",
            f"CREATE TRIGGER ours {moment} UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION ours()",
        ]
        drop = ["DROP FUNCTION ours CASCADE"]
    for statements in (create, drop):
        with db.connection() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        if statements is create:
            yield


def test_a_trigger_that_stands_in_the_way_is_an_error_and_changes_nothing(
    db: LandscapeDB, status: ExportStatusWriter, problem: str
) -> None:
    before = evidence(db)
    for write in (
        status.complete,
        lambda: status.begin("json", "audit"),
        lambda: status.fail("disk full"),
    ):
        with pytest.raises(DatabaseError, match=problem):
            write()
    assert evidence(db) == before


def test_a_trigger_may_write_to_tables_that_are_no_evidence(
    db: LandscapeDB, status: ExportStatusWriter
) -> None:
    log = "INSERT INTO log VALUES (1)"
    with db.connection() as connection:
        connection.exec_driver_sql("CREATE TABLE log (entry INTEGER)")
    try:
        with create_trigger(db, AFTER_UPDATE.format(log), f"{log}; RETURN NEW", "AFTER"):
            status.complete()
        assert run_of(db).export_status is ExportStatus.COMPLETED
    finally:
        with db.connection() as connection:
            connection.exec_driver_sql("DROP TABLE log")


def test_a_status_of_an_unknown_run_is_not_an_error_of_the_database(db: LandscapeDB) -> None:
    ExportStatusWriter(db, "unknown", fixed_clock).begin("json", "audit")


def evidence(db: LandscapeDB) -> list[object]:
    with db.connection() as connection:
        return [connection.execute(select(table)).all() for table in (runs_table, rows_table)]
