"""Run ids by which an export would lose rows, or hold those of other runs."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sample_run import record_sample_run
from sqlalchemy import make_url
from typer.testing import CliRunner

from elspeth.cli.main import app
from elspeth.contracts import ExportStatus
from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.counts import count_orphans_of_run
from elspeth.core.landscape.doctor import orphans
from elspeth.core.landscape.export.reference_paths import PARENTS
from elspeth.core.landscape.exporter import AcceptOrphan, Orphan
from elspeth.core.landscape.schema import EXPORTED_TABLES

WITH_RUN_ID = [table.name for table in EXPORTED_TABLES if "run_id" in table.c]


def export(db: LandscapeDB, run_id: str, accept: AcceptOrphan | None = None) -> bytes:
    exporter = LandscapeExporter(db, accept_orphan=accept)
    return b"".join(block.lines for block in exporter.export_blocks(run_id))


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a database whose columns do not distinguish cases."""
    path = tmp_path_factory.mktemp("folded") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        record_sample_run(LandscapeRecorder(db), "run-1")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'run_id VARCHAR(64)',"
            " 'run_id VARCHAR(64) collate nocase')"
        )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("REINDEX")
    return path


@pytest.fixture
def db(folded: Path, tmp_path: Path) -> Iterator[LandscapeDB]:
    path = tmp_path / "audit.db"
    path.write_bytes(folded.read_bytes())
    with LandscapeDB(f"sqlite:///{path}") as opened:
        yield opened


def change(db: LandscapeDB, statement: str) -> None:
    with closing(sqlite3.connect(str(db.engine.url.database))) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("table", WITH_RUN_ID)
def test_a_row_of_another_spelling_is_refused(db: LandscapeDB, table: str) -> None:
    change(
        db, f"UPDATE {table} SET run_id = 'RUN-1' WHERE rowid = (SELECT max(rowid) FROM {table})"
    )
    with pytest.raises(CorruptAuditDataError, match="the collation of the column") as refused:
        export(db, "run-1")
    assert (refused.value.table, refused.value.column) == (table, "run_id")


def test_a_collation_alone_is_no_reason_to_refuse(db: LandscapeDB) -> None:
    assert export(db, "run-1")


def test_a_stream_of_records_refuses_another_spelling_too(db: LandscapeDB) -> None:
    change(db, "UPDATE nodes SET run_id = 'RUN-1' WHERE rowid = 1")
    with pytest.raises(CorruptAuditDataError, match="the collation of the column"):
        list(LandscapeExporter(db).export_run("run-1"))


@pytest.mark.parametrize("column", PARENTS, ids=str)
def test_a_child_of_another_spelling_is_refused(
    recorded: Path, tmp_path: Path, column: Any
) -> None:
    """Two parents differ in case alone, and the column of the child does not distinguish them."""
    path = tmp_path / "audit.db"
    path.write_bytes(recorded.read_bytes())
    table, key = column.table.name, PARENTS[column]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        size = f"{column.name} VARCHAR({column.type.length})"
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?",
            (size, f"{size} COLLATE NOCASE", table),
        )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("REINDEX")
        (parent,) = connection.execute(
            f"SELECT {column.name} FROM {table} ORDER BY rowid"
        ).fetchone()
        assert connection.execute(
            f"UPDATE {key.table.name} SET {key.name} = upper({key.name}) WHERE {key.name} = ?",
            (parent,),
        ).rowcount
    with (
        LandscapeDB(f"sqlite:///{path}", read_only=True) as db,
        pytest.raises(CorruptAuditDataError, match="the collation of the column") as refused,
    ):
        export(db, "run-1")
    assert (refused.value.table, refused.value.column) == (table, column.name)


def test_columns_that_compare_bytes_keep_runs_of_other_spellings_apart(tmp_path: Path) -> None:
    with LandscapeDB(f"sqlite:///{tmp_path}/audit.db") as db:
        for run_id in ("run-1", "RUN-1"):
            record_sample_run(LandscapeRecorder(db), run_id)
        export(db, "run-1")
        export(db, "RUN-1")


