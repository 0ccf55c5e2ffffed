"""strace, which makes system calls of a process fail, or kills it at one: the k-th of its kind."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from survival import Trail

WRITES = ("write", "pwrite64")
FLUSHES = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")
REMOVALS = ("unlink", "unlinkat", "rmdir")
CHANGES = (*WRITES, *FLUSHES, *RENAMES, *REMOVALS)
"""The system calls through which a process changes what is on disk."""

_CALL = re.compile(r"^(\w+)\((.*)$", re.MULTILINE)


def traced(log: Path, *options: str, calls: Sequence[str] = CHANGES) -> tuple[str, ...]:
    """The command that runs another under strace; skips the test where that cannot be."""
    if problem := _problem():
        pytest.skip(problem)
    return ("strace", "-qq", "-y", "-o", str(log), "-e", f"trace={','.join(calls)}", *options)


def injecting(call: str, what: str, when: int | str) -> tuple[str, ...]:
    """The options that make the `when`-th of a process's calls of one kind fail, or kill it.

    strace counts every kind of call by itself.
    """
    return ("-e", f"inject={call}:{what}:when={when}")


def calls_of(trail: Trail, log: Path) -> Sequence[tuple[str, str]]:
    """Export without a fault, and return each call that changes the disk, with its arguments."""
    ended = trail.export(under=traced(log))
    assert ended.code == 0, ended
    return _CALL.findall(log.read_text(errors="replace"))


def counted(calls: Sequence[tuple[str, str]]) -> Counter[str]:
    """How many calls of each kind there are."""
    return Counter(name for name, _ in calls)


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
def stopped_at(trail: Trail, call: str, k: int, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Export up to the k-th call of a kind, and hold it there; it goes on when the block ends."""
    under = traced(log, *injecting(call, "signal=STOP", k))
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
