"""Tests of the tables: those of the original audit trail, on both backends."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Float,
    Integer,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import IntegrityError

from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import EXPORTED_TABLES, batches_table, metadata

# Columns as name:type, where a number is the length of text; "!" is NOT NULL, "*" primary key,
# ">" the table that a foreign key leads to (to its column of the same meaning, the primary key).
COLUMNS = {
    "runs": "run_id:64* started_at:time! completed_at:time config_hash:64! settings_json:text! "
    "reproducibility_grade:32 canonical_version:64! status:32! export_status:32 "
    "export_error:text exported_at:time export_format:16 export_sink:128",
    "nodes": "node_id:64* run_id:64!>runs plugin_name:128! node_type:32! plugin_version:32! "
    "determinism:32! config_hash:64! config_json:text! schema_hash:64 sequence_in_pipeline:int "
    "registered_at:time! schema_mode:16 schema_fields_json:text",
    "edges": "edge_id:64* run_id:64!>runs from_node_id:64!>nodes to_node_id:64!>nodes label:64! "
    "default_mode:16! created_at:time!",
    "rows": "row_id:64* run_id:64!>runs source_node_id:64!>nodes row_index:int! "
    "source_data_hash:64! source_data_ref:256 created_at:time!",
    "tokens": "token_id:64* row_id:64!>rows fork_group_id:64 join_group_id:64 expand_group_id:32 "
    "branch_name:64 step_in_pipeline:int created_at:time!",
    "token_parents": "token_id:64*>tokens parent_token_id:64*>tokens ordinal:int!",
    "node_states": "state_id:64* token_id:64!>tokens node_id:64!>nodes step_index:int! "
    "attempt:int! status:32! input_hash:64! output_hash:64 context_before_json:text "
    "context_after_json:text duration_ms:float error_json:text started_at:time! "
    "completed_at:time",
    "calls": "call_id:64* state_id:64!>node_states call_index:int! call_type:32! status:32! "
    "request_hash:64! request_ref:256 response_hash:64 response_ref:256 error_json:text "
    "latency_ms:float created_at:time!",
    "artifacts": "artifact_id:64* run_id:64!>runs produced_by_state_id:64!>node_states "
    "sink_node_id:64!>nodes artifact_type:64! path_or_uri:512! content_hash:64! size_bytes:int! "
    "idempotency_key:256 created_at:time!",
    "routing_events": "event_id:64* state_id:64!>node_states edge_id:64!>edges "
    "routing_group_id:64! ordinal:int! mode:16! reason_hash:64 reason_ref:256 created_at:time!",
    "batches": "batch_id:64* run_id:64!>runs aggregation_node_id:64!>nodes "
    "aggregation_state_id:64>node_states trigger_reason:128 trigger_type:32 attempt:int! "
    "status:32! created_at:time! completed_at:time",
    "batch_members": "batch_id:64!>batches token_id:64!>tokens ordinal:int!",
    "batch_outputs": "batch_output_id:64* batch_id:64!>batches output_type:32! output_id:64!",
    "validation_errors": "error_id:32* run_id:64!>runs node_id:64 row_hash:64! row_data_json:text "
    "error:text! schema_mode:16! destination:255! created_at:time!",
    "transform_errors": "error_id:32* run_id:64!>runs token_id:64! transform_id:64! row_hash:64! "
    "row_data_json:text error_details_json:text destination:255! created_at:time!",
    "checkpoints": "checkpoint_id:64* run_id:64!>runs token_id:64!>tokens node_id:64!>nodes "
    "sequence_number:int! aggregation_state_json:text created_at:time!",
}

UNIQUE = {
    "edges": {"run_id from_node_id label"},
    "rows": {"run_id row_index"},
    "token_parents": {"token_id ordinal"},
    "node_states": {"token_id node_id attempt", "token_id step_index attempt"},
    "calls": {"state_id call_index"},
    "routing_events": {"routing_group_id ordinal"},
    "batch_members": {"batch_id ordinal", "batch_id token_id"},
    "batch_outputs": {"batch_id output_type output_id"},
}

INDEXES = {
    "nodes": {"ix_nodes_run_id": "run_id"},
    "edges": {"ix_edges_run_id": "run_id"},
    "rows": {"ix_rows_run_id": "run_id"},
    "tokens": {"ix_tokens_row_id": "row_id", "ix_tokens_expand_group_id": "expand_group_id"},
    "token_parents": {"ix_token_parents_parent": "parent_token_id"},
    "node_states": {"ix_node_states_token": "token_id", "ix_node_states_node": "node_id"},
    "calls": {"ix_calls_state": "state_id"},
    "artifacts": {"ix_artifacts_run": "run_id"},
    "routing_events": {
        "ix_routing_events_state": "state_id",
        "ix_routing_events_group": "routing_group_id",
    },
    "batches": {"ix_batches_run_status": "run_id status"},
    "batch_members": {"ix_batch_members_batch": "batch_id"},
    "batch_outputs": {"ix_batch_outputs_batch": "batch_id"},
    "validation_errors": {
        "ix_validation_errors_run": "run_id",
        "ix_validation_errors_node": "node_id",
    },
    "transform_errors": {
        "ix_transform_errors_run": "run_id",
        "ix_transform_errors_token": "token_id",
        "ix_transform_errors_transform": "transform_id",
    },
    "checkpoints": {
        "ix_checkpoints_run": "run_id",
        "ix_checkpoints_run_seq": "run_id sequence_number",
    },
}

NOT_EXPORTED = {"batch_outputs", "validation_errors", "transform_errors", "checkpoints"}


def test_the_sixteen_tables_are_declared_in_creation_order() -> None:
    assert list(metadata.tables) == list(COLUMNS)


@pytest.mark.parametrize("table", metadata.tables.values(), ids=str)
def test_a_table_has_its_columns_with_type_nullability_and_keys(table: Table) -> None:
    assert [_described(column) for column in table.columns] == COLUMNS[table.name].split()


def test_a_database_gets_the_unique_constraints_and_indexes(db: LandscapeDB) -> None:
    inspector = inspect(db.engine)
    for name in COLUMNS:
        unique = {" ".join(one["column_names"]) for one in inspector.get_unique_constraints(name)}
        assert unique == UNIQUE.get(name, set()), name
        indexes = {
            index["name"]: " ".join(str(column) for column in index["column_names"])
            for index in inspector.get_indexes(name)
            if not index["unique"]
        }
        assert indexes == INDEXES.get(name, {}), name


def test_every_table_is_exported_but_four() -> None:
    assert {table.name for table in EXPORTED_TABLES} == set(COLUMNS) - NOT_EXPORTED
    assert len(EXPORTED_TABLES) == 12


def test_a_foreign_key_is_enforced(db: LandscapeDB) -> None:
    with pytest.raises(IntegrityError), db.connection() as connection:
        connection.execute(insert(batches_table), _batch("no such run", "no such node"))


def test_an_attempt_that_is_not_given_is_stored_as_zero(
    db: LandscapeDB, recorder: LandscapeRecorder
) -> None:
    recorder.begin_run({}, "v1", run_id="r")
    schema = SchemaConfig.from_dict({"fields": "dynamic"})
    recorder.register_node("r", "sum", "aggregation", "1", {}, node_id="n", schema_config=schema)
    with db.connection() as connection:
        connection.execute(insert(batches_table), _batch("r", "n"))
        assert connection.scalar(select(batches_table.c.attempt)) == 0


def _batch(run_id: str, node_id: str) -> dict[str, object]:
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "batch_id": "b",
        "run_id": run_id,
        "aggregation_node_id": node_id,
        "status": "draft",
        "created_at": created_at,
    }


def _described(column: Column[Any]) -> str:
    key = "*" if column.primary_key else "" if column.nullable else "!"
    targets = []
    for foreign_key in column.foreign_keys:
        (target,) = foreign_key.column.table.primary_key
        assert foreign_key.column is target
        targets.append(f">{target.table}")
    return f"{column.name}:{_type(column)}{key}{''.join(targets)}"


def _type(column: Column[Any]) -> str:
    match column.type:
        case Text():
            return "text"
        case String(length=length):
            return str(length)
        case DateTime(timezone=True):
            return "time"
        case Integer():
            return "int"
        case Float():
            return "float"
    raise AssertionError(f"{column} has a type that the others lack")
