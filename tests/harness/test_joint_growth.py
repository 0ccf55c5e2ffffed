"""Runs in which axes or kinds of entities grow together show products and rare queries."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from profiles import is_nightly

from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness.checks import costs
from harness.checks.column_kinds import ENUMS
from harness.checks.cost_runs import CostRuns
from harness.checks.declared import Declared
from harness.checks.joint_growth import axes_together, kinds_of_entities
from harness.checks.selftest import SeededFault, load_seeded_faults
from harness.checks.setup import CheckSetup
from harness.exporters.measured import InThisProcess
from harness.exporters.subject import load_subject
from harness.generate.plan import plan
from harness.generate.spec import AXES, RunSpec

FAULTS = [each for each in load_seeded_faults() if each.number in (81, 82)]
KINDS = ("NULL", "not NULL")
RUNS = {
    "EventsTimesCalls": "all children of a state",
    "ParentsTimesStates": "parents and states of joined tokens",
    "MembersTimesArtifacts": "members of a batch and artifacts",
    "QueryPerOpenState": "entities of every kind (1)",
    "QueryPerOpenBatch": "entities of every kind (1)",
    "QueryPerNodeWithoutSequence": "entities of every kind (1)",
}
"""The runs that show a fault by themselves."""

# Axes whose entities have a parent in common.
SIBLINGS = (
    *combinations(("rows", "nodes", "edges", "batches", "artifacts"), 2),
    *combinations(("forks", "expansions", "joins"), 2),
    *combinations(("states", "routing_groups", "batches", "artifacts"), 2),
    *combinations(("routing_events", "calls", "batches", "artifacts"), 2),
    ("parents", "states"),
    ("parents", "batches"),
    ("members", "artifacts"),
)


@pytest.fixture
def runs(setup: CheckSetup) -> CostRuns:
    return setup.runs["sqlite"].costs


@pytest.fixture
def grow(few_growing_runs: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that chooses the runs that grow, beside few along single axes, by their names."""
    every = dict(axes_together()) | dict(kinds_of_entities(on_sqlite=True))

    def choose(*names: str) -> None:
        if not is_nightly():
            chosen = {name: every[name] for name in names}
            monkeypatch.setattr(costs, "axes_together", lambda: chosen)

    return choose


def grown_axes(name: str) -> set[str]:
    first, *_, last = axes_together()[name].values()
    return {axis for axis in AXES if getattr(last, axis) > getattr(first, axis)}


@pytest.mark.parametrize("pair", SIBLINGS, ids=" x ".join)
def test_children_of_one_parent_grow_together_in_some_runs(
    pair: tuple[str, str],
) -> None:
    assert any(grown_axes(name) >= set(pair) for name in axes_together() if name != "all axes")


def test_all_axes_of_a_run_grow_together() -> None:
    assert grown_axes("all axes") == set(AXES) - {"neighbours", "neighbour_rows"}


def kinds_of_values(spec: RunSpec) -> Counter[tuple[str, str]]:
    """Count the values of enums, and NULL and other values, by the column of a run."""
    counts: Counter[tuple[str, str]] = Counter()
    for section in plan(spec):
        if section.run_id != spec.run_id:
            continue
        for table, entities in section.tables():
            for entity in entities:
                for column, value in entity._asdict().items():
                    name = f"{table}.{column}"
                    counts[name, "NULL" if value is None else "not NULL"] += 1
                    if name in ENUMS:
                        counts[name, value] += 1
    return counts


def test_every_member_and_null_of_every_column_grows_in_number() -> None:
    counts = [
        [kinds_of_values(spec) for spec in sizes.values()]
        for sizes in kinds_of_entities(on_sqlite=False).values()
    ]
    expected = {(name, each.value) for name, members in ENUMS.items() for each in members}
    for table in EXPORTED_TABLES:
        nullable = [each.name for each in table.columns if each.nullable]
        expected |= {(f"{table.name}.{name}", kind) for name in nullable for kind in KINDS}
    constant = {
        kind
        for kind in expected
        # An export has one record of its run, and does not name the key.
        if not kind[0].startswith("runs.") and kind[0] != "artifacts.idempotency_key"
        if not any(0 < small[kind] < large[kind] for small, large in counts)
    }
    assert constant == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.exporter.rsplit(":")[-1])
def test_products_and_queries_for_one_kind_fail(
    grow: Callable[..., None], runs: CostRuns, fault: SeededFault, tmp_path: Path
) -> None:
    grow(RUNS[fault.exporter.rpartition(":")[2]])
    candidate = InThisProcess(load_subject(fault.exporter))
    verdicts = costs.judge_query_growth(candidate, runs, Declared(), tmp_path)
    assert verdicts[0].failed
    assert all(words in verdicts[0].seen for words in fault.words)


def test_a_join_of_outer_children_is_not_a_product(
    grow: Callable[..., None], runs: CostRuns, tmp_path: Path
) -> None:
    grow("members of a batch and artifacts", "all axes")
    candidate = InThisProcess(
        load_subject("harness.fixtures.blind_trial.correct:BatchesWithMembers")
    )
    verdicts = costs.judge_query_growth(candidate, runs, Declared(), tmp_path)
    assert not [each.seen for each in verdicts if each.failed]
