"""Writes planned sections through the recorder's public methods, as a pipeline would.

It is the oracle for the bulk writer: both have to store the same contents. To do that, the recorder
works on one open transaction with a scripted clock and id generator.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from elspeth.contracts.enums import BatchStatus, RoutingMode
from elspeth.contracts.models import RoutingSpec, Token
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import tokens_table
from elspeth.core.landscape.store.references import Reference
from harness.generate.entities import (
    Section,
    StoredArtifact,
    StoredBatch,
    StoredCall,
    StoredEdge,
    StoredNode,
    StoredNodeState,
    StoredRoutingEvent,
    StoredRow,
    StoredRun,
    StoredToken,
)
from harness.generate.features.feature import Reorder
from harness.generate.sources import load_pools

REFUSED = frozenset({"infinite_durations", "nan_durations", "shuffled_insertion"})
"""The features that the recorder's public methods refuse to write."""

# The recorder computes hashes, counts ordinals, ends what it completes, and takes any text only
# where the audit trail leaves it to the caller.
ALTERED = frozenset(
    {
        "nulls_in_all_columns",
        "texts_of_every_kind",
        "json_of_every_form",
        "integers_of_every_kind",
        "integers_at_the_limits",
        "descending_integers",
        "short_ids",
        "ids_longer_than_their_columns",
        "texts_longer_than_their_columns",
        "texts_like_other_types",
        "contents_repeated",
        "lineage_in_a_chain",
        "exported_before",
        "triggers_without_reason",
        "times_of_every_kind",
        "times_at_the_limits",
        "values_against_the_status",
    }
)
"""The features that the recorder's public methods would write with other values."""

NOT_RECORDABLE = REFUSED | ALTERED
"""The features that the recorder's public methods cannot write."""


class LenientRecorder(LandscapeRecorder):
    """A recorder that takes references to other runs and joins of nothing, as the original does.

    Such trails exist, so exporters have to agree on them.
    """

    def _refuse_mixed_runs(self, connection: Connection, references: Sequence[Reference]) -> None:
        """Accept them."""

    def coalesce_tokens(
        self,
        parent_token_ids: Sequence[str],
        row_id: str,
        *,
        step_in_pipeline: int | None = None,
    ) -> Token:
        """Record a join, also one without parents."""
        if parent_token_ids:
            return super().coalesce_tokens(
                parent_token_ids, row_id, step_in_pipeline=step_in_pipeline
            )
        joined = Token(
            token_id=self._new_id(),
            row_id=row_id,
            created_at=self._clock(),
            join_group_id=self._new_id(),
            step_in_pipeline=step_in_pipeline,
        )
        self._insert(tokens_table, joined)
        return joined


class ScriptedRecorder:
    """A recorder on one open transaction with a scripted clock and id generator."""

    def __init__(self, connection: Connection) -> None:
        self._times: deque[str] = deque()
        self._ids: deque[str] = deque()
        self.recorder = LenientRecorder(
            _OneTransaction(connection), clock=self._clock, new_id=self._ids.popleft
        )

    def _clock(self) -> datetime:
        return datetime.fromisoformat(self._times.popleft()).replace(tzinfo=UTC)

    @contextmanager
    def script(self, *times: str, ids: Iterable[str] = ()) -> Iterator[LandscapeRecorder]:
        """Give the recorder the times and ids that it reads in this block, in their order.

        Raises AssertionError when the block does not read all of them.
        """
        self._times += times
        self._ids += ids
        yield self.recorder
        if self._times or self._ids:
            raise AssertionError(f"The recorder left {[*self._times, *self._ids]} unread")


