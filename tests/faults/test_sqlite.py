"""Faults 1 to 7 on SQLite: writers, locks, full and damaged files, paths and limits."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from audit_trail import Trail
from fault_injection import (
    ANY,
    COMPLETE,
    IO_FAILURE,
    PREVIOUS,
    REFUSED,
    SUCCEEDED,
    UNCONFIRMED,
    Outcome,
    inject_fault,
)
from fault_table import Tally
from formats import in_turn
from landscape_command import ended
from paused_process import paused, resume
from sample_run import add_rows
from strace import paused_at_call

MANY_ROWS = 3000
"""So many that an export writes several blocks while it still reads."""

WHILE_READING = {
    "an early table": "UPDATE nodes SET plugin_name = 'another'",
    "rows": "UPDATE rows SET source_data_hash = 'another'",
    "the last row": "DELETE FROM rows WHERE row_id = 'row 3000'",
    "a child": "UPDATE calls SET latency_ms = 1.5",
}


@pytest.mark.fault(1)
@in_turn("statement", WHILE_READING.values(), ids=WHILE_READING)
def test_a_commit_between_two_reads_does_not_show(
    tmp_path: Path, recorded_database: Path, export_format: str, tally: Tally, statement: str
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    add_rows(database, MANY_ROWS)
    whole = Path(shutil.copy(database, tmp_path / "whole.db"))
    trail = Trail.create(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    trail.put_old_export()
    with inject_fault(trail) as injection:
        before = injection.evidence
        with paused_at_call(trail, "write", 2, tmp_path / "log") as process:
            trail.execute(statement)
            injection.accept_change()
        injection.assert_intact(ended(process), SUCCEEDED)
        trail.put_back(whole)
        injection.evidence = before
        injection.assert_exportable_again()


@pytest.mark.fault(2)
def test_a_short_lock_at_the_status_update_delays_it(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process:
            with trail.write_lock():
                resume(process)
                trail.wait_until_published()
                assert trail.recorded().status == "pending"
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(2)
def test_a_lasting_lock_at_the_status_update_leaves_the_export_pending(
    trail: Trail,
) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process, trail.write_lock():
            resume(process)
            done = ended(process)
        injection.assert_intact(done, UNCONFIRMED)
        assert "landscape reconcile" in done.err
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        injection.assert_exportable_again()


@pytest.mark.fault(2)
def test_a_lock_before_the_export_fails_it_without_a_status(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with trail.write_lock():
            done = trail.export()
        injection.assert_survived(done, Outcome(3, PREVIOUS, None, "database is locked"))


NO_NEW_PAGES = """
from sqlalchemy import Engine, event
@event.listens_for(Engine, "connect")
def limit(connection, _):
    connection.execute("PRAGMA max_page_count = 1")
