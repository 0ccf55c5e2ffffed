"""The settings of a process that an export has to leave as they were, and what it left behind."""

from __future__ import annotations

import decimal
import gc
import hashlib
import locale
import logging
import mmap
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import thread as pool_threads
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

State = Mapping[str, Any]
"""The settings by their names in messages, as plain JSON values."""

_GRACE_SECONDS = 0.5
_STATE_WORDS = 624
_DRAWN_STATES = 50
# Of as many numbers as an exporter may draw.


def process_state() -> State:
    """Describe the settings of this process that an export has to leave as they were."""
    limits = ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_CORE")
    return {
        # As hashes: a variable may hold a password, and outcomes are written to files.
        "environment": {
            name: hashlib.sha256(os.fsencode(value)).hexdigest()
            for name, value in os.environ.items()
        },
        "current directory": _current_directory(),
        "umask": _umask(),
        "locale": locale.setlocale(locale.LC_ALL),
        "time zone": list(time.tzname),
        "signal handlers": {
            # Real-time signals have no name.
            getattr(each, "name", str(each)): repr(signal.getsignal(each))
            for each in sorted(signal.valid_signals())
        },
        # A library that is imported during an export may add filters for messages of its modules.
        "warnings filters": [
            [each[0], str(each[2])]
            for each in warnings.filters
            if each[1] is None and each[3] is None
        ],
        "logging": [logging.root.level, logging.root.manager.disable, *_log_handlers()],
        "garbage collection": [gc.isenabled(), *gc.get_threshold()],
        "callbacks of the garbage collector": [repr(each) for each in gc.callbacks],
        "trace function": [repr(each()) for each in (sys.gettrace, sys.getprofile)],
        "tools of sys.monitoring": _monitoring_tools(),
        "trace of memory": tracemalloc.is_tracing(),
        "recursion limit": sys.getrecursionlimit(),
        "import path": list(sys.path),
        "standard streams": [
            *map(id, (sys.stdin, sys.stdout, sys.stderr)),
            *map(_is_open, range(3)),
        ],
        "exception hook": repr(sys.excepthook),
        "decimal context": [decimal.getcontext().prec, decimal.getcontext().rounding],
        "random numbers": _seedings(),
        "default timeout of sockets": socket.getdefaulttimeout(),
        "switch interval": sys.getswitchinterval(),
        "resource limits": [list(resource.getrlimit(getattr(resource, each))) for each in limits],
    }


def changed_settings(before: State, after: State) -> list[str]:
    """Return what differs between two states, in words, one setting a text."""
    return [
        f"{name}{_detail(name, before[name], after[name])}"
        for name in before
        if before[name] != after[name]
    ]


def threads() -> frozenset[int | None]:
    """Return the identifiers of the threads of this process."""
    return frozenset(each.ident for each in threading.enumerate())