class _OneTransaction(LandscapeDB):
    """A database whose transactions are all part of one that is already open."""

    def __init__(self, connection: Connection) -> None:
        self._engine = connection.engine
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield the open connection, and leave its transaction open."""
        yield self._connection


def write_through_recorder(
    db: LandscapeDB, sections: Iterable[Section], reorders: Sequence[Reorder] = ()
) -> None:
    """Record all sections in one transaction. An interruption stores nothing.

    It takes the arguments of `write_in_bulk`. ValueError when there are reorders: the recorder
    stores entities in the order in which they happen.
    """
    if reorders:
        raise ValueError("the recorder cannot change the order of entities")
    with db.connection() as connection:
        recording = _Recording(connection)
        ended = []
        for section in sections:
            recording.record(section)
            ended += [run for run in section.runs if run.completed_at]
        for run in ended:
            recording.complete_run(run)


class _Origin(NamedTuple):
    """The ids of the fork, expansion or join that made a token. A root has none."""

    fork: str | None
    expansion: str | None
    join: str | None


class _Recording:
    """Turns entities into calls of the recorder."""

    def __init__(self, connection: Connection) -> None:
        self._scripted = ScriptedRecorder(connection)
        self._values = load_pools().by_hash

    def _value_of(self, hash_: str | None) -> Any:
        return None if hash_ is None else self._values[hash_]

    def record(self, section: Section) -> None:
        """Record the entities of a section in the order of a pipeline."""
        for run in section.runs:
            self._begin_run(run)
        for node in section.nodes:
            self._register_node(node)
        for edge in section.edges:
            self._register_edge(edge)
        for row in section.rows:
            self._create_row(row)
        self._create_tokens(section)
        self._record_states(section)
        self._record_batches(section)
        for artifact in section.artifacts:
            self._register_artifact(artifact)

    def _record_states(self, section: Section) -> None:
        for state in section.node_states:
            self._begin_state(state)
        for group_id, members in groupby(section.routing_events, attrgetter("routing_group_id")):
            events = list(members)
            if len(events) > 1:
                self._route_together(group_id, events)
            else:
                self._route(events[0])
        for call in section.calls:
            self._call(call)
        for state in section.node_states:
            if state.completed_at:
                self._complete_state(state)

    def _begin_run(self, run: StoredRun) -> None:
        with self._scripted.script(run.started_at) as recorder:
            recorder.begin_run(
                json.loads(run.settings_json),
                run.canonical_version,
                run_id=run.run_id,
                reproducibility_grade=run.reproducibility_grade,
            )

    def complete_run(self, run: StoredRun) -> None:
        """Record the end of a run, after all its sections."""
        with self._scripted.script(str(run.completed_at)) as recorder:
            recorder.complete_run(
                run.run_id, run.status, reproducibility_grade=run.reproducibility_grade
            )

    def _register_node(self, node: StoredNode) -> None:
        with self._scripted.script(node.registered_at) as recorder:
            recorder.register_node(
                node.run_id,
                node.plugin_name,
                node.node_type,
                node.plugin_version,
                json.loads(node.config_json),
                node_id=node.node_id,
                sequence=node.sequence_in_pipeline,
                schema_hash=node.schema_hash,
                determinism=node.determinism,
                schema_config=_schema_config(node),
            )

    def _register_edge(self, edge: StoredEdge) -> None:
        with self._scripted.script(edge.created_at) as recorder:
            recorder.register_edge(
                edge.run_id,
                edge.from_node_id,
                edge.to_node_id,
                edge.label,
                edge.default_mode,
                edge_id=edge.edge_id,
            )

    def _create_row(self, row: StoredRow) -> None:
        with self._scripted.script(row.created_at) as recorder:
            recorder.create_row(
                row.run_id,
                row.source_node_id,
                row.row_index,
                self._value_of(row.source_data_hash),
                row_id=row.row_id,
                payload_ref=row.source_data_ref,
            )

    def _create_tokens(self, section: Section) -> None:
        parents = defaultdict(list)
        for link in section.token_parents:
            parents[link.token_id].append(link.parent_token_id)
        for group, members in groupby(section.tokens, _origin):
            self._create_group(group, list(members), parents)

    def _create_group(
        self, group: _Origin, tokens: list[StoredToken], parents: Mapping[str, list[str]]
    ) -> None:
        """Record the tokens of one fork, expansion or join, or a root token."""
        token = tokens[0]
        if group.fork:
            self._fork(group.fork, tokens, parents[token.token_id][0])
        elif group.expansion:
            self._expand(group.expansion, tokens, parents[token.token_id][0])
        elif group.join:
            self._coalesce(group.join, token, parents[token.token_id])
        else:
            self._create(token)

    def _create(self, token: StoredToken) -> None:
        with self._scripted.script(token.created_at) as recorder:
            recorder.create_token(
                token.row_id, token_id=token.token_id, branch_name=token.branch_name
            )

    def _fork(self, group_id: str, tokens: list[StoredToken], parent_token_id: str) -> None:
        times = (token.created_at for token in tokens)
        with self._scripted.script(*times, ids=(group_id, *_ids(tokens))) as recorder:
            recorder.fork_token(
                parent_token_id,
                tokens[0].row_id,
                [str(token.branch_name) for token in tokens],
                step_in_pipeline=tokens[0].step_in_pipeline,
            )

    def _expand(self, group_id: str, tokens: list[StoredToken], parent_token_id: str) -> None:
        times = (token.created_at for token in tokens)
        with self._scripted.script(*times, ids=(group_id, *_ids(tokens))) as recorder:
            recorder.expand_token(
                parent_token_id,
                tokens[0].row_id,
                len(tokens),
                tokens[0].step_in_pipeline or 0,
            )

    def _coalesce(self, group_id: str, token: StoredToken, parent_token_ids: list[str]) -> None:
        with self._scripted.script(token.created_at, ids=(token.token_id, group_id)) as recorder:
            recorder.coalesce_tokens(
                parent_token_ids, token.row_id, step_in_pipeline=token.step_in_pipeline
            )

    def _begin_state(self, state: StoredNodeState) -> None:
        with self._scripted.script(state.started_at) as recorder:
            recorder.begin_node_state(
                state.token_id,
                state.node_id,
                state.step_index,
                self._value_of(state.input_hash),
                state_id=state.state_id,
                attempt=state.attempt,
                context_before=_parsed(state.context_before_json),
            )

    def _complete_state(self, state: StoredNodeState) -> None:
        with self._scripted.script(str(state.completed_at)) as recorder:
            recorder.complete_node_state(
                state.state_id,
                state.status,
                output_data=self._value_of(state.output_hash),
                duration_ms=state.duration_ms,
                error=_parsed(state.error_json),
                context_after=_parsed(state.context_after_json),
            )

    def _route(self, event: StoredRoutingEvent) -> None:
        with self._scripted.script(event.created_at) as recorder:
            recorder.record_routing_event(
                event.state_id,
                event.edge_id,
                event.mode,
                self._value_of(event.reason_hash),
                event_id=event.event_id,
                routing_group_id=event.routing_group_id,
                ordinal=event.ordinal,
                reason_ref=event.reason_ref,
            )

    def _route_together(self, group_id: str, events: list[StoredRoutingEvent]) -> None:
        """Record the routes of one group in one call."""
        ids = (group_id, *(event.event_id for event in events))
        with self._scripted.script(events[0].created_at, ids=ids) as recorder:
            recorder.record_routing_events(
                events[0].state_id,
                [RoutingSpec(event.edge_id, RoutingMode(event.mode)) for event in events],
                self._value_of(events[0].reason_hash),
            )

    def _call(self, call: StoredCall) -> None:
        with self._scripted.script(call.created_at) as recorder:
            recorder.record_call(
                call.state_id,
                call.call_index,
                call.call_type,
                call.status,
                self._value_of(call.request_hash),
                response_data=self._value_of(call.response_hash),
                error=_parsed(call.error_json),
                latency_ms=call.latency_ms,
                request_ref=call.request_ref,
                response_ref=call.response_ref,
                call_id=call.call_id,
            )

    def _record_batches(self, section: Section) -> None:
        """Record the attempts at a batch. A retry takes the members of the attempt before it."""
        failed = None
        for batch in section.batches:
            if failed is None:
                self._create_batch(batch)
                for member in section.batch_members:
                    if member.batch_id == batch.batch_id:
                        self._scripted.recorder.add_batch_member(*member)
            else:
                with self._scripted.script(batch.created_at, ids=[batch.batch_id]) as recorder:
                    recorder.retry_batch(failed.batch_id)
            if batch.completed_at:
                self._complete_batch(batch)
            failed = batch

    def _create_batch(self, batch: StoredBatch) -> None:
        with self._scripted.script(batch.created_at) as recorder:
            recorder.create_batch(
                batch.run_id,
                batch.aggregation_node_id,
                batch_id=batch.batch_id,
                attempt=batch.attempt,
            )

    def _complete_batch(self, batch: StoredBatch) -> None:
        self._scripted.recorder.update_batch_status(batch.batch_id, BatchStatus.EXECUTING)
        with self._scripted.script(str(batch.completed_at)) as recorder:
            recorder.complete_batch(
                batch.batch_id,
                batch.status,
                trigger_reason=batch.trigger_reason,
                state_id=batch.aggregation_state_id,
            )

    def _register_artifact(self, artifact: StoredArtifact) -> None:
        with self._scripted.script(artifact.created_at) as recorder:
            recorder.register_artifact(
                artifact.run_id,
                artifact.produced_by_state_id,
                artifact.sink_node_id,
                artifact.artifact_type,
                artifact.path_or_uri,
                artifact.content_hash,
                artifact.size_bytes,
                artifact_id=artifact.artifact_id,
            )


def _origin(token: StoredToken) -> _Origin:
    return _Origin(token.fork_group_id, token.expand_group_id, token.join_group_id)


def _ids(tokens: list[StoredToken]) -> Iterator[str]:
    return (token.token_id for token in tokens)


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _schema_config(node: StoredNode) -> SchemaConfig:
    if node.schema_fields_json is None:
        return SchemaConfig.from_dict({"fields": "dynamic"})
    fields = [
        f"{field['name']}: {field['type']}{'' if field['required'] else '?'}"
        for field in json.loads(node.schema_fields_json)
    ]
    return SchemaConfig.from_dict({"mode": node.schema_mode, "fields": fields})
