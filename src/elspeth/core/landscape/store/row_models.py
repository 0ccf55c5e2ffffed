"""Build models from stored rows, and refuse values that must not be exported.

The rules of the batched exporter's `columns` are written out a second time, for the control: an
error in rules that both share would not show as a difference between them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from math import isfinite
from typing import Any, TypeVar

from sqlalchemy import Table

from elspeth.contracts import errors
from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    CallType,
    Determinism,
    ExportStatus,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.contracts.models import (
    Artifact,
    Batch,
    BatchMember,
    Call,
    Edge,
    Node,
    NodeState,
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    RoutingEvent,
    Row,
    Run,
    Token,
    TokenParent,
)

Member = TypeVar("Member", bound=Enum)
Value = TypeVar("Value")


@dataclass(frozen=True)
class StoredRow:
    """A row of a table, whose values are checked when a method returns them.

    Every method raises CorruptAuditDataError for a value of a wrong type or range. The methods
    whose names end in `_or_none` accept NULL, the others do not.
    """

    # SQLite stores a value of any type in any column, so the type in the schema proves nothing.

    table: Table
    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return text."""
        return self._present(column, self.text_or_none(column))

    def text_or_none(self, column: str) -> str | None:
        """Return text or NULL."""
        value = self.values[column]
        if value is None or isinstance(value, str):
            return value
        raise self.corrupt(column, errors.NOT_TEXT)

    def integer(self, column: str) -> int:
        """Return an integer of at most 2^53 - 1, as canonical JSON requires."""
        return self._present(column, self.integer_or_none(column))

    def integer_or_none(self, column: str) -> int | None:
        """Return an integer of at most 2^53 - 1, or NULL."""
        value = self.values[column]
        if value is None:
            return None
        # `type() is`, because bool is a subclass of int.
        if type(value) is not int:
            raise self.corrupt(column, errors.NOT_AN_INTEGER)
        if abs(value) > errors.MAX_INTEGER:
            raise self.corrupt(column, errors.TOO_LARGE)
        return value

    def number(self, column: str) -> float:
        """Return a finite number."""
        return self._present(column, self.number_or_none(column))

    def number_or_none(self, column: str) -> float | None:
        """Return a finite number or NULL."""
        value = self.values[column]
        if value is None:
            return None
        if type(value) is not float:
            raise self.corrupt(column, errors.NOT_A_NUMBER)
        if not isfinite(value):
            raise self.corrupt(column, errors.NOT_FINITE)
        return value

    def timestamp(self, column: str) -> datetime:
        """Return a timestamp, naive on SQLite and aware on PostgreSQL."""
        return self._present(column, self.timestamp_or_none(column))

    def timestamp_or_none(self, column: str) -> datetime | None:
        """Return a timestamp or NULL."""
        value = self.values[column]
        if value is None:
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                # An export converts it to UTC, which fails for a moment near the year 1 or 9999
                # that only its time zone keeps inside the range.
                moment.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise self.corrupt(column, errors.NOT_A_TIMESTAMP) from None
        return moment

    def member(self, column: str, enum: type[Member]) -> Member:
        """Return the enum member that a text names."""
        value = self.text(column)
        try:
            return enum(value)
        except ValueError:
            raise self.corrupt(column, errors.not_a_member(value, enum.__name__)) from None

    def member_or_none(self, column: str, enum: type[Member]) -> Member | None:
        """Return an enum member or NULL."""
        return None if self.values[column] is None else self.member(column, enum)

    def json_list_or_none(self, column: str) -> list[Any] | None:
        """Return the list in a JSON text, or NULL."""
        text = self.text_or_none(column)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, list):
            raise self.corrupt(column, "is not a JSON list")
        return value

    def corrupt(self, column: str, problem: str) -> CorruptAuditDataError:
        """Return the error that names this row and one of its columns."""
        key = {name: self.values[name] for name in key_names(self.table)}
        return CorruptAuditDataError(self.table.name, key, column, problem)

    def _present(self, column: str, value: Value | None) -> Value:
        if value is None:
            raise self.corrupt(column, errors.IS_NULL)
        return value


def key_names(table: Table) -> tuple[str, ...]:
    """Return the columns that identify a row, also of batch_members, which declares no key."""
    return tuple(table.primary_key.columns.keys()) or ("batch_id", "token_id")


