"""Tests of what the recorder refuses: other runs, unknown ids, repeated calls, and more."""

import inspect
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule
from profiles import fewer_examples
from sample_run import BOTH, DYNAMIC, KEY
from shared_recordings import put_recording
from sqlalchemy.exc import DBAPIError, IntegrityError

from elspeth.contracts import RoutingMode, RoutingSpec
from elspeth.contracts.errors import RecordingError, UnknownEntityError
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.schema import metadata

REFUSALS = (ValueError, IntegrityError)


def contents(db: LandscapeDB) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    # Past SQLAlchemy, which takes most of the time of the many readings.
    with db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        return {
            name: driver.execute(f"SELECT * FROM {name}").fetchall() for name in metadata.tables
        }


def record_run(recorder: LandscapeRecorder, run: str) -> None:
    """Record a run with one entity of every kind, whose ids begin with that of the run."""
    recorder.begin_run({}, "v1", run_id=run)
    recorder.register_node(run, "n", "gate", "1", {}, node_id=f"{run}-node", schema_config=DYNAMIC)
    recorder.register_edge(run, f"{run}-node", f"{run}-node", "on", "move", edge_id=f"{run}-edge")
    recorder.create_row(run, f"{run}-node", 0, {}, row_id=f"{run}-row")
    recorder.create_token(f"{run}-row", token_id=f"{run}-token")
    recorder.begin_node_state(f"{run}-token", f"{run}-node", 0, {}, state_id=f"{run}-state")
    recorder.record_routing_event(
        f"{run}-state", f"{run}-edge", "move", routing_group_id=f"{run}-group"
    )
    recorder.create_batch(run, f"{run}-node", batch_id=f"{run}-batch")


@pytest.fixture
def two_runs() -> Any:
    with LandscapeDB.in_memory() as db:
        put_recording(db, record_two_runs)
        yield LandscapeRecorder(db), db


def record_two_runs(recorder: LandscapeRecorder) -> None:
    record_run(recorder, "a")
    record_run(recorder, "b")


# By method: arguments that are accepted for run a, when run b is spelt a.
CALLS: dict[str, dict[str, Any]] = {
    "register_node": {
        "run_id": "a",
        "plugin_name": "n",
        "node_type": "gate",
        "plugin_version": "1",
        "config": {},
        "schema_config": DYNAMIC,
    },
    "register_edge": {
        "run_id": "a",
        "from_node_id": "a-node",
        "to_node_id": "a-node",
        "label": "off",
        "mode": "copy",
    },
    "create_row": {"run_id": "a", "source_node_id": "a-node", "row_index": 1, "data": {}},
    "create_token": {"row_id": "a-row"},
    "fork_token": {"parent_token_id": "a-token", "row_id": "a-row", "branches": ["x"]},
    "expand_token": {
        "parent_token_id": "a-token",
        "row_id": "a-row",
        "count": 1,
        "step_in_pipeline": 1,
    },
    "coalesce_tokens": {"parent_token_ids": ["a-token"], "row_id": "a-row"},
    "begin_node_state": {
        "token_id": "a-token",
        "node_id": "a-node",
        "step_index": 1,
        "input_data": {},
        "attempt": 1,
    },
    "complete_node_state": {
        "state_id": "a-state",
        "status": "completed",
        "output_data": {},
        "duration_ms": 1.0,
    },
    "record_routing_event": {
        "state_id": "a-state",
        "edge_id": "a-edge",
        "mode": "move",
        "routing_group_id": "a-group",
        "ordinal": 1,
    },
    "record_routing_events": {
        "state_id": "a-state",
        "routes": [RoutingSpec("a-edge", RoutingMode.MOVE)],
    },
    "record_call": {
        "state_id": "a-state",
        "call_index": 0,
        "call_type": "http",
        "status": "success",
        "request_data": {},
    },
    "create_batch": {"run_id": "a", "aggregation_node_id": "a-node"},
    "add_batch_member": {"batch_id": "a-batch", "token_id": "a-token", "ordinal": 0},
    "update_batch_status": {"batch_id": "a-batch", "status": "executing", "state_id": "a-state"},
    "complete_batch": {"batch_id": "a-batch", "status": "failed", "state_id": "a-state"},
    "retry_batch": {"batch_id": "a-batch"},
    "register_artifact": {
        "run_id": "a",
        "state_id": "a-state",
        "sink_node_id": "a-node",
        "artifact_type": "csv",
        "path": "p",
        "content_hash": "h",
        "size_bytes": 1,
    },
    "record_validation_error": {
        "run_id": "a",
        "node_id": "a-node",
        "row_data": {},
        "error": "e",
        "schema_mode": "free",
        "destination": "discard",
    },
    "record_transform_error": {
        "run_id": "a",
        "token_id": "a-token",
        "transform_id": "a-node",
        "row_data": {},
        "error_details": {},
        "destination": "discard",
    },
    "complete_run": {"run_id": "a", "status": "completed"},
    "finalize_run": {"run_id": "a", "status": "completed"},
    "set_export_status": {"run_id": "a", "status": "pending"},
}

