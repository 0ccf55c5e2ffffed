"""Exporters under measurement: count, time and weigh an export, in this process or in another.

`measured` makes one from a name. `control_for` gives the control for comparisons.
"""

import gc
import inspect
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from traceback import walk_tb
from typing import Protocol

from sqlalchemy import func, select

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB, rows_table
from harness.exporters.observation import (
    ExportTask,
    MemoryUse,
    Observation,
    SourceFolders,
    observe_export,
)
from harness.exporters.subject import CONTROL, Subject, SubjectError, load_subject
from harness.exporters.subprocess_probe import FIRST_ROW_TRIES, Probe, subject_of
from querygrowth.call_sites import CallSite
from querygrowth.reports import visible
from querygrowth.verdict import Outcome, Verdict
from querygrowth.work import VM_STEPS, count_branches

LARGE_ROWS = 20_000
"""Source rows from which on the control of a comparison runs in another process."""


_SHOWN_FRAMES = 3


class ExportFailedError(Exception):
    """An exporter raised an error. `verdict` names the error and the line that raised it."""

    def __init__(self, subject: Subject, error: Exception) -> None:
        """Keep the error as a failed verdict.

        Args:
            subject: The exporter.
            error: Its error, with the traceback.
        """
        frames = [
            CallSite(code.co_filename, line, code.co_qualname)
            for code, line in ((f.f_code, line) for f, line in walk_tb(error.__traceback__))
        ]
        # The last line of its own files: a library below it raised, but was called from there.
        sources = SourceFolders(subject.factory)
        own = [each for each in frames if sources.contains(each.path)]
        message = visible(f"{type(error).__name__}: {error}")
        self.verdict = Verdict(
            subject.name,
            Outcome.FAILED,
            expected="an export that ends without an error",
            seen=f"it raised {message}",
            evidence=tuple(f"called from {each}" for each in own[-2 : -2 - _SHOWN_FRAMES : -1]),
            next_step="the line of the exporter that raised",
            site=own[-1] if own else None,
        )
        super().__init__(f"{subject.name} raised {message}{f' at {own[-1]}' if own else ''}")


# Counting, timing and memory are separate passes. A listener slows small queries by a tenth and
# more, and only a fresh process holds the memory of one export alone.
class Measured(Protocol):
    """An exporter under measurement. A pass exports the task's run once or more."""

    @property
    def name(self) -> str:
        """The exporter's name in results."""

    @property
    def is_here(self) -> bool:
        """Whether it exports in this process, where listeners can be attached to its engine."""

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its source; None if this process does not know it."""

    def subject(self, task: ExportTask) -> Subject:
        """Return the subject that represents it in comparisons."""

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries of one export, and the named kinds of work."""

    def count_branches(self, task: ExportTask) -> int | None:
        """Count the branches of Python in the project's files in one export; None if unknown."""

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export to a file, without listeners."""

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record."""

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, in a fresh process."""


@dataclass(frozen=True)
class InThisProcess:
    """An exporter of this environment. Its errors are raised as ExportFailedError."""

    loaded: Subject

    @property
    def name(self) -> str:
        """The name of its class or function."""
        return self.loaded.name

    @property
    def is_here(self) -> bool:
        """Always true."""
        return True

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its class or function."""
        try:
            path = inspect.getsourcefile(self.loaded.factory)
            line = inspect.getsourcelines(self.loaded.factory)[1]
        except (OSError, TypeError):
            # A class that was built at run time, or a callable object, has no source.
            return None
        return CallSite(path, line, self.name) if path else None

    def subject(self, task: ExportTask) -> Subject:
        """Return the loaded subject."""
        return self.loaded

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries, fetched rows and work of one export."""
        with self._errors_caught():
            return observe_export(self.loaded, task, work)

    def count_branches(self, task: ExportTask) -> int | None:
        """Count branches in the exporter's package and its base classes'; None without source."""
        # A separate pass: tracing Python makes an export many times slower.
        with (
            self._errors_caught(),
            count_branches(SourceFolders(self.loaded.factory)) as branches,
        ):
            task.perform(self.loaded)
        return branches.count or None

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one signed export to a file."""
        with self._errors_caught():
            return _seconds_of(lambda: task.perform(self.loaded))

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record: the median of a few exports."""

        def read() -> None:
            exporter = self.loaded.build(task.db, task.signing_key, task.clock)
            records = iter(exporter.export_run(task.run_id, sign=True))
            next((record for record in records if record["record_type"] == "row"), None)
            # An abandoned generator keeps its transaction open until it is collected.
            close = getattr(records, "close", None)
            if close is not None:
                close()

        with self._errors_caught():
            return median(_seconds_of(read) for _ in range(FIRST_ROW_TRIES))

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, in a fresh process of this interpreter."""
        # This process has held other runs already, and its peak never falls.
        probe = Probe(self.loaded.reference, (self.loaded.import_root,))
        return probe.measure_memory(task)

    @contextmanager
    def _errors_caught(self) -> Iterator[None]:
        """Raise the exporter's errors as ExportFailedError."""
        try:
            yield
        except SubjectError:
            raise  # It is not an exporter at all.
        except Exception as error:  # The user's code may raise any.
            raise ExportFailedError(self.loaded, error) from error


