"""Exporters under measurement: export, count, time and weigh, in this process or in another.

All checks and measurements work with a `Measured`. `measured` and `in_own_process` make one from a
name, `as_measured` from a class of this process. `control_for` gives the control of comparisons.
"""

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from sqlalchemy import func, select

from elspeth.core.landscape import LandscapeDB, rows_table
from harness.exporters.failure import ExportFailedError
from harness.exporters.observation import ExportTask, MemoryUse, Observation
from harness.exporters.own_process import InOwnProcess
from harness.exporters.subject import (
    CONTROL,
    Subject,
    SubjectError,
    load_subject,
    require_below,
    require_reference,
)
from harness.exporters.subprocess_probe import START_SECONDS, Probe
from harness.exporters.this_process import InThisProcess
from querygrowth.counting.work import VM_STEPS
from querygrowth.places.call_sites import CallSite

__all__ = [
    "ExportFailedError",
    "InOwnProcess",
    "InThisProcess",
    "Measured",
    "as_measured",
    "control_for",
    "in_own_process",
    "measured",
]

LARGE_ROWS = 20_000
"""Source rows from which on the control of a comparison runs in another process."""


# Counting, timing and memory are separate passes. A listener slows small queries by a tenth and
# more, and only a fresh process holds the memory of one export alone.
class Measured(Protocol):
    """An exporter under measurement. A pass exports the task's run once or more.

    Every pass raises ExportFailedError if the exporter did not finish it, and SubjectError if the
    object is no exporter. The passes that return errors keep those of `export_run` and `write_*`.
    """

    @property
    def name(self) -> str:
        """The exporter's name in results."""

    @property
    def is_here(self) -> bool:
        """Whether it exports in this process, where listeners can be attached to its engine."""

    @property
    def takes_clock(self) -> bool:
        """Whether the time in its manifest can be set."""

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its source; None if it is not known."""

    def export(self, task: ExportTask, *, max_records: int = sys.maxsize) -> Mapping[str, Any]:
        """Export in every form into the task's directory.

        Returns:
            As `probe.exports.write_forms`.
        """

    def export_records(
        self, task: ExportTask, *, max_records: int = sys.maxsize
    ) -> Mapping[str, Any]:
        """Export the records into the task's directory.

        Returns:
            As `probe.exports.write_records`.
        """

    def export_with_pause(
        self, task: ExportTask, pause: Callable[[], object], *, after: int = 1
    ) -> Mapping[str, Any]:
        """Export the records, and call `pause` here when a query has been executed.

        Args:
            task: The export.
            pause: What to call.
            after: The query, counted from 1.

        Returns:
            As `probe.observation.write_records_with_pause`.
        """

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries and fetched rows of one export, and its work of the named kinds.

        Branches are counted in the folder of the exporter's source.
        """

    def count_branches(self, task: ExportTask) -> int | None:
        """Count the branches of Python in one export; None if unknown.

        They are counted in the packages of the exporter and its base classes.
        """

    def perform(self, script: Any, databases: Sequence[LandscapeDB], directory: Path) -> Any:
        """Perform a script of calls; see `call_script.perform`.

        Args:
            script: The script, as JSON values.
            databases: The databases that its steps refer to by their place.
            directory: An existing folder for records and files.
        """

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export to a file, without listeners."""

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record."""

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, in a fresh process."""

    def measure_held(self, task: ExportTask, *, tries: int) -> Mapping[str, Sequence[int]]:
        """Return the bytes that Python holds during and after exports, one after the other.

        Returns:
            As `probe.measures.held_bytes_of`.
        """

    def sample_held(self, task: ExportTask) -> Mapping[str, int] | None:
        """Return the most that Python holds during one export, by samples.

        Returns:
            As `probe.measures.sampled_peaks_of`.
        """

    def in_environment(self, variables: Mapping[str, str]) -> "Measured | None":
        """Return the exporter in a new process with these variables; None if it has no name."""

    def within(self, seconds: float) -> "Measured":
        """Return the same exporter with another limit, in seconds, for every pass."""

    @property
    def used_processes(self) -> bool:
        """Whether it let processes work for it since `end_check`; what they send is not counted."""

    @property
    def hangs(self) -> int:
        """How often it did not end a pass in time."""

    def end_check(self) -> tuple[str, ...]:
        """Return what it changed or left behind since the last call, in words."""

    def close(self) -> None:
        """End its process, if it has one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def as_measured(exporter: Subject | Measured) -> Measured:
    """Return the exporter itself, or a class of this process as an exporter of this process."""
    return InThisProcess(exporter) if isinstance(exporter, Subject) else exporter


