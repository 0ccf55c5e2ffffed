"""Plans the run of a spec section by section, and decides every id, time and value.

The plan is a pure function of the spec: it reads no clock and no database. It holds one section at
a time, so memory does not grow with the run.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from elspeth.core.canonical import CANONICAL_VERSION, canonical_json
from harness.generate.entities import (
    Section,
    StoredArtifact,
    StoredBatch,
    StoredBatchMember,
    StoredEdge,
    StoredNode,
    StoredRun,
)
from harness.generate.features import Feature
from harness.generate.features.feature import EditContext, FirstIds, is_renamed_id
from harness.generate.row_plan import MODES, RowPlan
from harness.generate.sources import SIZE, Clock, Sources, is_generated_id
from harness.generate.spec import RunSpec

OPENING_MICROSECONDS = 1_000_000
"""The time from the start of a run to its first row."""

ROW_MICROSECONDS = 100_000
"""The time from one row to the next."""

_RECENT_STATES = 128
"""The number of node states that an edit may refer to."""

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


def plan(spec: RunSpec) -> Iterator[Section]:
    """Yield all sections of a run and of its neighbours, parents before children."""
    features = spec.active_features
    main = _RunPlan(spec, features)
    neighbours = [_RunPlan(each, features) for each in neighbours_of(spec)]
    for each in neighbours:
        # The rows of the main run are stored last, so a neighbour can refer to its graph only.
        each.other_run = replace(main.first_ids, token_id=None, state_id=None)
        main.other_run = each.first_ids
    # Foreign keys hold at any moment: the nodes and edges of all runs come first, because features
    # refer to nodes of another run, and the rows of the neighbours come before those of the run.
    runs = [*neighbours, main]
    yield from (run.opening() for run in runs)
    yield from (run.graph() for run in runs)
    for run in runs:
        yield from run.rows_and_batches()
        yield run.closing()


NEIGHBOUR = "-neighbour-"
"""Stands in the id of a neighbouring run, between the run's own id and a number."""


def neighbours_of(spec: RunSpec) -> list[RunSpec]:
    """Derive the specs of the neighbouring runs: the same shape with fewer rows, no features."""
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
        replace(shorter, run_id=f"{spec.run_id}{NEIGHBOUR}{number}")
        for number in range(1, spec.neighbours + 1)
    ]


