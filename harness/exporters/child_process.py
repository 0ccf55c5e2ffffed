"""The process that an exporter runs in: its pipes, its output, its end, and all that it started."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any, Protocol, TypeAlias
from uuid import uuid4
from weakref import finalize

from harness.exporters.failure import OTHER_DESCRIPTOR
from harness.exporters.probe.host import LOST_PIPES
from harness.exporters.subject import SubjectError

# A script and not `-m harness.exporters.probe_script`: the other environment may have no harness,
# or a folder of that name in the working directory.
_PROBE = Path(__file__).with_name("probe_script.py")
_MARK = "HARNESS_EXPORTER_PROCESS"
_END_SECONDS = 2.0
_GRACE_SECONDS = 1.0
_POLL_MILLISECONDS = 200
_SHOWN_OUTPUT = 4_000
# The processes with which multiprocessing serves a pool. They end with the process that they serve.
_OF_MULTIPROCESSING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


class NoAnswerError(Exception):
    """The process ended, or did not answer in time."""

    def __init__(self, seen: str, *, timed_out: bool = False) -> None:
        super().__init__(seen)
        self.seen, self.timed_out = seen, timed_out


@dataclass(frozen=True)
class Launch:
    """What a process of an exporter is started with.

    Attributes:
        python: The interpreter.
        environment: Its environment variables; None for those of this process.
        mark_name: The name of an environment variable to add.
        mark: The value of it, which the process and all that it starts inherit.
        requests: The descriptor that it reads requests from.
        answers: The descriptor that it writes answers to.
    """

    python: str
    environment: Mapping[str, str] | None
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


Launcher: TypeAlias = Callable[[Launch], RunningProcess]


def start_interpreter(launch: Launch) -> RunningProcess:
    """Start a new interpreter that runs `probe_script.py`.

    Raises:
        SubjectError: There is no such interpreter.
    """
    pipes = (launch.requests, launch.answers)
    variables = os.environ if launch.environment is None else launch.environment
    try:
        return subprocess.Popen(  # noqa: S603 - the interpreter that the user named
            [launch.python, str(_PROBE), *map(str, pipes)],
            pass_fds=pipes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # With its own session, a signal reaches all that the exporter started, and a Ctrl-C at
            # the terminal reaches the harness alone.
            start_new_session=True,
            env={**variables, launch.mark_name: launch.mark},
        )
    except OSError as error:
        raise SubjectError(f"{launch.python} cannot be run: {error.strerror}") from error


class ChildProcess:
    """One running process, its two pipes and its output.

    Attributes:
        has_started: Whether the program of the harness runs in it. Before that, no code of the
            exporter has run.
    """

    def __init__(
        self,
        python: str,
        environment: Mapping[str, str] | None,
        launcher: Launcher = start_interpreter,
    ) -> None:
        """Start it.

        Args:
            python: The interpreter.
            environment: Its environment variables; default: those of this process.
            launcher: Starts the process.

        Raises:
            SubjectError: The interpreter cannot be run.
        """
        self._mark = uuid4().hex
        # Descriptors apart from standard input and output, which belong to the exporter.
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        try:
            self._process = launcher(
                Launch(python, environment, _MARK, self._mark, theirs_in, theirs_out)
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._received = b""
        self.has_started = False
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
        """Return the next line; raise NoAnswerError if the process ends or is late."""
        while b"\n" not in self._received:
            if time.monotonic() > deadline:
                raise NoAnswerError("", timed_out=True)
            # Not only for the end of the pipe: a process that the exporter left may hold it open.
            ended = self._process.poll() is not None
            if _is_readable(self._answers, 0 if ended else _POLL_MILLISECONDS):
                data = os.read(self._answers, 65_536)
                self._received += data
                ended = not data
                if data:
                    continue
            if ended:
                raise NoAnswerError(self._ending())
        line, _, self._received = self._received.partition(b"\n")
        try:
            answer: Mapping[str, Any] = json.loads(line)
        except ValueError:
            raise NoAnswerError(OTHER_DESCRIPTOR) from None
        if answer == {"started": True}:
            self.has_started = True
            return self.receive(deadline)
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