# Ids that a call makes, or that no table holds. An error may name a node that is not registered.
NEW_IDS = {
    f"{kind}_id"
    for kind in ("run", "node", "edge", "row", "token", "state", "event", "call", "batch")
} | {"artifact_id"}
NOT_REFERENCES = {"fork_group_id", "join_group_id"}
MAY_BE_UNKNOWN = {
    ("record_routing_event", "routing_group_id"),
    ("record_validation_error", "node_id"),
    ("record_transform_error", "token_id"),
    ("record_transform_error", "transform_id"),
}


def references() -> list[tuple[str, str]]:
    """Every argument of a method that refers to an entity, with the name of the method."""
    return [
        (method, name)
        for method, arguments in CALLS.items()
        for name in arguments
        if re.search(r"_ids?$|^routes$", name)
    ]


def test_every_method_that_writes_and_each_of_its_references_is_tested() -> None:
    writing = re.compile(
        "record_|register_|create_|begin_|complete_|finalize_|set_|update_|add_|retry_|fork_|expand_|coalesce_"
    )
    methods = {name for name in dir(LandscapeRecorder) if writing.match(name)}
    assert methods == {*CALLS, "begin_run"}
    for method, arguments in CALLS.items():
        optional = {
            name
            for name in inspect.signature(getattr(LandscapeRecorder, method)).parameters
            if name.endswith("_id") and name not in arguments
        }
        assert optional <= NEW_IDS | NOT_REFERENCES, method


def with_id(method: str, argument: str, entity_id: str) -> dict[str, Any]:
    """The arguments of a call, one of which refers to another entity."""
    value = CALLS[method][argument]
    if isinstance(value, str):
        return CALLS[method] | {argument: entity_id}
    other = RoutingSpec(entity_id, RoutingMode.MOVE) if argument == "routes" else entity_id
    return CALLS[method] | {argument: [*value, other]}


@pytest.mark.parametrize("method", CALLS)
def test_the_calls_below_are_accepted_as_they_stand(two_runs: Any, method: str) -> None:
    recorder, _ = two_runs
    if method == "retry_batch":
        recorder.complete_batch("a-batch", "failed")
    getattr(recorder, method)(**CALLS[method])


@pytest.mark.parametrize(("method", "argument"), references())
def test_an_unknown_id_is_refused_and_nothing_is_written(
    two_runs: Any, method: str, argument: str
) -> None:
    recorder, db = two_runs
    before = contents(db)
    if (method, argument) in MAY_BE_UNKNOWN:
        getattr(recorder, method)(**with_id(method, argument, "nope"))
        return
    with pytest.raises(REFUSALS):
        getattr(recorder, method)(**with_id(method, argument, "nope"))
    assert contents(db) == before


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        (method, argument)
        for method, argument in references()
        # With one reference only, the other run's entity is all that the call is about.
        if sum(name == method for name, _ in references()) > 1
    ],
)
def test_an_id_of_another_run_is_refused_and_nothing_is_written(
    two_runs: Any, method: str, argument: str
) -> None:
    recorder, db = two_runs
    before = contents(db)
    value = CALLS[method][argument]
    kind = value if isinstance(value, str) else "a-edge" if argument == "routes" else value[0]
    arguments = with_id(method, argument, "b" + kind[1:])
    with pytest.raises(RecordingError, match=r"belongs to (run|row)"):
        getattr(recorder, method)(**arguments)
    assert contents(db) == before


