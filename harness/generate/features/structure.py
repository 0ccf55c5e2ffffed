"""Features of a run's structure: missing children and tables, unfinished entities, order ties."""

# Every third row, every second batch: most edits leave some entities alone, so that a run with a
# feature also has entities without it.

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from elspeth.contracts.enums import TriggerType
from harness.generate.entities import TABLES, Section, StoredNodeState
from harness.generate.features.feature import NODE_STATES_OF_THE_RUN, EditContext, edits_sections

# Parents without children.


@edits_sections(
    "SELECT 1 FROM rows r WHERE r.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.row_id = r.row_id)",
    needs={"rows": 2},
)
def rows_without_tokens(section: Section, _: EditContext) -> None:
    """Some rows have no token."""
    if section.rows and section.number % 5 == 1:
        section.tokens, section.token_parents = [], []
        section.node_states, section.routing_events, section.calls = [], [], []


@edits_sections(
    "SELECT 1 FROM tokens t JOIN rows r ON r.row_id = t.row_id WHERE r.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM node_states s WHERE s.token_id = t.token_id)",
    needs={"forks": 1, "states": 1},
)
def tokens_without_states(section: Section, _: EditContext) -> None:
    """Some tokens have no node state."""
    # Every second token and never the first, so that each row keeps a token with states.
    idle = {token.token_id for token in section.tokens[1::2]}
    section.node_states = [each for each in section.node_states if each.token_id not in idle]
    left = {state.state_id for state in section.node_states}
    section.routing_events = [each for each in section.routing_events if each.state_id in left]
    section.calls = [each for each in section.calls if each.state_id in left]


@edits_sections(
    "SELECT 1 FROM batches b WHERE b.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM batch_members m WHERE m.batch_id = b.batch_id)",
    needs={"batches": 2, "members": 1},
)
def batches_without_members(section: Section, _: EditContext) -> None:
    """Some batches have no member."""
    if section.number % 2 == 1:
        section.batch_members = []


# Entities that have not ended, and entities that failed.


@edits_sections("SELECT 1 FROM runs WHERE run_id = :run_id AND completed_at IS NULL")
def open_run(section: Section, _: EditContext) -> None:
    """The run has not ended."""
    section.runs = [run._replace(status="running", completed_at=None) for run in section.runs]


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND exported_at IS NOT NULL", in_presets=False
)
def exported_before(section: Section, _: EditContext) -> None:
    """The run was exported before, and holds the time of that export."""
    section.runs = [run._replace(exported_at="2026-02-03 04:05:06.789012") for run in section.runs]


def _change_a_state(
    section: Section, place: int, change: Callable[[StoredNodeState], StoredNodeState]
) -> None:
    """Change one state of every third row, where the row has a state at that place."""
    if section.number % 3 == 0 and section.node_states[place:]:
        section.node_states[place] = change(section.node_states[place])


