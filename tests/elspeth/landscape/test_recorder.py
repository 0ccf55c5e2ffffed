"""Tests of the recorder: what it stores, checks and commits."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError

from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    CallType,
    ExportStatus,
    NodeStateStatus,
    NodeType,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.errors import RecordingError, RunNotFoundError
from elspeth.contracts.models import (
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    RoutingSpec,
    TokenParent,
)
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import stable_hash
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import metadata, nodes_table


def _stored(moment: datetime, db: LandscapeDB) -> datetime:
    """What reading a datetime back gives: SQLite forgets the time zone."""
    return moment.replace(tzinfo=None) if db.engine.dialect.name == "sqlite" else moment


class TestRuns:
    def test_a_run_begins_with_its_settings_their_hash_and_the_time(
        self, db: LandscapeDB, recorder: LandscapeRecorder
    ) -> None:
        run = recorder.begin_run({"b": 1, "a": None}, "v1", reproducibility_grade="full")
        assert run.run_id == "id-001"
        assert run.settings_json == '{"a":null,"b":1}'
        assert run.config_hash == stable_hash({"a": None, "b": 1})
        assert run.started_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert run.status is RunStatus.RUNNING
        run.started_at = _stored(run.started_at, db)
        assert recorder.get_run("id-001") == run

    def test_an_unknown_status_is_named_and_nothing_is_written(
        self, recorder: LandscapeRecorder
    ) -> None:
        with pytest.raises(ValueError, match="'paused'"):
            recorder.begin_run({}, "v1", status="paused")
        assert recorder.list_runs() == []

    def test_completing_keeps_a_grade_unless_another_is_given(
        self, db: LandscapeDB, recorder: LandscapeRecorder
    ) -> None:
        recorder.begin_run({}, "v1", run_id="r", reproducibility_grade="full_reproducible")
        run = recorder.complete_run("r", "completed")
        assert run.status is RunStatus.COMPLETED
        assert run.completed_at == _stored(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), db)
        assert run.reproducibility_grade == "full_reproducible"
        recorder.begin_run({}, "v1", run_id="s", reproducibility_grade="full_reproducible")
        run = recorder.complete_run("s", "failed", reproducibility_grade="attributable_only")
        assert run.reproducibility_grade == "attributable_only"

    def test_an_unknown_run_cannot_be_completed(self, recorder: LandscapeRecorder) -> None:
        with pytest.raises(AssertionError, match="'nope': no such run"):
            recorder.complete_run("nope", "completed")

    def test_a_later_success_clears_the_error_of_an_export(
        self, recorded: LandscapeRecorder
    ) -> None:
        recorded.set_export_status("r", "pending", export_format="json", export_sink="audit")
        recorded.set_export_status("r", ExportStatus.FAILED, error="disk full")
        run = recorded.get_run("r")
        assert run is not None
        assert (run.export_status, run.export_error) == (ExportStatus.FAILED, "disk full")
        assert run.exported_at is None
        recorded.set_export_status("r", "completed")
        run = recorded.get_run("r")
        assert run is not None
        assert (run.export_status, run.export_error) == (ExportStatus.COMPLETED, None)
        assert run.exported_at is not None
        assert (run.export_format, run.export_sink) == ("json", "audit")
        assert run.status is RunStatus.RUNNING

    def test_the_export_of_an_unknown_run_is_refused(self, recorded: LandscapeRecorder) -> None:
        before = recorded.list_runs()
        with pytest.raises(RunNotFoundError, match="nope"):
            recorded.set_export_status("nope", "completed")
        assert recorded.list_runs() == before

    def test_a_new_export_starts_without_the_error_of_the_last_one(
        self, recorded: LandscapeRecorder
    ) -> None:
        recorded.set_export_status("r", "failed", error="disk full")
        recorded.set_export_status("r", "pending")
        run = recorded.get_run("r")
        assert run is not None
        assert (run.export_status, run.export_error) == (ExportStatus.PENDING, None)

    @pytest.mark.parametrize("status", ["pending", "completed"])
    def test_only_a_failed_export_has_an_error(
        self, recorded: LandscapeRecorder, status: str
    ) -> None:
        with pytest.raises(ValueError, match=f"not a {status} one: disk full"):
            recorded.set_export_status("r", status, error="disk full")

    def test_an_unknown_export_status_is_refused(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(ValueError, match="'done'"):
            recorded.set_export_status("r", "done")


class TestNodesAndEdges:
    def test_a_node_keeps_the_fields_of_its_schema(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        strict = SchemaConfig.from_dict({"mode": "strict", "fields": ["id: int", "note: str?"]})
        node = recorded.register_node(
            "r", "csv", "source", "1", {}, sequence=3, schema_hash="h", schema_config=strict
        )
        assert (node.node_type, node.sequence_in_pipeline) == (NodeType.SOURCE, 3)
        assert node.schema_mode == "strict"
        assert node.schema_fields == [
            {"name": "id", "type": "int", "required": True},
            {"name": "note", "type": "str", "required": False},
        ]
        node.registered_at = _stored(node.registered_at, db)
        assert recorded.get_node(node.node_id) == node

    def test_a_dynamic_schema_has_no_fields(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        node = recorded.get_node("sum")
        assert node is not None
        assert (node.schema_mode, node.schema_fields) == ("dynamic", None)
        with db.connection() as connection:
            assert set(connection.scalars(select(nodes_table.c.schema_fields_json))) == {None}

    def test_a_node_id_belongs_to_one_run(
        self, recorded: LandscapeRecorder, dynamic: SchemaConfig
    ) -> None:
        other = recorded.begin_run({}, "v1")
        with pytest.raises(IntegrityError):
            recorded.register_node(
                other.run_id, "sum", "gate", "1", {}, node_id="sum", schema_config=dynamic
            )

    def test_an_edge_is_read_back_as_it_was_registered(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        edge = recorded.register_edge("r", "sum", "sink", "continue", RoutingMode.MOVE)
        edge.created_at = _stored(edge.created_at, db)
        assert recorded.get_edges("r")[-1] == edge


class TestTokens:
    def test_a_row_is_read_back_as_it_was_created(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        row = recorded.create_row("r", "source", 1, {"amount": 1}, payload_ref="store/1")
        assert row.source_data_hash == stable_hash({"amount": 1})
        assert row.source_data_ref == "store/1"
        row.created_at = _stored(row.created_at, db)
        assert recorded.get_row(row.row_id) == row

    def test_a_fork_gives_one_child_for_each_branch_in_order(
        self, recorded: LandscapeRecorder
    ) -> None:
        children = recorded.fork_token("t", "row", ["left", "right"], step_in_pipeline=2)
        assert [child.branch_name for child in children] == ["left", "right"]
        assert len({child.fork_group_id for child in children} - {None}) == 1
        assert {child.step_in_pipeline for child in children} == {2}
        for ordinal, child in enumerate(children):
            parents = recorded.get_token_parents(child.token_id)
            assert parents == [TokenParent(child.token_id, "t", ordinal)]

    def test_a_fork_into_nothing_has_no_children(self, recorded: LandscapeRecorder) -> None:
        before = recorded.get_tokens("row")
        assert recorded.fork_token("t", "row", []) == []
        assert recorded.get_tokens("row") == before

    def test_a_join_keeps_its_parents_in_order(self, recorded: LandscapeRecorder) -> None:
        joined = recorded.coalesce_tokens(["u", "t"], "row", step_in_pipeline=4)
        assert joined.join_group_id
        parents = recorded.get_token_parents(joined.token_id)
        assert [parent.parent_token_id for parent in parents] == ["u", "t"]
        assert [parent.ordinal for parent in parents] == [0, 1]

    def test_a_join_of_nothing_is_refused(self, recorded: LandscapeRecorder) -> None:
        before = recorded.get_tokens("row")
        with pytest.raises(RecordingError, match="at least 1 token"):
            recorded.coalesce_tokens([], "row")
        assert recorded.get_tokens("row") == before

    def test_a_join_may_have_more_parents_than_a_result_has_columns(
        self, recorded: LandscapeRecorder
    ) -> None:
        tokens = [child.token_id for child in recorded.expand_token("t", "row", 2_001, 1)]
        joined = recorded.coalesce_tokens(tokens, "row")
        assert len(recorded.get_token_parents(joined.token_id)) == 2_001

    def test_a_token_is_not_the_child_of_a_fork_and_the_result_of_a_join(
        self, recorded: LandscapeRecorder
    ) -> None:
        with pytest.raises(RecordingError, match="not from both: fork group 'f' and join group"):
            recorded.create_token("row", fork_group_id="f", join_group_id="j")

    def test_a_join_that_fails_leaves_no_token(self, recorded: LandscapeRecorder) -> None:
        before = recorded.get_tokens("row")
        with pytest.raises(IntegrityError):
            recorded.coalesce_tokens(["t", "t"], "row")
        assert recorded.get_tokens("row") == before

    def test_an_expansion_gives_as_many_children_as_asked(
        self, recorded: LandscapeRecorder
    ) -> None:
        children = recorded.expand_token("t", "row", 3, 2)
        assert len({child.expand_group_id for child in children} - {None}) == 1
        ordinals = [recorded.get_token_parents(child.token_id)[0].ordinal for child in children]
        assert ordinals == [0, 1, 2]

    def test_an_expansion_into_nothing_is_refused(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(ValueError, match="at least 1 token, not 0"):
            recorded.expand_token("t", "row", 0, 2)


class TestNodeStates:
    def test_a_state_begins_open_and_an_empty_context_is_none(
        self, recorded: LandscapeRecorder
    ) -> None:
        state = recorded.begin_node_state("u", "sum", 1, [1], context_before={})
        assert state.status is NodeStateStatus.OPEN
        assert state.input_hash == stable_hash([1])
        assert state.context_before_json is None
        assert isinstance(recorded.get_node_state(state.state_id), NodeStateOpen)

    @pytest.mark.parametrize("output", [{}, [], 0, "", {"total": 3}], ids=str)
    def test_any_output_is_hashed_even_an_empty_one(
        self, recorded: LandscapeRecorder, output: object
    ) -> None:
        state = recorded.complete_node_state("s", "completed", output_data=output, duration_ms=2)
        assert isinstance(state, NodeStateCompleted)
        assert state.output_hash == stable_hash(output)
        assert state.duration_ms == 2.0

    def test_a_rejected_visit_failed_with_its_error(self, recorded: LandscapeRecorder) -> None:
        state = recorded.complete_node_state(
            "s", "rejected", duration_ms=0.5, error={"why": "no"}, context_after={"left": 1}
        )
        assert isinstance(state, NodeStateFailed)
        assert (state.error_json, state.output_hash) == ('{"why":"no"}', None)
        assert state.context_after_json == '{"left":1}'

    @pytest.mark.parametrize(
        ("status", "ending", "message"),
        [
            ("completed", {"duration_ms": 1.0}, "output_data is required"),
            ("completed", {"output_data": {}}, "duration_ms is required"),
            ("failed", {"duration_ms": float("nan")}, "finite number of milliseconds"),
            ("failed", {"duration_ms": float("inf")}, "finite number of milliseconds"),
            ("open", {"duration_ms": 1.0}, "cannot be completed as open"),
            ("gone", {"duration_ms": 1.0}, "'gone'"),
        ],
    )
    def test_an_ending_that_could_not_be_read_back_is_refused_before_it_is_written(
        self, recorded: LandscapeRecorder, status: str, ending: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            recorded.complete_node_state("s", status, **ending)
        assert isinstance(recorded.get_node_state("s"), NodeStateOpen)

    def test_an_unknown_state_cannot_be_completed(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(AssertionError, match="'nope': no such state"):
            recorded.complete_node_state("nope", "failed", duration_ms=1.0)

    def test_an_unknown_token_cannot_visit_a_node(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(IntegrityError):
            recorded.begin_node_state("nope", "sum", 1, {})


class TestRouting:
    def test_one_event_has_a_group_of_its_own_and_the_hash_of_its_reason(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        routed = recorded.record_routing_event("s", "on", "move", {"rule": 7})
        assert routed.reason_hash == stable_hash({"rule": 7})
        other = recorded.record_routing_event("s", "off", "copy", {})
        assert other.reason_hash is None
        assert other.routing_group_id != routed.routing_group_id
        routed.created_at = _stored(routed.created_at, db)
        assert routed in recorded.get_routing_events("s")

    def test_the_events_of_one_decision_share_group_and_time(
        self, recorded: LandscapeRecorder
    ) -> None:
        routes = [RoutingSpec("on", RoutingMode.COPY), RoutingSpec("off", RoutingMode.MOVE)]
        events = recorded.record_routing_events("s", routes, {"rule": 7})
        assert len({event.routing_group_id for event in events}) == 1
        assert len({event.created_at for event in events}) == 1
        stored = recorded.get_routing_events("s")
        assert [(event.edge_id, event.mode, event.ordinal) for event in stored] == [
            ("on", RoutingMode.COPY, 0),
            ("off", RoutingMode.MOVE, 1),
        ]

    def test_a_decision_without_routes_records_nothing(self, recorded: LandscapeRecorder) -> None:
        assert recorded.record_routing_events("s", []) == []
        assert recorded.get_routing_events("s") == []


class TestCalls:
    def test_a_call_is_read_back_as_it_was_recorded(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        call = recorded.record_call(
            "s",
            0,
            "llm",
            CallStatus.ERROR,
            {"prompt": "?"},
            response_data={},
            error={"code": 429},
            latency_ms=12.5,
            request_ref="store/1",
            response_ref="store/2",
        )
        assert call.call_type is CallType.LLM
        assert call.request_hash == stable_hash({"prompt": "?"})
        assert call.response_hash == stable_hash({})
        assert call.error_json == '{"code":429}'
        call.created_at = _stored(call.created_at, db)
        assert recorded.get_calls("s") == [call]

    def test_a_latency_that_is_not_finite_is_refused(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(ValueError, match="latency_ms must be a finite number"):
            recorded.record_call("s", 0, "http", "success", {}, latency_ms=float("inf"))
        assert recorded.get_calls("s") == []


class TestBatches:
    def test_what_is_known_of_a_batch_survives_its_completion(
        self, recorded: LandscapeRecorder
    ) -> None:
        batch = recorded.create_batch("r", "sum")
        assert batch.status is BatchStatus.DRAFT
        recorded.update_batch_status(
            batch.batch_id, "executing", trigger_reason="count", state_id="s"
        )
        executing = recorded.get_batch(batch.batch_id)
        assert executing is not None
        assert executing.completed_at is None
        completed = recorded.complete_batch(batch.batch_id, "completed")
        assert completed.status is BatchStatus.COMPLETED
        assert completed.completed_at is not None
        assert (completed.trigger_reason, completed.aggregation_state_id) == ("count", "s")

    def test_an_ending_status_sets_the_time(self, recorded: LandscapeRecorder) -> None:
        batch = recorded.create_batch("r", "sum")
        recorded.update_batch_status(batch.batch_id, "failed")
        failed = recorded.get_batch(batch.batch_id)
        assert failed is not None
        assert failed.completed_at is not None

    def test_an_unknown_status_is_refused(self, recorded: LandscapeRecorder) -> None:
        batch = recorded.create_batch("r", "sum")
        with pytest.raises(ValueError, match="'lost'"):
            recorded.update_batch_status(batch.batch_id, "lost")

    def test_an_unknown_batch_cannot_be_completed(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(AssertionError, match="'nope': no such batch"):
            recorded.complete_batch("nope", "completed")

    def test_a_retry_is_a_new_attempt_with_the_same_members(
        self, recorded: LandscapeRecorder
    ) -> None:
        recorded.create_batch("r", "sum", batch_id="first")
        recorded.add_batch_member("first", "u", 0)
        recorded.add_batch_member("first", "t", 1)
        recorded.complete_batch("first", "failed")
        retry = recorded.retry_batch("first")
        assert (retry.attempt, retry.status) == (1, BatchStatus.DRAFT)
        members = recorded.get_batch_members(retry.batch_id)
        assert [(member.token_id, member.ordinal) for member in members] == [("u", 0), ("t", 1)]

    def test_only_a_failed_batch_is_retried(self, recorded: LandscapeRecorder) -> None:
        recorded.create_batch("r", "sum", batch_id="first")
        with pytest.raises(ValueError, match="Can only retry failed batches: first is draft"):
            recorded.retry_batch("first")
        with pytest.raises(ValueError, match="Batch not found: nope"):
            recorded.retry_batch("nope")

    def test_an_artifact_is_read_back_as_it_was_registered(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        artifact = recorded.register_artifact("r", "s", "sink", "csv", "out.csv", "h", 2**31 - 1)
        artifact.created_at = _stored(artifact.created_at, db)
        assert recorded.get_artifacts("r") == [artifact]


COMPOUND: dict[str, tuple[Callable[[LandscapeRecorder], object], int]] = {
    "begin_run": (lambda recorder: recorder.begin_run({}, "v1"), 1),
    "complete_run": (lambda recorder: recorder.complete_run("r", "completed"), 2),
    "set_export_status": (lambda recorder: recorder.set_export_status("r", "pending"), 1),
    "fork_token": (lambda recorder: recorder.fork_token("t", "row", ["a", "b", "c"]), 1),
    "coalesce_tokens": (lambda recorder: recorder.coalesce_tokens(["t", "u"], "row"), 1),
    "expand_token": (lambda recorder: recorder.expand_token("t", "row", 5, 1), 1),
    "complete_node_state": (
        lambda recorder: recorder.complete_node_state("s", "failed", duration_ms=1.0),
        2,
    ),
    "record_routing_events": (
        lambda recorder: recorder.record_routing_events(
            "s", [RoutingSpec("on", RoutingMode.MOVE), RoutingSpec("off", RoutingMode.MOVE)]
        ),
        1,
    ),
    "record_call": (lambda recorder: recorder.record_call("s", 0, "sql", "success", {}), 1),
    "complete_batch": (lambda recorder: recorder.complete_batch("open", "completed"), 2),
    "retry_batch of 2 members": (lambda recorder: recorder.retry_batch("b"), 1),
}


@pytest.mark.parametrize("method", COMPOUND)
def test_a_method_opens_the_promised_number_of_transactions(
    method: str, db: LandscapeDB, recorded: LandscapeRecorder
) -> None:
    recorded.create_batch("r", "sum", batch_id="b")
    recorded.add_batch_member("b", "t", 0)
    recorded.add_batch_member("b", "u", 1)
    recorded.update_batch_status("b", "failed")
    recorded.create_batch("r", "sum", batch_id="open")
    begun: list[object] = []
    event.listen(db.engine, "begin", begun.append)
    call, transactions = COMPOUND[method]
    call(recorded)
    assert len(begun) == transactions


def test_a_recording_is_repeated_exactly_with_the_same_clock_and_ids() -> None:
    assert _everything_recorded() == _everything_recorded()


def _everything_recorded() -> dict[str, list[tuple[Any, ...]]]:
    moments = iter(datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in range(60))
    ids = iter(f"{number:032x}" for number in range(60))
    with LandscapeDB.in_memory() as db:
        recorder = LandscapeRecorder(db, clock=lambda: next(moments), new_id=lambda: next(ids))
        run_id = recorder.begin_run({}, "v1").run_id
        schema = SchemaConfig.from_dict({"fields": "dynamic"})
        node_id = recorder.register_node(
            run_id, "csv", "source", "1", {}, schema_config=schema
        ).node_id
        row_id = recorder.create_row(run_id, node_id, 0, {}).row_id
        token_id = recorder.create_token(row_id).token_id
        recorder.fork_token(token_id, row_id, ["a", "b"])
        state = recorder.begin_node_state(token_id, node_id, 0, {})
        recorder.record_call(state.state_id, 0, "http", "success", {})
        recorder.complete_run(run_id, "completed")
        with db.connection() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in metadata.tables.values()
            }