def test_a_refusal_names_both_entities_and_runs(two_runs: Any) -> None:
    recorder, _ = two_runs
    message = "node 'b-node' belongs to run 'b', not to 'a', the run of token 'a-token'"
    with pytest.raises(RecordingError, match=message):
        recorder.begin_node_state("a-token", "b-node", 1, {})


@pytest.mark.parametrize("first", ["completed", "failed"])
@pytest.mark.parametrize("second", ["completed", "failed"])
def test_what_has_ended_keeps_its_end(two_runs: Any, first: str, second: str) -> None:
    recorder, db = two_runs
    ends: list[Callable[[str], object]] = [
        lambda status: recorder.complete_run("a", status),
        lambda status: recorder.complete_batch("a-batch", status),
        lambda status: recorder.complete_node_state(
            "a-state", status, output_data={}, duration_ms=1.0
        ),
    ]
    for end in ends:
        end(first)
    before = contents(db)
    for end in [
        *ends,
        lambda status: recorder.finalize_run("a", status),
        lambda status: recorder.update_batch_status("a-batch", status),
        lambda _: recorder.update_batch_status("a-batch", "draft"),
        lambda _: recorder.update_batch_status("a-batch", "executing"),
        lambda _: recorder.add_batch_member("a-batch", "a-token", 0),
    ]:
        with pytest.raises(RecordingError, match=f"it is {first} already"):
            end(second)
    assert contents(db) == before


def test_nothing_is_completed_with_a_status_that_is_not_final(two_runs: Any) -> None:
    recorder, db = two_runs
    before = contents(db)
    for call in (
        lambda: recorder.complete_run("a", "running"),
        lambda: recorder.finalize_run("a", "running"),
        lambda: recorder.complete_batch("a-batch", "draft"),
        lambda: recorder.complete_batch("a-batch", "executing"),
        lambda: recorder.complete_node_state("a-state", "open", duration_ms=1.0),
    ):
        with pytest.raises(ValueError, match="completed or failed"):
            call()
    assert contents(db) == before


def test_a_batch_that_executes_is_not_a_draft_again(two_runs: Any) -> None:
    recorder, _ = two_runs
    recorder.update_batch_status("a-batch", "executing")
    recorder.update_batch_status("a-batch", "executing", trigger_reason="count")
    with pytest.raises(RecordingError, match="'a-batch' to draft: it is executing already"):
        recorder.update_batch_status("a-batch", "draft")


@pytest.mark.parametrize("members", [[], ["a-token"]])
def test_a_batch_is_retried_once_and_then_its_retry(two_runs: Any, members: list[str]) -> None:
    recorder, db = two_runs
    for token_id in members:
        recorder.add_batch_member("a-batch", token_id, 0)
    recorder.complete_batch("a-batch", "failed")
    retry = recorder.retry_batch("a-batch")
    before = contents(db)
    with pytest.raises(RecordingError, match="'a-batch' again: attempt 1 is recorded already"):
        recorder.retry_batch("a-batch")
    assert contents(db) == before
    recorder.complete_batch(retry.batch_id, "failed")
    with pytest.raises(RecordingError, match="attempt 1 is recorded already"):
        recorder.retry_batch("a-batch")
    assert recorder.retry_batch(retry.batch_id).attempt == 2


