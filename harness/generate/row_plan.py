"""Plans one source row: its tokens, and what happens to each of them."""

from itertools import count
from typing import NamedTuple

from harness.generate.pools import SIZE, Payload
from harness.generate.rows import (
    CallFact,
    Chapter,
    NodeStateFact,
    RoutingEventFact,
    RowFact,
    TokenFact,
    TokenParentFact,
)
from harness.generate.sources import Sources
from harness.generate.spec import RunSpec

MODES = ("move", "copy")
_CALL_TYPES = ("llm", "http", "sql", "filesystem")


class _Visit(NamedTuple):
    """An attempt at a step, which every token makes alike, and its routing groups."""

    node_id: str
    step_index: int
    attempt: int
    fails: bool
    groups: int
    context_json: str | None


class RowPlan:
    """Plans the rows of a run, one after the other."""

    def __init__(
        self, spec: RunSpec, sources: Sources, node_ids: list[str], edge_ids: list[str]
    ) -> None:
        self._spec = spec
        self._sources = sources
        self._source_node_id = node_ids[0]
        self._edge_ids = edge_ids
        self._visits = _visits(spec, node_ids, sources.pools.reasons)
        self._row_ids = sources.ids("row")
        self._token_ids = sources.ids("tok")
        self._state_ids = sources.ids("sta")
        self._event_ids = sources.ids("evt")
        self._call_ids = sources.ids("cal")
        self._group_ids = sources.ids("grp")
        self._routed = count()

    def row(self, number: int) -> Chapter:
        """Plan a row with all that is below it."""
        sources = self._sources
        row = RowFact(
            row_id=next(self._row_ids),
            run_id=self._spec.run_id,
            source_node_id=self._source_node_id,
            row_index=number,
            source_data_hash=sources.any(sources.pools.rows).hash,
            source_data_ref=sources.pools.paths[number % SIZE] if number % 2 else None,
            created_at=sources.clock.tell(),
        )
        chapter = Chapter(self._spec.run_id, number, rows=[row])
        self._add_tokens(chapter, row.row_id)
        for token in chapter.tokens:
            self._add_states(chapter, token.token_id)
        return chapter

    def _add_tokens(self, chapter: Chapter, row_id: str) -> None:
        """Add the row's first token, and those that it becomes."""
        root = TokenFact(
            token_id=next(self._token_ids),
            row_id=row_id,
            fork_group_id=None,
            join_group_id=None,
            expand_group_id=None,
            branch_name=None,
            step_in_pipeline=None,
            created_at=self._sources.clock.tell(),
        )
        chapter.tokens.append(root)
        lineage = list(self._spec.lineage.items())
        if self._spec.lineage_in_turn and lineage:
            lineage = [lineage[chapter.number % len(lineage)]]
        add = {"forks": self._fork, "expansions": self._expand, "joins": self._coalesce}
        for name, tokens in lineage:
            add[name](chapter, root, tokens)

    def _fork(self, chapter: Chapter, root: TokenFact, tokens: int) -> None:
        group_id = next(self._group_ids)
        for ordinal in range(tokens):
            child = root._replace(
                token_id=next(self._token_ids),
                fork_group_id=group_id,
                branch_name=self._sources.pools.branches[ordinal % SIZE],
                step_in_pipeline=1,
                created_at=self._sources.clock.tell(),
            )
            chapter.tokens.append(child)
            chapter.token_parents.append(TokenParentFact(child.token_id, root.token_id, ordinal))

    def _expand(self, chapter: Chapter, root: TokenFact, tokens: int) -> None:
        group_id = next(self._group_ids)
        for ordinal in range(tokens):
            child = root._replace(
                token_id=next(self._token_ids),
                expand_group_id=group_id,
                step_in_pipeline=2,
                created_at=self._sources.clock.tell(),
            )
            chapter.tokens.append(child)
            chapter.token_parents.append(TokenParentFact(child.token_id, root.token_id, ordinal))

    def _coalesce(self, chapter: Chapter, root: TokenFact, tokens: int) -> None:
        """Join the latest tokens of the row, once for each joined token."""
        first = len(chapter.tokens) - self._spec.parents
        parents = [token.token_id for token in chapter.tokens[first:]]
        for _ in range(tokens):
            joined = root._replace(
                token_id=next(self._token_ids),
                join_group_id=next(self._group_ids),
                step_in_pipeline=3,
                created_at=self._sources.clock.tell(),
            )
            chapter.tokens.append(joined)
            chapter.token_parents += (
                TokenParentFact(joined.token_id, parent, ordinal)
                for ordinal, parent in enumerate(parents)
            )

    # States and calls are most of a large run: they are built by position, which is faster.

    def _add_states(self, chapter: Chapter, token_id: str) -> None:
        sources, clock, pools = self._sources, self._sources.clock, self._sources.pools
        for node_id, step_index, attempt, fails, groups, context in self._visits:
            state_id = next(self._state_ids)
            started_at = clock.tell()
            start = clock.now
            for _ in range(groups):
                self._add_routing_group(chapter, state_id)
            for call_index in range(self._spec.calls):
                self._add_call(chapter, state_id, call_index)
            completed_at = clock.tell(1 + int(sources.random() * 2000))
            chapter.node_states.append(
                NodeStateFact(
                    state_id,
                    token_id,
                    node_id,
                    step_index,
                    attempt,
                    "failed" if fails else "completed",
                    sources.any(pools.rows).hash,
                    None if fails else sources.any(pools.rows).hash,
                    context,
                    context,
                    (clock.now - start) / 1000,
                    sources.any(pools.errors).json if fails else None,
                    started_at,
                    completed_at,
                )
            )

    def _add_routing_group(self, chapter: Chapter, state_id: str) -> None:
        group_id = next(self._group_ids)
        reason_hash = self._sources.any(self._sources.pools.reasons).hash
        created_at = self._sources.clock.tell()
        for ordinal in range(self._spec.routing_events):
            chapter.routing_events.append(
                RoutingEventFact(
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

    def _add_call(self, chapter: Chapter, state_id: str, call_index: int) -> None:
        sources, pools = self._sources, self._sources.pools
        latency = 1 + int(sources.random() * 3000)
        fails = latency % 8 == 0
        chapter.calls.append(
            CallFact(
                next(self._call_ids),
                state_id,
                call_index,
                _CALL_TYPES[latency % len(_CALL_TYPES)],
                "error" if fails else "success",
                sources.any(pools.rows).hash,
                pools.paths[latency % SIZE],
                None if fails else sources.any(pools.rows).hash,
                None,
                sources.any(pools.errors).json if fails else None,
                latency / 1000,
                sources.clock.tell(latency),
            )
        )


def _visits(spec: RunSpec, node_ids: list[str], contexts: tuple[Payload, ...]) -> list[_Visit]:
    """Lay out the states of a token: its steps in order, each with its attempts in order."""
    attempts = [1 + len(range(step, spec.retries, spec.states)) for step in range(spec.states)]
    visits = []
    for step in range(spec.states):
        # After the last node the steps come to the first again, as further attempts there.
        rounds, node = divmod(step + 1, spec.nodes)
        visits += [
            (node_ids[node], step, rounds * attempts[0] + attempt, attempt < attempts[step] - 1)
            for attempt in range(attempts[step])
        ]
    return [
        _Visit(
            *visit,
            groups=len(range(place, spec.routing_groups, len(visits))),
            context_json=contexts[place % SIZE].json if place % 3 == 1 else None,
        )
        for place, visit in enumerate(visits)
    ]
