"""Tests of the data of source rows, of row errors, and of a run's grade and end with it."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import update

from elspeth.contracts import CorruptAuditDataError, Determinism, ReproducibilityGrade, RunStatus
from elspeth.contracts.errors import RecordingError, RunNotFoundError
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import stable_hash
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.row_data import RowDataResult, RowDataState
from elspeth.core.landscape.schema import nodes_table

DATA = {"name": "é", "value": 4.0, "nested": [1, None]}


class Store(dict[str, bytes]):
    """A payload store: stored bytes by reference."""

    def retrieve(self, ref: str) -> bytes:
        """Return the bytes, or raise KeyError."""
        return self[ref]


@pytest.fixture
def store(recorded: LandscapeRecorder) -> Store:
    """The store of the recorder, with the data of row `kept`."""
    recorded.create_row("r", "source", 7, DATA, row_id="kept", payload_ref="ref")
    recorded.payload_store = Store(ref=json.dumps(DATA).encode())
    return recorded.payload_store


class TestRowData:
    def test_stored_data_is_returned(self, recorded: LandscapeRecorder, store: Store) -> None:
        assert recorded.get_row_data("kept") == RowDataResult(RowDataState.AVAILABLE, DATA)
        lineage = recorded.explain_row("r", "kept")
        row = recorded.get_row("kept")
        assert lineage is not None
        assert row is not None
        assert (lineage.source_data, lineage.payload_available) == (DATA, True)
        for name in ("row_id", "run_id", "source_node_id", "row_index", "source_data_hash"):
            assert getattr(lineage, name) == getattr(row, name)
        assert lineage.created_at == row.created_at

    def test_without_data_the_reason_is_given(
        self, recorded: LandscapeRecorder, store: Store
    ) -> None:
        assert recorded.get_row_data("nope") == RowDataResult(RowDataState.ROW_NOT_FOUND, None)
        assert recorded.get_row_data("row").state is RowDataState.NEVER_STORED
        store.clear()
        assert recorded.get_row_data("kept").state is RowDataState.PURGED
        recorded.payload_store = None
        assert recorded.get_row_data("kept").state is RowDataState.STORE_NOT_CONFIGURED

    @pytest.mark.parametrize(
        "payload", [None, b"{", b"\xff"], ids=["purged", "no JSON", "no UTF-8"]
    )
    def test_a_row_is_explained_by_its_hash_without_its_data(
        self, recorded: LandscapeRecorder, store: Store, payload: bytes | None
    ) -> None:
        if payload is None:
            store.clear()
        else:
            store["ref"] = payload
        lineage = recorded.explain_row("r", "kept")
        assert lineage is not None
        assert (lineage.source_data, lineage.payload_available) == (None, False)
        assert lineage.source_data_hash == stable_hash(DATA)

    @pytest.mark.parametrize(
        "payload", [b'{"name":"e"}', b"null", b"[]", b'{"name":NaN}', b'{"value":1e999}']
    )
    def test_data_with_another_hash_is_not_returned_as_the_row(
        self, recorded: LandscapeRecorder, store: Store, payload: bytes
    ) -> None:
        store["ref"] = payload
        for call in (
            lambda: recorded.get_row_data("kept"),
            lambda: recorded.explain_row("r", "kept"),
        ):
            with pytest.raises(CorruptAuditDataError, match=r"row_id='kept'.*not have the hash"):
                call()

    def test_a_row_of_another_run_is_not_explained(
        self, recorded: LandscapeRecorder, store: Store
    ) -> None:
        recorded.begin_run({}, "v1", run_id="other")
        assert recorded.explain_row("other", "kept") is None
        assert recorded.explain_row("r", "nope") is None

    @pytest.mark.parametrize("state", RowDataState)
    def test_a_result_has_data_if_and_only_if_it_is_available(self, state: RowDataState) -> None:
        data = None if state is RowDataState.AVAILABLE else {}
        with pytest.raises(ValueError, match=f"in the state {state.value} cannot have"):
            RowDataResult(state, data)


class TestRowErrors:
    def test_a_refused_row_is_read_back_with_its_data(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        first = recorded.record_validation_error("r", "source", DATA, "bad", "strict", "discard")
        second = recorded.record_validation_error("r", None, {}, "empty", "free", "sink")
        assert first.startswith("verr_")
        errors = recorded.get_validation_errors_for_run("r")
        assert [error.error_id for error in errors] == [first, second]
        (error,) = recorded.get_validation_errors_for_row("r", stable_hash(DATA))
        assert error == errors[0]
        assert json.loads(str(error.row_data_json)) == DATA
        assert (error.node_id, error.error, error.schema_mode, error.destination) == (
            "source",
            "bad",
            "strict",
            "discard",
        )
        assert recorded.get_validation_errors_for_row("nope", stable_hash(DATA)) == []

    def test_a_row_that_a_transform_could_not_process_is_read_back(
        self, recorded: LandscapeRecorder
    ) -> None:
        details = {"reason": "negative"}
        first = recorded.record_transform_error("r", "t", "sum", DATA, details, "discard")
        second = recorded.record_transform_error("r", "u", "by name", {}, {}, "sink")
        assert first.startswith("terr_")
        errors = recorded.get_transform_errors_for_run("r")
        assert [error.error_id for error in errors] == [first, second]
        assert recorded.get_transform_errors_for_token("t") == errors[:1]
        assert errors[0].row_hash == stable_hash(DATA)
        assert errors[0].error_details_json == '{"reason":"negative"}'

    def test_errors_of_one_moment_are_ordered_by_id(self, db: LandscapeDB) -> None:
        ids = iter(["b" * 32, "B" * 32, "a" * 32])
        moment = LandscapeRecorder(db).begin_run({}, "v1", run_id="r").started_at
        recorder = LandscapeRecorder(db, clock=lambda: moment, new_id=lambda: next(ids))
        for _ in range(3):
            recorder.record_validation_error("r", None, {}, "e", "free", "discard")
        found = [error.error_id[5] for error in recorder.get_validation_errors_for_run("r")]
        assert found == ["B", "a", "b"]

    def test_a_row_without_canonical_json_is_refused(self, recorded: LandscapeRecorder) -> None:
        with pytest.raises(ValueError, match="non-finite"):
            recorded.record_validation_error("r", None, {"a": float("nan")}, "e", "free", "discard")
        assert recorded.get_validation_errors_for_run("r") == []


class TestGrade:
    @pytest.mark.parametrize("determinism", Determinism)
    def test_a_node_that_gives_another_result_limits_the_run_to_a_replay(
        self, recorded: LandscapeRecorder, dynamic: SchemaConfig, determinism: Determinism
    ) -> None:
        recorded.register_node(
            "r", "llm", "transform", "1", {}, determinism=determinism, schema_config=dynamic
        )
        limits = determinism in (Determinism.EXTERNAL_CALL, Determinism.NON_DETERMINISTIC)
        expected = "replay_reproducible" if limits else "full_reproducible"
        assert recorded.compute_reproducibility_grade("r") == expected

    def test_a_run_without_nodes_is_fully_reproducible(self, recorder: LandscapeRecorder) -> None:
        recorder.begin_run({}, "v1", run_id="empty")
        grade = recorder.compute_reproducibility_grade("empty")
        assert grade is ReproducibilityGrade.FULL_REPRODUCIBLE

    def test_an_unknown_run_has_no_grade_and_is_not_finalized(
        self, recorder: LandscapeRecorder
    ) -> None:
        with pytest.raises(RunNotFoundError, match="nope"):
            recorder.compute_reproducibility_grade("nope")
        with pytest.raises(RunNotFoundError, match="nope"):
            recorder.finalize_run("nope", "completed")

    def test_an_unknown_determinism_is_corrupt_and_not_the_best_grade(
        self, db: LandscapeDB, recorded: LandscapeRecorder
    ) -> None:
        with db.connection() as connection:
            connection.execute(update(nodes_table).values(determinism="mostly"))
        with pytest.raises(CorruptAuditDataError, match="determinism"):
            recorded.compute_reproducibility_grade("r")

    def test_a_finalized_run_has_ended_with_its_grade(self, recorded: LandscapeRecorder) -> None:
        run = recorded.finalize_run("r", "completed")
        assert (run.status, run.reproducibility_grade) == (RunStatus.COMPLETED, "full_reproducible")
        assert run.completed_at is not None
        assert run == replace(run, **vars(recorded.get_run("r")))
        with pytest.raises(RecordingError, match="it is completed already"):
            recorded.finalize_run("r", "failed")
