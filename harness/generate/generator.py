"""Generates the run that a spec describes: plans it, and writes it in bulk or through the recorder.

spec -> plan -> bulk | recording -> generated run
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from sqlalchemy import select

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.schema import runs_table
from harness.generate.bulk_writer import write_in_bulk
from harness.generate.plan import neighbours_of, plan
from harness.generate.recorder_writer import write_through_recorder
from harness.generate.rows import Chapter
from harness.generate.spec import ImpossibleSpecError, RunSpec

Writer: TypeAlias = Literal["bulk", "recorder"]
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many source rows are planned by now, and how many there will be."""


class RunExistsError(ValueError):
    """The database holds a run of that id already; nothing was written."""


@dataclass(frozen=True)
class Cardinalities:
    """How many records of each type an unsigned export of a run holds, by table."""

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
        """All records together."""
        return sum(getattr(self, table.name) for table in fields(self))


@dataclass(frozen=True)
class GeneratedRun:
    """A run that was generated and is stored whole, with its neighbours."""

    spec: RunSpec
    writer: Writer
    cardinalities: Cardinalities
    """Of the run itself, without its neighbours."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.spec.run_id

    @property
    def shapes(self) -> frozenset[str]:
        """The features that it holds, and the axes that it goes along."""
        return self.spec.shapes


def generate_run(
    db: LandscapeDB,
    spec: RunSpec,
    *,
    writer: Writer = "bulk",
    progress: Progress | None = None,
) -> GeneratedRun:
    """Store the run of a spec and its neighbours, in one transaction.

    Both writers store the same contents; an interrupted generation stores nothing. Memory does
    not grow with the run.

    Raises RunExistsError for a run id that is taken, and ImpossibleSpecError for a spec that the
    recorder's methods cannot write or that the database cannot hold.
    """
    _check_writer(spec, writer)
    _check_backend(db, spec)
    _check_is_new(db, spec)
    counts = dict.fromkeys((field.name for field in fields(Cardinalities)), 0)
    chapters = _counted(spec, counts, progress)
    if writer == "recorder":
        write_through_recorder(db, chapters)
    else:
        write_in_bulk(db, chapters, [each.arrange for each in spec.active_features if each.arrange])
    return GeneratedRun(spec, writer, Cardinalities(**counts))


def _counted(spec: RunSpec, counts: dict[str, int], progress: Progress | None) -> Iterator[Chapter]:
    """Plan the run, and count what is planned of it while it is written."""
    total = spec.rows + spec.neighbours * spec.neighbour_rows
    done = 0
    for chapter in plan(spec):
        if chapter.run_id == spec.run_id:
            for table, facts in chapter.tables():
                counts[table] += len(facts)
        yield chapter
        if progress and chapter.rows:
            done += 1
            progress(done, total)


def _check_writer(spec: RunSpec, writer: Writer) -> None:
    if writer not in ("bulk", "recorder"):
        raise ValueError(f"writer={writer!r}: neither bulk nor recorder")
    if writer == "recorder" and not spec.recorder_can_write:
        names = [each.name for each in spec.active_features if not each.recorder]
        raise ImpossibleSpecError(f"{names[0]}: the recorder cannot write it; write in bulk")


def _check_backend(db: LandscapeDB, spec: RunSpec) -> None:
    if db.engine.dialect.name != "sqlite" and not spec.is_portable:
        names = [each.name for each in spec.active_features if not each.portable]
        raise ImpossibleSpecError(f"{names[0]}: {db.engine.dialect.name} cannot hold it")


def _check_is_new(db: LandscapeDB, spec: RunSpec) -> None:
    run_ids = [spec.run_id, *(each.run_id for each in neighbours_of(spec))]
    with db.connection() as connection:
        taken = connection.scalars(
            select(runs_table.c.run_id).where(runs_table.c.run_id.in_(run_ids))
        ).all()
    if taken:
        raise RunExistsError(f"run {taken[0]!r} exists already in {db.masked_url}; choose another")
