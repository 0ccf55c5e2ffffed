"""Observation of one export: its activity on the database, in exact counts, and its file.

Time and memory are measured elsewhere, in passes without listeners.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.exporters.failure import NotCountedError, refuse_replaced_hooks
from harness.exporters.manifest_time import ManifestTime, digest_lines
from harness.exporters.probe.exports import count_records
from harness.exporters.probe.observation import observe, project_of_subject
from harness.exporters.subject import Subject, write_jsonl
from querygrowth.counting.action_result import ResultKind
from querygrowth.counting.activity import Activity, ShapeActivity, activity_of_record
from querygrowth.counting.record import Record
from querygrowth.counting.work import VM_STEPS
from querygrowth.places.call_sites import CallSite
from querygrowth.reports import site_within

__all__ = [
    "ExportTask",
    "MemoryUse",
    "Observation",
    "WrittenFile",
    "observation_of",
    "observe_export",
    "project_of_subject",
]


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
    def at(cls, path: Path, manifest: ManifestTime | None = None) -> "WrittenFile":
        """Count and hash the lines of the file at `path`: one record a line.

        `manifest` sets the time of the manifest aside in the hash.
        """
        sha256, records = digest_lines(path, manifest)
        return cls(records, path.stat().st_size, sha256)

    @classmethod
    def none(cls, records: int) -> "WrittenFile":
        """Stand for the file of an export that wrote none, and counted its records."""
        return cls(records, 0, "")


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
        activity = replace(self.activity, shapes=shapes, sites=sites, causes={}, cursor_fetches=0)
        return replace(self, activity=activity)


@dataclass(frozen=True)
class ExportTask:
    """The export that subjects perform: the run, its database, the key, the clock, the folder.

    Without a key the export is unsigned. With `without_file` an observation reads the records of
    `export_run` and writes none of them: encoding them takes longer than reading them.
    """

    db: LandscapeDB
    run_id: str
    signing_key: bytes | None
    clock: Clock
    directory: Path
    without_file: bool = False

    def manifest_time(self, *, takes_clock: bool) -> ManifestTime | None:
        """Return what sets the time of a manifest aside; None if it was set by the clock."""
        if takes_clock or self.signing_key is None:
            return None
        return ManifestTime(self.signing_key, self.clock)

    def path_for(self, subject: str) -> Path:
        """The path of the file of the subject with that name."""
        return self.directory / f"{subject}.jsonl"

    def perform(self, subject: Subject) -> Path:
        """Write the subject's file and return its path."""
        path = self.path_for(subject.name)
        exporter = subject.build(self.db, self.signing_key, self.clock)
        write_jsonl(exporter, self.run_id, path, sign=self.signing_key is not None)
        return path

    def count_records(self, subject: Subject) -> int:
        """Read the subject's records and return their number."""
        exporter = subject.build(self.db, self.signing_key, self.clock)
        return count_records(exporter.export_run(self.run_id, sign=self.signing_key is not None))


def observation_of(name: str, record: Record, file: WrittenFile) -> Observation:
    """Interpret the record of an export.

    Args:
        name: The exporter's name in results.
        record: From this process or another.
        file: The file that it wrote.

    Raises:
        NotCountedError: The exporter replaced a hook that counts, or hid its work otherwise.
    """
    refuse_replaced_hooks(name, record.replaced)
    # The records are in the file. What the action returned says nothing about them.
    activity = replace(activity_of_record(record), records=file.records, result=ResultKind.RECORDS)
    # SQLite takes a step or more to the next row. What hid the steps may have put all hooks back.
    steps, rows = activity.work.get(VM_STEPS), activity.rows_fetched
    if steps is not None and rows is not None and steps * 2 < rows:
        raise NotCountedError(name, f"{steps} machine steps were seen for {rows} fetched rows")
    return Observation(name, activity, file)


def observe_export(
    subject: Subject, task: ExportTask, work: Iterable[str] = (VM_STEPS,)
) -> Observation:
    """Perform the export once in this process with all counters attached."""
    if task.without_file:
        counted = observe(
            lambda: task.count_records(subject), task.db.engine, subject.factory, work
        )
        return observation_of(subject.name, counted, WrittenFile.none(cast("int", counted.result)))
    record = observe(lambda: task.perform(subject), task.db.engine, subject.factory, work)
    manifest = task.manifest_time(takes_clock=subject.takes_clock)
    file = WrittenFile.at(task.path_for(subject.name), manifest)
    return observation_of(subject.name, record, file)
