"""Writes a plan through the recorder's public methods, as a pipeline would."""

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from elspeth.contracts.enums import BatchStatus, RoutingMode
from elspeth.contracts.models import RoutingSpec
from elspeth.contracts.schema import SchemaConfig
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.recorder import LandscapeRecorder
from harness.generate.pools import load_pools
from harness.generate.rows import (
    ArtifactFact,
    BatchFact,
    CallFact,
    Chapter,
    EdgeFact,
    NodeFact,
    NodeStateFact,
    RoutingEventFact,
    RowFact,
    RunFact,
    TokenFact,
)

# Dictation: a recorder in one open transaction, whose clock and ids say what they are told to.


class Dictation:
    """Lets the recorder record what was planned, to the microsecond and to the id."""

    def __init__(self, connection: Connection) -> None:
        """Record in the transaction that is open on a connection."""
        self._times: deque[str] = deque()
        self._ids: deque[str] = deque()
        self.recorder = LandscapeRecorder(
            _OneTransaction(connection), clock=self._clock, new_id=self._ids.popleft
        )

    def _clock(self) -> datetime:
        return datetime.fromisoformat(self._times.popleft()).replace(tzinfo=UTC)

    @contextmanager
    def taking(self, *times: str, ids: Iterable[str] = ()) -> Iterator[LandscapeRecorder]:
        """Lay out the times and ids that the calls in this block read, in their order, all."""
        self._times += times
        self._ids += ids
        yield self.recorder
        if self._times or self._ids:
            raise AssertionError(f"The recorder left {[*self._times, *self._ids]} unread")


