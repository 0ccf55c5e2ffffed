"""Facts: what a generated run stores, one named tuple for a stored row of each exported table.

A fact's fields are its table's columns and its values are what the database holds, so a bulk
insert takes it as it is. Timestamps are UTC text with microseconds, the form SQLite stores and
PostgreSQL reads. They are tuples and not dataclasses because a run has millions of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from elspeth.core.landscape.schema import EXPORTED_TABLES

TABLES = tuple(table.name for table in EXPORTED_TABLES)
"""The exported tables, parents before children."""


class RunFact(NamedTuple):
    """A row of `runs`."""

    run_id: str
    started_at: str
    completed_at: str | None
    config_hash: str
    settings_json: str
    reproducibility_grade: str | None
    canonical_version: str
    status: str


class NodeFact(NamedTuple):
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


class EdgeFact(NamedTuple):
    """A row of `edges`."""

    edge_id: str
    run_id: str
    from_node_id: str
    to_node_id: str
    label: str
    default_mode: str
    created_at: str


class RowFact(NamedTuple):
    """A row of `rows`."""

    row_id: str
    run_id: str
    source_node_id: str
    row_index: int
    source_data_hash: str
    source_data_ref: str | None
    created_at: str


class TokenFact(NamedTuple):
    """A row of `tokens`."""

    token_id: str
    row_id: str
    fork_group_id: str | None
    join_group_id: str | None
    expand_group_id: str | None
    branch_name: str | None
    step_in_pipeline: int | None
    created_at: str


class TokenParentFact(NamedTuple):
    """A row of `token_parents`."""

    token_id: str
    parent_token_id: str
    ordinal: int


class NodeStateFact(NamedTuple):
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


class RoutingEventFact(NamedTuple):
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


class CallFact(NamedTuple):
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


class BatchFact(NamedTuple):
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


class BatchMemberFact(NamedTuple):
    """A row of `batch_members`."""

    batch_id: str
    token_id: str
    ordinal: int


class ArtifactFact(NamedTuple):
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


Fact: TypeAlias = (
    RunFact
    | NodeFact
    | EdgeFact
    | RowFact
    | TokenFact
    | TokenParentFact
    | NodeStateFact
    | RoutingEventFact
    | CallFact
    | BatchFact
    | BatchMemberFact
    | ArtifactFact
)


@dataclass(slots=True)
class Chapter:
    """What is recorded together: a run's opening, one row with all below it, a batch, the closing.

    The fields after `number` are the exported tables, parents before children. A chapter is
    edited by the features of its run while it is planned, and left alone afterwards.
    """

    run_id: str
    number: int
    """Which row, or which batch, of its run this is, counted from 0."""

    runs: list[RunFact] = field(default_factory=list)
    nodes: list[NodeFact] = field(default_factory=list)
    edges: list[EdgeFact] = field(default_factory=list)
    rows: list[RowFact] = field(default_factory=list)
    tokens: list[TokenFact] = field(default_factory=list)
    token_parents: list[TokenParentFact] = field(default_factory=list)
    node_states: list[NodeStateFact] = field(default_factory=list)
    routing_events: list[RoutingEventFact] = field(default_factory=list)
    calls: list[CallFact] = field(default_factory=list)
    batches: list[BatchFact] = field(default_factory=list)
    batch_members: list[BatchMemberFact] = field(default_factory=list)
    artifacts: list[ArtifactFact] = field(default_factory=list)

    def tables(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield each table that has facts here with them, parents before children."""
        for table in TABLES:
            facts = getattr(self, table)
            if facts:
                yield table, facts

    def change(self, columns: Callable[[str], bool], to: Callable[[Any], Any]) -> None:
        """Pass the values of some columns, those not NULL, through a function."""
        for table, facts in self.tables():
            kind = type(facts[0])
            chosen = {n for n, column in enumerate(kind._fields) if columns(column)}
            if chosen:
                changed = [
                    kind._make(
                        to(value) if n in chosen and value is not None else value
                        for n, value in enumerate(fact)
                    )
                    for fact in facts
                ]
                setattr(self, table, changed)
