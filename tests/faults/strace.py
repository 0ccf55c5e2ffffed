"""Runs exports under strace, which fails, stops or kills a process at its k-th call of a kind."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from audit_trail import Trail

WRITES = ("write", "pwrite64")
FLUSHES = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")
REMOVALS = ("unlink", "unlinkat", "rmdir")
CHANGES = (*WRITES, *FLUSHES, *RENAMES, *REMOVALS)
"""The system calls through which a process changes what is on disk."""

_CALL = re.compile(r"^(\w+)\((.*)$", re.MULTILINE)
_found: dict[tuple[str, str], Sequence[tuple[str, str]]] = {}
"""The calls of an export by the settings, by backend and export format."""


def strace_command(log: Path, *options: str, calls: Sequence[str] = CHANGES) -> tuple[str, ...]:
    """Return the command that runs another under strace. Skips the test where strace cannot run.

    Args:
        log: The file for the calls.
        *options: Further options of strace.
        calls: The system calls to trace.
    """
    if problem := _problem():
        pytest.skip(problem)
    return ("strace", "-qq", "-y", "-o", str(log), "-e", f"trace={','.join(calls)}", *options)


def inject_option(call: str, what: str, when: int | str) -> tuple[str, ...]:
    """Return strace's options for a fault at one system call.

    Args:
        call: The name of the system call.
        what: What happens there, such as `error=EIO` or `signal=KILL`.
        when: The number of the call among those of its name, from 1.
    """
    return ("-e", f"inject={call}:{what}:when={when}")


def disk_calls(trail: Trail, log: Path) -> Sequence[tuple[str, str]]:
    """Return the calls by which an export without a fault changes the disk, with their arguments.

    The first test of a backend and a format makes that export of its trail. Only the names of
    folders differ in other tests.
    """
    kind = (trail.backend, trail.export_format)
    if kind not in _found:
        _found[kind] = disk_calls_of(trail, log, *trail.by_settings)
    return _found[kind]


def disk_calls_of(trail: Trail, log: Path, *arguments: str) -> Sequence[tuple[str, str]]:
    """Run a `landscape` command without a fault, and return its calls like `disk_calls`."""
    ended = trail.landscape(*arguments, under=strace_command(log))
    assert ended.code == 0, ended
    return _CALL.findall(log.read_text(errors="replace"))


@cache
def _problem() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed here"
    tried = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"strace cannot be used here: {tried.stderr.strip()}" if tried.returncode else ""


@contextmanager
def paused_at_call(trail: Trail, call: str, k: int, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Export up to the k-th call of a kind and pause there. The export goes on after the block."""
    under = strace_command(log, *inject_option(call, "signal=STOP", k))
    with trail.started(*trail.by_settings, under=under, start_new_session=True) as process:
        try:
            while not (log.exists() and "stopped by SIGSTOP" in log.read_text(errors="replace")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            yield process
            os.killpg(process.pid, signal.SIGCONT)
            process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