def threads_left(known: frozenset[int | None], *, daemons: bool = False) -> list[str]:
    """Return the names of threads that are not among the known ones and keep the process alive.

    Args:
        known: The identifiers of the known threads.
        daemons: Whether those that do not keep it alive count too.
    """
    # Threads of a pool wait for work, and Python ends them at exit. They do no harm.
    deadline = time.monotonic() + _GRACE_SECONDS
    while True:
        pooled = set(getattr(pool_threads, "_threads_queues", ()))
        left = [
            each.name
            for each in threading.enumerate()
            if (daemons or not each.daemon) and each.ident not in known and each not in pooled
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def open_files(databases: Iterable[str]) -> list[str]:
    """Return what the descriptors of this process refer to, sorted; empty where it is not known.

    Args:
        databases: The paths of databases, or their URIs of SQLite. Their files are left out, since
            a pool keeps them open. So are sockets, by which a pool keeps connections to a server.
    """
    found = []
    paths = [
        unquote(each[5:].partition("?")[0]) if each.startswith("file:") else each
        for each in databases
    ]
    known = tuple(map(os.path.realpath, paths))
    # Another system has no such folder, and a descriptor may be closed while it is looked at.
    with suppress(OSError):
        for each in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                target = str(each.readlink())
                if not target.startswith((*known, "socket:", "/proc/")):
                    found.append(target)
    return sorted(found)


class ForkWatch:
    """Notes whether a process that the exporter forks goes on with the work of this one.

    A forked process has a copy of this program. One that does a part of the work and ends is
    fine. One that returns from the exporter exports a second time, into the same files.
    """

    def __init__(self) -> None:
        """Watch this process from now on."""
        self._forks = 0
        self._went_on = mmap.mmap(-1, 1)  # Shared with all forked processes.
        os.register_at_fork(after_in_parent=self._count)

    def _count(self) -> None:
        self._forks += 1

    def note(self) -> None:
        """Note in a forked process that it went on."""
        self._went_on[0] = 1

    def changes(self) -> list[str]:
        """What forked processes did since the last call, in words."""
        if not self._forks:
            return []
        self._forks = 0
        # A process that still runs at the end is one that the exporter leaves behind.
        deadline = time.monotonic() + _GRACE_SECONDS
        while not self._went_on[0] and _has_child() and time.monotonic() < deadline:
            time.sleep(0.01)
        went_on, self._went_on[0] = self._went_on[0], 0
        return ["went on with the export in a process that it forked"] if went_on else []


_fork_watch: ForkWatch | None = None


def watch_forks() -> ForkWatch:
    """Have `end_if_forked` note what it finds from now on."""
    global _fork_watch
    _fork_watch = ForkWatch()
    return _fork_watch


def end_if_forked(pid: int) -> None:
    """End this process if it is another one than `pid`, where the exporter was called.

    At once: what its files have buffered is written by the first process as well.
    """
    if os.getpid() != pid:
        if _fork_watch is not None:
            _fork_watch.note()
        os._exit(1)


def _has_child() -> bool:
    """Whether a child process of this process runs, without waiting for one that has ended."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def children_faults() -> int:
    """Return a count that rises whenever a child process of this process has ended."""
    # Minor page faults of children that were waited for: no process runs without any.
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


def _detail(name: str, before: Any, after: Any) -> str:
    if isinstance(before, dict):
        names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        return f": {', '.join(names[:3])}"
    if name in ("standard streams", "import path", "random numbers"):
        return ""  # Numbers of objects, dozens of folders, and a count that only tells two apart.
    return f" from {str(before)[:60]} to {str(after)[:60]}"


_random_state = random.getstate()[1][:-1]
_times_seeded = 0


def _seedings() -> int:
    """Count the calls after which the random numbers were not those that followed before."""
    # Who draws numbers moves the state on, 624 numbers at a time, and harms nobody. Who seeds it
    # takes the randomness from everybody else.
    global _random_state, _times_seeded
    found = random.getstate()[1][:-1]
    follows = random.Random()  # noqa: S311 - no secret
    follows.setstate((3, (*_random_state, _STATE_WORDS), None))
    for _ in range(_DRAWN_STATES):
        if follows.getstate()[1][:-1] == found:
            break
        for _ in range(_STATE_WORDS):
            follows.getrandbits(32)
    else:
        _times_seeded += 1
    _random_state = found
    return _times_seeded


def _monitoring_tools() -> list[str | None]:
    monitoring: Any = getattr(sys, "monitoring", None)  # New in Python 3.12.
    return [monitoring.get_tool(each) for each in range(6)] if monitoring else []


def _log_handlers() -> list[str]:
    # Without the one to standard error, which `logging.info()` adds if there is no other.
    return [repr(each) for each in logging.root.handlers if type(each) is not logging.StreamHandler]


def _umask() -> str:
    # Read and not set: `os.umask` would change it for other threads for a moment. Unknown where
    # the system has no such file.
    status = Path("/proc/self/status")
    text = status.read_text(encoding="ascii", errors="replace") if status.exists() else ""
    for line in text.split("\n"):
        if line.startswith("Umask:"):
            return line.split()[1]
    return ""


def _current_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return f"a directory that is gone ({error.strerror})"


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
