"""A damaged SQLite file: an export is refused, or has the same bytes, and never fewer records."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sample_run import record_sample_run
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from elspeth.contracts.errors import CorruptAuditDataError, RunNotFoundError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.doctor import examine
from elspeth.core.landscape.schema import EXPORTED_TABLES

OVERWRITTEN_BYTES = 64


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        for run_id in ("run-1", "run-2"):
            record_sample_run(LandscapeRecorder(db), run_id)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    return path


def export(path: Path) -> bytes:
    with LandscapeDB(f"sqlite:///{path}", create_tables=False, read_only=True) as db:
        return b"".join(block.lines for block in LandscapeExporter(db).export_blocks("run-1"))


def indexes(path: Path) -> Iterator[tuple[str, str, int, str | None]]:
    """Yield the indexes of exported tables: table, name, root page, and statement."""
    exported = {table.name for table in EXPORTED_TABLES}
    with closing(sqlite3.connect(path)) as connection:
        for found in connection.execute(
            "SELECT tbl_name, name, rootpage, sql FROM sqlite_master WHERE type = 'index'"
        ):
            if found[0] in exported:
                yield found


def test_an_index_that_lacks_rows_is_named(sound: Path, tmp_path: Path) -> None:
    """As a copy of a partial index has it, or a page that was lost."""
    tried = 0
    for _, name, _, statement in indexes(sound):
        if statement is None:
            continue
        tried += 1
        path = tmp_path / f"{name}.db"
        path.write_bytes(sound.read_bytes())
        column = statement.partition("(")[2].partition(",")[0].rstrip(")")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"DROP INDEX {name}")
            connection.execute(f"{statement} WHERE {column} IS NULL AND rowid < 0")
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (statement, name))
        with pytest.raises(DBAPIError, match=f"(missing from|entries in) index {name}"):
            export(path)
        with LandscapeDB(f"sqlite:///{path}", create_tables=False, read_only=True) as db:
            problems = [advice.problem for advice in examine(db)]
        assert any(f"missing from index {name}" in problem for problem in problems), problems
    assert tried >= len(EXPORTED_TABLES)


def test_a_page_of_an_index_that_is_overwritten_loses_nothing(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    expected = export(sound)
    with closing(sqlite3.connect(sound)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    path = tmp_path / "audit.db"
    refused = 0
    for _, name, page, _ in indexes(sound):
        # The entries stand at the end of a page; the bytes of the middle are free.
        for before_end, content in ((64, bytes(64)), (200, whole[-64:]), (400, b"\xff" * 64)):
            at = page * size - before_end
            path.write_bytes(whole[:at] + content + whole[at + OVERWRITTEN_BYTES :])
            try:
                found = export(path)
            except (DBAPIError, CorruptAuditDataError):
                refused += 1
                continue
            assert found == expected, (name, before_end)
    assert refused


def test_a_key_that_is_overwritten_by_a_similar_one_loses_no_record(
    sound: Path, tmp_path: Path
) -> None:
    """An index and its table then hold other keys, and each of them is in order."""
    whole = sound.read_bytes()
    records = export(sound).count(b"\n")
    keys = re.compile(rb"|".join(sorted(map(re.escape, stored_keys(sound)), reverse=True)))
    with closing(sqlite3.connect(sound)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    path = tmp_path / "audit.db"
    tried = refused = 0
    for start in range(0, len(whole), size):
        for found in list(keys.finditer(whole, start, start + size))[::7]:
            tried += 1
            last = found.end() - 1
            path.write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
            try:
                exported = export(path)
            except (DBAPIError, CorruptAuditDataError, RunNotFoundError):
                refused += 1
                continue
            # A text that holds a key, such as settings, is exported as it is.
            assert exported.count(b"\n") == records, found
    assert refused > tried // 2


def stored_keys(path: Path) -> set[bytes]:
    columns = [column for table in EXPORTED_TABLES for column in table.primary_key]
    with (
        LandscapeDB(f"sqlite:///{path}", create_tables=False, read_only=True) as db,
        db.connection() as connection,
    ):
        keys = [key for each in columns for key in connection.execute(select(each)).scalars()]
    return {key.encode() for key in keys if isinstance(key, str)}


def test_corrupt_values_of_another_run_are_no_damage(sound: Path, tmp_path: Path) -> None:
    """SQLite's check reports them as well, and an export judges the values of its run alone."""
    expected = export(sound)
    path = tmp_path / "audit.db"
    path.write_bytes(sound.read_bytes())
    definition = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'rows'"
    strict, lax = "source_data_hash VARCHAR(64) NOT NULL", "source_data_hash VARCHAR(64)"
    for old, new, change in (
        (strict, lax, ""),
        (lax, strict, "UPDATE rows SET source_data_hash = NULL WHERE run_id = 'run-2'"),
    ):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(change)
            connection.execute("PRAGMA writable_schema = ON")
            assert connection.execute(definition, (old, new)).rowcount
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    assert found == "NULL value in rows.source_data_hash"
    assert export(path) == expected


def test_a_schema_that_is_not_text_is_damage(sound: Path, tmp_path: Path) -> None:
    content = sound.read_bytes()
    at = content.index(b"run_id VARCHAR(64) NOT NULL")
    path = tmp_path / "audit.db"
    path.write_bytes(content[:at] + b"\xff\xfe" + content[at + 2 :])
    with pytest.raises(DBAPIError):
        export(path)


def test_a_table_of_another_program_is_not_checked(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(sound.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("even", 1, lambda number: number % 2 == 0, deterministic=True)
        connection.create_collation("theirs", lambda one, other: (one > other) - (one < other))
        connection.execute("CREATE TABLE other (a INTEGER CHECK (even(a)), b TEXT COLLATE theirs)")
        connection.execute("CREATE INDEX other_b ON other (b)")
        connection.execute("INSERT INTO other VALUES (2, 'b')")
    assert export(path) == export(sound)
    with LandscapeDB(f"sqlite:///{path}", create_tables=False, read_only=True) as db:
        assert examine(db) == []
