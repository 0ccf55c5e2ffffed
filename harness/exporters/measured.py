"""Exporters under measurement: export, count, time and weigh, in this process or in another.

All checks and measurements work with a `Measured`. `measured` and `in_own_process` make one from a
name, `as_measured` from a class of this process. `control_for` gives the control of comparisons.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Protocol, Self

import rfc8785
from sqlalchemy import func, select

from elspeth.core.landscape import LandscapeDB, rows_table
from harness.exporters.failure import ExportFailedError
from harness.exporters.observation import (
    ExportTask,
    MemoryUse,
    Observation,
    WrittenFile,
    observation_of,
    observe_export,
)
from harness.exporters.probe import call_script, exports, measures
from harness.exporters.probe.observation import (
    SourceFolders,
    defined_at,
    frames_of_error,
    write_records_with_pause,
)
from harness.exporters.subject import CONTROL, Exporter, Subject, SubjectError, load_subject
from harness.exporters.subprocess_probe import FIRST_ROW_TRIES, ExporterProcess, Probe
from querygrowth.call_sites import CallSite
from querygrowth.record import Record
from querygrowth.work import BRANCHES, VM_STEPS, count_branches

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

    def export_with_pause(self, task: ExportTask, pause: Callable[[], object]) -> Mapping[str, Any]:
        """Export the records, and call `pause` here before the second query or record.

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


@dataclass(frozen=True)
class InThisProcess:
    """An exporter of this process. Hostile exporters are not survived here."""

    loaded: Subject

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def name(self) -> str:
        """The name of its class or function."""
        return self.loaded.name

    @property
    def is_here(self) -> bool:
        """Always true."""
        return True

    @property
    def takes_clock(self) -> bool:
        """Whether its class or function has a parameter `clock`."""
        return self.loaded.takes_clock

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its class or function."""
        return defined_at(self.loaded.factory, self.name)

    def export(self, task: ExportTask, *, max_records: int = sys.maxsize) -> Mapping[str, Any]:
        """Export in every form, each with a new exporter."""
        return exports.write_forms(
            self._build(task),
            task.run_id,
            task.directory,
            sign=task.signing_key is not None,
            max_records=max_records,
        )

    def export_records(
        self, task: ExportTask, *, max_records: int = sys.maxsize
    ) -> Mapping[str, Any]:
        """Export the records."""
        return exports.write_records(
            self._build(task),
            task.run_id,
            task.directory / exports.RECORDS,
            sign=task.signing_key is not None,
            max_records=max_records,
        )

    def export_with_pause(self, task: ExportTask, pause: Callable[[], object]) -> Mapping[str, Any]:
        """Export the records, and call `pause` in the thread of the export."""
        return write_records_with_pause(
            self._build(task),
            task.run_id,
            task.directory / exports.RECORDS,
            sign=task.signing_key is not None,
            engine=task.db.engine,
            pause=pause,
        )

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

    def perform(self, script: Any, databases: Sequence[LandscapeDB], directory: Path) -> Any:
        """Perform a script of calls."""
        with self._errors_caught():
            return call_script.perform(script, self.loaded.factory, databases, directory)

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one signed export to a file."""
        with self._errors_caught():
            return measures.seconds_of(lambda: task.perform(self.loaded))

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record: the median of a few exports."""

        def read() -> None:
            measures.read_to_first_row(self._build(task)(), task.run_id)

        with self._errors_caught():
            return median(measures.seconds_of(read) for _ in range(FIRST_ROW_TRIES))

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, in a fresh process of this interpreter."""
        # This process has held other runs already, and its peak never falls.
        probe = Probe(self.loaded.reference, (self.loaded.import_root,))
        return probe.measure_memory(task)

    def measure_held(self, task: ExportTask, *, tries: int) -> Mapping[str, Sequence[int]]:
        """Return the bytes that Python holds here."""
        with self._errors_caught():
            return measures.held_bytes_of(lambda: task.perform(self.loaded), tries)

    def in_environment(self, variables: Mapping[str, str]) -> "Measured | None":
        """Return the exporter in a process with these variables; None without a reference."""
        if not self.loaded.reference:
            return None
        paths = (self.loaded.import_root,)
        return InOwnProcess(Probe(self.loaded.reference, paths, environment=variables))

    def within(self, seconds: float) -> "Measured":
        """Return the exporter as it is: nothing can stop it here."""
        return self

    @property
    def used_processes(self) -> bool:
        """Always false: it is not watched here."""
        return False

    @property
    def hangs(self) -> int:
        """Always 0: nothing can stop it here."""
        return 0

    def end_check(self) -> tuple[str, ...]:
        """Return nothing: it is not watched here."""
        return ()

    def close(self) -> None:
        """Do nothing."""

    def _build(self, task: ExportTask) -> Callable[[], Exporter]:
        return partial(self.loaded.build, task.db, task.signing_key, task.clock)

    @contextmanager
    def _errors_caught(self) -> Iterator[None]:
        """Raise the exporter's errors as ExportFailedError."""
        try:
            yield
        except (SubjectError, ExportFailedError):
            raise  # It is not an exporter at all, or failed in a process of its own.
        except (Exception, SystemExit) as error:  # The user's code may raise any.
            frames = frames_of_error(error, self.loaded.factory)
            seen = f"it raised {type(error).__name__}: {error}"
            raise ExportFailedError(self.name, seen, frames=frames) from error


