"""Plans what a spec stores, chapter by chapter, with every id, time and value decided.

The plan is a pure function of the spec: it reads no clock and no database. It holds one chapter at
a time, so it can be as long as it likes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from elspeth.core.canonical import CANONICAL_VERSION, canonical_json
from harness.generate.features.feature import Landmarks, Surroundings
from harness.generate.features.values import is_id
from harness.generate.pools import SIZE
from harness.generate.row_plan import MODES, RowPlan
from harness.generate.rows import (
    ArtifactFact,
    BatchFact,
    BatchMemberFact,
    Chapter,
    EdgeFact,
    NodeFact,
    RunFact,
)
from harness.generate.sources import Clock, Sources
from harness.generate.spec import RunSpec

OPENING_MICROSECONDS = 1_000_000
"""From the start of a run to its first row."""

ROW_MICROSECONDS = 100_000
"""From one row to the next."""

_NODE_TYPES = ("transform", "gate", "aggregation", "coalesce")
_DETERMINISMS = (
    "deterministic",
    "seeded",
    "io_read",
    "io_write",
    "external_call",
    "non_deterministic",
)
_FIELDS = canonical_json(
    [
        {"name": "name", "type": "str", "required": True},
        {"name": "amount", "type": "float", "required": False},
    ]
)
_SCHEMAS = (("dynamic", None), ("strict", _FIELDS), ("free", _FIELDS))
_ARTIFACT_TYPES = ("csv", "json", "parquet")


def plan(spec: RunSpec) -> Iterator[Chapter]:
    """Yield all that a spec stores, parents before children, its neighbours' rows first."""
    main = _RunPlan(spec, like=spec)
    neighbours = [_RunPlan(each, like=spec) for each in neighbours_of(spec)]
    for each in neighbours:
        each.elsewhere = Landmarks(main.landmarks.node_id)
        main.elsewhere = each.landmarks
    runs = [*neighbours, main]
    yield from (run.opening() for run in runs)
    yield from (run.graph() for run in runs)
    for run in runs:
        yield from run.rows_and_batches()
        yield run.closing()


def neighbours_of(spec: RunSpec) -> list[RunSpec]:
    """Derive the specs of the neighbouring runs: as deep as the run, and shorter."""
    shorter = replace(
        spec,
        rows=spec.neighbour_rows,
        batches=min(spec.batches, 2),
        members=min(spec.members, spec.neighbour_rows),
        artifacts=min(spec.artifacts, 2),
        neighbours=0,
        lineage_in_turn=False,
        features=frozenset(),
    )
    return [
        replace(shorter, run_id=f"{spec.run_id}-neighbour-{number}")
        for number in range(1, spec.neighbours + 1)
    ]


