"""Plans one source row of a run: its tokens and their states, routing events and calls."""

from itertools import count
from typing import NamedTuple

from harness.generate.entities import (
    Section,
    StoredCall,
    StoredNodeState,
    StoredRoutingEvent,
    StoredRow,
    StoredToken,
    StoredTokenParent,
)
from harness.generate.sources import SIZE, Payload, Sources
from harness.generate.spec import RunSpec

MODES = ("move", "copy")
_CALL_TYPES = ("llm", "http", "sql", "filesystem")


class _StatePlan(NamedTuple):
    """A node state that every token of the run has, and the number of its routing groups.

    All tokens of a run have the same states, so they are planned once and not for every token.
    """

    node_id: str
    step_index: int
    attempt: int
    fails: bool
    groups: int
    context_json: str | None


class RowPlan:
    """Plans the rows of a run in their order."""

    def __init__(
        self, spec: RunSpec, sources: Sources, node_ids: list[str], edge_ids: list[str]
    ) -> None:
        """Plan rows for the nodes and edges of a run.

        Args:
            spec: The run.
            sources: Gives ids, times and random values. Rows advance its clock.
            node_ids: The nodes of the run. The first is the source.
            edge_ids: The edges of the run. Routing events use them in turn.
        """
        self._spec = spec
        self._sources = sources
        self._source_node_id = node_ids[0]
        self._edge_ids = edge_ids
        self._states = _state_plans(spec, node_ids, sources.pools.reasons)
        self._row_ids = sources.ids("row")
        self._token_ids = sources.ids("tok")
        self._state_ids = sources.ids("sta")
        self._event_ids = sources.ids("evt")
        self._call_ids = sources.ids("cal")
        self._group_ids = sources.ids("grp")
        # Counts all routing events of the run, so that every edge is used.
        self._routed = count()

    def row(self, number: int) -> Section:
        """Plan a row with all its children."""
        sources = self._sources
        row = StoredRow(
            row_id=next(self._row_ids),
            run_id=self._spec.run_id,
            source_node_id=self._source_node_id,
            row_index=number,
            source_data_hash=sources.draw(sources.pools.rows).hash,
            source_data_ref=sources.pools.paths[number % SIZE] if number % 2 else None,
            created_at=sources.clock.advance(),
        )
        section = Section(self._spec.run_id, number, rows=[row])
        self._add_tokens(section, row.row_id)
        for token in section.tokens:
            self._add_states(section, token.token_id)
        return section

    def _add_tokens(self, section: Section, row_id: str) -> None:
        """Add the first token of the row, and the tokens that it forks, expands or joins into."""
        root = StoredToken(
            token_id=next(self._token_ids),
            row_id=row_id,
            fork_group_id=None,
            join_group_id=None,
            expand_group_id=None,
            branch_name=None,
            step_in_pipeline=None,
            created_at=self._sources.clock.advance(),
        )
        section.tokens.append(root)
        lineage = list(self._spec.lineage.items())
        if self._spec.lineage_in_turn and lineage:
            lineage = [lineage[section.number % len(lineage)]]
        # Joins last: a row that does all three joins tokens that it has forked or expanded.
        add = {"forks": self._fork, "expansions": self._expand, "joins": self._coalesce}
        for name, tokens in lineage:
            add[name](section, root, tokens)

    def _fork(self, section: Section, root: StoredToken, tokens: int) -> None:
        forked = root._replace(fork_group_id=next(self._group_ids), step_in_pipeline=1)
        branches = self._sources.pools.branches
        for ordinal in range(tokens):
            branch = forked._replace(branch_name=branches[ordinal % SIZE])
            self._add_child(section, branch, root, ordinal)

    def _expand(self, section: Section, root: StoredToken, tokens: int) -> None:
        expanded = root._replace(expand_group_id=next(self._group_ids), step_in_pipeline=2)
        for ordinal in range(tokens):
            self._add_child(section, expanded, root, ordinal)

    def _add_child(
        self, section: Section, child: StoredToken, root: StoredToken, ordinal: int
    ) -> None:
        token_id = next(self._token_ids)
        created_at = self._sources.clock.advance()
        section.tokens.append(child._replace(token_id=token_id, created_at=created_at))
        section.token_parents.append(StoredTokenParent(token_id, root.token_id, ordinal))

    def _coalesce(self, section: Section, root: StoredToken, tokens: int) -> None:
        """Add tokens that join the latest tokens of the row."""
        # Before the loop: all joined tokens have the same parents, and a joined token is never the
        # parent of another.
        first = len(section.tokens) - self._spec.parents
        parents = [token.token_id for token in section.tokens[first:]]
        for _ in range(tokens):
            joined = root._replace(
                token_id=next(self._token_ids),
                join_group_id=next(self._group_ids),
                step_in_pipeline=3,
                created_at=self._sources.clock.advance(),
            )
            section.tokens.append(joined)
            section.token_parents += (
                StoredTokenParent(joined.token_id, parent, ordinal)
                for ordinal, parent in enumerate(parents)
            )

    # Hot path: node states and calls are most of a large run. They are built by position, which is
    # faster than by keyword.

    def _add_states(self, section: Section, token_id: str) -> None:
        sources, clock, pools = self._sources, self._sources.clock, self._sources.pools
        for node_id, step_index, attempt, fails, groups, context in self._states:
            state_id = next(self._state_ids)
            started_at = clock.advance()
            start = clock.now
            for _ in range(groups):
                self._add_routing_group(section, state_id)
            for call_index in range(self._spec.calls):
                self._add_call(section, state_id, call_index)
            completed_at = clock.advance(1 + int(sources.random() * 2000))
            section.node_states.append(
                StoredNodeState(
                    state_id,
                    token_id,
                    node_id,
                    step_index,
                    attempt,
                    "failed" if fails else "completed",
                    sources.draw(pools.rows).hash,
                    None if fails else sources.draw(pools.rows).hash,
                    context,
                    context,
                    (clock.now - start) / 1000,
                    sources.draw(pools.errors).json if fails else None,
                    started_at,
                    completed_at,
                )
            )

    def _add_routing_group(self, section: Section, state_id: str) -> None:
        group_id = next(self._group_ids)
        reason_hash = self._sources.draw(self._sources.pools.reasons).hash
        created_at = self._sources.clock.advance()
        for ordinal in range(self._spec.routing_events):
            section.routing_events.append(
                StoredRoutingEvent(
                    event_id=next(self._event_ids),
                    state_id=state_id,
                    edge_id=self._edge_ids[next(self._routed) % len(self._edge_ids)],
                    routing_group_id=group_id,
                    ordinal=ordinal,
                    mode=MODES[ordinal % len(MODES)],
                    reason_hash=reason_hash,
                    reason_ref=None,
                    created_at=created_at,
                )
            )

    def _add_call(self, section: Section, state_id: str, call_index: int) -> None:
        sources, pools = self._sources, self._sources.pools
        latency = 1 + int(sources.random() * 3000)
        # One call in eight fails. The latency decides, which saves a random number for every call.
        fails = latency % 8 == 0
        section.calls.append(
            StoredCall(
                next(self._call_ids),
                state_id,
                call_index,
                _CALL_TYPES[latency % len(_CALL_TYPES)],
                "error" if fails else "success",
                sources.draw(pools.rows).hash,
                pools.paths[latency % SIZE],
                None if fails else sources.draw(pools.rows).hash,
                None,
                sources.draw(pools.errors).json if fails else None,
                latency / 1000,
                sources.clock.advance(latency),
            )
        )


def _state_plans(
    spec: RunSpec, node_ids: list[str], contexts: tuple[Payload, ...]
) -> list[_StatePlan]:
    """Return the node states of a token: its steps in order, each with its attempts in order."""
    # The steps get the retries in turn.
    attempts = [1 + len(range(step, spec.retries, spec.states)) for step in range(spec.states)]
    states = []
    for step in range(spec.states):
        # More steps than nodes lead to the first node again. The attempts there continue its
        # earlier ones, because the schema allows one state for a token, node and attempt.
        rounds, node = divmod(step + 1, spec.nodes)
        states += [
            (node_ids[node], step, rounds * attempts[0] + attempt, attempt < attempts[step] - 1)
            for attempt in range(attempts[step])
        ]
    return [
        _StatePlan(
            *state,
            groups=len(range(place, spec.routing_groups, len(states))),
            context_json=contexts[place % SIZE].json if place % 3 == 1 else None,
        )
        for place, state in enumerate(states)
    ]
