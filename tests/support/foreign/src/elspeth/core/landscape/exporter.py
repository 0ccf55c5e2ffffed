"""Export a run with one query for each entity."""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from elspeth.contracts import (
    BatchStatus,
    CallStatus,
    CallType,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.core.canonical import canonical_json
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder

_NODE = (
    *("node_id", "plugin_name", "node_type", "plugin_version", "config_hash", "schema_hash"),
    "sequence_in_pipeline",
)
_EDGE = ("edge_id", "from_node_id", "to_node_id", "label", "default_mode")
_ROW = ("row_id", "row_index", "source_node_id", "source_data_hash")
_TOKEN = (
    *("token_id", "row_id", "step_in_pipeline", "branch_name", "fork_group_id"),
    "join_group_id",
)
_EVENT = (
    *("event_id", "state_id", "edge_id", "routing_group_id", "ordinal", "mode", "reason_hash"),
)
_CALL = (
    *("call_id", "state_id", "call_index", "call_type", "status", "request_hash"),
    *("response_hash", "latency_ms"),
)
_ARTIFACT = (
    *("artifact_id", "sink_node_id", "produced_by_state_id", "artifact_type", "path_or_uri"),
    *("content_hash", "size_bytes"),
)
_WORDS: dict[tuple[str, str], type] = {
    ("node", "node_type"): NodeType,
    ("edge", "default_mode"): RoutingMode,
    ("routing_event", "mode"): RoutingMode,
    ("call", "call_type"): CallType,
    ("call", "status"): CallStatus,
}


class LandscapeExporter:
    """Exports a run as records. An unknown run raises ValueError, and the clock is the system's."""

    def __init__(self, db: LandscapeDB, signing_key: bytes | None = None) -> None:
        """Export from `db`, signed with a key if it is asked for."""
        self._recorder = LandscapeRecorder(db)
        self._signing_key = signing_key

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the records of a run, and a manifest at the end if they are signed."""
        if sign and self._signing_key is None:
            raise ValueError("Signing requested but there is no key")
        running_hash, count = hashlib.sha256(), 0
        for record in self._records(run_id):
            if sign:
                record["signature"] = self._signature(record)
                running_hash.update(record["signature"].encode())
            count += 1
            yield record
        if sign:
            manifest: dict[str, Any] = {
                "record_type": "manifest",
                "run_id": run_id,
                "record_count": count,
                "final_hash": running_hash.hexdigest(),
                "hash_algorithm": "sha256",
                "signature_algorithm": "hmac-sha256",
                "exported_at": datetime.now(UTC).isoformat(),
            }
            manifest["signature"] = self._signature(manifest)
            yield manifest

    def export_run_grouped(
        self, run_id: str, sign: bool = False
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the records of a run by their type."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        for record in self.export_run(run_id, sign=sign):
            grouped.setdefault(record["record_type"], []).append(record)
        return grouped

    def _signature(self, record: dict[str, Any]) -> str:
        key = self._signing_key or b""
        return hmac.new(key, canonical_json(record).encode(), hashlib.sha256).hexdigest()

    def _records(self, run_id: str) -> Iterator[dict[str, Any]]:
        recorder = self._recorder
        run = recorder.get_run(run_id)
        if run is None:
            raise ValueError(f"Run not found: {run_id}")
        yield {
            "record_type": "run",
            "run_id": run.run_id,
            "status": RunStatus(run.status).value,
            "started_at": run.started_at.isoformat(),
            "completed_at": _time(run.completed_at),
            "canonical_version": run.canonical_version,
            "config_hash": run.config_hash,
            "reproducibility_grade": run.reproducibility_grade,
        }
        for node in recorder.get_nodes(run_id):
            yield _record("node", run_id, node, _NODE)
        for edge in recorder.get_edges(run_id):
            yield _record("edge", run_id, edge, _EDGE)
        for row in recorder.get_rows(run_id):
            yield _record("row", run_id, row, _ROW)
            for token in recorder.get_tokens(row.row_id):
                yield _record("token", run_id, token, _TOKEN)
                for parent in recorder.get_token_parents(token.token_id):
                    fields = ("token_id", "parent_token_id", "ordinal")
                    yield _record("token_parent", run_id, parent, fields)
                for state in recorder.get_node_states_for_token(token.token_id):
                    yield _state(run_id, state)
                    for event in recorder.get_routing_events(state.state_id):
                        yield _record("routing_event", run_id, event, _EVENT)
                    for call in recorder.get_calls(state.state_id):
                        yield _record("call", run_id, call, _CALL)
        for batch in recorder.get_batches(run_id):
            yield {
                "record_type": "batch",
                "run_id": run_id,
                "batch_id": batch.batch_id,
                "aggregation_node_id": batch.aggregation_node_id,
                "attempt": batch.attempt,
                "status": BatchStatus(batch.status).value,
                "trigger_reason": batch.trigger_reason,
                "created_at": batch.created_at.isoformat(),
                "completed_at": _time(batch.completed_at),
            }
            for member in recorder.get_batch_members(batch.batch_id):
                yield _record("batch_member", run_id, member, ("batch_id", "token_id", "ordinal"))
        for artifact in recorder.get_artifacts(run_id):
            yield _record("artifact", run_id, artifact, _ARTIFACT)


def _record(kind: str, run_id: str, row: Row[Any], fields: tuple[str, ...]) -> dict[str, Any]:
    record: dict[str, Any] = {"record_type": kind, "run_id": run_id}
    for field in fields:
        value, words = getattr(row, field), _WORDS.get((kind, field))
        record[field] = words(value).value if words else value
    return record


def _state(run_id: str, state: Row[Any]) -> dict[str, Any]:
    status = NodeStateStatus(state.status)
    is_open = status is NodeStateStatus.OPEN
    if not is_open and state.duration_ms is None:
        raise ValueError(f"State {state.state_id} has no duration")
    if status is NodeStateStatus.COMPLETED and state.output_hash is None:
        raise ValueError(f"State {state.state_id} has no output hash")
    return {
        "record_type": "node_state",
        "run_id": run_id,
        "state_id": state.state_id,
        "token_id": state.token_id,
        "node_id": state.node_id,
        "step_index": state.step_index,
        "attempt": state.attempt,
        "status": status.value,
        "input_hash": state.input_hash,
        "output_hash": None if is_open else state.output_hash,
        "duration_ms": None if is_open else state.duration_ms,
        "started_at": state.started_at.isoformat(),
        "completed_at": None if is_open else state.completed_at.isoformat(),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
