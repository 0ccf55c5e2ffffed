"""Costing: the exact counts of a candidate's exports of a few sizes, as a baseline keeps them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.baseline import Costs, ShapeCost
from harness.counting.work import BRANCHES, VM_STEPS
from harness.equivalence import SIGNING_KEY, fixed_clock
from harness.generator import generate_run
from harness.measurement.environment import describe_environment
from harness.measurement.measuring import Measured
from harness.observation import ExportTask, Observation
from harness.spec import RunSpec

ROWS = (10, 30, 100)
"""Small, because every branch of Python is counted; what grows faster than the run still shows."""


def cost(candidate: Measured, directory: Path) -> Costs:
    """Count the exports of the baseline's runs, whose databases go into `directory`."""
    observed: list[Observation] = []
    branches: list[int | None] = []
    for rows in ROWS:
        with LandscapeDB(f"sqlite:///{directory / f'costs-{rows}.db'}") as db:
            run = generate_run(db, RunSpec.typical(rows))
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            observed.append(candidate.observe(task))
            branches.append(candidate.count_branches(task))
            software = describe_environment(db, directory).software
    work = {VM_STEPS: [each.vm_steps for each in observed], BRANCHES: branches}
    known = {name: counts for name, each in work.items() if (counts := _all_known(each))}
    return Costs(
        ROWS,
        _shape_costs(observed),
        _all_known([each.rows_fetched for each in observed]),
        {software: known} if known else {},
    )


def _shape_costs(observed: Sequence[Observation]) -> tuple[ShapeCost, ...]:
    counts = [
        Counter({(shape.table, shape.text): shape.count for shape in each.shapes})
        for each in observed
    ]
    names = sorted({name for each in counts for name in each})
    return tuple(
        ShapeCost.of(table, text, [each[table, text] for each in counts], ROWS)
        for table, text in names
    )


def _all_known(counts: Sequence[int | None]) -> tuple[int, ...] | None:
    known = tuple(each for each in counts if each is not None)
    return known if len(known) == len(counts) else None
