"""Generates the run of a spec into a database.

The flow: a spec is planned section by section, and each section is written as it is planned.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from sqlalchemy import select

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.schema import runs_table
from harness.generate.bulk_writer import write_in_bulk
from harness.generate.entities import Section
from harness.generate.features.feature import Reorder
from harness.generate.plan import neighbours_of, plan
from harness.generate.spec import ImpossibleSpecError, RunSpec

Write: TypeAlias = Callable[[LandscapeDB, Iterable[Section], Sequence[Reorder]], None]
"""Stores sections in one transaction, in the order that the reorders give."""
Progress: TypeAlias = Callable[[int, int], None]
"""Takes the number of source rows planned so far, and the number planned in the end."""


class RunExistsError(ValueError):
    """The database already holds a run of that id. Nothing was written."""


@dataclass(frozen=True)
class Cardinalities:
    """The number of records of each type in an unsigned export of a run, by table."""

    runs: int = 0
    nodes: int = 0
    edges: int = 0
    rows: int = 0
    tokens: int = 0
    token_parents: int = 0
    node_states: int = 0
    routing_events: int = 0
    calls: int = 0
    batches: int = 0
    batch_members: int = 0
    artifacts: int = 0

    @property
    def records(self) -> int:
        """The number of records of all types."""
        return sum(getattr(self, table.name) for table in fields(self))


@dataclass(frozen=True)
class GeneratedRun:
    """A generated run that is stored as a whole, with its neighbours."""

    spec: RunSpec
    cardinalities: Cardinalities
    """Of the run itself, without its neighbours."""

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.spec.run_id


def generate_run(
    db: LandscapeDB,
    spec: RunSpec,
    *,
    progress: Progress | None = None,
    write: Write = write_in_bulk,
) -> GeneratedRun:
    """Store the run of a spec and its neighbours in one transaction.

    An interruption stores nothing. Memory does not grow with the run.

    Args:
        db: The database, with all tables.
        spec: The run to generate.
        progress: Called after every source row.
        write: Stores the planned sections. Tests compare other ways of writing with the default.

    Raises:
        RunExistsError: The run id, or that of a neighbour, is taken.
        ImpossibleSpecError: The backend cannot hold a feature of the spec.
    """
    _check_backend(db, spec)
    _check_is_new(db, spec)
    # The plan is counted while it is written: it is made once only, and counting the stored tables
    # would read the whole run again.
    counts = dict.fromkeys((field.name for field in fields(Cardinalities)), 0)
    reorders = [each.reorder for each in spec.active_features if each.reorder]
    write(db, _counted(spec, counts, progress), reorders)
    return GeneratedRun(spec, Cardinalities(**counts))


def _counted(spec: RunSpec, counts: dict[str, int], progress: Progress | None) -> Iterator[Section]:
    """Plan the run, and count its entities while they are written."""
    total = spec.rows + spec.neighbours * spec.neighbour_rows
    done = 0
    for section in plan(spec):
        if section.run_id == spec.run_id:
            for table, entities in section.tables():
                counts[table] += len(entities)
        yield section
        # After the yield, when the writer has taken the section: progress does not run ahead of it.
        if progress and section.rows:
            done += 1
            progress(done, total)


def _check_backend(db: LandscapeDB, spec: RunSpec) -> None:
    if db.engine.dialect.name != "sqlite" and not spec.is_portable:
        names = [each.name for each in spec.active_features if not each.portable]
        raise ImpossibleSpecError(
            f"{names[0]}: {db.engine.dialect.name} cannot hold it", field="features"
        )


def _check_is_new(db: LandscapeDB, spec: RunSpec) -> None:
    # Asked beforehand, because a violated key would end in an error of the driver and not say what
    # to do. Neighbours take ids that a caller may not expect.
    run_ids = [spec.run_id, *(each.run_id for each in neighbours_of(spec))]
    with db.connection() as connection:
        taken = connection.scalars(
            select(runs_table.c.run_id).where(runs_table.c.run_id.in_(run_ids))
        ).all()
    if taken:
        raise RunExistsError(f"run {taken[0]!r} exists already in {db.masked_url}; choose another")
