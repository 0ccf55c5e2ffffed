"""Whatever legal sequence a pipeline records, both exporters give the same after every step."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from profiles import fewer_examples

from elspeth.contracts.enums import BatchStatus, NodeStateStatus, RoutingMode, RunStatus
from elspeth.contracts.models import RoutingSpec
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.canonical import CANONICAL_VERSION
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter
from elspeth.core.landscape.recorder import LandscapeRecorder

KEY = b"k" * 32
RUN_ID = "run"
START = datetime(2026, 1, 1, tzinfo=UTC)

few = st.integers(1, 3)
payloads = st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=2)
modes = st.sampled_from(RoutingMode)
endings = st.sampled_from([NodeStateStatus.COMPLETED, NodeStateStatus.FAILED])


def _exported_at() -> datetime:
    return START


def _clock() -> Iterator[datetime]:
    # Each time twice, so that records tie.
    return (START + timedelta(milliseconds=number // 2) for number in count())


class Recording(RuleBasedStateMachine):
    """A pipeline that may do anything that the recorder allows."""

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
        # Ids descend, so that no order by id passes for an order of recording.
        self.recorder = LandscapeRecorder(
            self.db, clock=lambda: next(clock), new_id=lambda: f"id-{10**6 - next(numbers)}"
        )
        self.numbers = count()
        self.steps: dict[str, Iterator[int]] = defaultdict(count)
        self.members: dict[str, Iterator[int]] = defaultdict(count)
        self.recorder.begin_run({}, CANONICAL_VERSION, run_id=RUN_ID)
        return self.register_node(sequence=None)

    def register_node(self, sequence: int | None) -> str:
        return self.recorder.register_node(
            RUN_ID,
            "plugin",
            "transform",
            "1.0",
            {},
            sequence=sequence,
            schema_config=SchemaConfig.from_dict({"fields": "dynamic"}),
        ).node_id

    @rule(target=nodes, sequence=st.none() | few)
    def node(self, sequence: int | None) -> str:
        return self.register_node(sequence)

    @rule(target=edges, start=nodes, end=nodes, mode=modes)
    def edge(self, start: str, end: str, mode: RoutingMode) -> str:
        label = f"label-{next(self.numbers)}"
        return self.recorder.register_edge(RUN_ID, start, end, label, mode).edge_id

    @rule(target=tokens, node=nodes, data=payloads)
    def row(self, node: str, data: dict[str, int]) -> str:
        row = self.recorder.create_row(RUN_ID, node, next(self.numbers), data)
        return self.recorder.create_token(row.row_id).token_id

    def row_of(self, token_id: str) -> str:
        token = self.recorder.get_token(token_id)
        assert token is not None
        return token.row_id

    @rule(target=tokens, token=tokens, branches=st.lists(st.text(max_size=3), max_size=3))
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
        # A step of its own, and an attempt that no other visit to the node has.
        step = next(self.steps[token])
        return self.recorder.begin_node_state(token, node, step, data, attempt=step).state_id

    @rule(state=consumes(open_states), ending=endings, output=payloads)
    def complete(self, state: str, ending: NodeStateStatus, output: dict[str, int]) -> None:
        self.recorder.complete_node_state(state, ending, output_data=output, duration_ms=0.5)

    @rule(targets=(open_states, states), state=consumes(open_states), error=payloads)
    def retry(self, state: str, error: dict[str, int]) -> str:
        failed = self.recorder.complete_node_state(
            state, NodeStateStatus.FAILED, duration_ms=2.0, error=error
        )
        # Attempts of different steps at one node stay apart by the hundred.
        return self.recorder.begin_node_state(
            failed.token_id, failed.node_id, failed.step_index, {}, attempt=failed.attempt + 100
        ).state_id

    @rule(state=states, edge=edges, others=st.lists(edges, max_size=2), mode=modes)
    def route(self, state: str, edge: str, others: list[str], mode: RoutingMode) -> None:
        routes = [RoutingSpec(edge, mode), *(RoutingSpec(other, mode) for other in others)]
        self.recorder.record_routing_events(state, routes)

    @rule(state=states, request=payloads, latency=st.none() | st.floats(0, 1e22))
    def call(self, state: str, request: dict[str, int], latency: float | None) -> None:
        self.recorder.record_call(
            state, next(self.numbers), "http", "success", request, latency_ms=latency
        )

    @rule(target=batches, node=nodes)
    def batch(self, node: str) -> str:
        return self.recorder.create_batch(RUN_ID, node).batch_id

    @rule(batch=batches, token=tokens)
    def member(self, batch: str, token: str) -> None:
        if token not in {each.token_id for each in self.recorder.get_batch_members(batch)}:
            ordinal = 100 + next(self.members[batch])
            self.recorder.add_batch_member(batch, token, ordinal)

    @rule(target=failed_batches, batch=consumes(batches), state=states)
    def fail_batch(self, batch: str, state: str) -> str:
        self.recorder.complete_batch(batch, BatchStatus.FAILED, state_id=state)
        return batch

    @rule(target=batches, batch=failed_batches)
    def retry_batch(self, batch: str) -> str:
        return self.recorder.retry_batch(batch).batch_id

    @rule(batch=consumes(batches), reason=st.none() | st.text(max_size=3))
    def complete_batch(self, batch: str, reason: str | None) -> None:
        self.recorder.complete_batch(batch, BatchStatus.COMPLETED, trigger_reason=reason)

    @rule(state=states, node=nodes, size=st.integers(0, 2**53 - 1))
    def artifact(self, state: str, node: str, size: int) -> None:
        self.recorder.register_artifact(RUN_ID, state, node, "csv", "out.csv", "hash", size)

    @rule(status=st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED]))
    def end(self, status: RunStatus) -> None:
        self.recorder.complete_run(RUN_ID, status)

    @invariant()
    def both_exporters_give_the_same(self) -> None:
        control = LegacyLandscapeExporter(self.db, KEY, clock=_exported_at)
        candidate = LandscapeExporter(self.db, KEY, clock=_exported_at)
        expected = list(control.export_run(RUN_ID, sign=True))
        assert [list(each.items()) for each in candidate.export_run(RUN_ID, sign=True)] == [
            list(each.items()) for each in expected
        ]

    def teardown(self) -> None:
        self.db.close()


TestRecording = Recording.TestCase
TestRecording.settings = settings(fewer_examples(1 / 20), stateful_step_count=20)
