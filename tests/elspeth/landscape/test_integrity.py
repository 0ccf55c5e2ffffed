"""Tests of orphans and of values that the driver cannot decode: both are refused by name."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sample_run import DYNAMIC, KEY, record_sample_run
from sqlalchemy import select

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.export.integrity import locate
from elspeth.core.landscape.export.orphans import Orphan, find_orphans, searching_orphans_once
from elspeth.core.landscape.export.record_types import primary_key_columns
from elspeth.core.landscape.schema import (
    batch_members_table,
    node_states_table,
    rows_table,
    token_parents_table,
    tokens_table,
)
from elspeth.core.landscape.verification.verify import verify
from querygrowth.counting.log import count_queries

NOT_UTF8_TEXT = "CAST(x'ff' AS TEXT)"

CHILDREN = {
    "tokens": ("row_id", "rows"),
    "token_parents": ("token_id", "tokens"),
    "node_states": ("token_id", "tokens"),
    "routing_events": ("state_id", "node_states"),
    "calls": ("state_id", "node_states"),
    "batch_members": ("batch_id", "batches"),
}


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the sample run and another of the same kind, for tests to copy."""
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        for run_id in ("run-1", "other"):
            record_sample_run(LandscapeRecorder(db), run_id)
    return path


@pytest.fixture
def file(two_runs: Path, tmp_path: Path) -> Path:
    """A copy of `two_runs`."""
    return Path(shutil.copy(two_runs, tmp_path))