class _RunPlan:
    """The plan of one run: its chapters, and what later chapters remember of earlier ones."""

    def __init__(self, spec: RunSpec, *, like: RunSpec) -> None:
        """Plan a run with the features of another: neighbours have those of the main run."""
        self._spec = spec
        self._sources = Sources(spec)
        self._edits = [each.edit for each in like.active_features if each.edit]
        self._renames = [each.rename for each in like.active_features if each.rename]
        self._node_ids = [self._sources.id("nod", number) for number in range(spec.nodes)]
        self._edge_ids = [self._sources.id("edg", number) for number in range(spec.edges)]
        self._batch_ids = self._sources.ids("bat")
        self._rows = RowPlan(spec, self._sources, self._node_ids, self._edge_ids)
        self._recent_token_ids: deque[str] = deque(maxlen=spec.members)
        self._earlier_token_id: str | None = None
        self._last_state_id: str | None = None
        self.elsewhere: Landmarks | None = None
        """Another run, which features may refer to."""

    @property
    def landmarks(self) -> Landmarks:
        """Name what other runs may refer to, once it is stored."""
        state_id = self._sources.id("sta", 0) if self._spec.states else None
        return Landmarks(self._node_ids[0], self._sources.id("tok", 0), state_id)

    def opening(self) -> Chapter:
        """Plan the run and its nodes."""
        config = self._sources.any(self._sources.pools.configs)
        run = RunFact(
            run_id=self._spec.run_id,
            started_at=Clock().tell(0),
            completed_at=Clock(self._row_time(self._spec.rows + 1)).tell(),
            config_hash=config.hash,
            settings_json=config.json,
            reproducibility_grade="replay_reproducible",
            canonical_version=CANONICAL_VERSION,
            status="completed",
        )
        nodes = [self._node(number) for number in range(self._spec.nodes)]
        return self._finish(Chapter(self._spec.run_id, 0, runs=[run], nodes=nodes))

    def _row_time(self, number: int) -> int:
        return OPENING_MICROSECONDS + number * ROW_MICROSECONDS

    def _node(self, number: int) -> NodeFact:
        config = self._sources.any(self._sources.pools.configs)
        schema_mode, schema_fields_json = _SCHEMAS[number % len(_SCHEMAS)]
        return NodeFact(
            node_id=self._node_ids[number],
            run_id=self._spec.run_id,
            plugin_name=self._sources.pools.plugins[number % SIZE],
            node_type=self._node_type(number),
            plugin_version=f"1.{number}.0",
            determinism=_DETERMINISMS[number % len(_DETERMINISMS)],
            config_hash=config.hash,
            config_json=config.json,
            schema_hash=config.hash if number % 2 else None,
            sequence_in_pipeline=number,
            registered_at=self._sources.clock.tell(),
            schema_mode=schema_mode,
            schema_fields_json=schema_fields_json,
        )

    def _node_type(self, number: int) -> str:
        if number == 0:
            return "source"
        if number == self._spec.nodes - 1:
            return "sink"
        return _NODE_TYPES[number % len(_NODE_TYPES)]

    def graph(self) -> Chapter:
        """Plan the edges, each from the node after the one before."""
        nodes = self._spec.nodes
        edges = [
            EdgeFact(
                edge_id=edge_id,
                run_id=self._spec.run_id,
                from_node_id=self._node_ids[number % nodes],
                to_node_id=self._node_ids[(number + 1) % nodes],
                label=f"{self._sources.pools.labels[number % SIZE]}-{number // nodes}",
                default_mode=MODES[number % len(MODES)],
                created_at=self._sources.clock.tell(),
            )
            for number, edge_id in enumerate(self._edge_ids)
        ]
        return self._finish(Chapter(self._spec.run_id, 0, edges=edges))

    def rows_and_batches(self) -> Iterator[Chapter]:
        """Plan the rows, and each batch after the rows whose tokens fill it."""
        rows, batches, members = self._spec.rows, self._spec.batches, self._spec.members
        batch = 0
        for number in range(rows):
            self._sources.clock.now = self._row_time(number)
            yield self._finish(self._rows.row(number))
            is_filled = len(self._recent_token_ids) == members or number == rows - 1
            while is_filled and batch < (number + 1) * batches // rows:
                yield self._finish(self._batch(batch))
                batch += 1

    def _batch(self, number: int) -> Chapter:
        """Plan the attempts at a batch, with the same members: all but the last fail."""
        chapter = Chapter(self._spec.run_id, number)
        for attempt in range(self._spec.batch_retries + 1):
            fact = BatchFact(
                batch_id=next(self._batch_ids),
                run_id=self._spec.run_id,
                aggregation_node_id=self._node_ids[number % self._spec.nodes],
                aggregation_state_id=self._last_state_id,
                trigger_reason=self._sources.pools.triggers[number % SIZE],
                attempt=attempt,
                status="failed" if attempt < self._spec.batch_retries else "completed",
                created_at=self._sources.clock.tell(),
                completed_at=self._sources.clock.tell(),
            )
            chapter.batches.append(fact)
            chapter.batch_members += (
                BatchMemberFact(fact.batch_id, token_id, ordinal)
                for ordinal, token_id in enumerate(self._recent_token_ids)
            )
        return chapter

    def closing(self) -> Chapter:
        """Plan the artifacts, which come of the last node state."""
        state_id = self._last_state_id
        artifacts = (
            [self._artifact(number, state_id) for number in range(self._spec.artifacts)]
            if state_id
            else []
        )
        return self._finish(Chapter(self._spec.run_id, 0, artifacts=artifacts))

    def _artifact(self, number: int, state_id: str) -> ArtifactFact:
        content = self._sources.any(self._sources.pools.rows)
        return ArtifactFact(
            artifact_id=self._sources.id("art", number),
            run_id=self._spec.run_id,
            produced_by_state_id=state_id,
            sink_node_id=self._node_ids[-1],
            artifact_type=_ARTIFACT_TYPES[number % len(_ARTIFACT_TYPES)],
            path_or_uri=self._sources.pools.paths[number % SIZE],
            content_hash=content.hash,
            size_bytes=len(content.json),
            created_at=self._sources.clock.tell(),
        )

    def _finish(self, chapter: Chapter) -> Chapter:
        """Let the features act on a chapter, and remember what later ones refer to."""
        around = Surroundings(self._sources.pools, self._earlier_token_id, self.elsewhere)
        for edit in self._edits:
            edit(chapter, around)
        self._remember(chapter)
        for rename in self._renames:
            chapter.change(is_id, rename)
        return chapter

    def _remember(self, chapter: Chapter) -> None:
        if chapter.tokens:
            self._recent_token_ids.extend(token.token_id for token in chapter.tokens)
            self._earlier_token_id = chapter.tokens[0].token_id
        if chapter.node_states:
            self._last_state_id = chapter.node_states[-1].state_id