def test_each_of_two_failed_batches_of_a_node_is_retried(two_runs: Any) -> None:
    recorder, _ = two_runs
    (other,) = recorder.fork_token("a-token", "a-row", ["x"])
    recorder.create_batch("a", "a-node", batch_id="second")
    recorder.add_batch_member("a-batch", "a-token", 0)
    recorder.add_batch_member("second", other.token_id, 0)
    for batch_id in ("a-batch", "second"):
        recorder.complete_batch(batch_id, "failed")
        recorder.retry_batch(batch_id)
    for batch_id in ("a-batch", "second"):
        with pytest.raises(RecordingError, match="again"):
            recorder.retry_batch(batch_id)


def test_a_child_has_the_row_of_its_parent(two_runs: Any) -> None:
    recorder, db = two_runs
    recorder.create_row("a", "a-node", 1, {}, row_id="second")
    before = contents(db)
    for call in (
        lambda: recorder.fork_token("a-token", "second", ["x"]),
        lambda: recorder.expand_token("a-token", "second", 1, 1),
    ):
        with pytest.raises(RecordingError, match="'a-token' belongs to row 'a-row', not to 'sec"):
            call()
    assert contents(db) == before
    recorder.coalesce_tokens(["a-token"], "second")


@pytest.mark.parametrize(
    ("method", "argument", "value", "problem"),
    [
        ("create_row", "row_index", 2**53, "is beyond"),
        ("create_row", "row_index", True, "is not an integer"),
        ("create_row", "row_index", 1.0, "is not an integer"),
        ("register_artifact", "size_bytes", -(2**53), "is beyond"),
        ("register_artifact", "path", "\ud800", "is not UTF-8 text"),
        ("register_artifact", "content_hash", b"h", "is not text"),
        ("register_edge", "label", 7, "is not text"),
        ("add_batch_member", "ordinal", "0", "is not an integer"),
        ("complete_node_state", "duration_ms", True, "is not a number"),
        ("update_batch_status", "trigger_reason", "\udfff", "is not UTF-8 text"),
        ("set_export_status", "export_sink", 7, "is not text"),
        ("record_validation_error", "error", None, "NOT NULL"),
    ],
)
def test_a_value_that_no_export_could_hold_is_refused(
    two_runs: Any, method: str, argument: str, value: object, problem: str
) -> None:
    recorder, db = two_runs
    before = contents(db)
    with pytest.raises(REFUSALS, match=problem):
        getattr(recorder, method)(**CALLS[method] | {argument: value})
    assert contents(db) == before


def test_a_completed_state_has_no_error(two_runs: Any) -> None:
    recorder, _ = two_runs
    with pytest.raises(ValueError, match="'a-state' was given one"):
        recorder.complete_node_state(
            "a-state", "completed", output_data={}, duration_ms=1.0, error={"why": "?"}
        )


def test_an_unknown_entity_is_an_error_that_callers_of_the_original_catch() -> None:
    assert issubclass(UnknownEntityError, AssertionError)
    assert issubclass(UnknownEntityError, ValueError)