def orphan_one(file: Path, child: str, at: str) -> str:
    """Let the child `at` one end of its table name a parent that is not there.

    A token is one of those with states, through which it leads to a run.

    Returns its first column: the primary key of all but token_parents and batch_members.
    """
    column, _ = CHILDREN[child]
    condition = ""
    if child == "tokens":
        condition = "WHERE token_id IN (SELECT token_id FROM node_states)"
    with closing(sqlite3.connect(file)) as raw, raw:  # foreign keys are off by default
        changed = raw.execute(
            f"UPDATE {child} SET {column} = 'gone' "
            f"WHERE rowid = (SELECT {at}(rowid) FROM {child} {condition}) RETURNING *"
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
    run_id = "run-1" if at == "min" else "other"
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db:
        write = getattr(LandscapeExporter(db, KEY), method)
        with pytest.raises(CorruptAuditDataError) as caught:
            write(run_id, tmp_path / "exports" / "out", sign=True)
    assert (caught.value.table, caught.value.column) == (child, column)
    assert caught.value.problem == f"names 'gone', which is not among the {parent}"
    if column not in caught.value.primary_key:
        assert key in caught.value.primary_key.values()
    assert not list((tmp_path / "exports").iterdir())


@pytest.mark.parametrize("child", sorted(CHILDREN.keys() - {"calls"}))
def test_one_that_leads_to_another_run_only_does_not_stop_an_export(
    file: Path, tmp_path: Path, child: str
) -> None:
    orphan_one(file, child, "max")
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db:
        with db.connection() as connection:
            (orphan,) = find_orphans(connection)
            assert (orphan.table, orphan.runs) == (child, ["other"])
            assert list(find_orphans(connection, run_id="run-1")) == []
            assert list(find_orphans(connection, run_id="other")) == [orphan]
        published = LandscapeExporter(db, KEY).write_jsonl("run-1", tmp_path / "out", sign=True)
    assert published.record_count == 51


@pytest.mark.parametrize("run_id", ["run-1", "other"])
def test_one_that_leads_to_no_run_stops_every_export(
    file: Path, tmp_path: Path, run_id: str
) -> None:
    orphan_one(file, "calls", "max")
    with (
        LandscapeDB(f"sqlite:///{file}", read_only=True) as db,
        pytest.raises(CorruptAuditDataError, match="state_id names 'gone'"),
    ):
        LandscapeExporter(db, KEY).write_jsonl(run_id, tmp_path / "out", sign=True)


def test_a_token_without_row_is_judged_by_what_refers_to_it(file: Path) -> None:
    orphan_one(file, "tokens", "max")
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(
            "INSERT INTO tokens (token_id, row_id, created_at) VALUES ('alone', 'x', '2026-01-01')"
        )
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db, db.connection() as connection:
        found = {orphan.primary_key.get("token_id"): orphan for orphan in find_orphans(connection)}
        own = list(find_orphans(connection, run_id="run-1"))
    assert [orphan.primary_key for orphan in own if orphan.table == "tokens"] == [
        {"token_id": "alone"}
    ]
    assert found["alone"].runs == []
    assert any(orphan.runs == ["other"] for orphan in found.values())


@pytest.mark.parametrize("options", [{}, {"jobs": 2}])
def test_accepted_ones_are_reported_and_left_out(
    file: Path, tmp_path: Path, options: dict[str, int]
) -> None:
    orphan_one(file, "calls", "max")
    orphan_one(file, "node_states", "min")
    accepted: list[Orphan] = []
    with LandscapeDB(f"sqlite:///{file}", read_only=True) as db:
        exporter = LandscapeExporter(db, KEY, accept_orphan=accepted.append)
        published = exporter.write_jsonl("run-1", tmp_path / "out", sign=True, **options)
    assert [orphan.table for orphan in accepted] == ["node_states", "calls"]
    assert published.record_count < 51
    assert verify(tmp_path / "out", KEY).ok


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


class TestLocating:
    """Finding undecodable text for a query that joins other tables, as an export's do."""

    STATES = (
        select(node_states_table.c.input_hash, node_states_table.c.step_index)
        .select_from(rows_table.join(tokens_table).join(node_states_table))
        .where(rows_table.c.run_id == "r")
        .order_by(rows_table.c.row_index, node_states_table.c.step_index)
    )

    def test_nothing_is_found_where_all_text_is_sound(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        with db.connection() as connection:
            assert locate(connection, node_states_table, self.STATES) is None

    def test_the_first_of_several_in_the_query_s_order_is_named(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            recorder = LandscapeRecorder(db)
            _record_states(recorder, ("late", 2), ("sound", 0), ("early", 1))
            with db.connection() as connection:
                connection.exec_driver_sql(
                    f"UPDATE node_states SET input_hash = {NOT_UTF8_TEXT} WHERE state_id <> 'sound'"
                )
                found = locate(connection, node_states_table, self.STATES)
        assert found is not None
        assert found.primary_key == {"state_id": "early"}

    def test_a_column_that_is_not_selected_is_not_looked_at(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            _record_states(LandscapeRecorder(db), ("only", 0))
            with db.connection() as connection:
                connection.exec_driver_sql(f"UPDATE node_states SET error_json = {NOT_UTF8_TEXT}")
                assert locate(connection, node_states_table, self.STATES) is None

    def test_bytes_stored_as_such_are_not_text_that_cannot_be_decoded(
        self, sqlite_url: str
    ) -> None:
        with LandscapeDB(sqlite_url) as db:
            _record_states(LandscapeRecorder(db), ("only", 0))
            with db.connection() as connection:
                connection.exec_driver_sql("UPDATE node_states SET input_hash = x'ff'")
                assert locate(connection, node_states_table, self.STATES) is None

    def test_a_table_without_primary_key_is_named_by_what_is_unique_in_it(self) -> None:
        assert [column.name for column in primary_key_columns(token_parents_table)] == [
            "token_id",
            "parent_token_id",
        ]
        assert [column.name for column in primary_key_columns(batch_members_table)] == [
            "batch_id",
            "token_id",
        ]


def _record_states(recorder: LandscapeRecorder, *states: tuple[str, int]) -> None:
    """Record run `r` with one token, which visits another node in every state."""
    recorder.begin_run({}, "v1", run_id="r")
    for state_id, _ in states:
        recorder.register_node("r", "p", "gate", "1", {}, node_id=state_id, schema_config=DYNAMIC)
    recorder.create_row("r", states[0][0], 0, {}, row_id="row")
    recorder.create_token("row", token_id="t")
    for state_id, step in states:
        recorder.begin_node_state("t", state_id, step, {}, state_id=state_id)


@pytest.mark.parametrize("by", ["another process", "the same engine"])
def test_an_orphan_that_comes_between_two_exports_of_one_engine_is_refused(
    by: str, file: Path, tmp_path: Path
) -> None:
    """The second export relies on the search of the first only while nothing has changed."""
    with LandscapeDB(f"sqlite:///{file}") as db, searching_orphans_once():
        exporter = LandscapeExporter(db, KEY)
        exporter.write_jsonl("run-1", tmp_path / "first.jsonl")
        exporter.write_jsonl("run-1", tmp_path / "second.jsonl")
        if by == "another process":
            orphan_one(file, "calls", "max")
        else:
            # Foreign keys are switched on for every connection, and off for this transaction.
            raw = db.engine.raw_connection()
            connection = raw.driver_connection
            assert connection is not None
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(
                "UPDATE calls SET state_id = 'gone' WHERE rowid = (SELECT max(rowid) FROM calls)"
            )
            raw.commit()
            connection.execute("PRAGMA foreign_keys = ON")
            raw.close()
        with pytest.raises(CorruptAuditDataError, match="is not among the"):
            exporter.write_jsonl("run-1", tmp_path / "third.jsonl")


def test_every_export_of_one_engine_sends_the_same_queries(file: Path) -> None:
    with LandscapeDB(f"sqlite:///{file}") as db:
        counts = []
        for _ in range(3):
            with count_queries(db.engine) as queries:
                list(LandscapeExporter(db, KEY).export_run("run-1", sign=True))
            counts.append(queries.total)
    assert len(set(counts)) == 1
