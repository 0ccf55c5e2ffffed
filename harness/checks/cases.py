"""The cases that a candidate is compared on: stored runs, and the changes to their databases."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

from elspeth.core.landscape import LandscapeDB
from harness.checks.database_changes import (
    CORRUPTIONS,
    PLAN_CHANGES,
    UNCHANGED,
    Corruption,
    PlanChange,
)
from harness.checks.specs import ORDERED, RECORD_SPECS, SPARSE, TIED, TO_CORRUPT, small_runs
from harness.generate.generator import generate_run
from harness.generate.plan import neighbours_of
from harness.generate.presets import preset
from harness.generate.spec import RunSpec
from harness.generate.unexported import store_unexported_rows
from querygrowth.reports import visible


@dataclass(frozen=True)
class Case:
    """One export to compare: the run, and the changes to its database beforehand.

    Attributes:
        spec: The run that is generated.
        run_id: The run that is exported: also a neighbour in the same database, or a run that does
            not exist.
        corruption: A bad value to store after the run.
        plan_change: A change of the database's query plans.
        signed: Whether the export is signed.
        beside: All runs of the database with this one among them; empty if it is alone.
        corruptions: The bad values of those runs, in their order; empty if they have none.
    """

    spec: RunSpec
    run_id: str
    corruption: Corruption | None = None
    plan_change: PlanChange = UNCHANGED
    signed: bool = True
    beside: tuple[RunSpec, ...] = ()
    corruptions: tuple[Corruption, ...] = ()

    @property
    def stored(self) -> Hashable:
        """The contents of its database. Cases with the same contents share one."""
        return (self.beside or self.spec, self.corruptions, self.plan_change.name)

    def store(self, db: LandscapeDB) -> None:
        """Generate its runs in an empty database, and change the database as the case says."""
        feature = self.plan_change.feature
        for spec in self.beside or (self.spec,):
            features = spec.features | {feature} if feature else spec.features
            generate_run(db, replace(spec, features=features))
        for spec, corruption in zip(self.beside, self.corruptions, strict=False):
            corruption.apply(db, spec.run_id)
        with db.connection() as connection:
            store_unexported_rows(connection)
        if self.plan_change.apply:
            self.plan_change.apply(db)

    @property
    def name(self) -> str:
        """The case in a few words."""
        words = [visible(self.run_id)]
        words += [f"with {self.corruption.name}"] if self.corruption else []
        words += [self.plan_change.name] if self.plan_change is not UNCHANGED else []
        words += [] if self.signed else ["unsigned"]
        return ", ".join(words)

    @property
    def without_plan_change(self) -> "Case":
        """The same case on a database with its usual query plans."""
        return replace(self, plan_change=UNCHANGED)


def record_cases(dialect: str) -> Iterator[Case]:
    """Yield runs that together have every feature, on databases with their usual plans."""
    for spec in RECORD_SPECS:
        if dialect == "sqlite" or spec.is_portable:
            # Neighbours first: a wrong join adds records to a neighbour's export and can lose them
            # from this one. "extra, cross-run" names that cause better than "missing".
            neighbours = neighbours_of(spec) if "references_to_other_runs" in spec.features else ()
            yield from (Case(spec, each.run_id) for each in neighbours)
            yield Case(spec, spec.run_id)
    yield from small_run_cases(dialect)
    yield Case(SPARSE, SPARSE.run_id, signed=False)
    yield Case(SPARSE, "no such run")
    if dialect == "sqlite":
        yield from corrupt_cases()


def corrupt_cases() -> tuple[Case, ...]:
    """Return a run for each corruption, which are all in one database."""
    runs = tuple(
        replace(TO_CORRUPT, run_id=f"corrupt-{number}") for number in range(len(CORRUPTIONS))
    )
    return tuple(
        Case(run, run.run_id, each, beside=runs, corruptions=CORRUPTIONS)
        for run, each in zip(runs, CORRUPTIONS, strict=True)
    )


def small_run_cases(dialect: str) -> tuple[Case, ...]:
    """Return small runs, which are all in one database."""
    small = small_runs(dialect)
    return tuple(Case(each, each.run_id, beside=small) for each in small)


def plan_cases(dialect: str) -> Iterator[Case]:
    """Yield one run full of ties, under every plan change of the backend."""
    changes = (each for each in PLAN_CHANGES if each.suits(dialect))
    yield from (Case(TIED, TIED.run_id, plan_change=each) for each in changes)


def tie_cases() -> Iterator[Case]:
    """Yield runs in which times tie or run backwards, and ids sort against every other order."""
    for ids in ("descending_ids", "shuffled_ids", "hostile_ids"):
        features = TIED.features | {"whole_seconds", ids}
        spec = replace(TIED, run_id=f"tied_{ids}", features=features)
        yield Case(spec, spec.run_id)
    yield from (Case(spec, spec.run_id) for spec in ORDERED)


TYPICAL = Case(preset("typical", 20, run_id="typical"), "typical")
IN_ENVIRONMENTS = Case(
    replace(TYPICAL.spec, run_id="environments", features=frozenset(("times_of_every_kind",))),
    "environments",
)
"""A run with times that a time zone leaves out or has twice."""
BOTH_BACKENDS = Case(preset("adversarial", 6, run_id="both"), "both")
"""A run with every feature that both backends support, and the same contents on both."""
