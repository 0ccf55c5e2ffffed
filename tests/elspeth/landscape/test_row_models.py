"""Tests of row models: corrupt values are refused by table, key and column."""

import pytest
from sqlalchemy import text

from elspeth.contracts import errors
from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.contracts.models import NodeStateFailed, NodeStateOpen
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import (
    batch_members_table,
    metadata,
    token_parents_table,
)
from elspeth.core.landscape.store.row_models import key_names

READERS = {
    "runs": ("get_run", "r"),
    "nodes": ("get_nodes", "r"),
    "edges": ("get_edges", "r"),
    "rows": ("get_rows", "r"),
    "tokens": ("get_tokens", "row"),
    "token_parents": ("get_token_parents", "u"),
    "node_states": ("get_node_states_for_token", "t"),
    "routing_events": ("get_routing_events", "s"),
    "calls": ("get_calls", "s"),
    "batches": ("get_batches", "r"),
    "batch_members": ("get_batch_members", "b"),
    "artifacts": ("get_artifacts", "r"),
}

KEYS: dict[str, dict[str, object]] = {
    "runs": {"run_id": "r"},
    "nodes": {"node_id": "sum"},
    "edges": {"edge_id": "off"},
    "rows": {"row_id": "row"},
    "tokens": {"token_id": "u"},
    "token_parents": {"token_id": "u", "parent_token_id": "t"},
    "node_states": {"state_id": "s"},
    "routing_events": {"event_id": "e"},
    "calls": {"call_id": "c"},
    "batches": {"batch_id": "b"},
    "batch_members": {"batch_id": "b", "token_id": "t"},
    "artifacts": {"artifact_id": "a"},
}

NOT_UTF8_TEXT = "CAST(x'ff' AS TEXT)"
SURROGATE = "CAST(x'eda080' AS TEXT)"


@pytest.fixture
def complete(recorded: LandscapeRecorder, db: LandscapeDB) -> LandscapeRecorder:
    """A recorder of a run with every kind of entity, each under its key in `KEYS`."""
    recorded.record_routing_event("s", "on", "move", event_id="e")
    recorded.record_call("s", 0, "llm", "success", {}, latency_ms=1.0, call_id="c")
    recorded.create_batch("r", "sum", batch_id="b")
    recorded.add_batch_member("b", "t", 0)
    recorded.register_artifact("r", "s", "sink", "csv", "out", "h", 1, artifact_id="a")
    with db.connection() as connection:
        connection.execute(text("INSERT INTO token_parents VALUES ('u', 't', 0)"))
    return recorded


def _plant(db: LandscapeDB, table: str, column: str, expression: str) -> None:
    """Overwrite one column of the row under its key in `KEYS`."""
    same = " AND ".join(f"{name} = '{value}'" for name, value in KEYS[table].items())
    with db.connection() as connection:
        if db.engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql(f"UPDATE {table} SET {column} = {expression} WHERE {same}")


def _refusal(recorder: LandscapeRecorder, table: str) -> CorruptAuditDataError:
    method, argument = READERS[table]
    with pytest.raises(CorruptAuditDataError) as refused:
        getattr(recorder, method)(argument)
    return refused.value


def _assert_refused(recorder: LandscapeRecorder, table: str, column: str, problem: str) -> None:
    refusal = _refusal(recorder, table)
    assert (refusal.table, refusal.column, refusal.problem) == (table, column, problem)
    assert refusal.primary_key == KEYS[table]


ON_BOTH = [
    ("runs", "status", "'paused'", errors.not_a_member("paused", "RunStatus")),
    ("runs", "export_status", "'lost'", errors.not_a_member("lost", "ExportStatus")),
    ("nodes", "node_type", "'filter'", errors.not_a_member("filter", "NodeType")),
    ("nodes", "determinism", "''", errors.not_a_member("", "Determinism")),
    ("nodes", "schema_fields_json", "'{}'", "is not a JSON list"),
    ("nodes", "schema_fields_json", "'['", "is not a JSON list"),
    ("edges", "default_mode", "'MOVE'", errors.not_a_member("MOVE", "RoutingMode")),
    ("node_states", "status", "'rejected'", errors.not_a_member("rejected", "NodeStateStatus")),
    ("routing_events", "mode", "'swap'", errors.not_a_member("swap", "RoutingMode")),
    ("calls", "call_type", "'smtp'", errors.not_a_member("smtp", "CallType")),
    ("calls", "status", "'maybe'", errors.not_a_member("maybe", "CallStatus")),
    ("batches", "status", "'lost'", errors.not_a_member("lost", "BatchStatus")),
]


