"""The specs of the runs that a candidate is compared on.

They are few and hold many features each, because the control sends one query for each entity.
"""

from collections.abc import Iterator
from dataclasses import replace

from harness.checks.content_specs import CONTENT_SPECS
from harness.generate.presets import preset
from harness.generate.spec import RunSpec

SPARSE = RunSpec(
    run_id="sparse",
    rows=7,
    forks=1,
    states=3,
    batches=3,
    members=2,
    features=frozenset(
        (
            "rows_without_tokens",
            "tokens_without_states",
            "batches_without_members",
            "open_run",
            "exported_before",
            "open_states",
            "open_batches",
            "triggers_without_reason",
            "failed_states",
            "failed_states_with_output",
            "whole_seconds",
        )
    ),
)
# One of everything: there are many corruptions, and the control exports the run for each.
TO_CORRUPT = RunSpec(
    run_id="corrupt",
    forks=1,
    states=2,
    retries=1,
    routing_groups=1,
    calls=1,
    batches=1,
    members=1,
    artifacts=1,
    features=frozenset(("failed_states", "open_states")),
)
TIED = RunSpec(
    run_id="tied",
    rows=6,
    forks=1,
    joins=1,
    parents=2,
    states=3,
    retries=2,
    routing_groups=2,
    routing_events=3,
    calls=3,
    nodes=8,
    edges=6,
    batches=4,
    members=4,
    artifacts=8,
    features=frozenset(("shared_timestamps", "null_sequences", "groups_in_one_state")),
)

# Enough entities that no key is in the right order by luck. tests/harness/test_order_keys.py
# measures it.
_MANY_CHILDREN = RunSpec(
    run_id="backwards",
    rows=3,
    forks=1,
    joins=1,
    parents=2,
    states=2,
    retries=1,
    routing_groups=3,
    routing_events=2,
    calls=12,
    nodes=12,
    edges=26,
    batches=3,
    members=5,
    artifacts=8,
    features=frozenset(("backward_timestamps", "groups_in_one_state", "null_sequences")),
)
ORDERED = (
    _MANY_CHILDREN,
    replace(
        _MANY_CHILDREN,
        run_id="batch_retried",
        batch_retries=3,
        features=frozenset(
            ("shared_timestamps", "groups_in_one_state", "null_sequences", "descending_ids")
        ),
    ),
    replace(
        _MANY_CHILDREN,
        run_id="descending_integers",
        retries=3,
        calls=3,
        features=frozenset(("descending_integers",)),
    ),
    # Several states of a token have events and calls, so that the order of states shows in both.
    replace(
        _MANY_CHILDREN,
        run_id="states_in_no_order",
        rows=4,
        states=4,
        retries=4,
        routing_groups=16,
        calls=2,
        edges=4,
        batches=1,
        artifacts=1,
        features=frozenset(
            ("integers_of_every_kind", "times_of_every_kind", "twin_ids", "shuffled_insertion")
        ),
    ),
    replace(
        _MANY_CHILDREN,
        run_id="no_order",
        rows=8,
        calls=4,
        batches=8,
        artifacts=24,
        features=frozenset(
            (
                "groups_in_one_state",
                "duplicate_sequences",
                "integers_of_every_kind",
                "times_of_every_kind",
                "twin_ids",
                "shuffled_insertion",
                "texts_like_other_types",
            )
        ),
    ),
)

_TWINS = (
    "twin",
    "Twin",
    "TWIN",
    "twin ",
    " twin",
    "twi",
    "twin1",
    "tw_n",
    "tw%",
    "%",
    "tw*",
    "tw[i]n",
    "twin'",
    'twin"',
    "twin\\",
    "tw\u00edn",
    "twi\u0301n",
    "1",
    "01",
    "1.0",
    " ",
    "\U0001d54bwin",
    "tw?n",
    "tw,in",
    "tw:in",
    "tw;in",
    "tw|in",
    "tw/in",
    "tw.in",
    "tw\x1fin",
    "twin\t",
    "None",
)
"""Run ids that a pattern, a folded case, a cast or a stripped blank takes for one another."""
_SQLITE_TWINS = (*_TWINS, "twin\0of a longer name")
"""PostgreSQL holds no NUL."""

_TWIN = RunSpec(
    rows=3,
    forks=1,
    states=1,
    routing_groups=1,
    calls=1,
    edges=1,
    batches=1,
    members=1,
    artifacts=1,
    features=frozenset(
        (
            "texts_of_every_kind",
            "json_of_every_form",
            "times_of_every_kind",
            "values_against_the_status",
        )
    ),
)
_PLAIN_TWIN = replace(_TWIN, rows=1, features=frozenset())
_LACKING = (
    RunSpec(run_id="bare", features=frozenset(("bare_run",))),
    RunSpec(run_id="no_rows", batches=2, features=frozenset(("run_without_rows",))),
    replace(
        _PLAIN_TWIN, run_id="no_nodes", neighbours=1, features=frozenset(("run_without_nodes",))
    ),
    replace(_PLAIN_TWIN, run_id="no_edges", features=frozenset(("run_without_edges",))),
)


def small_runs(dialect: str) -> tuple[RunSpec, ...]:
    """Return small runs for one database: twins by their ids, and runs that lack whole tables."""
    at_limits = _TWIN.features - {"times_of_every_kind"} | {"times_at_the_limits"}
    return (
        *(
            replace(
                _TWIN,
                run_id=run_id,
                # A run has one row of the table of runs, whose values the seed chooses.
                seed=seed,
                features=at_limits if dialect == "sqlite" and seed % 2 else _TWIN.features,
            )
            for seed, run_id in enumerate(_SQLITE_TWINS if dialect == "sqlite" else _TWINS)
        ),
        *_LACKING,
    )


def _ordinary() -> Iterator[RunSpec]:
    yield preset("typical", 20, run_id="typical")
    yield replace(
        preset("forky", 12, run_id="lineage"),
        states=2,
        routing_groups=2,
        artifacts=5,
        features=frozenset(("parents_in_other_rows", "shuffled_ids", "duplicate_sequences")),
    )
    yield SPARSE
    yield replace(
        preset("tiny", 9, run_id="foreign"),
        batches=3,
        members=2,
        neighbours=2,
        features=frozenset(("references_to_other_runs", "null_sequences", "long_ids")),
    )
    yield replace(
        preset("typical", 12, run_id="values"),
        features=frozenset(("hostile_text", "edge_floats", "integers_of_31_bits")),
    )
    yield replace(
        preset("tiny", 3, run_id="sqlite_values"),
        features=frozenset(("nul_in_text", "integers_of_53_bits", "edge_floats")),
    )
    yield RunSpec(
        # Longer than 32 characters, which a record may be cut to.
        run_id="values_that_are_longer_than_their_columns",
        forks=1,
        routing_groups=1,
        calls=1,
        batches=1,
        members=1,
        artifacts=1,
        features=frozenset(("texts_longer_than_their_columns", "ids_longer_than_their_columns")),
    )
    # One row more than two chunks of 250 or one of 500: an exporter that reads in chunks and does
    # not merge them shows a wrong order. Without states: the control sends a query for each.
    yield RunSpec(run_id="many_rows", rows=501, states=0, features=frozenset(("shuffled_ids",)))


RECORD_SPECS = (*_ordinary(), *CONTENT_SPECS)
"""The runs with every feature and every kind of value."""
