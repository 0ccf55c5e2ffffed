"""Faults 1 to 7 on SQLite: what a database is, or does, that an export has to cope with."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fault_table import Tally
from holding import held, send_on
from sample_run import add_rows
from survival import (
    ANY,
    COMPLETE,
    F3,
    FINE,
    PREVIOUS,
    REFUSED,
    UNCONFIRMED,
    Outcome,
    Trail,
    ended,
)
from tracing import stopped_at

MANY_ROWS = 3000
"""So many that an export writes several blocks while it reads."""

WHILE_READING = {
    "an early table": "UPDATE nodes SET plugin_name = 'another'",
    "rows": "UPDATE rows SET source_data_hash = 'another'",
    "the last row": "DELETE FROM rows WHERE row_id = 'row 3000'",
    "a child": "UPDATE calls SET latency_ms = 1.5",
}


@pytest.mark.fault(1)
@pytest.mark.parametrize("statement", WHILE_READING.values(), ids=WHILE_READING)
def test_what_a_writer_commits_between_our_reads_is_not_seen(
    tmp_path: Path, recorded_database: Path, export_format: str, tally: Tally, statement: str
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    add_rows(database, MANY_ROWS)
    whole = Path(shutil.copy(database, tmp_path / "whole.db"))
    trail = Trail.laid(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    trail.put_old_export()
    with trail.injection() as injection:
        before = injection.evidence
        with stopped_at(trail, "write", 2, tmp_path / "log") as process:
            trail.execute(statement)
            injection.changed_on_purpose()
        injection.endured(ended(process), FINE)
        trail.put_back(whole)
        injection.evidence = before
        injection.assert_exportable_again()


@pytest.mark.fault(2)
def test_a_lock_at_the_status_update_that_goes_is_waited_for(trail: Trail) -> None:
    with trail.injection() as injection:
        with held(trail) as process:
            with trail.writing():
                send_on(process)
                trail.wait_until_published()
                assert trail.recorded().status == "pending"
            done = ended(process)
        injection.survived(done, FINE)


@pytest.mark.fault(2)
def test_a_lock_at_the_status_update_that_stays_leaves_it_pending_to_be_settled(
    trail: Trail,
) -> None:
    with trail.injection() as injection:
        with held(trail) as process, trail.writing():
            send_on(process)
            done = ended(process)
        injection.endured(done, UNCONFIRMED)
        assert "landscape reconcile" in done.err
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        injection.assert_exportable_again()


@pytest.mark.fault(2)
def test_a_lock_before_the_export_keeps_it_from_beginning(trail: Trail) -> None:
    with trail.injection() as injection:
        with trail.writing():
            done = trail.export()
        injection.survived(done, Outcome(3, PREVIOUS, None, "database is locked"))


AS_FULL_AS_IT_IS = """
from sqlalchemy import Engine, event
@event.listens_for(Engine, "connect")
def limit(connection, _):
    connection.execute("PRAGMA max_page_count = 1")
"""
"""SQLite takes the size that the file has instead of one that is smaller."""


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("free", "outcome"),
    [
        pytest.param(0, Outcome(3, PREVIOUS, None, "full"), id="before"),
        pytest.param(20, Outcome(5, COMPLETE, "pending", "full"), id="after publishing"),
    ],
)
def test_a_full_database(
    tmp_path: Path,
    recorded_database: Path,
    export_format: str,
    tally: Tally,
    free: int,
    outcome: Outcome,
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    _fill(database, free)
    trail = Trail.laid(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    trail.put_old_export()
    with trail.injection() as injection:
        injection.survived(trail.export(prelude=AS_FULL_AS_IT_IS), outcome)


def _fill(database: Path, free: int) -> None:
    """Lengthen the run until its page has so many bytes left, and the file no other page."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        page_size, pages = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count")
        )
        (stored,) = connection.execute("SELECT length(settings_json) FROM runs").fetchone()
        length = stored
        # Found by trying: the first length that needs one page more, less what is to be free.
        for length in range(stored, page_size):
            connection.execute("BEGIN")
            connection.execute("UPDATE runs SET settings_json = printf('%.*c', ?, 'x')", (length,))
            (now,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute("ROLLBACK")
            if now > pages:
                break
        text = '"' + "x" * (length - 3 - free) + '"'
        connection.execute("UPDATE runs SET settings_json = ?", (text,))


@pytest.mark.fault(4)
@pytest.mark.parametrize("table", ["nodes", "rows", "node_states", "calls", "artifacts"])
def test_an_overwritten_page_is_reported_by_the_database(trail: Trail, table: str) -> None:
    whole = trail.saved()
    with closing(sqlite3.connect(trail.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    with trail.injection() as injection:
        with trail.database.open("r+b") as file:
            file.seek((page - 1) * page_size)
            file.write(b"\xff" * 64)
        injection.changed_on_purpose()
        done = trail.export()
        injection.survived(
            done, F3, repair=lambda: injection.repaired(lambda: trail.put_back(whole))
        )


NO_DATABASE = {
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "cut within its header": lambda whole: whole[:60],
    "cut after its first page": lambda whole: whole[:4096],
    "empty": lambda _: b"",
    "text": lambda _: b"not a database\n" * 1000,
}


@pytest.mark.fault(5)
@pytest.mark.parametrize("spoil", NO_DATABASE.values(), ids=NO_DATABASE)
def test_a_file_that_is_no_whole_database(trail: Trail, spoil: object) -> None:
    whole = trail.saved()
    with trail.injection() as injection:
        trail.database.write_bytes(spoil(whole.read_bytes()))
        injection.changed_on_purpose()
        done = trail.export()
        injection.survived(
            done,
            Outcome(3, PREVIOUS, ANY),
            repair=lambda: injection.repaired(lambda: trail.put_back(whole)),
        )


@pytest.mark.fault(6)
def test_a_mistyped_path_creates_nothing(trail: Trail) -> None:
    settings = trail.settings_file
    right = settings.read_text()
    beside = sorted(path.name for path in trail.database.parent.iterdir())
    with trail.injection() as injection:
        settings.write_text(right.replace("audit.db", "adit.db"))
        done = trail.export()
        assert sorted(path.name for path in trail.database.parent.iterdir()) == beside
        said = Outcome(2, PREVIOUS, None, "No database file at")
        injection.survived(done, said, repair=lambda: settings.write_text(right) and None)


@pytest.mark.fault(6)
def test_a_mistyped_option_creates_nothing(trail: Trail) -> None:
    with trail.injection() as injection:
        mistyped = [each.replace("audit.db", "adit.db") for each in trail.to_path]
        done = trail.landscape(*mistyped)
        assert not list(trail.database.parent.glob("adit*"))
        injection.survived(done, REFUSED)


FEW_VARIABLES = """
import sqlite3
from sqlalchemy import Engine, event
@event.listens_for(Engine, "connect")
def limit(connection, _):
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
"""


@pytest.mark.fault(7)
@pytest.mark.parametrize("rows", [0, MANY_ROWS])
def test_few_variables_are_enough(
    tmp_path: Path, recorded_database: Path, export_format: str, tally: Tally, rows: int
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    add_rows(database, rows)
    trail = Trail.laid(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    with trail.injection() as injection:
        injection.survived(trail.export(prelude=FEW_VARIABLES), FINE)
