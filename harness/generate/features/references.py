"""Features of references: to entities of another row, or of another run."""

# Only some entities of a table refer elsewhere, so that references within the run remain.

from harness.generate.entities import Section
from harness.generate.features.feature import EditContext, edits_sections


# First: the features below replace some of these references by others.
@edits_sections(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id "
    "JOIN nodes m ON m.node_id = a.source_node_id JOIN nodes n ON n.node_id = b.source_node_id "
    "WHERE a.run_id = :run_id AND m.run_id = a.run_id AND n.run_id = a.run_id "
    "AND m.node_id <> n.node_id",
    needs={"rows": 3, "nodes": 2},
    in_presets=False,
)
def references_to_all_entities(section: Section, context: EditContext) -> None:
    """Rows, states, batches and artifacts refer to all nodes and to many states of the run."""
    nodes, states = context.node_ids, context.recent_state_ids
    first = section.number
    section.rows = [row._replace(source_node_id=nodes[first % len(nodes)]) for row in section.rows]
    # A token has one state for a node and an attempt.
    used = {(state.token_id, state.node_id, state.attempt) for state in section.node_states}
    for place, state in enumerate(section.node_states):
        node_id = nodes[(first + place) % len(nodes)]
        if (state.token_id, node_id, state.attempt) not in used:
            used.add((state.token_id, node_id, state.attempt))
            section.node_states[place] = state._replace(node_id=node_id)
    if states:
        section.batches = [
            # An open batch has no state.
            batch._replace(aggregation_state_id=states[(first + place) % len(states)])
            if batch.aggregation_state_id is not None
            else batch
            for place, batch in enumerate(section.batches)
        ]
    section.artifacts = [
        each._replace(
            sink_node_id=nodes[place % len(nodes)],
            produced_by_state_id=states[place % len(states)],
        )
        for place, each in enumerate(section.artifacts)
    ]


def _replace_last_parents(section: Section, parent_token_id: str) -> None:
    """Replace the last parent of each coalesced token."""
    joined = {token.token_id for token in section.tokens if token.join_group_id is not None}
    parents = section.token_parents
    last = {link.token_id: place for place, link in enumerate(parents) if link.token_id in joined}
    for place in last.values():
        parents[place] = parents[place]._replace(parent_token_id=parent_token_id)


@edits_sections(
    "SELECT 1 FROM token_parents p JOIN tokens t ON t.token_id = p.token_id "
    "JOIN rows r ON r.row_id = t.row_id JOIN tokens q ON q.token_id = p.parent_token_id "
    "JOIN rows f ON f.row_id = q.row_id "
    "WHERE r.run_id = :run_id AND f.run_id = r.run_id AND f.row_id <> r.row_id",
    needs={"joins": 1, "parents": 1, "rows": 4},
)
def parents_in_other_rows(section: Section, context: EditContext) -> None:
    """Coalesced tokens have parents in other rows."""
    if context.earlier_token_id is not None:
        _replace_last_parents(section, context.earlier_token_id)


@edits_sections(
    "SELECT 1 FROM rows r JOIN nodes n ON n.node_id = r.source_node_id "
    "WHERE r.run_id = :run_id AND n.run_id <> r.run_id",
    needs={"neighbours": 1},
)
def references_to_other_runs(section: Section, context: EditContext) -> None:
    """Foreign keys refer to nodes, tokens and states of another run."""
    other = context.other_run
    if other is None:
        return
    node_id = other.node_id
    # Only some entities of a table, so that references within the run remain.
    if section.number % 3 == 0:
        section.rows = [row._replace(source_node_id=node_id) for row in section.rows]
        section.node_states[:1] = [
            state._replace(node_id=node_id) for state in section.node_states[:1]
        ]
    section.edges[:1] = [edge._replace(to_node_id=node_id) for edge in section.edges[:1]]
    section.batches = [each._replace(aggregation_node_id=node_id) for each in section.batches]
    section.artifacts[:1] = [each._replace(sink_node_id=node_id) for each in section.artifacts[:1]]
    if other.token_id is not None:
        _refer_to_token(section, other.token_id)
    if other.state_id is not None:
        section.artifacts[1:] = [
            each._replace(produced_by_state_id=other.state_id) for each in section.artifacts[1:]
        ]


def _refer_to_token(section: Section, token_id: str) -> None:
    if section.number % 2 == 0:
        _replace_last_parents(section, token_id)
    section.batch_members = [
        member._replace(token_id=token_id) if member.ordinal == 0 else member
        for member in section.batch_members
    ]


@edits_sections(
    "SELECT 1 FROM edges e JOIN nodes n ON n.node_id = e.from_node_id "
    "WHERE e.run_id = :run_id AND n.run_id <> e.run_id",
    needs={"neighbours": 1, "edges": 3},
    in_presets=False,
)
def edges_and_events_of_other_runs(section: Section, context: EditContext) -> None:
    """Edges start at nodes of another run, and routing events follow edges of another run."""
    other = context.other_run
    if other is None:
        return
    # A label is unique among the edges of a node. The labels of the first edges all differ.
    section.edges = [
        edge._replace(from_node_id=other.node_id) if place % 4 == 2 and place < 48 else edge
        for place, edge in enumerate(section.edges)
    ]
    if other.edge_id is not None:
        section.routing_events = [
            event._replace(edge_id=other.edge_id) if place % 3 == 1 else event
            for place, event in enumerate(section.routing_events)
        ]
