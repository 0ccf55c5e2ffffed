"""Records what happens to a token at a node: its state, where it is routed, what is called."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from elspeth.contracts.enums import CallStatus, CallType, NodeStateStatus, RoutingMode
from elspeth.contracts.models import (
    Call,
    NodeStateCompleted,
    NodeStateFailed,
    NodeStateOpen,
    RoutingEvent,
    RoutingSpec,
)
from elspeth.core.canonical import canonical_json, stable_hash
from elspeth.core.landscape.schema import calls_table, node_states_table, routing_events_table
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
        """Record that a token's visit to a node starts now; an empty context is stored as NULL."""
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
        """Record that a visit ends now, and read it back; "rejected" means failed.

        An empty output is an output and is hashed; only None is none. An empty error or context
        is stored as NULL. ValueError for an open status, a duration that is missing or not
        finite, or a completed state without output; AssertionError when the state is unknown.
        """
        ending = _ending(status)
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
        """Record one route taken, with the hash of the reason unless that is empty."""
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
        """Record the routes of one decision as a group, in their order, in one transaction."""
        routing_group_id = self._new_id()
        created_at: datetime = self._clock()
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
        """Record a call to the outside by the hashes of its request and response.

        ValueError for a latency that is not finite.
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


def _ending(status: NodeStateStatus | str) -> NodeStateStatus:
    ending = NodeStateStatus.FAILED if status == "rejected" else NodeStateStatus(status)
    if ending is NodeStateStatus.OPEN:
        raise ValueError("A node state cannot be completed as open: say completed or failed")
    return ending


def _json_unless_empty(value: Mapping[str, object] | None) -> str | None:
    return canonical_json(value) if value else None
