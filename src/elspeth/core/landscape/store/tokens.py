"""TokenRecorder: record source rows, tokens, node states, routing events and calls."""

from collections.abc import Mapping, Sequence

from elspeth.contracts.enums import CallStatus, CallType, NodeStateStatus, RoutingMode
from elspeth.contracts.models import (
    Call,
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    RoutingEvent,
    RoutingSpec,
    Row,
    Token,
    TokenParent,
)
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.landscape.schema import (
    calls_table,
    node_states_table,
    routing_events_table,
    rows_table,
    token_parents_table,
    tokens_table,
)
from elspeth.core.landscape.store.writer import LandscapeWriter, refuse_not_finite


class TokenRecorder(LandscapeWriter):
    """Writes rows, tokens, token parents, node states, routing events and calls."""

    def create_row(
        self,
        run_id: str,
        source_node_id: str,
        row_index: int,
        data: object,
        *,
        row_id: str | None = None,
        payload_ref: str | None = None,
    ) -> Row:
        """Record a source row by the hash of its data.

        Args:
            run_id: The run.
            source_node_id: The source that read the row.
            row_index: The index of the row, unique in the run.
            data: The data; only its hash is stored.
            row_id: The id, or None for a new one.
            payload_ref: A reference to the data, if it is kept elsewhere.
        """
        row = Row(
            row_id=row_id or self._new_id(),
            run_id=run_id,
            source_node_id=source_node_id,
            row_index=row_index,
            source_data_hash=stable_hash(data),
            created_at=self._clock(),
            source_data_ref=payload_ref,
        )
        self._insert(rows_table, row)
        return row

    def create_token(
        self,
        row_id: str,
        *,
        token_id: str | None = None,
        branch_name: str | None = None,
        fork_group_id: str | None = None,
        join_group_id: str | None = None,
    ) -> Token:
        """Record a token without a parent token.

        Args:
            row_id: The row.
            token_id: The id, or None for a new one.
            branch_name: The branch, if the token takes one.
            fork_group_id: The fork, if the token belongs to one.
            join_group_id: The join, if the token belongs to one.
        """
        token = Token(
            token_id=token_id or self._new_id(),
            row_id=row_id,
            created_at=self._clock(),
            fork_group_id=fork_group_id,
            join_group_id=join_group_id,
            branch_name=branch_name,
        )
        self._insert(tokens_table, token)
        return token

    def fork_token(
        self,
        parent_token_id: str,
        row_id: str,
        branches: Sequence[str],
        *,
        step_in_pipeline: int | None = None,
    ) -> list[Token]:
        """Record a child for every branch, in one transaction.

        Args:
            parent_token_id: The token that forks.
            row_id: The row of the token.
            branches: The names of the branches, in order.
            step_in_pipeline: The step at which it forks, if known.
        """
        fork_group_id = self._new_id()
        children = [
            Token(
                token_id=self._new_id(),
                row_id=row_id,
                created_at=self._clock(),
                fork_group_id=fork_group_id,
                branch_name=branch,
                step_in_pipeline=step_in_pipeline,
            )
            for branch in branches
        ]
        self._insert_children(children, parent_token_id)
        return children

    def expand_token(
        self, parent_token_id: str, row_id: str, count: int, step_in_pipeline: int
    ) -> list[Token]:
        """Record the children of a token that becomes several, in one transaction.

        Args:
            parent_token_id: The token.
            row_id: Its row.
            count: How many children.
            step_in_pipeline: The step at which it expands.

        Raises:
            ValueError: The count is below 1.
        """
        if count < 1:
            raise ValueError(f"A token expands into at least 1 token, not {count}")
        expand_group_id = self._new_id()
        children = [
            Token(
                token_id=self._new_id(),
                row_id=row_id,
                created_at=self._clock(),
                expand_group_id=expand_group_id,
                step_in_pipeline=step_in_pipeline,
            )
            for _ in range(count)
        ]
        self._insert_children(children, parent_token_id)
        return children

    def coalesce_tokens(
        self,
        parent_token_ids: Sequence[str],
        row_id: str,
        *,
        step_in_pipeline: int | None = None,
    ) -> Token:
        """Record the token that several tokens become, in one transaction.

        Args:
            parent_token_ids: The tokens, in order.
            row_id: The row of the new token.
            step_in_pipeline: The step at which they join, if known.
        """
        joined = Token(
            token_id=self._new_id(),
            row_id=row_id,
            created_at=self._clock(),
            join_group_id=self._new_id(),
            step_in_pipeline=step_in_pipeline,
        )
        parents = [
            TokenParent(joined.token_id, parent_token_id, ordinal)
            for ordinal, parent_token_id in enumerate(parent_token_ids)
        ]
        self._insert_all({tokens_table: [joined], token_parents_table: parents})
        return joined

    def begin_node_state(
        self,
        token_id: str,
        node_id: str,
        step_index: int,
        input_data: object,
        *,
        state_id: str | None = None,
        attempt: int = 0,
        context_before: Mapping[str, object] | None = None,
    ) -> NodeStateOpen:
        """Record that a token's visit to a node starts now.

        Args:
            token_id: The token.
            node_id: The node.
            step_index: The step of the pipeline.
            input_data: The input; only its hash is stored.
            state_id: The id, or None for a new one.
            attempt: The number of the attempt at the step, from 0.
            context_before: Stored as canonical JSON, or as NULL when empty.
        """
        state = NodeStateOpen(
            state_id=state_id or self._new_id(),
            token_id=token_id,
            node_id=node_id,
            step_index=step_index,
            attempt=attempt,
            status=NodeStateStatus.OPEN,
            input_hash=stable_hash(input_data),
            started_at=self._clock(),
            context_before_json=_json_unless_empty(context_before),
        )
        self._insert(node_states_table, state)
        return state

    def complete_node_state(
        self,
        state_id: str,
        status: NodeStateStatus | str,
        *,
        output_data: object = None,
        duration_ms: float | None = None,
        error: Mapping[str, object] | None = None,
        context_after: Mapping[str, object] | None = None,
    ) -> NodeStateCompleted | NodeStateFailed:
        """Record that a visit ends now, and return it as stored.

        Args:
            state_id: The node state.
            status: "completed" or "failed"; "rejected" means failed.
            output_data: The output; only its hash is stored. None is stored as NULL, an empty
                output is hashed.
            duration_ms: The duration of the visit in milliseconds.
            error: Stored as canonical JSON, or as NULL when empty.
            context_after: Stored as canonical JSON, or as NULL when empty.

        Raises:
            ValueError: The status is open, the duration is missing or not finite, or a completed
                state has no output.
            AssertionError: There is no such state.
        """
        # As in the original, a caller may pass "rejected" for failed.
        ending = NodeStateStatus.FAILED if status == "rejected" else NodeStateStatus(status)
        if ending is NodeStateStatus.OPEN:
            raise ValueError("A node state cannot be completed as open: say completed or failed")
        if duration_ms is None:
            raise ValueError(f"duration_ms is required to complete node state {state_id!r}")
        refuse_not_finite("duration_ms", duration_ms)
        if ending is NodeStateStatus.COMPLETED and output_data is None:
            raise ValueError(f"output_data is required to complete node state {state_id!r}")
        values = {
            "status": ending.value,
            "output_hash": None if output_data is None else stable_hash(output_data),
            "duration_ms": duration_ms,
            "error_json": _json_unless_empty(error),
            "context_after_json": _json_unless_empty(context_after),
            "completed_at": self._clock(),
        }
        self._update(node_states_table, node_states_table.c.state_id == state_id, values)
        # An UPDATE of an unknown id changes nothing and raises nothing: reading it shows that.
        state = self.get_node_state(state_id)
        if state is None or isinstance(state, NodeStateOpen):
            raise AssertionError(f"Cannot complete node state {state_id!r}: no such state")
        return state

    def record_routing_event(
        self,
        state_id: str,
        edge_id: str,
        mode: RoutingMode | str,
        reason: Mapping[str, object] | None = None,
        *,
        event_id: str | None = None,
        routing_group_id: str | None = None,
        ordinal: int = 0,
        reason_ref: str | None = None,
    ) -> RoutingEvent:
        """Record one route of a token.

        Args:
            state_id: The node state that decided the route.
            edge_id: The edge.
            mode: Whether the token or a copy of it takes the edge.
            reason: The reason; its hash is stored, or NULL when it is empty.
            event_id: The id, or None for a new one.
            routing_group_id: The decision that the route belongs to, or None for a new one.
            ordinal: The index of the route in the decision.
            reason_ref: A reference to the reason, if it is kept elsewhere.
        """
        event = RoutingEvent(
            event_id=event_id or self._new_id(),
            state_id=state_id,
            edge_id=edge_id,
            routing_group_id=routing_group_id or self._new_id(),
            ordinal=ordinal,
            mode=RoutingMode(mode),
            created_at=self._clock(),
            reason_hash=stable_hash(reason) if reason else None,
            reason_ref=reason_ref,
        )
        self._insert(routing_events_table, event)
        return event

    def record_routing_events(
        self,
        state_id: str,
        routes: Sequence[RoutingSpec],
        reason: Mapping[str, object] | None = None,
    ) -> list[RoutingEvent]:
        """Record the routes of one decision as a group, in one transaction.

        Args:
            state_id: The node state that decided the routes.
            routes: The routes, in order.
            reason: The reason; its hash is stored, or NULL when it is empty.
        """
        routing_group_id = self._new_id()
        created_at = self._clock()
        events = [
            RoutingEvent(
                event_id=self._new_id(),
                state_id=state_id,
                edge_id=route.edge_id,
                routing_group_id=routing_group_id,
                ordinal=ordinal,
                mode=RoutingMode(route.mode),
                created_at=created_at,
                reason_hash=stable_hash(reason) if reason else None,
            )
            for ordinal, route in enumerate(routes)
        ]
        self._insert_all({routing_events_table: events})
        return events

    def record_call(
        self,
        state_id: str,
        call_index: int,
        call_type: CallType | str,
        status: CallStatus | str,
        request_data: object,
        *,
        response_data: object = None,
        error: Mapping[str, object] | None = None,
        latency_ms: float | None = None,
        request_ref: str | None = None,
        response_ref: str | None = None,
        call_id: str | None = None,
    ) -> Call:
        """Record a call to an external system by the hashes of its request and response.

        Args:
            state_id: The node state that made the call.
            call_index: The index of the call in the node state.
            call_type: The kind of the system.
            status: The result of the call.
            request_data: The request; only its hash is stored.
            response_data: The response, if there was one; only its hash is stored.
            error: Stored as canonical JSON, or as NULL when empty.
            latency_ms: Milliseconds until the response, if measured.
            request_ref: A reference to the request, if it is kept elsewhere.
            response_ref: A reference to the response, if it is kept elsewhere.
            call_id: The id, or None for a new one.

        Raises:
            ValueError: The latency is not finite.
        """
        refuse_not_finite("latency_ms", latency_ms)
        call = Call(
            call_id=call_id or self._new_id(),
            state_id=state_id,
            call_index=call_index,
            call_type=CallType(call_type),
            status=CallStatus(status),
            request_hash=stable_hash(request_data),
            created_at=self._clock(),
            request_ref=request_ref,
            response_hash=None if response_data is None else stable_hash(response_data),
            response_ref=response_ref,
            error_json=_json_unless_empty(error),
            latency_ms=latency_ms,
        )
        self._insert(calls_table, call)
        return call

    def _insert_children(self, children: Sequence[Token], parent_token_id: str) -> None:
        parents = [
            TokenParent(child.token_id, parent_token_id, ordinal)
            for ordinal, child in enumerate(children)
        ]
        self._insert_all({tokens_table: children, token_parents_table: parents})


def _json_unless_empty(value: Mapping[str, object] | None) -> str | None:
    return canonical_json(value) if value else None
