"""Observation of one export: its activity on the database, in exact counts, and its file.

Time and memory are measured elsewhere, in passes without listeners.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.exporters.subject import Subject, write_jsonl
from querygrowth.activity import Activity, ShapeActivity
from querygrowth.call_sites import CallSite, Project
from querygrowth.reports import site_within
from querygrowth.watch import action_runner, watch
from querygrowth.work import VM_STEPS, has_vm_steps


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of a fresh process: before the export, and at its highest during it."""

    start_bytes: int
    peak_bytes: int

    @property
    def above_start_bytes(self) -> int:
        """The bytes that the export added at its highest."""
        return self.peak_bytes - self.start_bytes


@dataclass(frozen=True)
class WrittenFile:
    """The JSON Lines file of a finished export."""

    records: int
    size_bytes: int
    sha256: str

    @classmethod
    def at(cls, path: Path) -> "WrittenFile":
        """Count and hash the lines of the file at `path`: one record a line."""
        # Line by line: the file of a large run does not fit into memory.
        digest, records = hashlib.sha256(), 0
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                records += 1
        return cls(records, path.stat().st_size, digest.hexdigest())


@dataclass(frozen=True)
class Observation:
    """The activity and the file of one export to JSON Lines."""

    subject: str
    activity: Activity
    file: WrittenFile

    @property
    def is_vacuous(self) -> bool:
        """Whether it sent no query or wrote no record, so that there is nothing to judge."""
        return not self.activity.queries or not self.file.records

    def portable(self, checkout: Path) -> "Observation":
        """The observation as results keep it, with sites relative to the checkout."""
        # Results are read on other machines: absolute paths mean nothing there, and neither does
        # the number of fetches, which depends on the driver. A shape's parsed SQL is not saved.

        def relative(site: CallSite) -> CallSite:
            return site_within(site, checkout) or site

        shapes = tuple(
            ShapeActivity.named(
                *(each.shape.table, each.shape.text, each.count),
                each.site and relative(each.site),
            )
            for each in self.activity.shapes
        )
        sites = {name: relative(site) for name, site in self.activity.sites.items()}
        activity = replace(self.activity, shapes=shapes, sites=sites, cursor_fetches=0)
        return replace(self, activity=activity)


@dataclass(frozen=True)
class ExportTask:
    """The export that subjects perform: the run, its database, the key, the clock, the folder."""

    db: LandscapeDB
    run_id: str
    signing_key: bytes
    clock: Clock
    directory: Path

    def path_for(self, subject: str) -> Path:
        """The path of the file of the subject with that name."""
        return self.directory / f"{subject}.jsonl"

    def perform(self, subject: Subject) -> Path:
        """Write the subject's signed file and return its path."""
        path = self.path_for(subject.name)
        exporter = subject.build(self.db, self.signing_key, self.clock)
        write_jsonl(exporter, self.run_id, path, sign=True)
        return path


def project_of_subject(root: Path | None = None) -> Project:
    """The code below `root` (default: the working directory), without the harness's own frames.

    An installed harness holds the exporters of `harness.fixtures`: those are subjects.
    """
    # Fixtures stand for user code, although an installed harness contains them.
    own = [path for path in Path(__file__).parents[1].iterdir() if path.name != "fixtures"]
    return Project(root, passed_over=own)


def observe_export(subject: Subject, task: ExportTask) -> Observation:
    """Perform the export once with all counting listeners attached."""
    engine = task.db.engine
    # Listeners, the driver's trace and the step counter at once: one export gives all counts.
    with action_runner() as runner:
        activity = watch(
            lambda _: task.perform(subject),
            engine,
            runner=runner,
            work=(VM_STEPS,) if has_vm_steps(engine) else (),
            project=project_of_subject(),
        )
    file = WrittenFile.at(task.path_for(subject.name))
    return Observation(subject.name, replace(activity, records=file.records), file)