CONTRADICTIONS = {
    "an edge and its nodes": "SELECT 1 FROM edges e JOIN nodes n"
    " ON n.node_id IN (e.from_node_id, e.to_node_id) WHERE n.run_id <> e.run_id",
    "a row and its source": "SELECT 1 FROM rows r JOIN nodes n ON n.node_id = r.source_node_id"
    " WHERE n.run_id <> r.run_id",
    "a token and its parents": "SELECT 1 FROM token_parents p JOIN owned a USING (token_id)"
    " JOIN owned b ON b.token_id = p.parent_token_id WHERE a.run_id <> b.run_id",
    "a child and the row of its parent": "SELECT 1 FROM token_parents p"
    " JOIN tokens a USING (token_id) JOIN tokens b ON b.token_id = p.parent_token_id"
    " WHERE a.join_group_id IS NULL AND a.row_id <> b.row_id",
    "a join without parents": "SELECT 1 FROM tokens t WHERE join_group_id IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM token_parents p WHERE p.token_id = t.token_id)",
    "a state and its node": "SELECT 1 FROM node_states s JOIN owned t USING (token_id)"
    " JOIN nodes n USING (node_id) WHERE n.run_id <> t.run_id",
    "an event and its edge": "SELECT 1 FROM routing_events v JOIN node_states s USING (state_id)"
    " JOIN owned t USING (token_id) JOIN edges e USING (edge_id) WHERE e.run_id <> t.run_id",
    "a batch, its node and its state": "SELECT 1 FROM batches b"
    " JOIN nodes n ON n.node_id = b.aggregation_node_id"
    " LEFT JOIN node_states s ON s.state_id = b.aggregation_state_id"
    " LEFT JOIN owned t ON t.token_id = s.token_id"
    " WHERE n.run_id <> b.run_id OR t.run_id <> b.run_id",
    "a batch and its members": "SELECT 1 FROM batch_members m JOIN batches b USING (batch_id)"
    " JOIN owned t USING (token_id) WHERE t.run_id <> b.run_id",
    "an artifact, its state and its sink": "SELECT 1 FROM artifacts a"
    " JOIN nodes n ON n.node_id = a.sink_node_id"
    " JOIN node_states s ON s.state_id = a.produced_by_state_id JOIN owned t USING (token_id)"
    " WHERE n.run_id <> a.run_id OR t.run_id <> a.run_id",
    "two retries of a batch": "SELECT 1 FROM batches b JOIN batch_members m USING (batch_id)"
    " WHERE b.attempt > 0 GROUP BY b.aggregation_node_id, b.attempt, m.token_id"
    " HAVING count(*) > (SELECT count(*) FROM batches f JOIN batch_members n USING (batch_id)"
    "  WHERE f.aggregation_node_id = b.aggregation_node_id AND f.attempt = b.attempt - 1"
    "  AND f.status = 'failed' AND n.token_id = m.token_id)",
    "an end without a time": "SELECT 1 FROM (SELECT status, completed_at FROM runs"
    " UNION ALL SELECT status, completed_at FROM node_states"
    " UNION ALL SELECT status, completed_at FROM batches)"
    " WHERE (status IN ('completed', 'failed')) <> (completed_at IS NOT NULL)",
    "an open state with an output": "SELECT 1 FROM node_states WHERE status = 'open'"
    " AND coalesce(output_hash, duration_ms, completed_at, error_json) IS NOT NULL",
    "a completed state with an error": "SELECT 1 FROM node_states"
    " WHERE status = 'completed' AND error_json IS NOT NULL",
    "an export's error beside another status": "SELECT 1 FROM runs"
    " WHERE export_error IS NOT NULL AND export_status <> 'failed'",
}
"""By name: a query that finds rows only in a trail that contradicts itself."""

_OWNED = "WITH owned AS (SELECT token_id, run_id FROM tokens JOIN rows USING (row_id)) "

texts = st.sampled_from(["x", "", "é", "\ud800"])
small = st.integers(0, 3) | st.sampled_from([2**53, True])
statuses = st.sampled_from(
    ["running", "open", "draft", "executing", "pending", "completed", "failed", "rejected", "nope"]
)