@pytest.mark.parametrize(("table", "column", "expression", "problem"), ON_BOTH)
def test_a_value_outside_its_column_s_range_is_refused(
    db: LandscapeDB,
    complete: LandscapeRecorder,
    table: str,
    column: str,
    expression: str,
    problem: str,
) -> None:
    _plant(db, table, column, expression)
    _assert_refused(complete, table, column, problem)


@pytest.mark.parametrize("expression", ["'NaN'", "'-infinity'"])
def test_a_number_that_is_not_finite_is_refused(
    db: LandscapeDB, complete: LandscapeRecorder, expression: str
) -> None:
    _plant(db, "calls", "latency_ms", expression)
    # PostgreSQL reads the text as such a number, SQLite keeps it as text.
    on_sqlite = db.engine.dialect.name == "sqlite"
    problem = errors.NOT_A_NUMBER if on_sqlite else errors.NOT_FINITE
    _assert_refused(complete, "calls", "latency_ms", problem)


@pytest.mark.parametrize(
    ("status", "column"),
    [
        ("completed", "output_hash"),
        ("completed", "duration_ms"),
        ("completed", "completed_at"),
        ("failed", "duration_ms"),
        ("failed", "completed_at"),
    ],
)
def test_a_terminal_state_without_what_its_status_demands_is_refused(
    db: LandscapeDB, recorded: LandscapeRecorder, status: str, column: str
) -> None:
    recorded.complete_node_state("s", status, output_data={}, duration_ms=1.0)
    _plant(db, "node_states", column, "NULL")
    _assert_refused(recorded, "node_states", column, errors.null_in_state(status))


def test_a_failed_state_needs_no_output(recorded: LandscapeRecorder) -> None:
    recorded.complete_node_state("s", "failed", duration_ms=1.0)
    (state,) = recorded.get_node_states_for_token("t")
    assert isinstance(state, NodeStateFailed)
    assert state.output_hash is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("output_hash", "'stray'"),
        ("completed_at", "'2026-01-01 00:00:00'"),
        ("duration_ms", "9"),
    ],
)
def test_an_open_state_with_an_output_or_an_end_is_refused(
    db: LandscapeDB, recorded: LandscapeRecorder, column: str, value: str
) -> None:
    assert isinstance(recorded.get_node_state("s"), NodeStateOpen)
    _plant(db, "node_states", column, value)
    _assert_refused(recorded, "node_states", column, errors.not_null_in_state("open"))


def test_a_table_without_primary_key_is_named_by_what_is_unique_in_it() -> None:
    assert key_names(token_parents_table) == ("token_id", "parent_token_id")
    assert key_names(batch_members_table) == ("batch_id", "token_id")


