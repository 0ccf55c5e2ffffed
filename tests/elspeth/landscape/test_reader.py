"""Tests of the reader: stored entities, every list in a total order."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.store.reader import LandscapeReader

READS: dict[str, tuple[Any, ...]] = {
    "get_run": ("r",),
    "list_runs": (),
    "get_node": ("sum",),
    "get_nodes": ("r",),
    "get_edges": ("r",),
    "get_row": ("row",),
    "get_rows": ("r",),
    "get_token": ("t",),
    "get_tokens": ("row",),
    "get_token_parents": ("t",),
    "get_node_state": ("s",),
    "get_node_states_for_token": ("t",),
    "get_routing_events": ("s",),
    "get_calls": ("s",),
    "get_batch": ("b",),
    "get_batches": ("r",),
    "get_incomplete_batches": ("r",),
    "get_batch_members": ("b",),
    "get_artifacts": ("r",),
}

SAME_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
BYTEWISE = ["Node_2", "n", "node-0", "node_1"]
"""Ids in the order of their bytes; a language's collation would put "n" first."""


@pytest.fixture
def frozen(recorded: LandscapeRecorder, db: LandscapeDB) -> LandscapeRecorder:
    """A recorder of the same run whose clock stands still."""
    return LandscapeRecorder(db, clock=lambda: SAME_MOMENT)


@pytest.mark.parametrize("method", READS)
def test_a_read_is_one_query_in_a_transaction_of_its_own(
    method: str, db: LandscapeDB, recorded: LandscapeRecorder
) -> None:
    read = getattr(LandscapeReader(db), method)
    seen: list[str] = []
    event.listen(db.engine, "begin", lambda _: seen.append("begin"))
    event.listen(db.engine, "commit", lambda _: seen.append("commit"))
    event.listen(db.engine, "before_cursor_execute", lambda *_: seen.append("query"))
    read(*READS[method])
    assert seen == ["begin", "query", "commit"]


@pytest.mark.parametrize("method", [name for name in READS if name != "list_runs"])
def test_a_missing_entity_is_none_and_a_missing_list_empty(
    method: str, recorded: LandscapeRecorder
) -> None:
    assert getattr(recorded, method)("nope") in (None, [])


class TestRuns:
    def test_the_latest_comes_first_and_ties_are_broken_by_id(
        self, recorded: LandscapeRecorder, frozen: LandscapeRecorder
    ) -> None:
        for run_id in reversed(BYTEWISE):
            frozen.begin_run({}, "v1", run_id=run_id)
        recorded.begin_run({}, "v1", run_id="latest")
        ids = [run.run_id for run in recorded.list_runs()]
        # The run `r` began at the moment where the other clock stands.
        assert ids == ["latest", *BYTEWISE, "r"]

    def test_only_those_of_a_status_are_listed(self, recorded: LandscapeRecorder) -> None:
        recorded.complete_run(recorded.begin_run({}, "v1", run_id="done").run_id, "completed")
        assert [run.run_id for run in recorded.list_runs(status="completed")] == ["done"]
        with pytest.raises(ValueError, match="'over'"):
            recorded.list_runs(status="over")


class TestNodes:
    def test_places_come_first_then_age_then_id(
        self, frozen: LandscapeRecorder, recorded: LandscapeRecorder, dynamic: SchemaConfig
    ) -> None:
        def register(recorder: LandscapeRecorder, node_id: str, sequence: int | None) -> None:
            recorder.register_node(
                "r", "p", "gate", "1", {}, node_id=node_id, sequence=sequence, schema_config=dynamic
            )

        for node_id in reversed(BYTEWISE):
            register(frozen, node_id, None)
        register(recorded, "last placed", 7)
        register(recorded, "first placed", 1)
        ids = [node.node_id for node in recorded.get_nodes("r")]
        assert ids == ["first placed", "last placed", *BYTEWISE, "source", "sum", "sink"]


class TestEdges:
    def test_they_are_ordered_by_age_then_id(self, frozen: LandscapeRecorder) -> None:
        for edge_id in reversed(BYTEWISE):
            frozen.register_edge("r", "sum", "sink", edge_id, "move", edge_id=edge_id)
        assert [edge.edge_id for edge in frozen.get_edges("r")] == [*BYTEWISE, "on", "off"]


class TestRowsAndTokens:
    def test_rows_are_ordered_by_index(self, recorded: LandscapeRecorder) -> None:
        for index in (10, 2, 1):
            recorded.create_row("r", "source", index, {})
        assert [row.row_index for row in recorded.get_rows("r")] == [0, 1, 2, 10]

    def test_tokens_are_ordered_by_age_then_id(self, frozen: LandscapeRecorder) -> None:
        for token_id in reversed(BYTEWISE):
            frozen.create_token("row", token_id=token_id)
        assert [token.token_id for token in frozen.get_tokens("row")] == [*BYTEWISE, "t", "u"]


