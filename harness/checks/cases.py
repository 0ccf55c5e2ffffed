"""Cases: the runs that candidates are tried on, and what is done to their databases."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.checks.corruptions import CORRUPTIONS, Corruption
from harness.checks.plan_changes import SHAKES, Shake
from harness.generate.plan import neighbours_of
from harness.generate.presets import preset
from harness.generate.spec import RunSpec

UNDISTURBED = SHAKES[0]


@dataclass(frozen=True)
class Case:
    """One export to compare: the run, and what was done to its database beforehand.

    `run_id` may name a neighbour in the same database, or a run that is not there.
    """

    spec: RunSpec
    run_id: str
    corruption: Corruption | None = None
    shake: Shake = UNDISTURBED
    signed: bool = True

    @property
    def name(self) -> str:
        """The case in a few words."""
        words = [self.run_id]
        words += [f"with {self.corruption.name}"] if self.corruption else []
        words += [self.shake.name] if self.shake is not UNDISTURBED else []
        words += [] if self.signed else ["unsigned"]
        return ", ".join(words)

    @property
    def undisturbed(self) -> "Case":
        """The same case on a database whose plans nobody changed."""
        return replace(self, shake=UNDISTURBED)


def record_cases(dialect: str) -> Iterator[Case]:
    """Runs that together hold every feature, where the natural order of a database is right."""
    for spec in _specs():
        if dialect == "sqlite" or spec.is_portable:
            # Neighbours first: what a join leaks is a surplus there, and a lack here.
            neighbours = neighbours_of(spec) if "references_to_other_runs" in spec.features else ()
            yield from (Case(spec, each.run_id) for each in neighbours)
            yield Case(spec, spec.run_id)
    yield Case(_SPARSE, _SPARSE.run_id, signed=False)
    yield Case(_SPARSE, "no such run")
    if dialect == "sqlite":
        yield from (Case(_TO_CORRUPT, _TO_CORRUPT.run_id, each) for each in CORRUPTIONS)


def plan_cases(dialect: str) -> Iterator[Case]:
    """One run full of ties, under every change of plan."""
    shakes = (each for each in SHAKES if each.suits(dialect))
    yield from (Case(_TIED, _TIED.run_id, shake=each) for each in shakes)


def tie_cases() -> Iterator[Case]:
    """Runs whose ids sort against everything else, and whose every timestamp ties."""
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
"""Holds every feature that both backends can, and is stored with the same contents in both."""


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
    yield RunSpec(run_id="many_rows", rows=501, features=frozenset(("shuffled_ids",)))
