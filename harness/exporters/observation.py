"""Observation of one export: its activity on the database, in exact counts, and its file.

Time and memory are measured elsewhere, in passes without listeners.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.exporters.subject import Subject, write_jsonl
from querygrowth.activity import Activity, ShapeActivity
from querygrowth.call_sites import CallSite, Project
from querygrowth.reports import site_within
from querygrowth.watch import action_runner, watch
from querygrowth.work import BRANCHES, VM_STEPS, has_vm_steps


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
    """The export that subjects perform: the run, its database, the key, the clock, the folder.

    With `as_records` the file holds the records of `export_run` as plain JSON, also for an exporter
    that has a method for files. That shows what the records cost, without what a file costs.
    """

    db: LandscapeDB
    run_id: str
    signing_key: bytes
    clock: Clock
    directory: Path
    as_records: bool = False

    def path_for(self, subject: str) -> Path:
        """The path of the file of the subject with that name."""
        return self.directory / f"{subject}.jsonl"

    def perform(self, subject: Subject) -> Path:
        """Write the subject's signed file and return its path."""
        path = self.path_for(subject.name)
        exporter = subject.build(self.db, self.signing_key, self.clock)
        if self.as_records:
            # Not canonical JSON, which takes longer than most exports, and without a flush.
            with path.open("w", encoding="ascii") as file:
                for record in exporter.export_run(self.run_id, sign=True):
                    file.write(f"{json.dumps(dict(record), default=repr)}\n")
        else:
            write_jsonl(exporter, self.run_id, path, sign=True)
        return path


def project_of_subject(root: Path | None = None) -> Project:
    """The code below `root` (default: the working directory), without the harness's own frames.

    An installed harness holds the exporters of `harness.fixtures`: those are subjects.
    """
    # Fixtures stand for user code, although an installed harness contains them.
    own = [path for path in Path(__file__).parents[1].iterdir() if path.name != "fixtures"]
    return Project(root, passed_over=own)


def project_of(factory: object) -> Project:
    """The files in which the call sites of an exporter are looked for.

    These are the files below the working directory if the exporter is one of them, else the files
    of the exporter's directory.
    """
    # An installed exporter lies in site-packages, and an empty working directory has no call site.
    here = project_of_subject()
    try:
        source = Path(inspect.getfile(factory))  # type: ignore[arg-type]  # TypeError is expected
    except (OSError, TypeError):  # A builtin, an object such as a partial, or code from a prompt.
        return here
    return here if here.contains(str(source)) else project_of_subject(source.parent)


class SourceFolders(Project):
    """The code of an exporter and of its base classes, wherever they are installed.

    That is the package of every class, or the folder of a module outside packages. It is empty if
    there is no source, as for a factory that is written in C.
    """

    # Not the working directory: exact counts must not depend on where the command is started.
    def __init__(self, factory: object) -> None:
        super().__init__()
        classes = inspect.getmro(factory) if inspect.isclass(factory) else (factory,)
        folders = dict.fromkeys(folder for each in classes if (folder := _package_of(each)))
        self._folders = [project_of_subject(folder) for folder in folders]

    def contains(self, filename: str) -> bool:
        """Whether a file lies in one of the folders."""
        return any(each.contains(filename) for each in self._folders)


def _package_of(code: object) -> Path | None:
    """Return the folder of the outermost package that holds the code; None for Python's own."""
    module = inspect.getmodule(code)
    if module is None or module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return None
    file = inspect.getsourcefile(module)
    if file is None:
        return None
    folder = Path(file).resolve().parent
    if not (folder / "__init__.py").exists():
        # A single module among installed packages: its folder would count all of them.
        return None if folder.name in ("site-packages", "dist-packages") else folder
    while (folder.parent / "__init__.py").exists():
        folder = folder.parent
    return folder


def observe_export(
    subject: Subject, task: ExportTask, work: Iterable[str] = (VM_STEPS,)
) -> Observation:
    """Perform the export once in this process with all counters attached.

    Args:
        subject: The exporter.
        task: The export.
        work: Deterministic counts to take beside the queries (`VM_STEPS`, `BRANCHES`). Machine
            steps are left out on a database that does not count them.
    """
    engine, names = task.db.engine, tuple(work)
    # Branches are those of the exporter's own code, wherever the command is started.
    branches = BRANCHES in names
    # Listeners, the driver's trace and the step counter at once: one export gives all counts.
    with action_runner() as runner:
        activity = watch(
            lambda _: task.perform(subject),
            engine,
            runner=runner,
            work=[name for name in names if name != VM_STEPS or has_vm_steps(engine)],
            project=SourceFolders(subject.factory) if branches else project_of(subject.factory),
            all_connections=True,
        )
    file = WrittenFile.at(task.path_for(subject.name))
    return Observation(subject.name, replace(activity, records=file.records), file)