class TestNodeStates:
    def test_retries_follow_each_other_by_attempt(self, recorded: LandscapeRecorder) -> None:
        for step, attempt, node_id in ((2, 1, "sink"), (2, 0, "sink"), (0, 0, "source")):
            recorded.begin_node_state("t", node_id, step, {}, attempt=attempt)
        states = recorded.get_node_states_for_token("t")
        places = [(state.step_index, state.attempt) for state in states]
        assert places == [(0, 0), (1, 0), (2, 0), (2, 1)]

    def test_retries_keep_their_order_when_the_database_changes_its_plan(
        self, sqlite_url: str, dynamic: SchemaConfig
    ) -> None:
        with LandscapeDB(sqlite_url) as db:
            recorder = LandscapeRecorder(db)
            recorder.begin_run({}, "v1", run_id="r")
            recorder.register_node("r", "p", "gate", "1", {}, node_id="gate", schema_config=dynamic)
            recorder.create_row("r", "gate", 0, {}, row_id="row")
            recorder.create_token("row", token_id="t")
            for attempt, state_id in enumerate("cba"):
                recorder.begin_node_state("t", "gate", 0, {}, attempt=attempt, state_id=state_id)
            with db.connection() as connection:
                connection.exec_driver_sql(
                    "CREATE INDEX tempting ON node_states (token_id, step_index, state_id)"
                )
                connection.exec_driver_sql("ANALYZE")
        with LandscapeDB(sqlite_url) as db:
            states = LandscapeRecorder(db).get_node_states_for_token("t")
        assert [state.attempt for state in states] == [0, 1, 2]

    def test_routing_events_are_ordered_by_ordinal_then_id(
        self, recorded: LandscapeRecorder
    ) -> None:
        for ordinal, event_id in ((1, "A"), (0, "n"), (0, "Node_2")):
            recorded.record_routing_event("s", "on", "move", ordinal=ordinal, event_id=event_id)
        ids = [event.event_id for event in recorded.get_routing_events("s")]
        assert ids == ["Node_2", "n", "A"]

    def test_calls_are_ordered_by_index(self, recorded: LandscapeRecorder) -> None:
        for index in (10, 9):
            recorded.record_call("s", index, "sql", "success", {})
        assert [call.call_index for call in recorded.get_calls("s")] == [9, 10]


class TestBatchesAndArtifacts:
    def test_batches_are_ordered_by_age_then_id(self, frozen: LandscapeRecorder) -> None:
        for batch_id in reversed(BYTEWISE):
            frozen.create_batch("r", "sum", batch_id=batch_id)
        assert [batch.batch_id for batch in frozen.get_batches("r")] == BYTEWISE
        assert [batch.batch_id for batch in frozen.get_incomplete_batches("r")] == BYTEWISE

    def test_those_of_a_status_or_a_node_are_listed(self, recorded: LandscapeRecorder) -> None:
        for batch_id, node_id in (("one", "sum"), ("two", "sink")):
            recorded.create_batch("r", node_id, batch_id=batch_id)
        recorded.complete_batch("two", "completed")

        def ids(**filters: Any) -> list[str]:
            return [batch.batch_id for batch in recorded.get_batches("r", **filters)]

        assert ids(status="completed") == ["two"]
        assert ids(node_id="sum") == ["one"]
        assert ids(status="completed", node_id="sum") == []

    def test_a_failed_batch_is_incomplete_and_a_completed_one_is_not(
        self, recorded: LandscapeRecorder
    ) -> None:
        for status in ("draft", "executing", "failed", "completed"):
            recorded.create_batch("r", "sum", batch_id=status)
            recorded.update_batch_status(status, status)
        ids = [batch.batch_id for batch in recorded.get_incomplete_batches("r")]
        assert ids == ["draft", "executing", "failed"]

    def test_members_are_ordered_by_ordinal(self, recorded: LandscapeRecorder) -> None:
        recorded.create_batch("r", "sum", batch_id="b")
        recorded.add_batch_member("b", "t", 1)
        recorded.add_batch_member("b", "u", 0)
        assert [member.token_id for member in recorded.get_batch_members("b")] == ["u", "t"]

    def test_artifacts_are_ordered_by_age_then_id(self, frozen: LandscapeRecorder) -> None:
        for artifact_id in reversed(BYTEWISE):
            _register(frozen, artifact_id, "sink")
        assert [artifact.artifact_id for artifact in frozen.get_artifacts("r")] == BYTEWISE

    def test_the_artifacts_of_one_sink_are_listed(self, recorded: LandscapeRecorder) -> None:
        _register(recorded, "one", "sink")
        _register(recorded, "two", "sum")
        artifacts = recorded.get_artifacts("r", sink_node_id="sink")
        assert [artifact.artifact_id for artifact in artifacts] == ["one"]


def _register(recorder: LandscapeRecorder, artifact_id: str, sink_node_id: str) -> None:
    recorder.register_artifact(
        "r", "s", sink_node_id, "csv", "out", "h", 1, artifact_id=artifact_id
    )
