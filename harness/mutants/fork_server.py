"""Processes of mutants, forked from one that has imported all of them already.

A new interpreter takes half a second of CPU time to import the mutants, and most mutants are caught
in less. The server is a single-threaded process that opens no database, so that a fork copies
nothing but modules. A forked process answers requests like one of `probe_script.py`.
"""

import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import IO

from sqlalchemy import create_engine

from harness.exporters.child_process import Launch
from harness.exporters.failure import BrokenRunnerError
from harness.exporters.probe import host
from harness.exporters.subprocess_probe import ExporterProcess, Probe

_MESSAGE_BYTES = 64
_NO_PROCESS = "the fork server has ended"


class ForkServer:
    """Starts processes of exporters as forks. Close it, or use it as a context manager."""

    def __init__(self) -> None:
        """Start the server, which imports the mutants before its first answer."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - this interpreter and module
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            )
        self.cpu_seconds = 0.0

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server. Processes that it has started end when their requests end."""
        self._socket.close()
        self._server.wait()

    def process(self, probe: Probe) -> ExporterProcess:
        """Return the process of an exporter, which is forked for its first request."""
        return ExporterProcess(probe, self.launch)

    def launch(self, launch: Launch) -> "ForkedProcess":
        """Fork one process.

        Raises:
            BrokenRunnerError: The server has ended, or could not fork.
        """
        output, their_output = os.pipe()
        ending, their_ending = os.pipe()
        theirs = (launch.requests, launch.answers, their_output, their_ending)
        try:
            mark = f"{launch.mark_name}={launch.mark}".encode()
            socket.send_fds(self._socket, [mark], theirs)
            answer = self._socket.recv(_MESSAGE_BYTES)
        except OSError as error:
            raise BrokenRunnerError(_NO_PROCESS) from error
        finally:
            os.close(their_output)
            os.close(their_ending)
        if not answer:
            os.close(output)
            os.close(ending)
            raise BrokenRunnerError(_NO_PROCESS)
        return ForkedProcess(int(answer), output, ending, self)


class ForkedProcess:
    """One forked process, with the part of the interface of `Popen` that exporters need."""

    def __init__(self, pid: int, output: int, ending: int, server: ForkServer) -> None:
        """Take over the descriptors of the output and of the message of the end."""
        self.pid = pid
        self.stdout: IO[bytes] = os.fdopen(output, "rb", buffering=0)
        self.returncode: int | None = None
        self._ending = ending
        self._server = server

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status.

        Raises:
            BrokenRunnerError: Its keeper was killed, so that the status is unknown.
        """
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            message = os.read(self._ending, _MESSAGE_BYTES).split()
            os.close(self._ending)
            if not message:
                self.returncode = -signal.SIGKILL
                raise BrokenRunnerError("the process that watches a forked one was killed")
            self.returncode = int(message[0])
            self._server.cpu_seconds += float(message[1])
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _serve(connection: socket.socket) -> None:
    """Fork a process for every message, until the other end is closed."""
    # Keepers are reaped by the system.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, *_ = socket.recv_fds(connection, _MESSAGE_BYTES, 4)
        if not message:
            return
        if os.fork() == 0:
            _keep(connection, message.decode(), *descriptors)
        for each in descriptors:
            os.close(each)


def _keep(
    connection: socket.socket, mark: str, requests: int, answers: int, output: int, ending: int
) -> None:
    """Fork the process, wait for its end, and report that."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(ending)
        _become_host(connection, mark, requests, answers, output)
    connection.send(str(pid).encode())
    connection.close()
    for each in (requests, answers, output):
        os.close(each)
    _, status, usage = os.wait4(pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    with suppress(BrokenPipeError):  # The worker may have ended first.
        os.write(ending, f"{os.waitstatus_to_exitcode(status)} {seconds:.2f}".encode())
    os._exit(0)


def _become_host(
    connection: socket.socket, mark: str, requests: int, answers: int, output: int
) -> None:
    os.setsid()
    connection.close()
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    name, _, value = mark.partition("=")
    os.environ[name] = value
    try:
        host.run(requests, answers)
    finally:
        # Without the handlers of the server. Those of the exporter's threads do not count either.
        os._exit(0)


def _import_everything() -> None:
    importlib.import_module("harness.mutants").mutants_by_identifier()
    for name in ("exports", "measures", "observation"):
        importlib.import_module(f"harness.exporters.probe.{name}")
    importlib.import_module("harness.mutants.exporters")
    create_engine("sqlite://").dispose()
    gc.collect()
    # A collection in a forked process then leaves all this alone, which saves time and memory.
    gc.freeze()


if __name__ == "__main__":
    _import_everything()
    with socket.socket(fileno=int(sys.argv[1])) as _connection:
        _serve(_connection)
