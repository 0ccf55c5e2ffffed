"""Rows that a database gives for a run though they name another one: a collation finds both."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sample_run import record_sample_run
from sqlalchemy import make_url

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.run_ids import refuse_other_spellings
from elspeth.core.landscape.schema import EXPORTED_TABLES

WITH_RUN_ID = [table.name for table in EXPORTED_TABLES if "run_id" in table.c]


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
        refuse_other_spellings(db, "run-1")
    assert (refused.value.table, refused.value.column) == (table, "run_id")


def test_a_collation_alone_is_no_reason_to_refuse(db: LandscapeDB) -> None:
    change(db, "UPDATE rows SET run_id = 'run-2' WHERE row_index = 1")
    refuse_other_spellings(db, "run-1")


def test_columns_that_compare_bytes_keep_runs_of_other_spellings_apart(tmp_path: Path) -> None:
    with LandscapeDB(f"sqlite:///{tmp_path}/audit.db") as db:
        for run_id in ("run-1", "RUN-1"):
            record_sample_run(LandscapeRecorder(db), run_id)
        refuse_other_spellings(db, "run-1")
        refuse_other_spellings(db, "RUN-1")


def test_a_postgresql_collation_that_is_not_deterministic(fresh_postgres_url: str) -> None:
    url = make_url(fresh_postgres_url).set(drivername="postgresql")
    with LandscapeDB(fresh_postgres_url) as db:
        record_sample_run(LandscapeRecorder(db), "run-1")
        refuse_other_spellings(db, "run-1")
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
        refuse_other_spellings(db, "run-1")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            connection.execute("UPDATE rows SET run_id = 'RUN-1' WHERE row_index = 1")
        with pytest.raises(CorruptAuditDataError, match="the collation of the column"):
            refuse_other_spellings(db, "run-1")