class TestWhatOnlySqliteStores:
    """SQLite keeps any value in any column; these tests put them there."""

    @pytest.fixture
    def landscape_url(self, sqlite_url: str) -> str:
        return sqlite_url

    @pytest.mark.parametrize(
        ("table", "column", "expression", "problem"),
        [
            ("rows", "row_index", "'third'", errors.NOT_AN_INTEGER),
            ("rows", "row_index", "1.5", errors.NOT_AN_INTEGER),
            ("rows", "row_index", "x'01'", errors.NOT_AN_INTEGER),
            ("rows", "row_index", "9007199254740992", errors.TOO_LARGE),
            ("rows", "row_index", "-9007199254740992", errors.TOO_LARGE),
            ("artifacts", "size_bytes", "9223372036854775807", errors.TOO_LARGE),
            ("nodes", "sequence_in_pipeline", "'first'", errors.NOT_AN_INTEGER),
            ("batch_members", "ordinal", "'first'", errors.NOT_AN_INTEGER),
            ("token_parents", "ordinal", "0.5", errors.NOT_AN_INTEGER),
            ("calls", "latency_ms", "'slow'", errors.NOT_A_NUMBER),
            ("calls", "latency_ms", "x'00'", errors.NOT_A_NUMBER),
            ("calls", "latency_ms", "9e999", errors.NOT_FINITE),
            ("edges", "label", "x'6f6e'", errors.NOT_TEXT),
            ("tokens", "branch_name", "x''", errors.NOT_TEXT),
            ("calls", "status", "x''", errors.NOT_TEXT),
            ("edges", "label", NOT_UTF8_TEXT, errors.NOT_UTF8),
            ("tokens", "branch_name", SURROGATE, errors.NOT_UTF8),
            ("node_states", "step_index", NOT_UTF8_TEXT, errors.NOT_UTF8),
            ("artifacts", "path_or_uri", NOT_UTF8_TEXT, errors.NOT_UTF8),
            ("runs", "started_at", NOT_UTF8_TEXT, errors.NOT_UTF8),
            ("runs", "started_at", "'yesterday'", errors.NOT_A_TIMESTAMP),
            ("runs", "completed_at", "20260101", errors.NOT_A_TIMESTAMP),
            ("nodes", "registered_at", "x'00'", errors.NOT_A_TIMESTAMP),
            ("batches", "created_at", "''", errors.NOT_A_TIMESTAMP),
        ],
    )
    def test_a_value_of_another_type_is_refused(
        self,
        db: LandscapeDB,
        complete: LandscapeRecorder,
        table: str,
        column: str,
        expression: str,
        problem: str,
    ) -> None:
        _plant(db, table, column, expression)
        _assert_refused(complete, table, column, problem)

    @pytest.mark.parametrize("table", READERS)
    def test_null_is_refused_where_the_table_once_forbade_it(
        self, db: LandscapeDB, complete: LandscapeRecorder, table: str
    ) -> None:
        required = [one.name for one in metadata.tables[table].columns if not one.nullable]
        column = next(name for name in reversed(required) if name not in KEYS[table])
        with db.connection() as connection:
            # A copy has no constraints.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql(f"CREATE TABLE copied AS SELECT * FROM {table}")
            connection.exec_driver_sql(f"DROP TABLE {table}")
            connection.exec_driver_sql(f"ALTER TABLE copied RENAME TO {table}")
        _plant(db, table, column, "NULL")
        _assert_refused(complete, table, column, errors.IS_NULL)

    def test_the_largest_integer_that_json_carries_is_accepted(
        self, db: LandscapeDB, complete: LandscapeRecorder
    ) -> None:
        _plant(db, "artifacts", "size_bytes", str(errors.MAX_INTEGER))
        assert complete.get_artifacts("r")[0].size_bytes == errors.MAX_INTEGER

    @pytest.mark.parametrize(
        ("column", "value"), [("completed_at", "'yesterday'"), ("duration_ms", "'long'")]
    )
    def test_an_open_state_with_a_value_of_any_kind_is_refused(
        self, db: LandscapeDB, recorded: LandscapeRecorder, column: str, value: str
    ) -> None:
        _plant(db, "node_states", column, value)
        _assert_refused(recorded, "node_states", column, errors.not_null_in_state("open"))

    def test_a_key_that_is_not_utf8_is_shown_as_bytes(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        _plant(db, "tokens", "token_id", NOT_UTF8_TEXT)
        refusal = _refusal(recorded, "tokens")
        assert refusal.primary_key == {"token_id": b"\xff"}
        assert (refusal.column, refusal.problem) == ("token_id", errors.NOT_UTF8)

    def test_one_bad_value_does_not_hide_the_sound_rows_of_another_query(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        _plant(db, "edges", "label", NOT_UTF8_TEXT)
        assert len(recorded.get_nodes("r")) == 3
