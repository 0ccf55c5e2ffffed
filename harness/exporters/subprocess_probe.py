"""An exporter in its own process: start it, ask it, and limit it.

A `Probe` names the exporter and its environment. An `ExporterProcess` runs `probe_script.py` there
and answers many requests. It is ended when it hangs, and started again for the next request.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import querygrowth
from elspeth.core.landscape import LandscapeDB
from harness.exporters.child_process import (
    ChildProcess,
    Launcher,
    NoAnswerError,
    start_interpreter,
)
from harness.exporters.database_access import access_of
from harness.exporters.failure import ExportFailedError
from harness.exporters.observation import ExportTask, MemoryUse
from harness.exporters.subject import ImportFailedError, SubjectError
from querygrowth.places.call_sites import CallSite

FIRST_ROW_TRIES = 5
"""Exports that are timed up to their first `row` record; the median counts."""

DEFAULT_SECONDS = 60.0
"""The seconds after which a request without another limit counts as hanging."""

START_SECONDS = 120.0
"""The seconds after which the import of an exporter counts as hanging."""

# The process itself reports a late import, with the line that it is at.
_SECONDS_TO_REPORT = 5.0


@dataclass(frozen=True)
class Probe:
    """An exporter of another environment, and how to run it there.

    Args:
        reference: The exporter there, as module:attribute.
        paths: Directories that come first on the import path. Without any, and with this process's
            interpreter, the import path is that of this process and then the working directory.
        python: The interpreter.
        database: The function or class that opens the database there, as module:attribute; default:
            the Landscape's class.
        name: The exporter's name in results; default: its attribute.
        environment: Environment variables; default: those of this process.
        start_seconds: The limit of its import.
    """

    reference: str
    paths: tuple[Path, ...] = ()
    python: str = sys.executable
    database: str = ""
    name: str = ""
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    start_seconds: float = START_SECONDS

    @property
    def label(self) -> str:
        """The exporter's name in results."""
        return self.name or self.reference.rpartition(":")[2]

    @property
    def is_foreign(self) -> bool:
        """Whether it is imported from elsewhere than an exporter of this process would be."""
        return bool(self.paths) or self.python != sys.executable

    @property
    def where(self) -> str:
        """Its environment in words; empty for that of this process."""
        return f"in the subject's environment {self.python}" if self.is_foreign else ""

    def locate(self) -> Path | None:
        """Import the exporter there; return the file of its module, None if it has none.

        Raises:
            SubjectError: It cannot be imported there.
        """
        with ExporterProcess(self) as process:
            file = process.description["file"]
        return None if file is None else Path(file)

    def time(self, task: ExportTask, *, tries: int = 1) -> float:
        """Return the seconds of the fastest of some exports, in a new process, after a warm-up."""
        answer = self.ask("time", task, tries=tries)
        return min(map(float, answer["seconds"]))

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record: the median of a few exports."""
        answer = self.ask("first_row", task, tries=FIRST_ROW_TRIES)
        return median(map(float, answer["seconds"]))

    def measure_memory(self, task: ExportTask, *, seconds: float | None = None) -> MemoryUse:
        """Return the memory of one export in a new process."""
        return MemoryUse(**self.ask("memory", task, seconds=seconds))

    def ask(
        self, kind: str, task: ExportTask, *, seconds: float | None = None, **options: Any
    ) -> Mapping[str, Any]:
        """Perform one task in a new process, which it ends.

        Args:
            kind: One of TASKS of `probe.host`.
            task: The export to perform. Its directory holds a folder for files in that time.
            seconds: The limit; default: DEFAULT_SECONDS.
            options: Further entries of the request.

        Raises:
            SubjectError: The object is no exporter. The message is one line.
            ExportFailedError: The exporter did not finish the task.
        """
        with (
            tempfile.TemporaryDirectory(prefix="harness-probe-", dir=task.directory) as directory,
            ExporterProcess(self) as process,
        ):
            return process.ask(kind, task, Path(directory), seconds=seconds, **options)


class ExporterProcess:
    """A process that holds one exporter and answers requests about it, one after the other.

    It is started at the first request, and again after it was ended. Close it, or use it as a
    context manager.
    """

    def __init__(self, probe: Probe, launcher: Launcher = start_interpreter) -> None:
        """Remember what to run; nothing is started yet.

        Args:
            probe: The exporter.
            launcher: Starts the process.
        """
        self.probe = probe
        self._launcher = launcher
        self.changes: list[str] = []
        self.used_processes = False
        self.hangs = 0
        self._child: ChildProcess | None = None
        self._description: Mapping[str, Any] = {}

    def __enter__(self) -> "ExporterProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def description(self) -> Mapping[str, Any]:
        """The exporter and its environment: `python`, `takes_clock`, `file`, `defined_at`.

        Raises:
            SubjectError: It cannot be imported there.
        """
        if not self._description:
            self._running()
        return self._description

    def ask(
        self,
        kind: str,
        task: ExportTask,
        directory: Path,
        *,
        seconds: float | None = None,
        pause: Callable[[], object] | None = None,
        **options: Any,
    ) -> Mapping[str, Any]:
        """Perform one task there.

        Args:
            kind: One of TASKS of `probe.host`.
            task: The export to perform.
            directory: The folder for written files.
            seconds: The limit of the request; default: DEFAULT_SECONDS.
            pause: Called when the export has come to a point where the harness acts.
            options: Further entries of the request.

        Raises:
            SubjectError: The object is no exporter. The message is one line.
            ExportFailedError: The exporter raised an error that ends the task, ended the process,
                or did not answer in time. The process is then gone.
        """
        request = {
            "task": kind,
            "databases": self._accesses([task.db]),
            "run_id": task.run_id,
            "key": None if task.signing_key is None else task.signing_key.hex(),
            "clock": task.clock().isoformat(),
            "directory": str(directory),
            "without_file": task.without_file,
            **options,
        }
        return self._perform(request, seconds, pause)

    def ask_script(
        self,
        script: Any,
        databases: Sequence[LandscapeDB],
        directory: Path,
        *,
        seconds: float | None = None,
    ) -> Mapping[str, Any]:
        """Perform a script of calls there; raises like `ask`.

        Args:
            script: The script, as JSON values.
            databases: The databases that its steps refer to by their place.
            directory: An existing folder for records and files.
            seconds: The limit of the whole script; default: DEFAULT_SECONDS.
        """
        request = {
            "task": "script",
            "databases": self._accesses(databases),
            "directory": str(directory),
            "script": script,
        }
        return self._perform(request, seconds, None)

    def _accesses(self, databases: Sequence[LandscapeDB]) -> list[dict[str, Any]]:
        named = {"opener": self.probe.database}
        return [{**access_of(db), **named} for db in databases]

    def _perform(
        self,
        request: Mapping[str, Any],
        seconds: float | None,
        pause: Callable[[], object] | None,
    ) -> Mapping[str, Any]:
        child = self._running()
        answer = self._exchange(child, request, seconds or DEFAULT_SECONDS, pause)
        self.used_processes = self.used_processes or answer["used_processes"]
        self.changes += answer["changes"]
        return self._content(answer)

    def end_check(self) -> tuple[str, ...]:
        """Return what the exporter changed or left behind since the last call, in words.

        If it did, its process is ended, so that the next request meets a new one.
        """
        if self._child is not None:
            self.changes += self._child.left_behind()
        changes = tuple(dict.fromkeys(self.changes))
        self.changes, self.used_processes = [], False
        if changes:
            self.close()
        return changes

    def close(self) -> None:
        """End the process, and all that it started."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _running(self) -> ChildProcess:
        if self._child is None:
            probe = self.probe
            self._child = child = ChildProcess(probe.python, probe.environment, self._launcher)
            # The parent's path, so that both import the same. Another interpreter has its own.
            request = {
                "task": "load",
                "subject": probe.reference,
                "name": probe.label,
                "paths": [str(path.resolve()) for path in probe.paths],
                "path": None
                if probe.is_foreign
                else [str(Path(each).absolute()) for each in sys.path],
                # An opener may be in the working directory: it belongs to neither project.
                "last_paths": [str(Path.cwd())] if probe.database or not probe.is_foreign else [],
                "querygrowth": str(Path(querygrowth.__path__[0])),
                "where": probe.where,
                "seconds": probe.start_seconds,
            }
            limit = probe.start_seconds + _SECONDS_TO_REPORT
            try:
                answer = self._exchange(child, request, limit, None)
                self._description = self._content(answer)
            except ExportFailedError as error:
                if not child.has_started:
                    raise SubjectError(
                        f"{probe.python} does not start as a Python of 3.10 or newer: "
                        f"{error.verdict.seen}"
                    ) from None
                place = f" {probe.where}" if probe.where else ""
                seen = f"importing it{place}: {error.verdict.seen}"
                raise ImportFailedError(f"{probe.reference}: {seen}", probe.label) from None
            except SubjectError:
                self.close()
                raise
        return self._child

    def _exchange(
        self,
        child: ChildProcess,
        request: Mapping[str, Any],
        seconds: float,
        pause: Callable[[], object] | None,
    ) -> Mapping[str, Any]:
        deadline = time.monotonic() + seconds
        try:
            child.send(request)
            answer = child.receive(deadline)
            while "pause" in answer:
                if pause is not None:
                    self._act(pause)
                child.send({"go": "on"})
                answer = child.receive(deadline)
        except NoAnswerError as failure:
            child.kill()
            self.changes += child.left_behind()
            self.close()
            limit = f"it did not end within {seconds:g} s and was stopped"
            seen = limit if failure.timed_out else failure.seen
            self.hangs += failure.timed_out
            raise ExportFailedError(self.probe.label, seen, timed_out=failure.timed_out) from None
        return answer

    def _act(self, pause: Callable[[], object]) -> None:
        try:
            pause()
        except BaseException:
            # The process waits in the middle of an export. It would take the next request for the
            # word to go on, and every further answer would be that of an earlier request.
            self.close()
            raise

    def _content(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        if answer.get("broken_import"):
            raise ImportFailedError(answer["refused"], self.probe.label)
        if "refused" in answer:
            raise SubjectError(answer["refused"])
        if "raised" in answer:
            frames = [CallSite(*each) for each in answer["frames"]]
            raise ExportFailedError(
                self.probe.label, f"it raised {answer['raised']}", frames=frames
            )
        content: Mapping[str, Any] = answer["answer"]
        return content