"""
"""SQLite raises a limit below the present size to that size, so the file cannot grow."""


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("free", "outcome"),
    [
        pytest.param(0, Outcome(3, PREVIOUS, None, "full"), id="before"),
        pytest.param(20, Outcome(5, COMPLETE, "pending", "full"), id="after publishing"),
    ],
)
def test_a_full_database_fails_the_export_or_leaves_it_pending(
    tmp_path: Path,
    recorded_database: Path,
    export_format: str,
    tally: Tally,
    free: int,
    outcome: Outcome,
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    _fill(database, free)
    trail = Trail.create(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    trail.put_old_export()
    with inject_fault(trail) as injection:
        injection.assert_survived(trail.export(prelude=NO_NEW_PAGES), outcome)


def _fill(database: Path, free: int) -> None:
    """Lengthen the run until its page has `free` bytes left and the file has no other free page."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        page_size, pages = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count")
        )
        (stored,) = connection.execute("SELECT length(settings_json) FROM runs").fetchone()
        length = stored
        # Try lengths up to the first one that needs another page, then subtract `free`.
        for length in range(stored, page_size):
            connection.execute("BEGIN")
            connection.execute("UPDATE runs SET settings_json = printf('%.*c', ?, 'x')", (length,))
            (now,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute("ROLLBACK")
            if now > pages:
                break
        text = '"' + "x" * (length - 3 - free) + '"'
        connection.execute("UPDATE runs SET settings_json = ?", (text,))


@pytest.mark.fault(4, short=5)
@in_turn("table", ["nodes", "rows", "node_states", "calls", "artifacts"])
def test_an_overwritten_page_fails_the_export(trail: Trail, table: str) -> None:
    whole = trail.save()
    with closing(sqlite3.connect(trail.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    with inject_fault(trail) as injection:
        with trail.database.open("r+b") as file:
            file.seek((page - 1) * page_size)
            file.write(b"\xff" * 64)
        injection.accept_change()
        done = trail.export()
        injection.assert_survived(
            done, IO_FAILURE, repair=lambda: injection.repair(lambda: trail.put_back(whole))
        )


@pytest.mark.fault(44)
@pytest.mark.parametrize("index", ["ix_tokens_row_id", "ix_calls_state"])
def test_an_index_that_lacks_rows_fails_the_export(trail: Trail, index: str) -> None:
    whole = trail.save()
    with inject_fault(trail) as injection:
        with closing(sqlite3.connect(trail.database, isolation_level=None)) as connection:
            definition = "SELECT sql FROM sqlite_master WHERE name = ?"
            (statement,) = connection.execute(definition, (index,)).fetchone()
            connection.execute(f"DROP INDEX {index}")
            connection.execute(f"{statement} WHERE rowid < 0")
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(
                "UPDATE sqlite_master SET sql = ? WHERE name = ?", (statement, index)
            )
        injection.accept_change()
        done = trail.export()
        assert index in done.err
        injection.assert_survived(
            done, IO_FAILURE, repair=lambda: injection.repair(lambda: trail.put_back(whole))
        )


@pytest.mark.fault(44, short=3)
@in_turn("holder", ["tokens", "sqlite_autoindex_rows_2", "ix_nodes_run_id"])
def test_a_key_that_is_overwritten_fails_the_export(trail: Trail, holder: str) -> None:
    whole = trail.save()
    with closing(sqlite3.connect(trail.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (holder,)
        ).fetchone()
        (token_id,) = connection.execute("SELECT min(token_id) FROM tokens").fetchone()
    key = token_id.encode() if holder == "tokens" else trail.run_id.encode()
    with inject_fault(trail) as injection:
        content = trail.database.read_bytes()
        at = content.index(key, (page - 1) * page_size, page * page_size) + len(key) - 1
        trail.database.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        injection.accept_change()
        done = trail.export()
        injection.assert_survived(
            done, IO_FAILURE, repair=lambda: injection.repair(lambda: trail.put_back(whole))
        )


NO_DATABASE = {
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "cut within its header": lambda whole: whole[:60],
    "cut after its first page": lambda whole: whole[:4096],
    "empty": lambda _: b"",
    "text": lambda _: b"not a database\n" * 1000,
}


@pytest.mark.fault(5, short=5)
@in_turn("spoil", NO_DATABASE.values(), ids=NO_DATABASE)
def test_a_file_that_is_not_a_whole_database_fails_the_export(trail: Trail, spoil: object) -> None:
    whole = trail.save()
    with inject_fault(trail) as injection:
        trail.database.write_bytes(spoil(whole.read_bytes()))
        injection.accept_change()
        done = trail.export()
        injection.assert_survived(
            done,
            Outcome(3, PREVIOUS, ANY),
            repair=lambda: injection.repair(lambda: trail.put_back(whole)),
        )


@pytest.mark.fault(6)
def test_a_mistyped_path_creates_nothing(trail: Trail) -> None:
    settings = trail.settings_file
    right = settings.read_text()
    beside = sorted(path.name for path in trail.database.parent.iterdir())
    with inject_fault(trail) as injection:
        settings.write_text(right.replace("audit.db", "adit.db"))
        done = trail.export()
        assert sorted(path.name for path in trail.database.parent.iterdir()) == beside
        expected = Outcome(2, PREVIOUS, None, "No database file at")
        injection.assert_survived(
            done, expected, repair=lambda: settings.write_text(right) and None
        )


@pytest.mark.fault(6)
def test_a_mistyped_option_creates_nothing(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        mistyped = [each.replace("audit.db", "adit.db") for each in trail.to_path]
        done = trail.landscape(*mistyped)
        assert not list(trail.database.parent.glob("adit*"))
        injection.assert_survived(done, REFUSED)


FEW_VARIABLES = """
import sqlite3
from sqlalchemy import Engine, event
@event.listens_for(Engine, "connect")
def limit(connection, _):
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
"""


@pytest.mark.fault(7)
@pytest.mark.parametrize("rows", [0, MANY_ROWS])
def test_an_export_needs_few_variables(
    tmp_path: Path, recorded_database: Path, export_format: str, tally: Tally, rows: int
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    add_rows(database, rows)
    trail = Trail.create(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    with inject_fault(trail) as injection:
        injection.assert_survived(trail.export(prelude=FEW_VARIABLES), SUCCEEDED)
