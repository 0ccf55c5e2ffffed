"""An exporter in its own process: start it, ask it, limit it, and end all that it started.

A `Probe` names the exporter and its environment. An `ExporterProcess` runs `probe_script.py` there
and answers many requests. It is ended when it hangs, and started anew for the next request.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread
from typing import IO, Any, Protocol
from uuid import uuid4
from weakref import finalize

import querygrowth
from elspeth.core.landscape import LandscapeDB
from harness.exporters.database_access import access_of
from harness.exporters.failure import ExportFailedError
from harness.exporters.observation import ExportTask, MemoryUse
from harness.exporters.probe.host import LOST_PIPES
from harness.exporters.subject import SubjectError
from querygrowth.call_sites import CallSite

FIRST_ROW_TRIES = 5
"""Exports that are timed up to their first `row` record; the median counts."""

DEFAULT_SECONDS = 60.0
"""The seconds after which a request without another limit counts as hanging."""

# A script and not `-m harness.exporters.probe_script`: the other environment may have no harness,
# or a folder of that name in the working directory.
_PROBE = Path(__file__).with_name("probe_script.py")
_MARK = "HARNESS_EXPORTER_PROCESS"
_START_SECONDS = 120.0
_END_SECONDS = 2.0
_GRACE_SECONDS = 1.0
_POLL_MILLISECONDS = 200
_SHOWN_OUTPUT = 4_000
# The processes with which multiprocessing serves a pool. They end with the process that they serve.
_OF_MULTIPROCESSING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@dataclass(frozen=True)
class Probe:
    """An exporter of another environment, and how to run it there.

    Args:
        reference: The exporter there, as module:attribute.
        paths: Directories that come first on the import path. Without any, and with this process's
            interpreter, the import path is that of this process and then the working directory.
        python: The interpreter.
        database: The class that opens the database there, as module:attribute; may be empty.
        name: The exporter's name in results; default: its attribute.
        environment: Environment variables; default: those of this process.
    """

    reference: str
    paths: tuple[Path, ...] = ()
    python: str = sys.executable
    database: str = ""
    name: str = ""
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """The exporter's name in results."""
        return self.name or self.reference.rpartition(":")[2]

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
            task: The export to perform. Its directory holds a folder for files meanwhile.
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

    def __init__(
        self, probe: Probe, launcher: "Callable[[Launch], RunningProcess] | None" = None
    ) -> None:
        """Remember what to run; nothing is started yet.

        Args:
            probe: The exporter.
            launcher: Starts the process; default: as a new interpreter.
        """
        self.probe = probe
        self._launcher = launcher or start_interpreter
        self.changes: list[str] = []
        self.used_processes = False
        self.hangs = 0
        self._child: _Child | None = None
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
            "as_records": task.as_records,
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
        named = {"database_class": self.probe.database}
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

    def _running(self) -> "_Child":
        if self._child is None:
            self._child = _Child(self.probe, self._launcher)
            probe = self.probe
            # The parent's path, so that both import the same. Another interpreter has its own.
            inherits = not probe.paths and probe.python == sys.executable
            request = {
                "task": "load",
                "subject": probe.reference,
                "name": probe.label,
                "paths": [str(path.resolve()) for path in probe.paths],
                "path": [str(Path(each).absolute()) for each in sys.path] if inherits else None,
                "last_paths": [str(Path.cwd())] if inherits else [],
                "querygrowth": str(Path(querygrowth.__path__[0])),
            }
            try:
                answer = self._exchange(self._child, request, _START_SECONDS, None)
                self._description = self._content(answer)
            except ExportFailedError as error:
                raise SubjectError(f"{probe.reference}: {error.verdict.seen}") from None
            except SubjectError:
                self.close()
                raise
        return self._child

    def _exchange(
        self,
        child: "_Child",
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
                    pause()
                child.send({"go": "on"})
                answer = child.receive(deadline)
        except _NoAnswerError as failure:
            child.kill()
            self.changes += child.left_behind()
            self.close()
            limit = f"it did not end within {seconds:g} s and was stopped"
            seen = limit if failure.timed_out else failure.seen
            self.hangs += failure.timed_out
            raise ExportFailedError(self.probe.label, seen) from None
        return answer

    def _content(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        if "refused" in answer:
            raise SubjectError(answer["refused"])
        if "raised" in answer:
            frames = [CallSite(*each) for each in answer["frames"]]
            raise ExportFailedError(
                self.probe.label, f"it raised {answer['raised']}", frames=frames
            )
        content: Mapping[str, Any] = answer["answer"]
        return content


class _NoAnswerError(Exception):
    """The process ended, or did not answer in time."""

    def __init__(self, seen: str, *, timed_out: bool = False) -> None:
        super().__init__(seen)
        self.seen, self.timed_out = seen, timed_out


@dataclass(frozen=True)
class Launch:
    """What a process of an exporter is started with.

    Attributes:
        probe: The exporter.
        mark_name: The name of an environment variable.
        mark: The value of it, which the process and all that it starts inherit.
        requests: The descriptor that it reads requests from.
        answers: The descriptor that it writes answers to.
    """

    probe: Probe
    mark_name: str
    mark: str
    requests: int
    answers: int


class RunningProcess(Protocol):
    """The part of `Popen` that is used of a running process of an exporter."""

    @property
    def pid(self) -> int:
        """The id of the process, which leads a session."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it prints."""

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raise `subprocess.TimeoutExpired` if it does not come."""

    def kill(self) -> None:
        """End it at once."""


def start_interpreter(launch: Launch) -> RunningProcess:
    """Start a new interpreter that runs `probe_script.py`.

    Raises:
        SubjectError: There is no such interpreter.
    """
    probe, pipes = launch.probe, (launch.requests, launch.answers)
    environment = os.environ if probe.environment is None else probe.environment
    try:
        return subprocess.Popen(  # noqa: S603 - the interpreter that the user named
            [probe.python, str(_PROBE), *map(str, pipes)],
            pass_fds=pipes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # With its own session, a signal reaches all that the exporter started, and a Ctrl-C at
            # the terminal reaches the harness alone.
            start_new_session=True,
            env={**environment, launch.mark_name: launch.mark},
        )
    except OSError as error:
        raise SubjectError(f"{probe.python} cannot be run: {error.strerror}") from error


class _Child:
    """One running process, its two pipes and its output."""

    def __init__(self, probe: Probe, launcher: Callable[[Launch], RunningProcess]) -> None:
        self._mark = uuid4().hex
        # Descriptors apart from standard input and output, which belong to the exporter.
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        try:
            self._process = launcher(Launch(probe, _MARK, self._mark, theirs_in, theirs_out))
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._received = b""
        self._output = _Output(self._process)
        # For a process that nobody closed: Popen would complain, and the exporter would live on.
        self._end = finalize(self, _end, self._process, self._mark, self._requests, self._answers)

    def send(self, request: Mapping[str, Any]) -> None:
        """Send one line."""
        data = f"{json.dumps(request)}\n".encode()
        # Through a pipe: every user of the machine can read a process's arguments, and a request
        # holds the signing key and the database's password.
        with suppress(BrokenPipeError):  # The answer that does not come says more.
            while data:
                data = data[os.write(self._requests, data) :]

    def receive(self, deadline: float) -> Mapping[str, Any]:
        """Return the next line; raise _NoAnswerError if the process ends or is late."""
        while b"\n" not in self._received:
            if time.monotonic() > deadline:
                raise _NoAnswerError("", timed_out=True)
            # Not only for the end of the pipe: a process that the exporter left may hold it open.
            ended = self._process.poll() is not None
            if _is_readable(self._answers, 0 if ended else _POLL_MILLISECONDS):
                data = os.read(self._answers, 65_536)
                self._received += data
                ended = not data
                if data:
                    continue
            if ended:
                raise _NoAnswerError(self._ending())
        line, _, self._received = self._received.partition(b"\n")
        try:
            answer: Mapping[str, Any] = json.loads(line)
        except ValueError:
            raise _NoAnswerError("it wrote to a descriptor that is not its own") from None
        return answer

    def left_behind(self) -> list[str]:
        """Find and kill the processes that the exporter left, and say which they were."""
        deadline = time.monotonic() + _GRACE_SECONDS
        left = _processes_of(self._process.pid, self._mark)
        # A worker that has just been told to end may need a moment.
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = _processes_of(self._process.pid, self._mark)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return []
        shown = ", ".join(f"{pid} ({command})" for pid, command in sorted(left.items())[:3])
        return [f"left {len(left)} process{'es' if len(left) > 1 else ''} behind: {shown}"]

    def kill(self) -> None:
        """End the process at once, without what it started."""
        self._process.kill()

    def end(self) -> None:
        """End the process and all that it started."""
        self._end()

    def _ending(self) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = LOST_PIPES
        if code == LOST_PIPES:
            return "it closed the harness's descriptors"
        if code < 0:
            how = f"its process was killed by {signal.Signals(-code).name}"
        else:
            how = f"it ended its process with exit status {code}"
        said = self._output.last_line()
        return f"{how}{f': {said}' if said else ''}"


class _Output:
    """The first and last part of what a process prints, read as it is printed."""

    # Read and dropped: a full pipe would stop an exporter that prints megabytes.

    def __init__(self, process: RunningProcess) -> None:
        self._last = b""
        self._thread = Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        with stream:
            while data := os.read(stream.fileno(), 65_536):
                self._last = (self._last + data)[-_SHOWN_OUTPUT:]

    def last_line(self) -> str:
        """The last line that was printed, cut; may be empty."""
        # A traceback ends with the error, which is the line that helps.
        self._thread.join(0.2)
        lines = self._last.decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else ""


def _is_readable(descriptor: int, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _end(process: RunningProcess, mark: str, requests: int, answers: int) -> None:
    """End a process: by the end of its requests, or else by force, with all that it started."""
    os.close(requests)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    os.close(answers)
    for pid in _processes_of(process.pid, mark, with_helpers=True):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes_of(leader: int, mark: str, *, with_helpers: bool = False) -> dict[int, str]:
    """Return the commands of the processes that a process started, by their ids.

    They are those of its session, and those that left it and still have its environment variable.
    """
    found = {}
    marked = f"{_MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid in (leader, os.getpid()):
            continue
        # A process may end while it is looked at, and those of others cannot be read.
        with suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state in "ZX":
                continue
            if int(session) == leader or marked in (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
                if with_helpers or not any(each in words for each in _OF_MULTIPROCESSING):
                    found[pid] = " ".join(words.split("\0")).strip()[:60]
    return found