class InOwnProcess:
    """An exporter in a process that it has for itself: of this environment or another."""

    def __init__(
        self, probe: Probe, seconds: float | None = None, process: ExporterProcess | None = None
    ) -> None:
        """Remember the exporter; its process is started when it is first asked.

        Args:
            probe: The exporter and its environment.
            seconds: The limit of a pass; default: DEFAULT_SECONDS of the process.
            process: A process that it shares with another object; default: a new one.
        """
        self.probe = probe
        self.process = process or ExporterProcess(probe)
        self._seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The probe's label."""
        return self.probe.label

    @property
    def is_here(self) -> bool:
        """Always false."""
        return False

    @property
    def takes_clock(self) -> bool:
        """Whether its class or function has a parameter `clock`."""
        return bool(self.process.description["takes_clock"])

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its class or function."""
        place = self.process.description["defined_at"]
        return CallSite(*place) if place else None

    def export(self, task: ExportTask, *, max_records: int = sys.maxsize) -> Mapping[str, Any]:
        """Export in every form, each with a new exporter."""
        return self._ask("export", task, task.directory, max_records=max_records)

    def export_records(
        self, task: ExportTask, *, max_records: int = sys.maxsize
    ) -> Mapping[str, Any]:
        """Export the records."""
        return self._ask("records", task, task.directory, max_records=max_records)

    def export_with_pause(self, task: ExportTask, pause: Callable[[], object]) -> Mapping[str, Any]:
        """Export the records; the export there waits while `pause` runs here."""
        return self._ask("paused", task, task.directory, pause=pause)

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries, fetched rows and work of one export there."""
        return self._observe(task, work)

    def _observe(
        self, task: ExportTask, work: Iterable[str], *, in_packages: bool = False
    ) -> Observation:
        with self._folder(task) as folder:
            options = {"work": list(work), "in_packages": in_packages}
            answer = self._ask("observe", task, folder, **options)
            path = folder / exports.JSONL
            if not answer["writes_jsonl"]:
                _make_canonical(path)
            written = (folder / "record.json").read_text(encoding="ascii")
            record = Record.from_json(json.loads(written))
            return observation_of(self.name, record, WrittenFile.at(path))

    def count_branches(self, task: ExportTask) -> int | None:
        """Count branches in the exporter's package and its base classes'; None without source."""
        seen = self._observe(task, (BRANCHES,), in_packages=True)
        return seen.activity.work[BRANCHES] or None

    def perform(self, script: Any, databases: Sequence[LandscapeDB], directory: Path) -> Any:
        """Perform a script of calls there."""
        answer = self.process.ask_script(script, databases, directory, seconds=self._seconds)
        return answer["outcomes"]

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export in a new process, without its start."""
        return self.probe.time(task)

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record in a new process."""
        return self.probe.time_first_row(task)

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export in a new process."""
        return self.probe.measure_memory(task, seconds=self._seconds)

    def measure_held(self, task: ExportTask, *, tries: int) -> Mapping[str, Sequence[int]]:
        """Return the bytes that Python holds there."""
        with self._folder(task) as folder:
            return self._ask("held", task, folder, tries=tries)

    def in_environment(self, variables: Mapping[str, str]) -> "Measured | None":
        """Return the exporter in a new process with these variables."""
        return InOwnProcess(replace(self.probe, environment=variables), self._seconds)

    def within(self, seconds: float) -> "Measured":
        """Return the exporter in the same process, with another limit for a pass."""
        return InOwnProcess(self.probe, seconds, self.process)

    @property
    def used_processes(self) -> bool:
        """Whether a process that it started has ended since `end_check`."""
        return self.process.used_processes

    @property
    def hangs(self) -> int:
        """How often it did not end a pass in time."""
        return self.process.hangs

    def end_check(self) -> tuple[str, ...]:
        """Return what it changed or left behind since the last call, in words."""
        return self.process.end_check()

    def close(self) -> None:
        """End its process, and all that it started."""
        self.process.close()

    @contextmanager
    def _folder(self, task: ExportTask) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="harness-probe-", dir=task.directory) as folder:
            yield Path(folder)

    def _ask(self, kind: str, task: ExportTask, folder: Path, **options: Any) -> Mapping[str, Any]:
        return self.process.ask(kind, task, folder, seconds=self._seconds, **options)


def as_measured(exporter: Subject | Measured) -> Measured:
    """Return the exporter itself, or a class of this process as an exporter of this process."""
    return InThisProcess(exporter) if isinstance(exporter, Subject) else exporter


def in_own_process(
    reference: str, *, src: Path | None = None, python: str | None = None, database: str = ""
) -> InOwnProcess:
    """Return the exporter that `module:attribute` names, in a process that it has for itself.

    This process never imports it. The arguments are those of `measured`.

    Raises:
        SubjectError: It cannot be loaded, or is imported from outside `src`.
    """
    if reference.count(":") != 1 or not all(reference.split(":")):
        raise SubjectError(f"{reference!r} does not name an exporter: write it as module:attribute")
    if python is not None and shutil.which(python) is None:
        raise SubjectError(f"{python} cannot be run: it is not a program")
    probe = Probe(reference, () if src is None else (src,), python or sys.executable, database)
    exporter = InOwnProcess(probe)
    try:
        place = exporter.process.description["file"]
        # Otherwise an installed exporter would be judged in place of the one that was meant.
        if src is not None and (place is None or not Path(place).is_relative_to(src.resolve())):
            found = "without a file" if place is None else f"from {place}"
            raise SubjectError(f"{reference} is imported {found}, not from {src.resolve()}")
    except SubjectError:
        exporter.close()
        raise
    return exporter


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
    # In this process, where control and candidate are timed in turn.
    if src is None and python is None:
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


def _make_canonical(path: Path) -> None:
    """Rewrite a file of JSON lines as canonical JSON, as `write_jsonl` of `subject` writes it."""
    plain = path.with_suffix(".plain")
    path.rename(plain)
    with plain.open(encoding="ascii") as lines, path.open("wb") as file:
        for line in lines:
            file.write(rfc8785.dumps(json.loads(line)) + b"\n")