class _RunPlan:
    """The plan of one run, and the ids of earlier sections that later sections refer to."""

    def __init__(self, spec: RunSpec, features: tuple[Feature, ...]) -> None:
        """Plan a run.

        Args:
            spec: The run. Its own features are not used.
            features: The features to apply: neighbours have those of the main run.
        """
        self._spec = spec
        self._sources = Sources(spec.run_id, spec.seed)
        self._edits = [each.edit for each in features if each.edit]
        self._renames = [each.rename for each in features if each.rename]
        self._node_ids = [self._sources.id("nod", number) for number in range(spec.nodes)]
        self._edge_ids = [self._sources.id("edg", number) for number in range(spec.edges)]
        self._batch_ids = self._sources.ids("bat")
        self._rows = RowPlan(spec, self._sources, self._node_ids, self._edge_ids)
        self._recent_token_ids: deque[str] = deque(maxlen=spec.members)
        self._earlier_token_id: str | None = None
        self._last_state_id: str | None = None
        self._recent_state_ids: deque[str] = deque(maxlen=_RECENT_STATES)
        self.other_run: FirstIds | None = None
        """Another run that features may refer to."""

    @property
    def first_ids(self) -> FirstIds:
        """The first ids of this run, which other runs may refer to once it is stored."""
        state_id = self._sources.id("sta", 0) if self._spec.states else None
        edge_id = self._edge_ids[0] if self._edge_ids else None
        return FirstIds(self._node_ids[0], edge_id, self._sources.id("tok", 0), state_id)

    def opening(self) -> Section:
        """Plan the run itself and its nodes."""
        config = self._sources.draw(self._sources.pools.configs)
        run = StoredRun(
            run_id=self._spec.run_id,
            started_at=Clock().advance(0),
            completed_at=Clock(self._row_time(self._spec.rows + 1)).advance(),
            config_hash=config.hash,
            settings_json=config.json,
            reproducibility_grade="replay_reproducible",
            canonical_version=CANONICAL_VERSION,
            status="completed",
        )
        nodes = [self._node(number) for number in range(self._spec.nodes)]
        return self._finish(Section(self._spec.run_id, 0, runs=[run], nodes=nodes))

    def _row_time(self, number: int) -> int:
        return OPENING_MICROSECONDS + number * ROW_MICROSECONDS

    def _node(self, number: int) -> StoredNode:
        config = self._sources.draw(self._sources.pools.configs)
        schema_mode, schema_fields_json = _SCHEMAS[number % len(_SCHEMAS)]
        return StoredNode(
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
            registered_at=self._sources.clock.advance(),
            schema_mode=schema_mode,
            schema_fields_json=schema_fields_json,
        )

    def _node_type(self, number: int) -> str:
        if number == 0:
            return "source"
        if number == self._spec.nodes - 1:
            return "sink"
        return _NODE_TYPES[number % len(_NODE_TYPES)]

    def graph(self) -> Section:
        """Plan the edges. An edge leads to the next node, and from the last node to the first."""
        nodes = self._spec.nodes
        edges = [
            StoredEdge(
                edge_id=edge_id,
                run_id=self._spec.run_id,
                from_node_id=self._node_ids[number % nodes],
                to_node_id=self._node_ids[(number + 1) % nodes],
                # A label is unique among the edges of a node: the second part counts the rounds.
                label=f"{self._sources.pools.labels[number % SIZE]}-{number // nodes}",
                default_mode=MODES[number % len(MODES)],
                created_at=self._sources.clock.advance(),
            )
            for number, edge_id in enumerate(self._edge_ids)
        ]
        return self._finish(Section(self._spec.run_id, 0, edges=edges))

    def rows_and_batches(self) -> Iterator[Section]:
        """Plan the rows, and a batch directly after the rows whose tokens are its members."""
        rows, batches, members = self._spec.rows, self._spec.batches, self._spec.members
        batch = 0
        for number in range(rows):
            self._sources.clock.now = self._row_time(number)
            yield self._finish(self._rows.row(number))
            # Spread over the rows, but not before there are enough tokens to fill a batch.
            is_filled = len(self._recent_token_ids) == members or number == rows - 1
            while is_filled and batch < (number + 1) * batches // rows:
                yield self._finish(self._batch(batch))
                batch += 1

    def _batch(self, number: int) -> Section:
        """Plan the attempts at a batch. They have the same members, and all but the last fail."""
        section = Section(self._spec.run_id, number)
        for attempt in range(self._spec.batch_retries + 1):
            batch = StoredBatch(
                batch_id=next(self._batch_ids),
                run_id=self._spec.run_id,
                aggregation_node_id=self._node_ids[number % self._spec.nodes],
                aggregation_state_id=self._last_state_id,
                trigger_reason=self._sources.pools.triggers[number % SIZE],
                attempt=attempt,
                status="failed" if attempt < self._spec.batch_retries else "completed",
                created_at=self._sources.clock.advance(),
                completed_at=self._sources.clock.advance(),
            )
            section.batches.append(batch)
            section.batch_members += (
                StoredBatchMember(batch.batch_id, token_id, ordinal)
                for ordinal, token_id in enumerate(self._recent_token_ids)
            )
        return section

    def closing(self) -> Section:
        """Plan the artifacts, which the last node state produces. A run without states has none."""
        state_id = self._last_state_id
        artifacts = (
            [self._artifact(number, state_id) for number in range(self._spec.artifacts)]
            # The empty text is an id as well.
            if state_id is not None
            else []
        )
        return self._finish(Section(self._spec.run_id, 0, artifacts=artifacts))

    def _artifact(self, number: int, state_id: str) -> StoredArtifact:
        content = self._sources.draw(self._sources.pools.rows)
        return StoredArtifact(
            artifact_id=self._sources.id("art", number),
            run_id=self._spec.run_id,
            produced_by_state_id=state_id,
            sink_node_id=self._node_ids[-1],
            artifact_type=_ARTIFACT_TYPES[number % len(_ARTIFACT_TYPES)],
            path_or_uri=self._sources.pools.paths[number % SIZE],
            content_hash=content.hash,
            size_bytes=len(content.json),
            created_at=self._sources.clock.advance(),
        )

    def _finish(self, section: Section) -> Section:
        """Apply the features to a section, and keep the ids that later sections refer to."""
        context = EditContext(
            self._sources.pools,
            self._spec.seed,
            self._earlier_token_id,
            self.other_run,
            self._node_ids,
            self._recent_state_ids,
        )
        for edit in self._edits:
            edit(section, context)
        # Between edits and renames: an entity that an edit removed must not be referred to, and a
        # reference is renamed together with the id that it refers to.
        self._keep_ids(section)
        if self._renames:
            section.change(is_renamed_id, self._renamed)
        return section

    def _renamed(self, id_: str) -> str:
        # An edit may have put another text in place of an id.
        if not is_generated_id(id_):
            return id_
        for rename in self._renames:
            id_ = rename(id_)
        return id_

    def _keep_ids(self, section: Section) -> None:
        if section.tokens:
            self._recent_token_ids.extend(token.token_id for token in section.tokens)
            self._earlier_token_id = section.tokens[0].token_id
        if section.node_states:
            self._recent_state_ids.extend(each.state_id for each in section.node_states)
            self._last_state_id = section.node_states[-1].state_id