def load_run(row: StoredRow) -> Run:
    """Return the run."""
    return Run(
        run_id=row.text("run_id"),
        started_at=row.timestamp("started_at"),
        config_hash=row.text("config_hash"),
        settings_json=row.text("settings_json"),
        canonical_version=row.text("canonical_version"),
        status=row.member("status", RunStatus),
        completed_at=row.timestamp_or_none("completed_at"),
        reproducibility_grade=row.text_or_none("reproducibility_grade"),
        export_status=row.member_or_none("export_status", ExportStatus),
        export_error=row.text_or_none("export_error"),
        exported_at=row.timestamp_or_none("exported_at"),
        export_format=row.text_or_none("export_format"),
        export_sink=row.text_or_none("export_sink"),
    )


def load_node(row: StoredRow) -> Node:
    """Return the node."""
    return Node(
        node_id=row.text("node_id"),
        run_id=row.text("run_id"),
        plugin_name=row.text("plugin_name"),
        node_type=row.member("node_type", NodeType),
        plugin_version=row.text("plugin_version"),
        determinism=row.member("determinism", Determinism),
        config_hash=row.text("config_hash"),
        config_json=row.text("config_json"),
        registered_at=row.timestamp("registered_at"),
        schema_hash=row.text_or_none("schema_hash"),
        sequence_in_pipeline=row.integer_or_none("sequence_in_pipeline"),
        schema_mode=row.text_or_none("schema_mode"),
        schema_fields=row.json_list_or_none("schema_fields_json"),
    )


def load_edge(row: StoredRow) -> Edge:
    """Return the edge."""
    return Edge(
        edge_id=row.text("edge_id"),
        run_id=row.text("run_id"),
        from_node_id=row.text("from_node_id"),
        to_node_id=row.text("to_node_id"),
        label=row.text("label"),
        default_mode=row.member("default_mode", RoutingMode),
        created_at=row.timestamp("created_at"),
    )


def load_row(row: StoredRow) -> Row:
    """Return the source row."""
    return Row(
        row_id=row.text("row_id"),
        run_id=row.text("run_id"),
        source_node_id=row.text("source_node_id"),
        row_index=row.integer("row_index"),
        source_data_hash=row.text("source_data_hash"),
        created_at=row.timestamp("created_at"),
        source_data_ref=row.text_or_none("source_data_ref"),
    )


def load_token(row: StoredRow) -> Token:
    """Return the token."""
    return Token(
        token_id=row.text("token_id"),
        row_id=row.text("row_id"),
        created_at=row.timestamp("created_at"),
        fork_group_id=row.text_or_none("fork_group_id"),
        join_group_id=row.text_or_none("join_group_id"),
        expand_group_id=row.text_or_none("expand_group_id"),
        branch_name=row.text_or_none("branch_name"),
        step_in_pipeline=row.integer_or_none("step_in_pipeline"),
    )


def load_token_parent(row: StoredRow) -> TokenParent:
    """Return the link between a token and one of its parents."""
    return TokenParent(
        token_id=row.text("token_id"),
        parent_token_id=row.text("parent_token_id"),
        ordinal=row.integer("ordinal"),
    )


def load_node_state(row: StoredRow) -> NodeState:
    """Return the node state, of the class that belongs to its status.

    A completed state must have output_hash, a completed or failed one duration_ms and completed_at.
    An open state must have none of these.
    """
    match row.member("status", NodeStateStatus):
        case NodeStateStatus.OPEN:
            return _load_open(row)
        case NodeStateStatus.COMPLETED:
            return _load_completed(row)
        case NodeStateStatus.FAILED:
            return _load_failed(row)


def load_routing_event(row: StoredRow) -> RoutingEvent:
    """Return the routing event."""
    return RoutingEvent(
        event_id=row.text("event_id"),
        state_id=row.text("state_id"),
        edge_id=row.text("edge_id"),
        routing_group_id=row.text("routing_group_id"),
        ordinal=row.integer("ordinal"),
        mode=row.member("mode", RoutingMode),
        created_at=row.timestamp("created_at"),
        reason_hash=row.text_or_none("reason_hash"),
        reason_ref=row.text_or_none("reason_ref"),
    )


