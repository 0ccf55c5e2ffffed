"""Tests of the models: fields, their order and defaults, and which models are frozen."""

import dataclasses
import inspect
from datetime import UTC, datetime

import pytest

import elspeth.contracts
from elspeth.contracts import (
    ExportStatusUpdate,
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    NodeStateStatus,
    Run,
    RunStatus,
    models,
)

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

# Fields after the bar default to None; no model has any other default.
FIELDS = {
    "Run": "run_id started_at config_hash settings_json canonical_version status | completed_at"
    " reproducibility_grade export_status export_error exported_at export_format export_sink",
    "Node": "node_id run_id plugin_name node_type plugin_version determinism config_hash"
    " config_json registered_at | schema_hash sequence_in_pipeline schema_mode schema_fields",
    "Edge": "edge_id run_id from_node_id to_node_id label default_mode created_at |",
    "Row": "row_id run_id source_node_id row_index source_data_hash created_at | source_data_ref",
    "Token": "token_id row_id created_at | fork_group_id join_group_id expand_group_id branch_name"
    " step_in_pipeline",
    "TokenParent": "token_id parent_token_id ordinal |",
    "NodeStateOpen": "state_id token_id node_id step_index attempt status input_hash started_at"
    " | context_before_json",
    "NodeStateCompleted": "state_id token_id node_id step_index attempt status input_hash"
    " started_at output_hash completed_at duration_ms | context_before_json context_after_json",
    "NodeStateFailed": "state_id token_id node_id step_index attempt status input_hash started_at"
    " completed_at duration_ms | error_json output_hash context_before_json context_after_json",
    "Call": "call_id state_id call_index call_type status request_hash created_at | request_ref"
    " response_hash response_ref error_json latency_ms",
    "Artifact": "artifact_id run_id produced_by_state_id sink_node_id artifact_type path_or_uri"
    " content_hash size_bytes created_at |",
    "RoutingEvent": "event_id state_id edge_id routing_group_id ordinal mode created_at"
    " | reason_hash reason_ref",
    "Batch": "batch_id run_id aggregation_node_id attempt status created_at | aggregation_state_id"
    " trigger_reason completed_at",
    "BatchMember": "batch_id token_id ordinal |",
    "BatchOutput": "batch_id output_type output_id |",
    "Checkpoint": "checkpoint_id run_id token_id node_id sequence_number created_at"
    " | aggregation_state_json",
    "RowLineage": "row_id run_id source_node_id row_index source_data_hash created_at source_data"
    " payload_available |",
    "ValidationErrorRecord": "error_id run_id node_id row_hash error schema_mode destination"
    " created_at | row_data_json",
    "TransformErrorRecord": "error_id run_id token_id transform_id row_hash destination created_at"
    " | row_data_json error_details_json",
}


def stored_models() -> dict[str, type]:
    """Every model of a stored entity; a RoutingSpec asks for an edge, and is not stored."""
    found = inspect.getmembers(models, dataclasses.is_dataclass)
    return {
        name: model
        for name, model in found
        if inspect.isclass(model) and model is not models.RoutingSpec
    }


def test_every_model_is_described_here() -> None:
    assert stored_models().keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_a_model_has_its_agreed_fields_in_order(name: str) -> None:
    required, optional = (part.split() for part in FIELDS[name].split("|"))
    parameters = inspect.signature(stored_models()[name]).parameters

    assert list(parameters) == required + optional
    assert [parameters[field].default for field in required] == [inspect.Parameter.empty] * len(
        required
    )
    assert [parameters[field].default for field in optional] == [None] * len(optional)


def test_only_the_three_node_states_are_frozen() -> None:
    frozen = {name for name, model in stored_models().items() if model.__dataclass_params__.frozen}

    assert frozen == {"NodeStateOpen", "NodeStateCompleted", "NodeStateFailed"}


def test_a_model_other_than_a_node_state_can_be_changed() -> None:
    run = Run("r1", MOMENT, "hash", "{}", "v1", RunStatus.RUNNING)

    run.status = RunStatus.COMPLETED

    assert run.status is RunStatus.COMPLETED


def test_a_constructor_checks_nothing() -> None:
    state = NodeStateOpen("s1", "t1", "n1", -1, 0, NodeStateStatus.COMPLETED, "", MOMENT)

    assert state.status is NodeStateStatus.COMPLETED


def test_a_node_state_is_one_of_three_classes() -> None:
    open_state = NodeStateOpen("s1", "t1", "n1", 0, 0, NodeStateStatus.OPEN, "a", MOMENT)

    assert isinstance(open_state, models.NodeState)
    assert set(models.NodeState.__args__) == {NodeStateOpen, NodeStateCompleted, NodeStateFailed}


def test_a_status_update_may_leave_any_column_out() -> None:
    assert ExportStatusUpdate.__required_keys__ == frozenset()
    assert ExportStatusUpdate.__optional_keys__ == {
        "export_status",
        "exported_at",
        "export_error",
        "export_format",
        "export_sink",
    }
    assert models.BatchStatusUpdate.__required_keys__ == frozenset()
    assert models.BatchStatusUpdate.__optional_keys__ == {
        "status",
        "completed_at",
        "trigger_reason",
        "aggregation_state_id",
    }


def test_the_package_offers_every_model_and_enum() -> None:
    offered = set(elspeth.contracts.__all__)

    assert stored_models().keys() <= offered
    assert {"RoutingSpec", "SchemaConfig", "CorruptAuditDataError", "NodeState"} <= offered
    assert all(hasattr(elspeth.contracts, name) for name in offered)
