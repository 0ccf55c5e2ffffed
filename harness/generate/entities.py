"""Entities: the stored rows of the exported tables, as named tuples, and sections of them.

An entity is one row of one exported table. Its fields are the columns of the table, and its values
are stored values, so that a bulk insert takes it without conversion. Timestamps are UTC text with
microseconds, which SQLite stores and PostgreSQL reads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from elspeth.core.landscape.schema import EXPORTED_TABLES

# Parents before children: an insert in this order violates no foreign key.
TABLES = tuple(table.name for table in EXPORTED_TABLES)
"""The names of the exported tables, parents before children."""


# Named tuples and not dataclasses: a large run has millions of entities, a driver takes a tuple as
# the parameters of an INSERT, and `_replace` copies one.
class StoredRun(NamedTuple):
    """A row of `runs`."""

    run_id: str
    started_at: str
    completed_at: str | None
    config_hash: str
    settings_json: str
    reproducibility_grade: str | None
    canonical_version: str
    status: str
    exported_at: str | None = None


class StoredNode(NamedTuple):
    """A row of `nodes`."""

    node_id: str
    run_id: str
    plugin_name: str
    node_type: str
    plugin_version: str
    determinism: str
    config_hash: str
    config_json: str
    schema_hash: str | None
    sequence_in_pipeline: int | None
    registered_at: str
    schema_mode: str
    schema_fields_json: str | None


class StoredEdge(NamedTuple):
    """A row of `edges`."""

    edge_id: str
    run_id: str
    from_node_id: str
    to_node_id: str
    label: str
    default_mode: str
    created_at: str


class StoredRow(NamedTuple):
    """A row of `rows`."""

    row_id: str
    run_id: str
    source_node_id: str
    row_index: int
    source_data_hash: str
    source_data_ref: str | None
    created_at: str


class StoredToken(NamedTuple):
    """A row of `tokens`."""

    token_id: str
    row_id: str
    fork_group_id: str | None
    join_group_id: str | None
    expand_group_id: str | None
    branch_name: str | None
    step_in_pipeline: int | None
    created_at: str


class StoredTokenParent(NamedTuple):
    """A row of `token_parents`."""

    token_id: str
    parent_token_id: str
    ordinal: int


class StoredNodeState(NamedTuple):
    """A row of `node_states`."""

    state_id: str
    token_id: str
    node_id: str
    step_index: int
    attempt: int
    status: str
    input_hash: str
    output_hash: str | None
    context_before_json: str | None
    context_after_json: str | None
    duration_ms: float | None
    error_json: str | None
    started_at: str
    completed_at: str | None


class StoredRoutingEvent(NamedTuple):
    """A row of `routing_events`."""

    event_id: str
    state_id: str
    edge_id: str
    routing_group_id: str
    ordinal: int
    mode: str
    reason_hash: str | None
    reason_ref: str | None
    created_at: str


class StoredCall(NamedTuple):
    """A row of `calls`."""

    call_id: str
    state_id: str
    call_index: int
    call_type: str
    status: str
    request_hash: str
    request_ref: str | None
    response_hash: str | None
    response_ref: str | None
    error_json: str | None
    latency_ms: float | None
    created_at: str


class StoredBatch(NamedTuple):
    """A row of `batches`."""

    batch_id: str
    run_id: str
    aggregation_node_id: str
    aggregation_state_id: str | None
    trigger_reason: str | None
    attempt: int
    status: str
    created_at: str
    completed_at: str | None
    trigger_type: str | None = None


class StoredBatchMember(NamedTuple):
    """A row of `batch_members`."""

    batch_id: str
    token_id: str
    ordinal: int


class StoredArtifact(NamedTuple):
    """A row of `artifacts`."""

    artifact_id: str
    run_id: str
    produced_by_state_id: str
    sink_node_id: str
    artifact_type: str
    path_or_uri: str
    content_hash: str
    size_bytes: int
    created_at: str


StoredEntity: TypeAlias = (
    StoredRun
    | StoredNode
    | StoredEdge
    | StoredRow
    | StoredToken
    | StoredTokenParent
    | StoredNodeState
    | StoredRoutingEvent
    | StoredCall
    | StoredBatch
    | StoredBatchMember
    | StoredArtifact
)


_entities_of: Callable[["Section"], Sequence[list[Any]]] = attrgetter(*TABLES)


@lru_cache(maxsize=256)
def _places(kind: Any, columns: Callable[[str], bool]) -> Sequence[int]:
    """Return the places of the columns that are changed in a named tuple."""
    return [place for place, column in enumerate(kind._fields) if columns(column)]


# Slots save time and memory, because a run has a section for every source row.
@dataclass(slots=True)
class Section:
    """The entities that are recorded together.

    A section is one of these: a run with its nodes, its edges, one source row with all its
    children, the attempts at one batch, or the artifacts. Features edit sections during planning.
    The fields after `number` are the exported tables.
    """

    run_id: str
    number: int
    """The number of the source row or of the batch in its run, from 0."""

    runs: list[StoredRun] = field(default_factory=list)
    nodes: list[StoredNode] = field(default_factory=list)
    edges: list[StoredEdge] = field(default_factory=list)
    rows: list[StoredRow] = field(default_factory=list)
    tokens: list[StoredToken] = field(default_factory=list)
    token_parents: list[StoredTokenParent] = field(default_factory=list)
    node_states: list[StoredNodeState] = field(default_factory=list)
    routing_events: list[StoredRoutingEvent] = field(default_factory=list)
    calls: list[StoredCall] = field(default_factory=list)
    batches: list[StoredBatch] = field(default_factory=list)
    batch_members: list[StoredBatchMember] = field(default_factory=list)
    artifacts: list[StoredArtifact] = field(default_factory=list)

    def tables(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield the tables that have entities in this section, parents before children."""
        # Hot path, as a run has a section for every source row: one call for all tables.
        return zip(compress(TABLES, found := _entities_of(self)), filter(None, found), strict=True)

    def change(self, columns: Callable[[str], bool], to: Callable[[Any], Any]) -> None:
        """Replace the values of some columns in place; NULL stays NULL.

        Args:
            columns: Returns whether a column of this name is changed. It applies to all tables.
            to: Returns the new value for an old one.
        """
        for table, entities in self.tables():
            kind: Any = type(entities[0])
            # Hot path: every feature that changes ids, texts or times comes here for every section.
            chosen = _places(kind, columns)
            if chosen:
                changed = []
                for entity in entities:
                    values = list(entity)
                    for place in chosen:
                        if values[place] is not None:
                            values[place] = to(values[place])
                    changed.append(kind._make(values))
                setattr(self, table, changed)
