"""A child without a parent: an export to a file names it and refuses, whichever run's it was."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sample_run import KEY, record_sample_run

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder

CHILDREN = {
    "tokens": ("row_id", "rows"),
    "token_parents": ("token_id", "tokens"),
    "node_states": ("token_id", "tokens"),
    "routing_events": ("state_id", "node_states"),
    "calls": ("state_id", "node_states"),
    "batch_members": ("batch_id", "batches"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An SQLite file with the sample run and another of the same kind."""
    path = tmp_path / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        for run_id in ("run-1", "other"):
            record_sample_run(LandscapeRecorder(db), run_id)
    return path


def orphan_one(file: Path, child: str, at: str) -> str:
    """Let the child `at` one end of its table name a parent that is not there.

    Returns its first column: the primary key of all but token_parents and batch_members.
    """
    column, _ = CHILDREN[child]
    with closing(sqlite3.connect(file)) as raw, raw:  # foreign keys are off unless asked for
        changed = raw.execute(
            f"UPDATE {child} SET {column} = 'gone' "
            f"WHERE rowid = (SELECT {at}(rowid) FROM {child}) RETURNING *"
        )
        return str(changed.fetchone()[0])


@pytest.mark.parametrize("method", ["write_jsonl", "write_csv"])
@pytest.mark.parametrize("at", ["min", "max"])
@pytest.mark.parametrize("child", CHILDREN)
def test_it_is_named_and_nothing_is_written(
    file: Path, tmp_path: Path, child: str, at: str, method: str
) -> None:
    key = orphan_one(file, child, at)
    column, parent = CHILDREN[child]
    (tmp_path / "exports").mkdir()
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db:
        write = getattr(LandscapeExporter(db, KEY), method)
        with pytest.raises(CorruptAuditDataError) as caught:
            write("run-1", tmp_path / "exports" / "out", sign=True)
    assert (caught.value.table, caught.value.column) == (child, column)
    assert caught.value.problem == f"names 'gone', which is not among the {parent}"
    if column not in caught.value.primary_key:
        assert key in caught.value.primary_key.values()
    assert not list((tmp_path / "exports").iterdir())


def test_several_jobs_refuse_it_too(file: Path, tmp_path: Path) -> None:
    orphan_one(file, "calls", "max")
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db:
        exporter = LandscapeExporter(db, KEY)
        with pytest.raises(CorruptAuditDataError, match=r"calls \(.*state_id names 'gone'"):
            exporter.write_jsonl("run-1", tmp_path / "run.jsonl", sign=True, jobs=2)
    assert not (tmp_path / "run.jsonl").exists()


def test_a_stream_of_records_does_not_look_for_it(file: Path) -> None:
    orphan_one(file, "calls", "max")
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db:
        assert len(list(LandscapeExporter(db).export_run("run-1"))) == 50
