"""Tests of the total orders of an export, and of the run that a record belongs to."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from recorder_writer import LenientRecorder
from sample_run import (
    BOTH,
    DYNAMIC,
    Exporter,
    of_type,
    pairs,
    record_sample_run,
)

from elspeth.contracts import RoutingMode
from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LandscapeRecorder,
    LegacyLandscapeExporter,
)


class TestOrder:
    def test_nodes_go_by_sequence_and_those_without_one_last_by_age_and_id(
        self, exporter: Exporter, constant_recorder: LandscapeRecorder
    ) -> None:
        constant_recorder.begin_run({}, "v1", run_id="r")
        nodes = {"n": None, "node_1": None, "node-0": None, "Node_2": None, "z": 0, "a": 2, "b": 2}
        for node_id, sequence in nodes.items():
            constant_recorder.register_node(
                "r", "p", "gate", "1", {}, node_id=node_id, sequence=sequence, schema_config=DYNAMIC
            )
        found = of_type(list(exporter.export_run("r")), "node", "node_id")
        assert found == ["z", "a", "b", "Node_2", "n", "node-0", "node_1"]

    @pytest.fixture
    def misleading_index(self, db: LandscapeDB) -> Iterator[None]:
        """An index that gives retries in order of their ids, if a plan uses it."""
        columns = "node_states (token_id, step_index, state_id)"
        with db.connection() as connection:
            connection.exec_driver_sql(f"CREATE INDEX misleading ON {columns}")
        yield
        with db.connection() as connection:
            connection.exec_driver_sql("DROP INDEX misleading")

    @pytest.mark.usefixtures("misleading_index")
    def test_retries_go_by_attempt_under_any_plan(
        self, db: LandscapeDB, exporter: Exporter, recorder: LandscapeRecorder
    ) -> None:
        recorder.begin_run({}, "v1", run_id="r")
        recorder.register_node("r", "p", "gate", "1", {}, node_id="n", schema_config=DYNAMIC)
        token = recorder.create_token(recorder.create_row("r", "n", 0, {}).row_id).token_id
        for attempt, state_id in ((2, "a"), (0, "c"), (1, "b")):
            recorder.begin_node_state(token, "n", 0, {}, state_id=state_id, attempt=attempt)
        with db.connection() as connection:
            connection.exec_driver_sql("ANALYZE")
        assert of_type(list(exporter.export_run("r")), "node_state", "attempt") == [0, 1, 2]

    @pytest.mark.parametrize(
        ("record_type", "key"),
        [("edge", "edge_id"), ("token", "token_id"), ("batch", "batch_id")],
    )
    def test_entities_of_one_moment_go_by_the_bytes_of_their_ids(
        self,
        exporter: Exporter,
        constant_recorder: LandscapeRecorder,
        record_type: str,
        key: str,
    ) -> None:
        ids = ["n", "Node_2", "é", "node-0", "node_1"]
        record_tied_entities(constant_recorder, ids)
        found = of_type(list(exporter.export_run("r")), record_type, key)
        assert found == ["Node_2", "n", "node-0", "node_1", "é"]

    def test_artifacts_of_one_moment_go_by_the_bytes_of_their_ids(
        self, exporter: Exporter, constant_recorder: LandscapeRecorder
    ) -> None:
        record_tied_entities(constant_recorder, ["t"])
        constant_recorder.begin_node_state("t", "n", 0, {}, state_id="s")
        for artifact_id in ("b", "B", "a"):
            constant_recorder.register_artifact(
                "r", "s", "n", "file", "p", "h", 1, artifact_id=artifact_id
            )
        assert of_type(list(exporter.export_run("r")), "artifact", "artifact_id") == ["B", "a", "b"]

    def test_events_of_several_groups_mix_by_ordinal_then_by_the_bytes_of_their_ids(
        self, exporter: Exporter, constant_recorder: LandscapeRecorder
    ) -> None:
        record_tied_entities(constant_recorder, ["t"])
        constant_recorder.begin_node_state("t", "n", 0, {}, state_id="s")
        for event_id, group, ordinal in (
            ("b", "1", 0),
            ("a", "1", 1),
            ("c", "2", 1),
            ("B", "2", 0),
        ):
            constant_recorder.record_routing_event(
                "s", "t", "move", event_id=event_id, routing_group_id=group, ordinal=ordinal
            )
        found = of_type(list(exporter.export_run("r")), "routing_event", "event_id")
        assert found == ["B", "b", "a", "c"]

    def test_an_unordered_scan_in_reverse_changes_nothing(
        self, sqlite_url: str, tmp_path: Path
    ) -> None:
        with LandscapeDB(sqlite_url) as db:
            record_sample_run(LandscapeRecorder(db))
            for exporter in (built(db) for built in BOTH):
                expected = list(exporter.export_run("run-1"))
                with db.engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA reverse_unordered_selects = ON")
                assert list(exporter.export_run("run-1")) == expected
                with db.engine.connect() as connection:
                    assert connection.exec_driver_sql("PRAGMA reverse_unordered_selects").scalar()
                    connection.exec_driver_sql("PRAGMA reverse_unordered_selects = OFF")


def record_tied_entities(recorder: LandscapeRecorder, ids: Sequence[str]) -> None:
    """Record a run "r" with one row and one node "n", and an edge, token and batch of each id."""
    recorder.begin_run({}, "v1", run_id="r")
    recorder.register_node("r", "p", "source", "1", {}, node_id="n", schema_config=DYNAMIC)
    recorder.create_row("r", "n", 0, {}, row_id="row")
    for each in ids:
        recorder.register_edge("r", "n", "n", f"label {each}", RoutingMode.MOVE, edge_id=each)
        recorder.create_token("row", token_id=each)
        recorder.create_batch("r", "n", batch_id=each)


class TestRunsInOneDatabase:
    """No constraint ties children to the run of their parents, and so some point across."""

    @pytest.fixture
    def entangled(self, db: LandscapeDB) -> None:
        """Two runs, each with a node, a row, a token and a state, then ties from ours to theirs."""
        recorder = LenientRecorder(db)
        for run in ("ours", "theirs"):
            recorder.begin_run({}, "v1", run_id=run)
            recorder.register_node(
                run, "p", "source", "1", {}, node_id=f"{run}-n", schema_config=DYNAMIC
            )
            recorder.create_row(run, f"{run}-n", 0, {}, row_id=f"{run}-row")
            recorder.create_token(f"{run}-row", token_id=f"{run}-t")
            recorder.begin_node_state(f"{run}-t", f"{run}-n", 0, {}, state_id=f"{run}-s")
        recorder.create_row("ours", "theirs-n", 1, {}, row_id="foreign-source")
        recorder.begin_node_state("ours-t", "theirs-n", 1, {}, state_id="foreign-node")
        recorder.register_edge("ours", "ours-n", "theirs-n", "out", "move", edge_id="e")
        recorder.register_edge("theirs", "ours-n", "theirs-n", "in", "move", edge_id="theirs-e")
        recorder.record_routing_event("ours-s", "theirs-e", "move", event_id="foreign-edge")
        recorder.coalesce_tokens(["theirs-t", "ours-t"], "ours-row")
        recorder.create_batch("ours", "theirs-n", batch_id="b")
        recorder.add_batch_member("b", "theirs-t", 0)
        recorder.create_batch("theirs", "ours-n", batch_id="theirs-b")
        recorder.add_batch_member("theirs-b", "ours-t", 0)
        recorder.register_artifact("ours", "theirs-s", "theirs-n", "f", "p", "h", 1)
        recorder.register_artifact("theirs", "ours-s", "ours-n", "f", "p", "h", 1)

    @pytest.mark.usefixtures("entangled")
    def test_a_record_belongs_to_the_run_of_its_row_or_batch(self, exporter: Exporter) -> None:
        records = list(exporter.export_run("ours"))
        assert of_type(records, "node", "node_id") == ["ours-n"]
        assert of_type(records, "edge", "edge_id") == ["e"]
        assert of_type(records, "row", "source_node_id") == ["ours-n", "theirs-n"]
        assert of_type(records, "token_parent", "parent_token_id") == ["theirs-t", "ours-t"]
        assert of_type(records, "node_state", "state_id") == ["ours-s", "foreign-node"]
        assert of_type(records, "routing_event", "edge_id") == ["theirs-e"]
        assert of_type(records, "batch_member", "token_id") == ["theirs-t"]
        assert of_type(records, "artifact", "produced_by_state_id") == ["theirs-s"]

    @pytest.mark.usefixtures("entangled")
    @pytest.mark.parametrize("run_id", ["ours", "theirs"])
    def test_both_exporters_follow_the_same_ties(
        self, candidate: LandscapeExporter, control: LegacyLandscapeExporter, run_id: str
    ) -> None:
        expected = pairs(list(control.export_run(run_id)))
        assert pairs(list(candidate.export_run(run_id))) == expected
