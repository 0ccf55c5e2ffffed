"""StateRecorder: record node states, routing events and calls."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select

from elspeth.contracts.enums import CallStatus, CallType, NodeStateStatus, RoutingMode
from elspeth.contracts.errors import RecordingError, UnknownEntityError
from elspeth.contracts.models import (
    Call,
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    RoutingEvent,
    RoutingSpec,
)
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.landscape.schema import (
    calls_table,
    edges_table,
    node_states_table,
    nodes_table,
    routing_events_table,
    tokens_table,
)
from elspeth.core.landscape.store.references import Reference
from elspeth.core.landscape.store.writer import LandscapeWriter, refuse_not_finite


class StateRecorder(LandscapeWriter):
    """Writes node states, routing events and calls."""

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
        self._insert(
            node_states_table,
            state,
            Reference(tokens_table, token_id),
            Reference(nodes_table, node_id),
        )
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
                state has no output or has an error.
            UnknownEntityError: There is no such state.
            RecordingError: The state has ended already.
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
        if ending is NodeStateStatus.COMPLETED and error:
            raise ValueError(f"A completed node state has no error, but {state_id!r} was given one")
        values = {
            "status": ending.value,
            "output_hash": None if output_data is None else stable_hash(output_data),
            "duration_ms": duration_ms,
            "error_json": _json_unless_empty(error),
            "context_after_json": _json_unless_empty(context_after),
            "completed_at": self._clock(),
        }
        states = node_states_table.c
        # The condition is part of the UPDATE: of two processes that end a state, one is refused.
        is_open = (states.state_id == state_id) & (states.status == NodeStateStatus.OPEN.value)
        ended = self._update(node_states_table, is_open, values)
        state = self.get_node_state(state_id)
        if state is None:
            raise UnknownEntityError(f"Cannot complete node state {state_id!r}: no such state")
        if isinstance(state, NodeStateOpen) or not ended:
            raise RecordingError(
                f"Cannot complete node state {state_id!r} as {ending.value}: "
                f"it is {state.status.value} already"
            )
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
        references = _ends(state_id, [edge_id])
        if routing_group_id:
            references.append(Reference(node_states_table, self._state_of_group(routing_group_id)))
        self._insert(routing_events_table, event, *references)
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
        references = _ends(state_id, [route.edge_id for route in routes])
        self._insert_all({routing_events_table: events}, references)
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

    def _state_of_group(self, routing_group_id: str) -> str | None:
        """Return a node state that has recorded an event of the group, if there is one."""
        events = routing_events_table.c
        statement = select(events.state_id).where(events.routing_group_id == routing_group_id)
        with self._db.connection() as connection:
            return connection.scalar(statement.limit(1))


def _ends(state_id: str, edge_ids: Iterable[str]) -> list[Reference]:
    state = Reference(node_states_table, state_id)
    return [state, *(Reference(edges_table, edge_id) for edge_id in dict.fromkeys(edge_ids))]


def _json_unless_empty(value: Mapping[str, object] | None) -> str | None:
    return canonical_json(value) if value else None
