"""Features of what a run leaves out: parents without children."""

from harness.facts import Chapter
from harness.features.feature import Surroundings, edits


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