def test_a_postgresql_collation_that_is_not_deterministic(fresh_postgres_url: str) -> None:
    url = make_url(fresh_postgres_url).set(drivername="postgresql")
    with LandscapeDB(fresh_postgres_url) as db:
        record_sample_run(LandscapeRecorder(db), "run-1")
        export(db, "run-1")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            try:
                connection.execute(
                    "CREATE COLLATION folding"
                    " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
                )
            except psycopg.errors.FeatureNotSupported as error:
                pytest.skip(f"needs a PostgreSQL with ICU collations: {error}")
            connection.execute("ALTER TABLE rows DROP CONSTRAINT rows_run_id_fkey CASCADE")
            connection.execute("ALTER TABLE rows ALTER run_id TYPE varchar(64) COLLATE folding")
        export(db, "run-1")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            connection.execute("UPDATE rows SET run_id = 'RUN-1' WHERE row_index = 1")
        with pytest.raises(CorruptAuditDataError, match="the collation of the column"):
            export(db, "run-1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        for run_id in ("run-1", "run-2"):
            record_sample_run(LandscapeRecorder(db), run_id)
    return path


@pytest.fixture
def two_runs(recorded: Path, tmp_path: Path) -> Iterator[LandscapeDB]:
    path = tmp_path / "audit.db"
    path.write_bytes(recorded.read_bytes())
    with LandscapeDB(f"sqlite:///{path}") as opened:
        yield opened


BELOW_RUNS = [name for name in WITH_RUN_ID if name != "runs"]


@pytest.mark.parametrize("table", BELOW_RUNS)
def test_a_row_whose_run_is_missing_is_refused_for_the_run_that_it_leads_to(
    two_runs: LandscapeDB, table: str
) -> None:
    first = f"SELECT min(rowid) FROM {table} WHERE run_id = 'run-1'"
    change(two_runs, f"UPDATE {table} SET run_id = 'gone' WHERE rowid = ({first})")
    with pytest.raises(CorruptAuditDataError, match="'gone', which is not among the runs") as lost:
        export(two_runs, "run-1")
    assert (lost.value.table, lost.value.column) == (table, "run_id")
    export(two_runs, "run-2")
    accepted: list[Orphan] = []
    export(two_runs, "run-1", accepted.append)
    assert [each.table for each in accepted] == [table]
    assert "run-1" in accepted[0].runs
    assert count_orphans_of_run(two_runs, "run-1", ()) == 1
    assert [each.table for each in orphans(two_runs)] == [table]


def test_what_a_deleted_run_has_left_stops_no_other_run(two_runs: LandscapeDB) -> None:
    change(two_runs, "DELETE FROM runs WHERE run_id = 'run-2'")
    export(two_runs, "run-1")
    assert count_orphans_of_run(two_runs, "run-1", ()) == 0
    assert {each.table for each in orphans(two_runs)} == set(BELOW_RUNS)
    assert {tuple(each.runs) for each in orphans(two_runs)} <= {("run-2",), ()}


def test_every_way_to_export_refuses_rows_without_run(
    two_runs: LandscapeDB, tmp_path: Path
) -> None:
    change(two_runs, "UPDATE rows SET run_id = 'gone' WHERE run_id = 'run-1' AND row_index = 0")
    url = str(two_runs.engine.url)
    settings = tmp_path / "settings.yaml"
    sink = {"plugin": "x", "options": {"path": str(tmp_path / "sink.jsonl")}}
    export = {"enabled": True, "sink": "audit", "format": "json"}
    settings.write_text(
        json.dumps({"landscape": {"url": url, "export": export}, "sinks": {"audit": sink}})
    )
    target = tmp_path / "target"
    one = ("--db", url, "--run", "run-1", "--output")
    ways: list[tuple[object, ...]] = [
        (*one, target),
        (*one, target, "--format", "csv"),
        (*one, "-"),
        ("--db", url, "--all", "--output", target),
        ("--settings", settings, "--run", "run-1"),
    ]
    for write in (LandscapeExporter(two_runs).write_jsonl, LandscapeExporter(two_runs).write_csv):
        with pytest.raises(CorruptAuditDataError, match="not among the runs"):
            write("run-1", target)
    for way in ways:
        done = CliRunner().invoke(app, ["export", *map(str, way)])
        assert "not among the runs" in f"{done.output}{done.exception}", (way, done)
        assert not (target / "run-1.jsonl").exists()
        assert not target.is_file()
        assert not (tmp_path / "sink.jsonl").exists()
    run = LandscapeRecorder(two_runs).get_run("run-1")
    assert run is not None
    assert run.export_status is ExportStatus.FAILED
    assert "not among the runs" in str(run.export_error)
