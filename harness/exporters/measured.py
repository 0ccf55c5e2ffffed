"""An exporter under measurement: one method for every pass, in this process or in another.

Counting, timing and memory are separate passes, because a listener slows an export down and memory
is one export's alone only in a fresh process.
"""

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.exporters.observation import (
    ExportTask,
    MemoryUse,
    Observation,
    observe_export,
    project_of_subject,
)
from harness.exporters.subject import Subject, load_subject
from harness.exporters.subprocess_probe import Probe, subject_of
from harness.exporters.timing import time_export, time_first_row
from querygrowth.call_sites import CallSite
from querygrowth.work import count_branches


class Measured(Protocol):
    """An exporter under measurement. A pass exports the task's run once or more."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def is_here(self) -> bool:
        """Whether it exports in this process, where its engine can be listened to."""

    @property
    def defined_at(self) -> CallSite | None:
        """Where its source begins, if that is known here."""

    def subject(self, task: ExportTask) -> Subject:
        """The subject that represents it in comparisons."""

    def observe(self, task: ExportTask) -> Observation:
        """Count one export."""

    def count_branches(self, task: ExportTask) -> int | None:
        """Count the branches of Python in the project's files in one export; None if unknown."""

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export, without listeners."""

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record."""

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, in a fresh process."""


@dataclass(frozen=True)
class InThisProcess:
    """An exporter of this environment."""

    loaded: Subject

    @property
    def name(self) -> str:
        """What to call it."""
        return self.loaded.name

    @property
    def is_here(self) -> bool:
        """True."""
        return True

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its class or function."""
        try:
            path = inspect.getsourcefile(self.loaded.factory)
            line = inspect.getsourcelines(self.loaded.factory)[1]
        except (OSError, TypeError):
            return None
        return CallSite(path, line, self.name) if path else None

    def subject(self, task: ExportTask) -> Subject:
        """Itself."""
        return self.loaded

    def observe(self, task: ExportTask) -> Observation:
        """Count one export, with its fetched rows and work."""
        return observe_export(self.loaded, task)

    def count_branches(self, task: ExportTask) -> int | None:
        """Count branches in files below the working directory; None if none of them is there."""
        # A separate pass: tracing Python makes an export many times slower.
        with count_branches(project_of_subject()) as branches:
            task.perform(self.loaded)
        return branches.count or None

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export here."""
        return time_export(self.loaded, task)

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record here."""
        return time_first_row(self.loaded, task)

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, by a probe with this interpreter."""
        # This process has already held other runs: its peak says nothing of one export.
        probe = Probe(self.loaded.reference, paths=(Path.cwd(),))
        return probe.measure_memory(task)


@dataclass(frozen=True)
class InOwnProcess:
    """An exporter of another checkout or environment, asked through a probe."""

    probe: Probe

    @property
    def name(self) -> str:
        """What to call it."""
        return self.probe.label

    @property
    def is_here(self) -> bool:
        """False."""
        return False

    @property
    def defined_at(self) -> CallSite | None:
        """Unknown here."""
        return None

    def subject(self, task: ExportTask) -> Subject:
        """A stand-in that has the probe export."""
        return subject_of(self.probe, task)

    def observe(self, task: ExportTask) -> Observation:
        """Count one export there. Rows fetched and work stay unknown."""
        return self.probe.observe(task)

    def count_branches(self, task: ExportTask) -> int | None:
        """Unknown: a probe does not trace."""
        return None

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export there, the start of its process not included."""
        return self.probe.time(task)

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record there."""
        return self.probe.time_first_row(task)

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export there."""
        return self.probe.measure_memory(task)


def measured(
    reference: str, *, src: Path | None = None, python: str | None = None, database: str = ""
) -> Measured:
    """Return the exporter that `module:attribute` names, of this environment or of another.

    Args:
        reference: The exporter.
        src: A directory to import it from, in another process.
        python: The interpreter of another environment, for another process.
        database: What opens the database there, as module:attribute; may be empty.

    Raises:
        SubjectError: It cannot be loaded here.
    """
    if src is None and python is None:
        return InThisProcess(load_subject(reference))
    paths = () if src is None else (src,)
    return InOwnProcess(Probe(reference, paths, python or sys.executable, database))
