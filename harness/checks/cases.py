"""Cases: the stored runs that a candidate is compared on, and the state of their databases."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.checks.database_changes import (
    CORRUPTIONS,
    PLAN_CHANGES,
    UNCHANGED,
    Corruption,
    PlanChange,
)
from harness.generate.plan import neighbours_of
from harness.generate.presets import preset
from harness.generate.spec import RunSpec


@dataclass(frozen=True)
class Case:
    """One export to compare: the run, and what was changed in its database before.

    `run_id` may name a neighbour in the same database, or a run that does not exist.
    """

    spec: RunSpec
    run_id: str
    corruption: Corruption | None = None
    plan_change: PlanChange = UNCHANGED
    signed: bool = True

    @property
    def name(self) -> str:
        """The case in a few words."""
        words = [self.run_id]
        words += [f"with {self.corruption.name}"] if self.corruption else []
        words += [self.plan_change.name] if self.plan_change is not UNCHANGED else []
        words += [] if self.signed else ["unsigned"]
        return ", ".join(words)

    @property
    def without_plan_change(self) -> "Case":
        """The same case on a database with its usual query plans."""
        return replace(self, plan_change=UNCHANGED)


def record_cases(dialect: str) -> Iterator[Case]:
    """Yield runs that together hold every feature, on databases with their usual plans."""
    for spec in _specs():
        if dialect == "sqlite" or spec.is_portable:
            # Neighbours first. A wrong join adds records to a neighbour's export and can lose them
            # from this one. "extra, cross-run" names the cause better than "missing" does.
            neighbours = neighbours_of(spec) if "references_to_other_runs" in spec.features else ()
            yield from (Case(spec, each.run_id) for each in neighbours)
            yield Case(spec, spec.run_id)
    yield Case(_SPARSE, _SPARSE.run_id, signed=False)
    yield Case(_SPARSE, "no such run")
    if dialect == "sqlite":
        yield from (Case(_TO_CORRUPT, _TO_CORRUPT.run_id, each) for each in CORRUPTIONS)


def plan_cases(dialect: str) -> Iterator[Case]:
    """Yield one run full of ties, under every plan change of the backend."""
    changes = (each for each in PLAN_CHANGES if each.suits(dialect))
    yield from (Case(_TIED, _TIED.run_id, plan_change=each) for each in changes)


def tie_cases() -> Iterator[Case]:
    """Yield runs in which all timestamps tie, and ids sort against every other order."""
    for ids in ("descending_ids", "shuffled_ids", "hostile_ids"):
        features = _TIED.features | {"whole_seconds", ids}
        spec = replace(_TIED, run_id=f"tied_{ids}", features=features)
        yield Case(spec, spec.run_id)


_SPARSE = RunSpec(
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
            "open_states",
            "open_batches",
            "failed_states",
            "failed_states_with_output",
            "whole_seconds",
        )
    ),
)
_TO_CORRUPT = preset("tiny", rows=2, run_id="corrupt", retries=1, features={"failed_states"})
_TIED = RunSpec(
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


TYPICAL = Case(preset("typical", 20, run_id="typical"), "typical")
BOTH_BACKENDS = Case(preset("adversarial", 6, run_id="both"), "both")
"""Holds every feature that both backends support, with the same contents on both."""


def _specs() -> Iterator[RunSpec]:
    yield TYPICAL.spec
    yield replace(
        preset("forky", 12, run_id="lineage"),
        states=2,
        routing_groups=2,
        artifacts=5,
        features=frozenset(("parents_in_other_rows", "shuffled_ids", "duplicate_sequences")),
    )
    yield _SPARSE
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
    # One row more than two lists of 250 or one of 500 hold: shows chunks that are not merged.
    yield RunSpec(run_id="many_rows", rows=501, features=frozenset(("shuffled_ids",)))
