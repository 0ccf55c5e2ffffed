"""Features of entities that repeat others: in their texts, or in all columns but their keys."""

from collections.abc import Mapping
from types import MappingProxyType

from elspeth.contracts.enums import RoutingMode
from harness.generate.entities import Section
from harness.generate.features.contents import (
    change_columns,
    change_labels,
    is_free_text_but_label,
)
from harness.generate.features.feature import EditContext, edits_sections

_REPEATED = "the same"


@edits_sections(
    f"SELECT 1 FROM runs WHERE run_id = :run_id AND canonical_version = '{_REPEATED}'",  # noqa: S608
    excludes=frozenset(
        (
            "hostile_text",
            "nul_in_text",
            "texts_of_every_kind",
            "texts_longer_than_their_columns",
            "texts_like_other_types",
        )
    ),
    in_presets=False,
)
def contents_repeated(section: Section, context: EditContext) -> None:
    """All entities of a table have the same texts: ids, numbers and times tell them apart."""
    change_columns(
        section,
        context,
        is_free_text_but_label,
        lambda _column, value, _number: None if value is None else _REPEATED,
    )


# What tells entities apart: their keys, and the columns that unique constraints need.
_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "nodes": frozenset(("node_id",)),
        "edges": frozenset(("edge_id", "from_node_id", "label")),
        "rows": frozenset(("row_id", "row_index")),
        # Groups and branches say how a token was made: the recorder stores no other parents.
        "tokens": frozenset(("token_id", "row_id", "branch_name"))
        | {"fork_group_id", "join_group_id", "expand_group_id"},
        "node_states": frozenset(("state_id", "token_id", "node_id", "step_index", "attempt")),
        "routing_events": frozenset(("event_id", "state_id", "routing_group_id", "ordinal")),
        "calls": frozenset(("call_id", "state_id", "call_index")),
        "batches": frozenset(("batch_id", "aggregation_state_id", "attempt")),
        "artifacts": frozenset(("artifact_id",)),
    }
)
_CONTINUE, _MOMENT = "continue", "2026-01-31 12:30:00.000000"


@edits_sections(
    "SELECT 1 FROM edges e WHERE e.run_id = :run_id AND e.from_node_id = e.to_node_id",
    needs={"edges": 1},
    # What other features change in some entities of a section is repeated in all, or lost.
    alone=True,
    in_presets=False,
)
def entities_repeated(section: Section, context: EditContext) -> None:
    """Entities that are recorded together are equal in all but their keys; edges form loops."""
    for name, entities in section.tables():
        if kept := _KEYS.get(name):
            first = entities[0]
            same = {each: getattr(first, each) for each in first._fields if each not in kept}
            setattr(section, name, [each._replace(**same) for each in entities])
    # Batches and rows are recorded one by one.
    node_id = context.node_ids[0]
    section.batches = [
        each._replace(
            aggregation_node_id=node_id,
            trigger_reason=_REPEATED,
            created_at=_MOMENT,
            completed_at=_MOMENT,
        )
        for each in section.batches
    ]
    section.rows = [each._replace(source_node_id=node_id) for each in section.rows]
    section.edges = [
        each._replace(to_node_id=node_id, default_mode=RoutingMode.COPY.value)
        for each in section.edges
    ]
    change_labels(section, lambda _: _CONTINUE)
