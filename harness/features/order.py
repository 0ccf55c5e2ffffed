"""Features that leave the order of records to tie-breakers."""

from harness.facts import Chapter
from harness.features.feature import Surroundings, edits


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
