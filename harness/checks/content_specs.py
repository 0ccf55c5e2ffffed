"""The specs of the runs whose entities hold every kind of value, text and id."""

from collections.abc import Iterator
from dataclasses import replace

from harness.generate.features.contents import LIKE_OTHERS
from harness.generate.features.ids import (
    IDS_OF_EQUAL_FORMS,
    IDS_OF_ONE_SEPARATOR,
    SEPARATORS,
)
from harness.generate.spec import RunSpec

# Together they hold every kind of value in every column: docs/generated-runs.md.
_EVERY_KIND = RunSpec(
    run_id="every_kind",
    # With this seed the run has no reproducibility grade.
    seed=2,
    rows=25,
    forks=1,
    expansions=1,
    joins=1,
    parents=2,
    states=1,
    routing_groups=1,
    routing_events=2,
    calls=2,
    nodes=26,
    edges=30,
    batches=25,
    members=4,
    artifacts=26,
    neighbours=1,
    features=frozenset(
        (
            "nulls_in_all_columns",
            "texts_of_every_kind",
            "json_of_every_form",
            "integers_at_the_limits",
            "times_at_the_limits",
            "values_against_the_status",
            "twin_ids",
            "edge_floats",
            "null_sequences",
            "references_to_all_entities",
            "edges_and_events_of_other_runs",
        )
    ),
)


def _ids_of_every_form() -> Iterator[RunSpec]:
    """Yield runs with as many entities of every table, and below one parent, as ids have forms."""
    for feature, size in (
        ("ids_taken_for_equal", IDS_OF_EQUAL_FORMS),
        # One child for each parent, so that the two have the same separator.
        ("ids_of_joined_parts", IDS_OF_ONE_SEPARATOR * len(SEPARATORS)),
    ):
        yield RunSpec(
            run_id=feature,
            rows=size,
            routing_groups=1,
            calls=1,
            nodes=size,
            edges=size,
            batches=size,
            members=1,
            artifacts=size,
            features=frozenset((feature, "references_to_all_entities")),
        )
    equal = frozenset(("ids_taken_for_equal",))
    yield RunSpec(
        run_id="ids_taken_for_equal_of_tokens",
        forks=IDS_OF_EQUAL_FORMS - 2,
        joins=2,
        parents=IDS_OF_EQUAL_FORMS - 2,
        states=0,
        batches=1,
        members=IDS_OF_EQUAL_FORMS,
        features=equal,
    )
    yield RunSpec(
        run_id="ids_taken_for_equal_of_states",
        states=IDS_OF_EQUAL_FORMS,
        routing_groups=IDS_OF_EQUAL_FORMS,
        routing_events=2,
        calls=2,
        features=equal,
    )
    # Of the four tokens of a row, two are parents of the two others.
    yield RunSpec(
        run_id="ids_of_joined_parts_of_tokens",
        rows=len(SEPARATORS),
        forks=1,
        joins=2,
        parents=2,
        features=frozenset(("ids_of_joined_parts",)),
    )


CONTENT_SPECS = (
    _EVERY_KIND,
    replace(
        _EVERY_KIND,
        run_id="every_portable_kind",
        seed=14,
        rows=6,
        batches=6,
        artifacts=6,
        features=_EVERY_KIND.features
        - {"integers_at_the_limits", "times_at_the_limits", "null_sequences"}
        | {"integers_of_every_kind", "times_of_every_kind", "references_to_other_runs"},
    ),
    RunSpec(
        run_id="short_ids",
        rows=5,
        forks=1,
        joins=1,
        parents=2,
        states=1,
        routing_groups=1,
        calls=1,
        nodes=6,
        edges=6,
        batches=6,
        members=3,
        artifacts=6,
        neighbours=1,
        features=frozenset(("short_ids", "references_to_all_entities", "texts_like_other_types")),
    ),
    RunSpec(
        run_id="contents_repeated",
        rows=3,
        forks=2,
        joins=1,
        parents=2,
        states=2,
        retries=1,
        routing_groups=2,
        routing_events=2,
        calls=3,
        nodes=4,
        edges=4,
        batches=3,
        members=2,
        artifacts=4,
        features=frozenset(("contents_repeated",)),
    ),
    RunSpec(
        run_id="entities_repeated",
        rows=3,
        forks=2,
        joins=1,
        parents=2,
        states=2,
        retries=1,
        routing_groups=4,
        routing_events=2,
        calls=3,
        nodes=4,
        edges=6,
        batches=3,
        members=2,
        artifacts=4,
        features=frozenset(("entities_repeated",)),
    ),
    # As many entities as there are such texts, so that every column holds all of them.
    RunSpec(
        run_id="texts_like_other_types",
        rows=len(LIKE_OTHERS),
        states=1,
        routing_groups=1,
        calls=1,
        nodes=len(LIKE_OTHERS),
        edges=len(LIKE_OTHERS),
        batches=len(LIKE_OTHERS),
        artifacts=len(LIKE_OTHERS),
        features=frozenset(("texts_like_other_types",)),
    ),
    # Joined with a number of two digits, the id of one entity is that of the next with one digit.
    RunSpec(
        run_id="continued_ids",
        rows=2,
        states=13,
        routing_groups=2,
        routing_events=13,
        calls=13,
        features=frozenset(("continued_ids",)),
    ),
    RunSpec(
        run_id="continued_ids_of_tokens",
        rows=1,
        forks=12,
        joins=3,
        parents=13,
        states=0,
        batches=2,
        members=13,
        features=frozenset(("continued_ids",)),
    ),
    *_ids_of_every_form(),
    RunSpec(
        run_id="steps_and_attempts_joined",
        states=20,
        features=frozenset(("steps_and_attempts_joined",)),
    ),
)
"""Runs that vary what entities hold: values, texts, ids, and how much of it repeats."""