class AnyCall(RuleBasedStateMachine):
    """Calls with any arguments: one either raises and writes nothing, or leaves the trail sound."""

    ids = Bundle("ids")

    @initialize(target=ids)
    def begin(self) -> Any:
        self.db = LandscapeDB.in_memory()
        numbers = count()
        self.recorder = LandscapeRecorder(self.db, new_id=lambda: f"id-{next(numbers)}")
        for run in ("a", "b"):
            record_run(self.recorder, run)
        kinds = ("", "-node", "-edge", "-row", "-token", "-state", "-batch", "-group")
        return multiple("nope", *(run + kind for run in ("a", "b") for kind in kinds))

    @rule(target=ids, method=st.sampled_from(sorted(CALLS)), data=st.data())
    def call(self, method: str, data: st.DataObject) -> Any:
        # Most arguments are those of an accepted call, or such that hit an entity of the other run.
        arguments = dict(CALLS[method])
        changeable = [
            name
            for name, value in arguments.items()
            if isinstance(value, str | int | float) or name in ("routes", "parent_token_ids")
        ]
        changed = data.draw(st.sets(st.sampled_from(changeable), max_size=2))
        for name in changed:
            arguments[name] = data.draw(self.values(name, arguments[name]))
        before = contents(self.db)
        try:
            result = getattr(self.recorder, method)(**arguments)
        except REFUSALS:
            assert contents(self.db) == before
            return multiple()
        self.check_ends(before)
        made = result if isinstance(result, list) else [result]
        return multiple(*(value for each in made for value in self.keys_of(each)))

    def values(self, name: str, accepted: Any) -> st.SearchStrategy[Any]:
        ids = st.runner().flatmap(lambda machine: st.sampled_from(machine.known()))
        if name == "routes":
            return st.lists(ids.map(lambda each: RoutingSpec(each, RoutingMode.COPY)), max_size=2)
        if name.endswith("_ids"):
            return st.lists(ids, max_size=2)
        if name.endswith("_id"):
            return ids
        if name == "status":
            return statuses
        return small if isinstance(accepted, int) else st.just(accepted) | texts

    def known(self) -> list[str]:
        tables = contents(self.db)
        return ["nope", *(str(row[0]) for rows in tables.values() for row in rows)]

    @staticmethod
    def keys_of(entity: object) -> list[str]:
        names = ("batch_id", "token_id", "state_id")
        return [str(getattr(entity, name)) for name in names if hasattr(entity, name)][:1]

    def check_ends(self, before: dict[str, list[tuple[Any, ...]]]) -> None:
        after = contents(self.db)
        for table in ("runs", "node_states", "batches"):
            columns = metadata.tables[table].columns.keys()
            kept = [at for at, name in enumerate(columns) if not name.startswith("export")]
            status = columns.index("status")
            now = {row[0]: row for row in after[table]}
            for row in before[table]:
                if row[status] in ("completed", "failed"):
                    assert [row[at] for at in kept] == [now[row[0]][at] for at in kept]

    def teardown(self) -> None:
        if not hasattr(self, "db"):
            return
        with self.db:
            with self.db.connection() as connection:
                for name, query in CONTRADICTIONS.items():
                    assert connection.exec_driver_sql(_OWNED + query).all() == [], name
            # What is recorded can be exported.
            for run_id in ("a", "b"):
                for exporter in BOTH:
                    assert list(exporter(self.db, KEY).export_run(run_id, sign=True))


TestAnyCall = AnyCall.TestCase
TestAnyCall.settings = settings(fewer_examples(1 / 40), stateful_step_count=30)


@pytest.mark.parametrize("entity_id", [2**70, ["a-row"]], ids=["a number", "a list"])
@pytest.mark.parametrize(("method", "argument"), references())
def test_an_id_that_is_no_text_is_refused_and_nothing_is_written(
    two_runs: Any, method: str, argument: str, entity_id: Any
) -> None:
    recorder, db = two_runs
    before = contents(db)
    # Where no other entity is compared with it, the driver refuses it in its own words.
    with pytest.raises((*REFUSALS, DBAPIError, OverflowError, TypeError)):
        getattr(recorder, method)(**with_id(method, argument, entity_id))
    assert contents(db) == before


@pytest.mark.parametrize("branches", ["left", b"left"])
def test_a_fork_into_the_letters_of_a_text_is_refused(two_runs: Any, branches: Any) -> None:
    recorder, _ = two_runs
    with pytest.raises(RecordingError, match="The branches of a fork are a list of names, not"):
        recorder.fork_token("a-token", "a-row", branches)


@pytest.mark.parametrize("count", [2**70, True, 1.5, 0])
def test_an_impossible_count_of_children_is_refused(two_runs: Any, count: Any) -> None:
    recorder, _ = two_runs
    with pytest.raises(ValueError, match="at least 1 token"):
        recorder.expand_token("a-token", "a-row", count, 0)


def test_a_duration_past_the_largest_float_is_refused(two_runs: Any) -> None:
    recorder, _ = two_runs
    with pytest.raises(ValueError, match="finite"):
        recorder.record_call("a-state", 0, "http", "success", {}, latency_ms=10**400)
