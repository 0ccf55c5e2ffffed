"""Features of what a run holds: missing children, unfinished entities, ties, references."""

from collections.abc import Callable

from harness.generate.features.feature import NODE_STATES_OF_THE_RUN, Surroundings, edits
from harness.generate.rows import Chapter, NodeStateFact, TokenParentFact

# Features of what a run leaves out: parents without children.


@edits(
    "SELECT 1 FROM rows r WHERE r.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.row_id = r.row_id)",
    needs={"rows": 2},
)
def rows_without_tokens(chapter: Chapter, _: Surroundings) -> None:
    """Some rows have no token."""
    if chapter.rows and chapter.number % 5 == 1:
        chapter.tokens, chapter.token_parents = [], []
        chapter.node_states, chapter.routing_events, chapter.calls = [], [], []


@edits(
    "SELECT 1 FROM tokens t JOIN rows r ON r.row_id = t.row_id WHERE r.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM node_states s WHERE s.token_id = t.token_id)",
    needs={"forks": 1, "states": 1},
)
def tokens_without_states(chapter: Chapter, _: Surroundings) -> None:
    """Some tokens have no node state."""
    idle = {token.token_id for token in chapter.tokens[1::2]}
    chapter.node_states = [each for each in chapter.node_states if each.token_id not in idle]
    left = {state.state_id for state in chapter.node_states}
    chapter.routing_events = [each for each in chapter.routing_events if each.state_id in left]
    chapter.calls = [each for each in chapter.calls if each.state_id in left]


@edits(
    "SELECT 1 FROM batches b WHERE b.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM batch_members m WHERE m.batch_id = b.batch_id)",
    needs={"batches": 2, "members": 1},
)
def batches_without_members(chapter: Chapter, _: Surroundings) -> None:
    """Some batches have no member."""
    if chapter.number % 2 == 1:
        chapter.batch_members = []


# Features of what has not ended, or has failed.


@edits("SELECT 1 FROM runs WHERE run_id = :run_id AND completed_at IS NULL")
def open_run(chapter: Chapter, _: Surroundings) -> None:
    """The run has not ended."""
    chapter.runs = [run._replace(status="running", completed_at=None) for run in chapter.runs]


def _change_a_state(
    chapter: Chapter, place: int, change: Callable[[NodeStateFact], NodeStateFact]
) -> None:
    """Change one state of every third row, if it has one at that place."""
    if chapter.number % 3 == 0 and chapter.node_states[place:]:
        chapter.node_states[place] = change(chapter.node_states[place])


@edits(f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'open'", needs={"states": 2})
def open_states(chapter: Chapter, _: Surroundings) -> None:
    """Some node states have not ended."""
    _change_a_state(
        chapter,
        -1,
        lambda state: state._replace(
            status="open",
            output_hash=None,
            context_after_json=None,
            duration_ms=None,
            error_json=None,
            completed_at=None,
        ),
    )


@edits(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'failed' AND s.output_hash IS NULL",
    needs={"states": 2},
)
def failed_states(chapter: Chapter, around: Surroundings) -> None:
    """Some node states failed and put nothing out."""
    error = around.pools.errors[chapter.number % len(around.pools.errors)].json
    _change_a_state(
        chapter,
        0,
        lambda state: state._replace(status="failed", output_hash=None, error_json=error),
    )


@edits(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'failed' AND s.output_hash IS NOT NULL",
    needs={"states": 3},
)
def failed_states_with_output(chapter: Chapter, around: Surroundings) -> None:
    """Some node states failed and have an output all the same."""
    output = around.pools.rows[chapter.number % len(around.pools.rows)].hash
    _change_a_state(chapter, 1, lambda state: state._replace(status="failed", output_hash=output))


@edits(
    "SELECT 1 FROM batches WHERE run_id = :run_id AND completed_at IS NULL",
    needs={"batches": 1},
)
def open_batches(chapter: Chapter, _: Surroundings) -> None:
    """Some batches have not ended."""
    if chapter.batches and chapter.number % 2 == 0:
        last = chapter.batches[-1]._replace(
            status="draft", aggregation_state_id=None, trigger_reason=None, completed_at=None
        )
        chapter.batches[-1] = last


# Features that leave the order of records to tie-breakers.


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id GROUP BY sequence_in_pipeline "
    "HAVING sequence_in_pipeline IS NOT NULL AND count(*) > 1",
    needs={"nodes": 4},
)
def duplicate_sequences(chapter: Chapter, _: Surroundings) -> None:
    """Several nodes share a place in the pipeline."""
    chapter.nodes = [
        node._replace(sequence_in_pipeline=place // 2) for place, node in enumerate(chapter.nodes)
    ]


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND sequence_in_pipeline IS NULL "
    "GROUP BY run_id HAVING count(*) > 1",
    needs={"nodes": 4},
)
def null_sequences(chapter: Chapter, _: Surroundings) -> None:
    """Several nodes have no place in the pipeline."""
    half = len(chapter.nodes) // 2
    chapter.nodes[half:] = [
        node._replace(sequence_in_pipeline=None) for node in chapter.nodes[half:]
    ]