def in_own_process(
    reference: str,
    *,
    src: Path | None = None,
    python: str | None = None,
    database: str = "",
    start_seconds: float = START_SECONDS,
) -> InOwnProcess:
    """Return the exporter that `module:attribute` names, in a process that it has for itself.

    This process never imports it.

    Args:
        reference: The exporter.
        src: A directory to import it from.
        python: The interpreter of another environment, or the folder of a virtual environment.
        database: The function or class that opens the database there, as module:attribute; default:
            the Landscape's class.
        start_seconds: The limit of its import.

    Raises:
        SubjectError: It cannot be loaded, or is imported from outside `src`.
    """
    require_reference(reference)
    probe = Probe(
        reference,
        () if src is None else (src,),
        sys.executable if python is None else interpreter_of(python),
        database,
        start_seconds=start_seconds,
    )
    exporter = InOwnProcess(probe)
    try:
        _require_place(exporter, src)
    except SubjectError:
        exporter.close()
        raise
    return exporter


def _require_place(exporter: InOwnProcess, src: Path | None) -> None:
    """Refuse an exporter whose module or class comes from elsewhere than a folder."""
    # Otherwise an installed exporter would be judged in place of the one that was meant.
    module_file, defined_at = exporter.process.description["file"], exporter.defined_at
    if src is None:
        return
    require_below(module_file and Path(module_file), src, exporter.probe.reference)
    if defined_at is not None:
        require_below(Path(defined_at.path), src, exporter.probe.reference)


def interpreter_of(path: str) -> str:
    """Return the interpreter that a path names: itself, or that of a virtual environment.

    Raises:
        SubjectError: It is neither.
    """
    folder = Path(path)
    if folder.is_dir():
        found = [each for each in (folder / "bin" / "python", folder / "python") if each.exists()]
        if not found:
            raise SubjectError(
                f"{path} is a folder without bin/python: name an interpreter or the folder of a "
                "virtual environment"
            )
        # Not resolved: the link in its folder is what makes it a virtual environment.
        return str(found[0].absolute())
    named = shutil.which(path)
    if named is None:
        reason = "is no program" if folder.exists() else "does not exist"
        raise SubjectError(f"{path} cannot be run: it {reason}")
    return str(Path(named).absolute())


def measured(
    reference: str, *, src: Path | None = None, python: str | None = None, database: str = ""
) -> Measured:
    """Return the exporter that `module:attribute` names, of this environment or of another.

    It is in this process unless a folder, an interpreter or an opener is named. The arguments and
    errors are those of `in_own_process`.
    """
    # In this process, where control and candidate are timed in turn.
    if src is None and python is None and not database:
        return InThisProcess(load_subject(reference))
    return in_own_process(reference, src=src, python=python, database=database)


def control_for(db: LandscapeDB, run_id: str) -> Measured:
    """Return the control for comparisons on one run: in another process if the run is large.

    Args:
        db: The database of the run. No other process can open one in memory.
        run_id: The run.
    """
    in_run = select(func.count()).select_from(rows_table).where(rows_table.c.run_id == run_id)
    with db.connection() as connection:
        rows = connection.execute(in_run).scalar_one()
    control = load_subject(CONTROL)
    # The control holds all rows of a run, about 0.85 KB for a row. Another process gives that
    # memory back, so that a comparison takes the same memory for a run of any size.
    if rows < LARGE_ROWS or db.is_in_memory:
        return InThisProcess(control)
    return InOwnProcess(Probe(CONTROL, name=control.name))
