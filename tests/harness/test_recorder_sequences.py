"""Random legal sequences of recorder calls on several runs: both exporters agree at the end.

The sequences make runs that no feature of the generator names: a pipeline that stops anywhere,
references from one run to another, states that stay open, batches that are retried and left.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import rfc8785
from harness.fixtures.faulty_exporters.records_lost import EdgesOfOwnNodes, RowsByPattern
from harness.fixtures.faulty_exporters.values import GradeAssumed
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from profiles import fewer_examples
from recorder_writer import LenientRecorder

from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    CallType,
    NodeStateStatus,
    RoutingMode,
    RunStatus,
)
from elspeth.contracts.models import RoutingSpec
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import CANONICAL_VERSION
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter

KEY = b"k" * 32
# Case twins and patterns: an exporter must not take one run for another.
RUN_IDS = ("run", "Run", "ru_", "run ")
START = datetime(2026, 1, 1, tzinfo=UTC)

few = st.integers(1, 3)
run_ids = st.sampled_from(RUN_IDS)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
payloads = st.dictionaries(texts, st.integers(-9, 9), max_size=2)
integers = st.integers(-3, 40) | st.sampled_from([2**31, 1 - 2**53, 2**53 - 1])
durations = st.sampled_from([0.0, -0.0, 0.5, 2.0, 1e21, 5e-324, 1 / 3])
modes = st.sampled_from(RoutingMode)
endings = st.sampled_from([NodeStateStatus.COMPLETED, NodeStateStatus.FAILED])


def _exported_at() -> datetime:
    return START


def _clock() -> Iterator[datetime]:
    # Every time twice, so that records tie, and every fifth pair a day back.
    for number in count():
        step = number // 2
        yield START + timedelta(milliseconds=step, days=-(step // 5 % 3))


class Recording(RuleBasedStateMachine):
    """Pipelines that make any call that the recorder allows, and references across runs."""

    candidate = LandscapeExporter

    nodes = Bundle("nodes")
    edges = Bundle("edges")
    rows = Bundle("rows")
    tokens = Bundle("tokens")
    open_states = Bundle("open_states")
    states = Bundle("states")
    batches = Bundle("batches")
    failed_batches = Bundle("failed_batches")

    @initialize(target=nodes)
    def begin(self) -> str:
        self.db = LandscapeDB.in_memory()
        clock, numbers = _clock(), count()
        # Ids descend, so that an order by id differs from the order of recording.
        self.recorder = LenientRecorder(
            self.db, clock=lambda: next(clock), new_id=lambda: f"id-{10**6 - next(numbers)}"
        )
        self.numbers = count()
        self.steps: dict[str, Iterator[int]] = defaultdict(count)
        self.members: dict[str, Iterator[int]] = defaultdict(count)
        self.indexes: set[tuple[str, int]] = set()
        self.ended: set[str] = set()
        self.labels: set[tuple[str, str, str]] = set()
        for run_id in RUN_IDS:
            self.recorder.begin_run({}, CANONICAL_VERSION, run_id=run_id)
        return self.register_node(RUN_IDS[0], "plugin", sequence=None)

    def register_node(self, run_id: str, plugin: str, sequence: int | None) -> str:
        return self.recorder.register_node(
            run_id,
            plugin,
            "transform",
            "1.0",
            {},
            sequence=sequence,
            schema_config=SchemaConfig.from_dict({"fields": "dynamic"}),
        ).node_id

    # A node, edge, token or state of any run may be referred to from any other: other recorders
    # are restricted by foreign keys only.

    @rule(target=nodes, run_id=run_ids, plugin=texts, sequence=st.none() | integers)
    def node(self, run_id: str, plugin: str, sequence: int | None) -> str:
        return self.register_node(run_id, plugin, sequence)

    @rule(target=edges, run_id=run_ids, start=nodes, end=nodes, label=texts, mode=modes)
    def edge(self, run_id: str, start: str, end: str, label: str, mode: RoutingMode) -> str:
        if (run_id, start, label) in self.labels:
            label = f"label-{next(self.numbers)}"
        self.labels.add((run_id, start, label))
        return self.recorder.register_edge(run_id, start, end, label, mode).edge_id

    @rule(target=tokens, run_id=run_ids, node=nodes, index=integers, data=payloads)
    def row(self, run_id: str, node: str, index: int, data: dict[str, int]) -> str:
        if (run_id, index) in self.indexes:
            index = 100 + next(self.numbers)
        self.indexes.add((run_id, index))
        row = self.recorder.create_row(run_id, node, index, data)
        return self.recorder.create_token(row.row_id).token_id

    @rule(run_id=run_ids, node=nodes, index=integers)
    def row_without_tokens(self, run_id: str, node: str, index: int) -> None:
        if (run_id, index) not in self.indexes:
            self.indexes.add((run_id, index))
            self.recorder.create_row(run_id, node, index, {})

    def row_of(self, token_id: str) -> str:
        token = self.recorder.get_token(token_id)
        assert token is not None
        return token.row_id

    @rule(target=tokens, token=tokens, branches=st.lists(texts, max_size=3))
    def fork(self, token: str, branches: list[str]) -> object:
        children = self.recorder.fork_token(token, self.row_of(token), branches)
        return multiple(*(child.token_id for child in children))

    @rule(target=tokens, token=tokens, children=few)
    def expand(self, token: str, children: int) -> object:
        expanded = self.recorder.expand_token(token, self.row_of(token), children, 1)
        return multiple(*(child.token_id for child in expanded))

    @rule(target=tokens, parent=tokens, others=st.lists(tokens, max_size=2))
    def join(self, parent: str, others: list[str]) -> str:
        parents = list(dict.fromkeys([parent, *others]))
        return self.recorder.coalesce_tokens(parents, self.row_of(parent)).token_id

    @rule(targets=(open_states, states), token=tokens, node=nodes, data=payloads)
    def visit(self, token: str, node: str, data: dict[str, int]) -> str:
        # A new step and a new attempt, because both have to be unique for the token.
        step = next(self.steps[token])
        return self.recorder.begin_node_state(token, node, step, data, attempt=step).state_id

    @rule(state=consumes(open_states), ending=endings, output=payloads, duration=durations)
    def complete(
        self, state: str, ending: NodeStateStatus, output: dict[str, int], duration: float
    ) -> None:
        self.recorder.complete_node_state(state, ending, output_data=output, duration_ms=duration)

    @rule(state=consumes(open_states), error=payloads)
    def fail(self, state: str, error: dict[str, int]) -> None:
        # A failed state without an output.
        self.recorder.complete_node_state(
            state, NodeStateStatus.FAILED, duration_ms=0.0, error=error, context_after=error
        )

    @rule(targets=(open_states, states), state=consumes(open_states), error=payloads)
    def retry(self, state: str, error: dict[str, int]) -> str:
        failed = self.recorder.complete_node_state(
            state, NodeStateStatus.FAILED, duration_ms=2.0, error=error
        )
        # A retry adds 100, so that it does not take the attempt of another step.
        return self.recorder.begin_node_state(
            failed.token_id, failed.node_id, failed.step_index, {}, attempt=failed.attempt + 100
        ).state_id

    @rule(state=states, edge=edges, others=st.lists(edges, max_size=2), mode=modes)
    def route(self, state: str, edge: str, others: list[str], mode: RoutingMode) -> None:
        routes = [RoutingSpec(edge, mode), *(RoutingSpec(other, mode) for other in others)]
        self.recorder.record_routing_events(state, routes)

    @rule(state=states, edge=edges, mode=modes, reason=st.none() | payloads, ordinal=integers)
    def route_alone(
        self, state: str, edge: str, mode: RoutingMode, reason: dict[str, int] | None, ordinal: int
    ) -> None:
        self.recorder.record_routing_event(state, edge, mode, reason, ordinal=ordinal)

    @rule(
        state=states,
        request=payloads,
        response=st.none() | payloads,
        kind=st.sampled_from(CallType),
        status=st.sampled_from(CallStatus),
        latency=st.none() | durations | st.floats(0, 1e22),
    )
    def call(
        self,
        state: str,
        request: dict[str, int],
        response: dict[str, int] | None,
        kind: CallType,
        status: CallStatus,
        latency: float | None,
    ) -> None:
        # Indexes descend, so that their order is not that of recording.
        self.recorder.record_call(
            state,
            50 - next(self.numbers),
            kind,
            status,
            request,
            response_data=response,
            latency_ms=latency,
        )

    @rule(target=batches, run_id=run_ids, node=nodes)
    def batch(self, run_id: str, node: str) -> str:
        return self.recorder.create_batch(run_id, node).batch_id

    @rule(batch=batches, token=tokens)
    def member(self, batch: str, token: str) -> None:
        if token not in {each.token_id for each in self.recorder.get_batch_members(batch)}:
            ordinal = 100 - next(self.members[batch])
            self.recorder.add_batch_member(batch, token, ordinal)

    @rule(target=failed_batches, batch=consumes(batches), state=states)
    def fail_batch(self, batch: str, state: str) -> str:
        self.recorder.complete_batch(batch, BatchStatus.FAILED, state_id=state)
        return batch

    @rule(target=batches, batch=consumes(failed_batches))
    def retry_batch(self, batch: str) -> str:
        return self.recorder.retry_batch(batch).batch_id

    @rule(batch=batches, reason=texts)
    def begin_batch(self, batch: str, reason: str) -> None:
        self.recorder.update_batch_status(batch, BatchStatus.EXECUTING, trigger_reason=reason)

    @rule(batch=consumes(batches), reason=st.none() | texts)
    def complete_batch(self, batch: str, reason: str | None) -> None:
        self.recorder.complete_batch(batch, BatchStatus.COMPLETED, trigger_reason=reason)

    @rule(run_id=run_ids, state=states, node=nodes, path=texts, size=integers)
    def artifact(self, run_id: str, state: str, node: str, path: str, size: int) -> None:
        self.recorder.register_artifact(run_id, state, node, "csv", path, "hash", size)

    @rule(
        run_id=run_ids,
        status=st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED]),
        grade=st.none() | texts,
    )
    def end(self, run_id: str, status: RunStatus, grade: str | None) -> None:
        if run_id not in self.ended:
            self.ended.add(run_id)
            self.recorder.complete_run(run_id, status, reproducibility_grade=grade)

    @rule(run_id=run_ids)
    def export(self, run_id: str) -> None:
        self.compare(run_id)

    def teardown(self) -> None:
        # At the end and in some steps before, so that the time goes into more sequences.
        try:
            if hasattr(self, "db"):
                for run_id in RUN_IDS:
                    self.compare(run_id)
        finally:
            if hasattr(self, "db"):
                self.db.close()

    def compare(self, run_id: str) -> None:
        """Compare records with the order of their keys, and the lines of canonical JSON."""
        control = LegacyLandscapeExporter(self.db, KEY, clock=_exported_at)
        candidate = self.candidate(self.db, KEY, clock=_exported_at)
        expected = list(control.export_run(run_id, sign=True))
        found = list(candidate.export_run(run_id, sign=True))
        assert [list(each.items()) for each in found] == [list(each.items()) for each in expected]
        # Equality takes 1 for 1.0 and -0.0 for 0.0.
        assert [rfc8785.dumps(each) for each in found] == [rfc8785.dumps(each) for each in expected]


TestRecording = Recording.TestCase
TestRecording.settings = settings(fewer_examples(1 / 10), stateful_step_count=40)


@pytest.mark.parametrize("faulty", [EdgesOfOwnNodes, GradeAssumed, RowsByPattern])
def test_sequences_find_an_exporter_that_is_wrong(faulty: type[LandscapeExporter]) -> None:
    class OfFaulty(Recording):
        candidate = faulty

    finding = settings(
        max_examples=100,
        stateful_step_count=40,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(OfFaulty, settings=finding)