@dataclass(frozen=True)
class InOwnProcess:
    """An exporter of another checkout or environment, in a process for each pass."""

    probe: Probe

    @property
    def name(self) -> str:
        """The probe's label."""
        return self.probe.label

    @property
    def is_here(self) -> bool:
        """Always false."""
        return False

    @property
    def defined_at(self) -> CallSite | None:
        """Always None: this process does not import the exporter."""
        return None

    def subject(self, task: ExportTask) -> Subject:
        """Return a subject that exports through the probe."""
        return subject_of(self.probe, task)

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries of one export there; fetched rows and work stay unknown."""
        return self.probe.observe(task)

    def count_branches(self, task: ExportTask) -> int | None:
        """Return None: a probe does not trace."""
        return None

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export there, without the start of its process."""
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
        database: The class that opens the database there, as module:attribute; may be empty.

    Raises:
        SubjectError: It cannot be loaded, or is imported from outside `src`.
    """
    if src is None and python is None:
        return InThisProcess(load_subject(reference))
    if python is not None and shutil.which(python) is None:
        raise SubjectError(f"{python} cannot be run: it is not a program")
    probe = Probe(reference, () if src is None else (src,), python or sys.executable, database)
    file = probe.locate()
    # Otherwise an installed exporter would be judged in place of the one that was meant.
    if src is not None and (file is None or not file.is_relative_to(src.resolve())):
        place = "without a file" if file is None else f"from {file}"
        raise SubjectError(f"{reference} is imported {place}, not from {src.resolve()}")
    return InOwnProcess(probe)


def control_for(db: LandscapeDB, run_id: str, *, clock: Clock, directory: Path) -> Subject:
    """Return the control for comparisons on one run: in another process if the run is large.

    Args:
        db: The database of the run. No other process can open one in memory.
        run_id: The run.
        clock: The clock of its manifests.
        directory: The folder for the files of the other process.
    """
    in_run = select(func.count()).select_from(rows_table).where(rows_table.c.run_id == run_id)
    with db.connection() as connection:
        rows = connection.execute(in_run).scalar_one()
    control = load_subject(CONTROL)
    # The control holds all rows of a run, about 0.85 KB for a row. Another process gives that
    # memory back, so that a comparison takes the same memory for a run of any size.
    if rows < LARGE_ROWS or not _is_shared(db):
        return control
    # This task only describes the exporter; the signing key comes later, with the export.
    task = ExportTask(db, run_id, b"", clock, directory)
    return subject_of(Probe(CONTROL, name=control.name), task)


def _is_shared(db: LandscapeDB) -> bool:
    url = db.engine.url
    return url.get_backend_name() != "sqlite" or url.database not in (None, "", ":memory:")


def _seconds_of(action: Callable[[], object]) -> float:
    # Otherwise the collection of the previous action's garbage could fall into this one's time.
    gc.collect()
    started = perf_counter()
    action()
    return perf_counter() - started
