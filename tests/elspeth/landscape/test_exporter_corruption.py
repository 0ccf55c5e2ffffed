"""Tests of corrupt data: both exporters refuse it with the same error."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from sample_run import BOTH, KEY, Exporter, Record, SampleRun, fixed_clock, record_sample_run
from shared_recordings import put_recording
from sqlalchemy import text

from elspeth.contracts import (
    BatchStatus,
    CallStatus,
    CallType,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.errors import IS_NOT_UNIQUE, CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.export.columns import RecordBuilder
from elspeth.core.landscape.export.merge import merge_records

RUN_ID = "run-1"

TEXTS = {
    "runs": "canonical_version config_hash",
    "nodes": "node_id plugin_name plugin_version config_hash",
    "edges": "edge_id from_node_id to_node_id label",
    "rows": "row_id source_node_id source_data_hash",
    "tokens": "token_id",
    "token_parents": "parent_token_id",
    "node_states": "state_id node_id input_hash",
    "routing_events": "event_id edge_id routing_group_id",
    "calls": "call_id request_hash",
    "batches": "batch_id aggregation_node_id",
    "batch_members": "token_id",
    "artifacts": "artifact_id sink_node_id produced_by_state_id artifact_type path_or_uri "
    "content_hash",
}
NULLABLE_TEXTS = {
    "runs": "reproducibility_grade",
    "nodes": "schema_hash",
    "tokens": "branch_name fork_group_id join_group_id",
    "node_states": "output_hash",
    "routing_events": "reason_hash",
    "calls": "response_hash",
    "batches": "trigger_reason",
}
INTEGERS = {
    "rows": "row_index",
    "token_parents": "ordinal",
    "node_states": "step_index attempt",
    "routing_events": "ordinal",
    "calls": "call_index",
    "batches": "attempt",
    "batch_members": "ordinal",
    "artifacts": "size_bytes",
}
NULLABLE_INTEGERS = {"nodes": "sequence_in_pipeline", "tokens": "step_in_pipeline"}
NULLABLE_NUMBERS = {"node_states": "duration_ms", "calls": "latency_ms"}
MOMENTS = {"runs": "started_at", "node_states": "started_at", "batches": "created_at"}
NULLABLE_MOMENTS = {
    "runs": "completed_at",
    "node_states": "completed_at",
    "batches": "completed_at",
}
ENUMS = {
    ("runs", "status"): RunStatus,
    ("nodes", "node_type"): NodeType,
    ("edges", "default_mode"): RoutingMode,
    ("node_states", "status"): NodeStateStatus,
    ("routing_events", "mode"): RoutingMode,
    ("calls", "call_type"): CallType,
    ("calls", "status"): CallStatus,
    ("batches", "status"): BatchStatus,
}
ENUM_COLUMNS = {
    "runs": "status",
    "nodes": "node_type",
    "edges": "default_mode",
    "node_states": "status",
    "routing_events": "mode",
    "calls": "call_type status",
    "batches": "status",
}


@dataclass(frozen=True)
class Corruption:
    """A value that SQL can put into a column, and what has to be said of it."""

    table: str
    column: str
    value: str
    problem: str
    where: str = "1"

    def __str__(self) -> str:
        return f"{self.table}.{self.column} {self.problem}, {self.where}, as {self.value}"


@dataclass(frozen=True)
class Refusal:
    """What an export yielded before it refused, and how it did."""

    records: list[Record]
    error: CorruptAuditDataError


def corruptions() -> Iterator[Corruption]:
    texts = (TEXTS, NULLABLE_TEXTS, ENUM_COLUMNS)
    yield from of(texts, "CAST(x'61ff' AS TEXT)", "is not UTF-8 text")
    yield from of(texts, "CAST(x'eda080' AS TEXT)", "is not UTF-8 text")
    yield from of(texts, "x'6162'", "is not text")
    yield from of((TEXTS, ENUM_COLUMNS, INTEGERS, MOMENTS), "NULL", "is NULL")
    integers = (INTEGERS, NULLABLE_INTEGERS)
    yield from of(integers, "'many'", "is not an integer")
    yield from of(integers, "0.5", "is not an integer")
    yield from of(integers, "9007199254740992", "is beyond 2^53 - 1")
    yield from of(integers, "-9007199254740992", "is beyond 2^53 - 1")
    yield from of(integers, "CAST(x'61ff' AS TEXT)", "is not UTF-8 text")
    yield from of((NULLABLE_NUMBERS,), "9e999", "is not a finite number")
    yield from of((NULLABLE_NUMBERS,), "-9e999", "is not a finite number")
    yield from of((NULLABLE_NUMBERS,), "'slow'", "is not a number")
    moments = (MOMENTS, NULLABLE_MOMENTS)
    for value in ("'yesterday'", "20260101", "x'00'", "'0001-01-01 00:00:00+11:00'"):
        yield from of(moments, value, "is not a timestamp")
    for (table, column), enum in ENUMS.items():
        problem = f"holds 'bogus', which is not a member of {enum.__name__}"
        yield Corruption(table, column, "'bogus'", problem)
    yield from nulls_in_states()
    yield from values_in_open_states()


def of(columns: tuple[Mapping[str, str], ...], value: str, problem: str) -> Iterator[Corruption]:
    for group in columns:
        for table, names in group.items():
            yield from (Corruption(table, name, value, problem) for name in names.split())


def nulls_in_states() -> Iterator[Corruption]:
    required = {
        "completed": ("output_hash", "duration_ms", "completed_at"),
        "failed": ("duration_ms", "completed_at"),
    }
    for status, columns in required.items():
        for column in columns:
            problem = f"is NULL in a {status} state"
            yield Corruption("node_states", column, "NULL", problem, f"status = '{status}'")


def values_in_open_states() -> Iterator[Corruption]:
    values = {
        "output_hash": ("'a' || state_id", "x'00'"),
        "duration_ms": ("5.0", "9e999", "'slow'"),
        "completed_at": ("'2026-01-01 00:00:00.000000'", "'never'"),
    }
    for column, stored in values.items():
        for value in stored:
            problem = "is not NULL while the state is open"
            yield Corruption("node_states", column, value, problem, "status = 'open'")


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with a recorded run that has forgotten which columns must not be NULL."""
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        numbers = count(1)
        record_sample_run(LandscapeRecorder(db, new_id=lambda: f"id-{next(numbers):03}"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')")
    return path


@pytest.fixture
def copied(forgetful: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(forgetful, tmp_path))


def plant(path: Path, corruption: Corruption) -> None:
    """Corrupt the middle one of the rows that hold a value in the column, or of the open states."""
    table, column = corruption.table, corruption.column
    filled = "1" if "open" in corruption.where else f"{column} IS NOT NULL"
    with closing(sqlite3.connect(path)) as connection, connection:
        found = connection.execute(
            f"SELECT rowid FROM {table} WHERE {filled} AND {corruption.where}"
        ).fetchall()
        (rowid,) = found[len(found) // 2]
        connection.execute(
            f"UPDATE {table} SET {column} = {corruption.value} WHERE rowid = ?", (rowid,)
        )


def refusal(exporter: Exporter, *, sign: bool = True) -> Refusal:
    records: list[Record] = []
    with pytest.raises(CorruptAuditDataError) as caught:
        records.extend(exporter.export_run(RUN_ID, sign=sign))
    return Refusal(records, caught.value)


def refusals(path: Path, *, sign: bool = True) -> tuple[Refusal, Refusal]:
    """How the batched exporter refuses, and how the control does."""
    with LandscapeDB(f"sqlite:///{path}", create_tables=False, read_only=True) as db:
        candidate, control = (
            refusal(built(db, KEY, clock=fixed_clock), sign=sign) for built in BOTH
        )
    return candidate, control


def is_prefix(shorter: list[Record], longer: list[Record]) -> bool:
    return longer[: len(shorter)] == shorter


@pytest.mark.parametrize("corruption", list(corruptions()), ids=str)
def test_both_exporters_refuse_and_name_table_key_and_column(
    copied: Path, corruption: Corruption
) -> None:
    plant(copied, corruption)
    candidate, control = refusals(copied)
    for error in (candidate.error, control.error):
        assert (error.table, error.column) == (corruption.table, corruption.column)
        assert error.problem == corruption.problem
    assert str(candidate.error) == str(control.error)
    assert candidate.error.primary_key == control.error.primary_key
    by_length = sorted((candidate.records, control.records), key=len)
    assert is_prefix(*by_length)


def test_the_refusal_names_the_very_row(copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as connection, connection:
        ((call_id,),) = connection.execute("SELECT call_id FROM calls WHERE call_index = 1")
        connection.execute("UPDATE calls SET latency_ms = 9e999 WHERE call_index = 1")
    candidate, _ = refusals(copied)
    assert str(candidate.error) == (
        f"Audit integrity violation: calls (call_id='{call_id}'): latency_ms is not a finite number"
    )


def test_a_row_without_primary_key_is_named_by_what_is_unique(copied: Path) -> None:
    plant(copied, Corruption("batch_members", "ordinal", "'last'", ""))
    candidate, control = refusals(copied)
    assert set(candidate.error.primary_key) == {"batch_id", "token_id"}
    assert candidate.error.primary_key == control.error.primary_key


@pytest.mark.parametrize("value", ["9e999", "'slow'"])
def test_an_unsigned_export_refuses_as_well(copied: Path, value: str) -> None:
    plant(copied, Corruption("calls", "latency_ms", value, ""))
    candidate, control = refusals(copied, sign=False)
    assert str(candidate.error) == str(control.error)


def test_several_corruptions_are_refused_by_both(copied: Path) -> None:
    plant(copied, Corruption("node_states", "status", "'bogus'", ""))
    plant(copied, Corruption("artifacts", "size_bytes", "'large'", ""))
    plant(copied, Corruption("calls", "call_type", "'bogus'", ""))
    candidate, control = refusals(copied)
    assert is_prefix(*sorted((candidate.records, control.records), key=len))


def test_the_control_looks_at_columns_that_are_not_exported_too(copied: Path) -> None:
    plant(copied, Corruption("nodes", "registered_at", "'yesterday'", ""))
    with LandscapeDB(f"sqlite:///{copied}") as db:
        candidate, control = (built(db) for built in BOTH)
        assert len(list(candidate.export_run(RUN_ID))) == SampleRun(RUN_ID).records
        assert refusal(control, sign=False).error.column == "registered_at"


@pytest.mark.parametrize("built", BOTH)
@pytest.mark.parametrize("method", ["write_jsonl", "write_csv"])
def test_a_refused_export_leaves_no_file(
    copied: Path, tmp_path: Path, built: Callable[..., Exporter], method: str
) -> None:
    plant(copied, Corruption("artifacts", "content_hash", "NULL", ""))
    folder = tmp_path / "exports"
    folder.mkdir()
    with LandscapeDB(f"sqlite:///{copied}") as db, pytest.raises(CorruptAuditDataError):
        getattr(built(db, KEY), method)(RUN_ID, folder / "run", sign=True)
    assert list(folder.iterdir()) == []


def test_children_that_come_in_another_order_than_their_parents_are_not_lost(
    copied: Path,
) -> None:
    with closing(sqlite3.connect(copied)) as connection, connection:
        # Without its constraints the table holds two rows of one index: an order with a tie.
        connection.execute("CREATE TABLE copy AS SELECT * FROM rows")
        connection.execute("DROP TABLE rows")
        connection.execute("ALTER TABLE copy RENAME TO rows")
        connection.execute("UPDATE rows SET row_index = 0 WHERE row_index = 1")
        connection.execute(
            "UPDATE tokens SET created_at = '2000-01-01 00:00:00.000000' "
            "WHERE token_id = (SELECT max(token_id) FROM tokens WHERE row_id = "
            "(SELECT row_id FROM rows WHERE row_index = 0 ORDER BY rowid DESC))"
        )
    with LandscapeDB(f"sqlite:///{copied}") as db:
        exporter = LandscapeExporter(db)
        error = refusal(exporter, sign=False).error
        assert (error.table, error.column) == ("rows", "row_index")
        assert error.problem == IS_NOT_UNIQUE
        # The merge does not rely on that check: a damaged index is not seen by it.
        with (
            exporter.open_snapshot() as snapshot,
            pytest.raises(CorruptAuditDataError, match="did not come in the same order") as caught,
        ):
            list(merge_records(snapshot, RUN_ID, lambda kind: RecordBuilder(kind, RUN_ID).build))
    assert (caught.value.table, caught.value.column) == ("tokens", "row_id")


class TestPostgreSQL:
    """Both exporters refuse every corrupt value that the columns accept."""

    @pytest.mark.parametrize(
        "corruption",
        [
            *(
                Corruption(
                    table,
                    column,
                    "'bogus'",
                    f"holds 'bogus', which is not a member of {enum.__name__}",
                )
                for (table, column), enum in ENUMS.items()
            ),
            *of((NULLABLE_NUMBERS,), "'NaN'", "is not a finite number"),
            *of((NULLABLE_NUMBERS,), "'-Infinity'", "is not a finite number"),
            *nulls_in_states(),
        ],
        ids=str,
    )
    def test_both_exporters_refuse(self, postgres_url: str, corruption: Corruption) -> None:
        with LandscapeDB(postgres_url) as db:
            put_recording(db, record_sample_run)
            self.plant(db, corruption)
            candidate, control = (refusal(built(db, KEY, clock=fixed_clock)) for built in BOTH)
        assert candidate.error.problem == corruption.problem
        assert str(candidate.error) == str(control.error)
        assert is_prefix(*sorted((candidate.records, control.records), key=len))

    def test_both_exporters_refuse_a_null_that_the_schema_should_have(
        self, fresh_postgres_url: str
    ) -> None:
        with LandscapeDB(fresh_postgres_url) as db:
            record_sample_run(LandscapeRecorder(db))
            with db.connection() as connection:
                connection.execute(
                    text("ALTER TABLE batch_members ALTER COLUMN ordinal DROP NOT NULL")
                )
            self.plant(db, Corruption("batch_members", "ordinal", "NULL", "is NULL"))
            candidate, control = (refusal(built(db), sign=False) for built in BOTH)
        assert candidate.error.problem == "is NULL"
        assert str(candidate.error) == str(control.error)

    def plant(self, db: LandscapeDB, corruption: Corruption) -> None:
        table, column = corruption.table, corruption.column
        condition = f"{column} IS NOT NULL AND {corruption.where.replace('1', 'true')}"
        with db.connection() as connection:
            connection.execute(
                text(
                    f"UPDATE {table} SET {column} = {corruption.value} WHERE ctid = "
                    f"(SELECT max(ctid) FROM {table} WHERE {condition})"
                )
            )
