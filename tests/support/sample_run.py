"""A small recorded run with every exported record type, and the key and clock of its exports."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from elspeth.contracts import NodeType, RoutingMode, RoutingSpec
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape import LandscapeExporter, LandscapeRecorder, LegacyLandscapeExporter

Exporter: TypeAlias = LandscapeExporter | LegacyLandscapeExporter
Record: TypeAlias = dict[str, Any]

BOTH = [LandscapeExporter, LegacyLandscapeExporter]
KEY = b"k" * 32
EXPORTED_AT = datetime(2026, 1, 2, tzinfo=UTC)
DYNAMIC = SchemaConfig.from_dict({"fields": "dynamic"})


def fixed_clock() -> datetime:
    """The time of every export that tests make."""
    return EXPORTED_AT


def of_type(records: Iterable[Record], record_type: str, key: str) -> list[Any]:
    """The values of one key in the records of one type."""
    return [record[key] for record in records if record["record_type"] == record_type]


def pairs(records: Iterable[Record]) -> list[list[tuple[str, Any]]]:
    """The records with the order of their keys."""
    return [list(record.items()) for record in records]


@dataclass(frozen=True)
class SampleRun:
    """A recorded run, and the numbers that determine the queries of its export."""

    run_id: str
    rows: int = 4
    tokens: int = 8
    states: int = 7
    batches: int = 3
    records: int = 50

    @property
    def legacy_queries(self) -> int:
        """The number of queries of the control: one for each entity that may have children."""
        return 6 + self.rows + 2 * self.tokens + 2 * self.states + self.batches


def record_sample_run(recorder: LandscapeRecorder, run_id: str = "run-1") -> SampleRun:
    """Record a run with every status, forks, joins, expansions, retries and childless parents."""
    return _Recording(recorder, run_id).record()


def add_rows(database: Path, count: int) -> None:
    """Add source rows to the sample run of an SQLite file, faster than the recorder would."""
    with closing(sqlite3.connect(database)) as connection, connection:
        ((node_id,),) = connection.execute("SELECT node_id FROM nodes ORDER BY 1 LIMIT 1")
        connection.executemany(
            "INSERT INTO rows (row_id, run_id, source_node_id, row_index, source_data_hash, "
            "created_at) VALUES (?, 'run-1', ?, ?, 'h', '2026-01-01 00:00:00.000000')",
            ((f"row {index}", node_id, index) for index in range(100, 100 + count)),
        )


class _Recording:
    def __init__(self, recorder: LandscapeRecorder, run_id: str) -> None:
        self._recorder = recorder
        self._run_id = run_id

    def record(self) -> SampleRun:
        self._recorder.begin_run({"batch": 2}, "sha256-rfc8785-v1", run_id=self._run_id)
        self._record_graph()
        self._record_forked_and_joined()
        self._record_expanded()
        self._recorder.create_row(self._run_id, self._source, 2, {"without": "tokens"})
        row = self._recorder.create_row(self._run_id, self._source, 3, {"without": "states"})
        self._recorder.create_token(row.row_id)
        self._record_batches()
        for path in ("out/a.jsonl", "out/é 𝄞.jsonl"):
            self._recorder.register_artifact(
                self._run_id, self._sink_state, self._sink, "file", path, "0" * 64, 2**31 - 1
            )
        self._recorder.complete_run(
            self._run_id, "completed", reproducibility_grade="full_reproducible"
        )
        return SampleRun(self._run_id)

    def _record_graph(self) -> None:
        self._source = self._node(NodeType.SOURCE, sequence=0)
        self._transform = self._node(NodeType.TRANSFORM, sequence=1)
        self._gate = self._node(NodeType.GATE)
        self._aggregation = self._node(NodeType.AGGREGATION)
        self._coalesce = self._node(NodeType.COALESCE)
        self._sink = self._node(NodeType.SINK)
        self._edge(self._source, self._gate, "continue", RoutingMode.MOVE)
        self._left = self._edge(self._gate, self._sink, "left", RoutingMode.COPY)
        self._right = self._edge(self._gate, self._aggregation, "right", RoutingMode.MOVE)

    def _node(self, node_type: NodeType, sequence: int | None = None) -> str:
        node = self._recorder.register_node(
            self._run_id,
            f"a {node_type.value}",
            node_type,
            "1.0",
            {"of": node_type.value},
            sequence=sequence,
            schema_hash="1" * 64 if sequence else None,
            schema_config=DYNAMIC,
        )
        return node.node_id

    def _edge(self, source: str, target: str, label: str, mode: RoutingMode) -> str:
        return self._recorder.register_edge(self._run_id, source, target, label, mode).edge_id

    def _record_forked_and_joined(self) -> None:
        row_id = self._recorder.create_row(self._run_id, self._source, 0, {"a": 1}).row_id
        token = self._recorder.create_token(row_id).token_id
        self._complete(token, self._source, 0, 5.0)
        self._record_retried(token)
        self._record_routed(token)
        branches = self._recorder.fork_token(token, row_id, ["left", "right"], step_in_pipeline=2)
        self._branches = [branch.token_id for branch in branches]
        joined = self._recorder.coalesce_tokens(self._branches, row_id, step_in_pipeline=3)
        self._complete(joined.token_id, self._coalesce, 0, 0.25)
        sink_state = self._recorder.begin_node_state(joined.token_id, self._sink, 1, {"a": 1})
        self._sink_state = sink_state.state_id

    def _record_retried(self, token: str) -> None:
        failing = self._recorder.begin_node_state(token, self._transform, 1, {"a": 1}).state_id
        self._recorder.record_call(failing, 0, "http", "error", {"q": 1}, error={"code": 503})
        self._recorder.complete_node_state(
            failing, "failed", error={"why": "503"}, duration_ms=0.0000033
        )
        state = self._complete(token, self._transform, 1, 12.5, attempt=1)
        for index, latency in enumerate((5.0, 1e-06)):
            self._recorder.record_call(
                state, index, "llm", "success", {"q": index}, response_data={}, latency_ms=latency
            )

    def _record_routed(self, token: str) -> None:
        state = self._complete(token, self._gate, 2, 2.0**53)
        routes = [RoutingSpec(self._left, RoutingMode.COPY), RoutingSpec(self._right, "copy")]
        self._recorder.record_routing_events(state, routes, {"rule": "both"})
        self._recorder.record_routing_event(state, self._left, RoutingMode.MOVE)

    def _record_expanded(self) -> None:
        row_id = self._recorder.create_row(self._run_id, self._source, 1, {"a": [1, 2]}).row_id
        token = self._recorder.create_token(row_id).token_id
        state = self._recorder.begin_node_state(token, self._source, 0, {"a": [1, 2]})
        self._recorder.complete_node_state(
            state.state_id, "failed", output_data={"a": 1}, duration_ms=1e21
        )
        self._recorder.expand_token(token, row_id, 2, 1)

    def _complete(
        self, token: str, node: str, step: int, duration_ms: float, *, attempt: int = 0
    ) -> str:
        state = self._recorder.begin_node_state(token, node, step, {}, attempt=attempt).state_id
        self._recorder.complete_node_state(
            state, "completed", output_data={}, duration_ms=duration_ms
        )
        return state

    def _record_batches(self) -> None:
        full = self._recorder.create_batch(self._run_id, self._aggregation).batch_id
        for ordinal, token in enumerate(reversed(self._branches)):
            self._recorder.add_batch_member(full, token, ordinal)
        self._recorder.complete_batch(full, "completed", trigger_reason="count reached")
        failing = self._recorder.create_batch(self._run_id, self._aggregation).batch_id
        self._recorder.add_batch_member(failing, self._branches[0], 0)
        self._recorder.update_batch_status(failing, "failed")
        self._recorder.retry_batch(failing)