@edits_sections(f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'open'", needs={"states": 2})
def open_states(section: Section, _: EditContext) -> None:
    """Some node states have not ended."""
    _change_a_state(
        section,
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


@edits_sections(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'failed' AND s.output_hash IS NULL",
    needs={"states": 2},
)
def failed_states(section: Section, context: EditContext) -> None:
    """Some node states failed and have no output."""
    error = context.pools.errors[section.number % len(context.pools.errors)].json
    _change_a_state(
        section,
        0,
        lambda state: state._replace(status="failed", output_hash=None, error_json=error),
    )


@edits_sections(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'failed' AND s.output_hash IS NOT NULL",
    needs={"states": 3},
)
def failed_states_with_output(section: Section, context: EditContext) -> None:
    """Some node states failed and still have an output."""
    output = context.pools.rows[section.number % len(context.pools.rows)].hash
    _change_a_state(section, 1, lambda state: state._replace(status="failed", output_hash=output))


@edits_sections(
    "SELECT 1 FROM batches WHERE run_id = :run_id AND completed_at IS NULL",
    needs={"batches": 1},
)
def open_batches(section: Section, _: EditContext) -> None:
    """Some batches have not ended."""
    if section.batches and section.number % 2 == 0:
        last = section.batches[-1]._replace(
            status="draft", aggregation_state_id=None, trigger_reason=None, completed_at=None
        )
        section.batches[-1] = last


@edits_sections(
    "SELECT 1 FROM batches WHERE run_id = :run_id AND trigger_type IS NOT NULL "
    "AND trigger_reason IS NULL",
    needs={"batches": 1},
    # They give every batch a reason.
    excludes=frozenset(
        ("texts_of_every_kind", "texts_longer_than_their_columns", "texts_like_other_types")
    ),
    in_presets=False,
)
def triggers_without_reason(section: Section, _: EditContext) -> None:
    """Some batches have a type of trigger and no reason for it."""
    if section.number % 2 == 0:
        section.batches = [
            batch._replace(trigger_type=TriggerType.COUNT.value, trigger_reason=None)
            for batch in section.batches
        ]


@edits_sections(
    # A token with one parent, which has a parent too, in a row where no two share their one parent.
    "WITH single AS (SELECT p.token_id, p.parent_token_id, t.row_id FROM token_parents p "
    "JOIN tokens t ON t.token_id = p.token_id JOIN rows r ON r.row_id = t.row_id "
    "WHERE r.run_id = :run_id AND NOT EXISTS (SELECT 1 FROM token_parents o "
    "WHERE o.token_id = p.token_id AND o.parent_token_id <> p.parent_token_id)) "
    "SELECT 1 FROM single a JOIN token_parents b ON b.token_id = a.parent_token_id "
    "WHERE NOT EXISTS (SELECT 1 FROM single d JOIN single e "
    "ON e.parent_token_id = d.parent_token_id AND e.token_id <> d.token_id "
    "WHERE d.row_id = a.row_id)",
    needs={"forks": 2},
    excludes=frozenset(("parents_in_other_rows",)),
    in_presets=False,
)
def lineage_in_a_chain(section: Section, _: EditContext) -> None:
    """A token that has one parent descends from the token before it, so that lineage is deep."""
    before = {after.token_id: token.token_id for token, after in pairwise(section.tokens)}
    parents = Counter(each.token_id for each in section.token_parents)
    section.token_parents = [
        each._replace(parent_token_id=before.get(each.token_id, each.parent_token_id))
        if parents[each.token_id] == 1
        else each
        for each in section.token_parents
    ]


# Ties: only the last columns of an order tell such records apart.


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id GROUP BY sequence_in_pipeline "
    "HAVING sequence_in_pipeline IS NOT NULL AND count(*) > 1",
    needs={"nodes": 4},
)
def duplicate_sequences(section: Section, _: EditContext) -> None:
    """Several nodes share a sequence number in the pipeline."""
    section.nodes = [
        node._replace(sequence_in_pipeline=place // 2) for place, node in enumerate(section.nodes)
    ]


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND sequence_in_pipeline IS NULL "
    "GROUP BY run_id HAVING count(*) > 1",
    needs={"nodes": 4},
)
def null_sequences(section: Section, _: EditContext) -> None:
    """Several nodes have no sequence number in the pipeline."""
    half = len(section.nodes) // 2
    section.nodes[half:] = [
        node._replace(sequence_in_pipeline=None) for node in section.nodes[half:]
    ]


@edits_sections(
    "SELECT 1 FROM routing_events e JOIN node_states s ON s.state_id = e.state_id "
    "JOIN tokens t ON t.token_id = s.token_id JOIN rows r ON r.row_id = t.row_id "
    "WHERE r.run_id = :run_id GROUP BY e.state_id HAVING count(DISTINCT e.routing_group_id) > 1",
    needs={"routing_groups": 2, "routing_events": 1, "states": 1},
)
def groups_in_one_state(section: Section, _: EditContext) -> None:
    """Several routing groups belong to one node state, so that their ordinals tie."""
    if section.routing_events:
        state_id = section.routing_events[0].state_id
        section.routing_events = [
            event._replace(state_id=state_id) for event in section.routing_events
        ]


# Runs that lack whole tables.


def _keep_only(section: Section, *kept: str) -> None:
    for table in TABLES:
        if table not in kept:
            setattr(section, table, [])


@edits_sections(
    "SELECT 1 FROM runs r WHERE r.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.run_id = r.run_id) "
    "AND NOT EXISTS (SELECT 1 FROM rows w WHERE w.run_id = r.run_id)",
    alone=True,
    in_presets=False,
)
def bare_run(section: Section, _: EditContext) -> None:
    """The run has nothing but its own record."""
    _keep_only(section, "runs")


@edits_sections(
    "SELECT 1 FROM nodes n WHERE n.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM rows w WHERE w.run_id = n.run_id)",
    alone=True,
    in_presets=False,
)
def run_without_rows(section: Section, _: EditContext) -> None:
    """The run has nodes, edges and batches, and no row."""
    _keep_only(section, "runs", "nodes", "edges", "batches")


@edits_sections(
    "SELECT 1 FROM rows w WHERE w.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.run_id = w.run_id)",
    needs={"neighbours": 1, "rows": 1},
    alone=True,
    in_presets=False,
)
def run_without_nodes(section: Section, context: EditContext) -> None:
    """The run has rows, tokens, batches and artifacts, but no node and no edge."""
    other = context.other_run
    # Of a neighbour, a token cannot be referred to. A neighbour keeps its nodes.
    if other is None or other.token_id is None:
        return
    section.nodes, section.edges, section.routing_events = [], [], []
    section.change(lambda column: column.endswith("node_id"), lambda _: other.node_id)
    # A token has one state for a node and an attempt.
    first = {(state.token_id, state.attempt): state for state in reversed(section.node_states)}
    section.node_states = list(first.values())[::-1]
    kept = {state.state_id for state in section.node_states}
    section.calls = [call for call in section.calls if call.state_id in kept]


@edits_sections(
    "SELECT 1 FROM nodes n WHERE n.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.run_id = n.run_id) "
    "AND EXISTS (SELECT 1 FROM rows w WHERE w.run_id = n.run_id)",
    needs={"rows": 1, "edges": 1},
    alone=True,
    in_presets=False,
)
def run_without_edges(section: Section, _: EditContext) -> None:
    """The run has rows and nodes, and no edge."""
    section.edges, section.routing_events = [], []