@edits(
    "SELECT 1 FROM routing_events e JOIN node_states s ON s.state_id = e.state_id "
    "JOIN tokens t ON t.token_id = s.token_id JOIN rows r ON r.row_id = t.row_id "
    "WHERE r.run_id = :run_id GROUP BY e.state_id HAVING count(DISTINCT e.routing_group_id) > 1",
    needs={"routing_groups": 2, "routing_events": 1, "states": 1},
)
def groups_in_one_state(chapter: Chapter, _: Surroundings) -> None:
    """Several routing groups belong to one node state, where their ordinals tie."""
    if chapter.routing_events:
        state_id = chapter.routing_events[0].state_id
        chapter.routing_events = [
            event._replace(state_id=state_id) for event in chapter.routing_events
        ]


# Features of references that leave the row, or the run.


def _adopt(parents: list[TokenParentFact], joined: set[str], parent_token_id: str) -> None:
    """Give each joined token another last parent."""
    last = {link.token_id: place for place, link in enumerate(parents) if link.token_id in joined}
    for place in last.values():
        parents[place] = parents[place]._replace(parent_token_id=parent_token_id)


def _joined(chapter: Chapter) -> set[str]:
    return {token.token_id for token in chapter.tokens if token.join_group_id is not None}


@edits(
    "SELECT 1 FROM token_parents p JOIN tokens t ON t.token_id = p.token_id "
    "JOIN rows r ON r.row_id = t.row_id JOIN tokens q ON q.token_id = p.parent_token_id "
    "JOIN rows f ON f.row_id = q.row_id "
    "WHERE r.run_id = :run_id AND f.run_id = r.run_id AND f.row_id <> r.row_id",
    needs={"joins": 1, "parents": 1, "rows": 4},
)
def parents_in_other_rows(chapter: Chapter, around: Surroundings) -> None:
    """Coalesced tokens have parents in other rows."""
    if around.earlier_token_id is not None:
        _adopt(chapter.token_parents, _joined(chapter), around.earlier_token_id)


@edits(
    "SELECT 1 FROM rows r JOIN nodes n ON n.node_id = r.source_node_id "
    "WHERE r.run_id = :run_id AND n.run_id <> r.run_id",
    needs={"neighbours": 1},
)
def references_to_other_runs(chapter: Chapter, around: Surroundings) -> None:
    """Foreign keys lead to nodes, tokens and states of another run."""
    other = around.elsewhere
    if other is None:
        return
    node_id = other.node_id
    if chapter.number % 3 == 0:
        chapter.rows = [row._replace(source_node_id=node_id) for row in chapter.rows]
        chapter.node_states[:1] = [
            state._replace(node_id=node_id) for state in chapter.node_states[:1]
        ]
    chapter.edges[:1] = [edge._replace(to_node_id=node_id) for edge in chapter.edges[:1]]
    chapter.batches = [each._replace(aggregation_node_id=node_id) for each in chapter.batches]
    chapter.artifacts[:1] = [each._replace(sink_node_id=node_id) for each in chapter.artifacts[:1]]
    if other.token_id is not None:
        _refer_to_token(chapter, other.token_id)
    if other.state_id is not None:
        chapter.artifacts[1:] = [
            each._replace(produced_by_state_id=other.state_id) for each in chapter.artifacts[1:]
        ]


def _refer_to_token(chapter: Chapter, token_id: str) -> None:
    if chapter.number % 2 == 0:
        _adopt(chapter.token_parents, _joined(chapter), token_id)
    chapter.batch_members = [
        member._replace(token_id=token_id) if member.ordinal == 0 else member
        for member in chapter.batch_members
    ]