class _OneTransaction(LandscapeDB):
    """A database whose every transaction is part of one that is open already."""

    def __init__(self, connection: Connection) -> None:
        self._engine = connection.engine
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield the open connection, and leave its transaction open."""
        yield self._connection


def write_through_recorder(db: LandscapeDB, chapters: Iterable[Chapter]) -> None:
    """Record all chapters in one transaction: when it is interrupted, nothing is stored."""
    with db.connection() as connection:
        recording = _Recording(connection)
        ended = []
        for chapter in chapters:
            recording.record(chapter)
            ended += [run for run in chapter.runs if run.completed_at]
        for run in ended:
            recording.complete_run(run)


class _Origin(NamedTuple):
    """The group of tokens that came to be in one act, by what that act was; a root has none."""

    fork: str | None
    expansion: str | None
    join: str | None


class _Recording:
    """Turns facts into calls of the recorder."""

    def __init__(self, connection: Connection) -> None:
        self._dictation = Dictation(connection)
        self._values = load_pools().behind

    def _behind(self, hash_: str | None) -> Any:
        return None if hash_ is None else self._values[hash_]

    def record(self, chapter: Chapter) -> None:
        """Record a chapter in the order in which a pipeline comes to its parts."""
        for run in chapter.runs:
            self._begin_run(run)
        for node in chapter.nodes:
            self._register_node(node)
        for edge in chapter.edges:
            self._register_edge(edge)
        for row in chapter.rows:
            self._create_row(row)
        self._create_tokens(chapter)
        self._record_states(chapter)
        self._record_batches(chapter)
        for artifact in chapter.artifacts:
            self._register_artifact(artifact)

    def _record_states(self, chapter: Chapter) -> None:
        for state in chapter.node_states:
            self._begin_state(state)
        for group_id, members in groupby(chapter.routing_events, attrgetter("routing_group_id")):
            events = list(members)
            if len(events) > 1:
                self._route_together(group_id, events)
            else:
                self._route(events[0])
        for call in chapter.calls:
            self._call(call)
        for state in chapter.node_states:
            if state.completed_at:
                self._complete_state(state)

    def _begin_run(self, run: RunFact) -> None:
        with self._dictation.taking(run.started_at) as recorder:
            recorder.begin_run(
                json.loads(run.settings_json),
                run.canonical_version,
                run_id=run.run_id,
                reproducibility_grade=run.reproducibility_grade,
            )

    def complete_run(self, run: RunFact) -> None:
        """Record the end of a run; it comes after all its chapters."""
        with self._dictation.taking(str(run.completed_at)) as recorder:
            recorder.complete_run(
                run.run_id, run.status, reproducibility_grade=run.reproducibility_grade
            )

    def _register_node(self, node: NodeFact) -> None:
        with self._dictation.taking(node.registered_at) as recorder:
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

    def _register_edge(self, edge: EdgeFact) -> None:
        with self._dictation.taking(edge.created_at) as recorder:
            recorder.register_edge(
                edge.run_id,
                edge.from_node_id,
                edge.to_node_id,
                edge.label,
                edge.default_mode,
                edge_id=edge.edge_id,
            )

    def _create_row(self, row: RowFact) -> None:
        with self._dictation.taking(row.created_at) as recorder:
            recorder.create_row(
                row.run_id,
                row.source_node_id,
                row.row_index,
                self._behind(row.source_data_hash),
                row_id=row.row_id,
                payload_ref=row.source_data_ref,
            )

    def _create_tokens(self, chapter: Chapter) -> None:
        parents = defaultdict(list)
        for link in chapter.token_parents:
            parents[link.token_id].append(link.parent_token_id)
        for group, members in groupby(chapter.tokens, _origin):
            self._create_group(group, list(members), parents)

    def _create_group(
        self, group: _Origin, tokens: list[TokenFact], parents: Mapping[str, list[str]]
    ) -> None:
        """Record the tokens that came to be in one act."""
        token = tokens[0]
        if group.fork:
            self._fork(group.fork, tokens, parents[token.token_id][0])
        elif group.expansion:
            self._expand(group.expansion, tokens, parents[token.token_id][0])
        elif group.join:
            self._coalesce(group.join, token, parents[token.token_id])
        else:
            self._create(token)

    def _create(self, token: TokenFact) -> None:
        with self._dictation.taking(token.created_at) as recorder:
            recorder.create_token(
                token.row_id, token_id=token.token_id, branch_name=token.branch_name
            )

    def _fork(self, group_id: str, tokens: list[TokenFact], parent_token_id: str) -> None:
        times = (token.created_at for token in tokens)
        with self._dictation.taking(*times, ids=(group_id, *_ids(tokens))) as recorder:
            recorder.fork_token(
                parent_token_id,
                tokens[0].row_id,
                [str(token.branch_name) for token in tokens],
                step_in_pipeline=tokens[0].step_in_pipeline,
            )

    def _expand(self, group_id: str, tokens: list[TokenFact], parent_token_id: str) -> None:
        times = (token.created_at for token in tokens)
        with self._dictation.taking(*times, ids=(group_id, *_ids(tokens))) as recorder:
            recorder.expand_token(
                parent_token_id,
                tokens[0].row_id,
                len(tokens),
                tokens[0].step_in_pipeline or 0,
            )

    def _coalesce(self, group_id: str, token: TokenFact, parent_token_ids: list[str]) -> None:
        with self._dictation.taking(token.created_at, ids=(token.token_id, group_id)) as recorder:
            recorder.coalesce_tokens(
                parent_token_ids, token.row_id, step_in_pipeline=token.step_in_pipeline
            )

    def _begin_state(self, state: NodeStateFact) -> None:
        with self._dictation.taking(state.started_at) as recorder:
            recorder.begin_node_state(
                state.token_id,
                state.node_id,
                state.step_index,
                self._behind(state.input_hash),
                state_id=state.state_id,
                attempt=state.attempt,
                context_before=_parsed(state.context_before_json),
            )

    def _complete_state(self, state: NodeStateFact) -> None:
        with self._dictation.taking(str(state.completed_at)) as recorder:
            recorder.complete_node_state(
                state.state_id,
                state.status,
                output_data=self._behind(state.output_hash),
                duration_ms=state.duration_ms,
                error=_parsed(state.error_json),
                context_after=_parsed(state.context_after_json),
            )

    def _route(self, event: RoutingEventFact) -> None:
        with self._dictation.taking(event.created_at) as recorder:
            recorder.record_routing_event(
                event.state_id,
                event.edge_id,
                event.mode,
                self._behind(event.reason_hash),
                event_id=event.event_id,
                routing_group_id=event.routing_group_id,
                ordinal=event.ordinal,
                reason_ref=event.reason_ref,
            )

    def _route_together(self, group_id: str, events: list[RoutingEventFact]) -> None:
        """Record a group of several routes as the one decision that it is."""
        ids = (group_id, *(event.event_id for event in events))
        with self._dictation.taking(events[0].created_at, ids=ids) as recorder:
            recorder.record_routing_events(
                events[0].state_id,
                [RoutingSpec(event.edge_id, RoutingMode(event.mode)) for event in events],
                self._behind(events[0].reason_hash),
            )

    def _call(self, call: CallFact) -> None:
        with self._dictation.taking(call.created_at) as recorder:
            recorder.record_call(
                call.state_id,
                call.call_index,
                call.call_type,
                call.status,
                self._behind(call.request_hash),
                response_data=self._behind(call.response_hash),
                error=_parsed(call.error_json),
                latency_ms=call.latency_ms,
                request_ref=call.request_ref,
                response_ref=call.response_ref,
                call_id=call.call_id,
            )

    def _record_batches(self, chapter: Chapter) -> None:
        """Record the attempts at a batch; a further one takes the members of the one before."""
        failed = None
        for batch in chapter.batches:
            if failed is None:
                self._create_batch(batch)
                for member in chapter.batch_members:
                    if member.batch_id == batch.batch_id:
                        self._dictation.recorder.add_batch_member(*member)
            else:
                with self._dictation.taking(batch.created_at, ids=[batch.batch_id]) as recorder:
                    recorder.retry_batch(failed.batch_id)
            if batch.completed_at:
                self._complete_batch(batch)
            failed = batch

    def _create_batch(self, batch: BatchFact) -> None:
        with self._dictation.taking(batch.created_at) as recorder:
            recorder.create_batch(
                batch.run_id,
                batch.aggregation_node_id,
                batch_id=batch.batch_id,
                attempt=batch.attempt,
            )

    def _complete_batch(self, batch: BatchFact) -> None:
        self._dictation.recorder.update_batch_status(batch.batch_id, BatchStatus.EXECUTING)
        with self._dictation.taking(str(batch.completed_at)) as recorder:
            recorder.complete_batch(
                batch.batch_id,
                batch.status,
                trigger_reason=batch.trigger_reason,
                state_id=batch.aggregation_state_id,
            )

    def _register_artifact(self, artifact: ArtifactFact) -> None:
        with self._dictation.taking(artifact.created_at) as recorder:
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


def _origin(token: TokenFact) -> _Origin:
    return _Origin(token.fork_group_id, token.expand_group_id, token.join_group_id)


def _ids(tokens: list[TokenFact]) -> Iterator[str]:
    return (token.token_id for token in tokens)


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _schema_config(node: NodeFact) -> SchemaConfig:
    if node.schema_fields_json is None:
        return SchemaConfig.from_dict({"fields": "dynamic"})
    fields = [
        f"{field['name']}: {field['type']}{'' if field['required'] else '?'}"
        for field in json.loads(node.schema_fields_json)
    ]
    return SchemaConfig.from_dict({"mode": node.schema_mode, "fields": fields})
