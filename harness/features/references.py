"""Features of references that leave the row, or the run."""

from harness.facts import Chapter, TokenParentFact
from harness.features.feature import Surroundings, edits


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