def load_call(row: StoredRow) -> Call:
    """Return the call."""
    return Call(
        call_id=row.text("call_id"),
        state_id=row.text("state_id"),
        call_index=row.integer("call_index"),
        call_type=row.member("call_type", CallType),
        status=row.member("status", CallStatus),
        request_hash=row.text("request_hash"),
        created_at=row.timestamp("created_at"),
        request_ref=row.text_or_none("request_ref"),
        response_hash=row.text_or_none("response_hash"),
        response_ref=row.text_or_none("response_ref"),
        error_json=row.text_or_none("error_json"),
        latency_ms=row.number_or_none("latency_ms"),
    )


def load_batch(row: StoredRow) -> Batch:
    """Return the batch."""
    return Batch(
        batch_id=row.text("batch_id"),
        run_id=row.text("run_id"),
        aggregation_node_id=row.text("aggregation_node_id"),
        attempt=row.integer("attempt"),
        status=row.member("status", BatchStatus),
        created_at=row.timestamp("created_at"),
        aggregation_state_id=row.text_or_none("aggregation_state_id"),
        trigger_reason=row.text_or_none("trigger_reason"),
        completed_at=row.timestamp_or_none("completed_at"),
    )


def load_batch_member(row: StoredRow) -> BatchMember:
    """Return the batch member."""
    return BatchMember(
        batch_id=row.text("batch_id"),
        token_id=row.text("token_id"),
        ordinal=row.integer("ordinal"),
    )


def load_artifact(row: StoredRow) -> Artifact:
    """Return the artifact."""
    return Artifact(
        artifact_id=row.text("artifact_id"),
        run_id=row.text("run_id"),
        produced_by_state_id=row.text("produced_by_state_id"),
        sink_node_id=row.text("sink_node_id"),
        artifact_type=row.text("artifact_type"),
        path_or_uri=row.text("path_or_uri"),
        content_hash=row.text("content_hash"),
        size_bytes=row.integer("size_bytes"),
        created_at=row.timestamp("created_at"),
    )


def _load_open(row: StoredRow) -> NodeStateOpen:
    for column in ("output_hash", "duration_ms", "completed_at"):
        if row.values[column] is not None:
            raise row.corrupt(column, errors.not_null_in_state("open"))
    return NodeStateOpen(
        state_id=row.text("state_id"),
        token_id=row.text("token_id"),
        node_id=row.text("node_id"),
        step_index=row.integer("step_index"),
        attempt=row.integer("attempt"),
        status=NodeStateStatus.OPEN,
        input_hash=row.text("input_hash"),
        started_at=row.timestamp("started_at"),
        context_before_json=row.text_or_none("context_before_json"),
    )


def _load_completed(row: StoredRow) -> NodeStateCompleted:
    _require(row, "output_hash", "duration_ms", "completed_at")
    return NodeStateCompleted(
        state_id=row.text("state_id"),
        token_id=row.text("token_id"),
        node_id=row.text("node_id"),
        step_index=row.integer("step_index"),
        attempt=row.integer("attempt"),
        status=NodeStateStatus.COMPLETED,
        input_hash=row.text("input_hash"),
        started_at=row.timestamp("started_at"),
        output_hash=row.text("output_hash"),
        completed_at=row.timestamp("completed_at"),
        duration_ms=row.number("duration_ms"),
        context_before_json=row.text_or_none("context_before_json"),
        context_after_json=row.text_or_none("context_after_json"),
    )


def _load_failed(row: StoredRow) -> NodeStateFailed:
    _require(row, "duration_ms", "completed_at")
    return NodeStateFailed(
        state_id=row.text("state_id"),
        token_id=row.text("token_id"),
        node_id=row.text("node_id"),
        step_index=row.integer("step_index"),
        attempt=row.integer("attempt"),
        status=NodeStateStatus.FAILED,
        input_hash=row.text("input_hash"),
        started_at=row.timestamp("started_at"),
        completed_at=row.timestamp("completed_at"),
        duration_ms=row.number("duration_ms"),
        error_json=row.text_or_none("error_json"),
        output_hash=row.text_or_none("output_hash"),
        context_before_json=row.text_or_none("context_before_json"),
        context_after_json=row.text_or_none("context_after_json"),
    )


def _require(row: StoredRow, *columns: str) -> None:
    for column in columns:
        if row.values[column] is None:
            raise row.corrupt(column, errors.null_in_state(row.values["status"]))
