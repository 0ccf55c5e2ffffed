"""Express the queries of an exporter as a formula of what a run contains."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from random import Random

from elspeth.core.landscape import LandscapeDB
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.growth.formula import Attribution, CountedRun, attribute

# More than there are cardinalities, so that a cost that is not linear shows as inexact.
_FORMULA_RUNS = 16


def attribute_queries(
    exporters: Mapping[str, Measured], directory: Path
) -> Mapping[str, Attribution]:
    """Count the queries of exporters on a few varied runs, and find their formulas.

    Args:
        exporters: The exporters to count, by name.
        directory: The folder for the database of the runs.

    Returns:
        The formulas of an exporter by its name in `exporters`.
    """
    counted: dict[str, list[CountedRun]] = {name: [] for name in exporters}
    # In one database, because to make one takes longer than to generate such a run.
    with LandscapeDB(f"sqlite:///{directory / 'formulas.db'}") as db:
        for run in [generate_run(db, spec) for spec in varied_specs()]:
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            contents = asdict(run.cardinalities)
            del contents["runs"]  # Always one, and so part of the constant term.
            for name, exporter in exporters.items():
                counts = exporter.observe(task, work=()).activity.by_table
                counted[name].append(CountedRun(contents, counts))
    return {name: attribute(runs) for name, runs in counted.items()}


def formulas_of(exporters: Iterable[Measured], directory: Path) -> Mapping[str, str]:
    """Return the formulas of all queries of an export as text, by the exporters' names.

    Args:
        exporters: The exporters to count.
        directory: The folder for the databases of the runs.
    """
    found = attribute_queries({each.name: each for each in exporters}, directory)
    return {name: str(each.total) for name, each in found.items()}


def varied_specs() -> Iterator[RunSpec]:
    """Yield small runs in which the numbers of records of all types vary independently."""
    # A fixed seed, so that formulas repeat. With this one, the runs tell all cardinalities apart.
    draw = Random(7)  # noqa: S311 - not for secrets
    for number in range(_FORMULA_RUNS):
        yield RunSpec(
            run_id=f"formula-{number}",
            rows=draw.randint(1, 3),
            forks=draw.randint(1, 2),
            joins=draw.randint(1, 2),
            parents=draw.randint(1, 2),
            states=draw.randint(1, 3),
            retries=draw.randint(0, 2),
            routing_groups=draw.randint(0, 2),
            calls=draw.randint(0, 3),
            nodes=draw.randint(3, 9),
            edges=draw.randint(1, 9),
            batches=draw.randint(1, 4),
            members=draw.randint(0, 1),
            artifacts=draw.randint(0, 5),
        )
