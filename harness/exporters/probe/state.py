"""The state of an exporter's process that an export has to leave as it was."""

from __future__ import annotations

import locale
import os
import signal
import sys
import threading
import time
from concurrent.futures import thread as pool_threads
from pathlib import Path
from typing import Any

_GRACE_SECONDS = 0.5
_THREADS = "threads"


def state_of_process() -> dict[str, Any]:
    """Return the state of this process, by the words of a message about its change."""
    return {
        "the working directory": _or_error(os.getcwd),
        "environment variables": dict(os.environ),
        "the umask": _umask(),
        "signal handlers": {
            # Real-time signals have no name.
            getattr(each, "name", str(each)): signal.getsignal(each)
            for each in signal.valid_signals()
        },
        "the locale": locale.setlocale(locale.LC_ALL),
        "sys.path": list(sys.path),
        "standard input, output or error": [_is_open(number) for number in range(3)],
        _THREADS: {each.ident for each in threading.enumerate()},
    }


def changes_of_process(before: dict[str, Any]) -> list[str]:
    """Say what has changed since `before`, and which threads are left."""
    now = state_of_process()
    changes = [
        f"changed {name}{_detail(before[name], now[name])}"
        for name in before
        if name != _THREADS and before[name] != now[name]
    ]
    known = before[_THREADS]
    left = _threads_left(known)
    if left:
        shown = ", ".join(dict.fromkeys(left[:3]))
        changes.append(f"left {_counted(len(left), 'thread')} behind: {shown}")
    return changes


def children_faults() -> int:
    """Return a count that rises whenever a child process of this process has ended."""
    # Minor page faults of children that were waited for: no process runs without any.
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


def _threads_left(known: set[int | None]) -> list[str]:
    # Threads of a pool wait for work, and Python ends them at exit. They do no harm.
    deadline = time.monotonic() + _GRACE_SECONDS
    while True:
        pooled = set(getattr(pool_threads, "_threads_queues", ()))
        left = [
            each.name
            for each in threading.enumerate()
            if not each.daemon and each.ident not in known and each not in pooled
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def _detail(before: Any, now: Any) -> str:
    if isinstance(before, dict):
        names = sorted(str(key) for key in {*before, *now} if before.get(key) != now.get(key))
        return f": {', '.join(names[:3])}"
    return f" to {now[:60]}" if isinstance(now, str) else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _umask() -> str:
    # Read and not set: `os.umask` would change it for other threads for a moment.
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
        if line.startswith("Umask:"):
            return line.split()[1]
    return ""


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _or_error(function: Any) -> str:
    try:
        return str(function())
    except OSError as error:
        return f"a directory that is gone ({error.strerror})"
