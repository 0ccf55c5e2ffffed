"""Holds an export at a place of its code: it stops itself there, until it is sent on."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

import psutil
import pytest
from survival import Trail

PUBLISHING = "os.rename"
"""Everything is written, and the next thing is to put it in place."""


FETCHES = """
import sys, psycopg
fetchmany = psycopg.ServerCursor.fetchmany
def audited(cursor, size=0):
    sys.audit("fetch", size)
    return fetchmany(cursor, size)
psycopg.ServerCursor.fetchmany = audited
"""
"""Python that raises an audit event, `fetch`, for so many rows asked of PostgreSQL at once."""

READER: Mapping[str, str] = MappingProxyType(
    {"prelude": FETCHES, "event": "fetch", "within": "1024"}
)
"""How to hold an export from PostgreSQL with many rows read, and many to be read."""

CALL = "call"


def announcing(module: str, function: str) -> str:
    """Python that raises an audit event, CALL, just before a function of a module is called."""
    return f"""
import sys, {module} as module
def announced(*arguments, function=module.{function}, **options):
    sys.audit({CALL!r}, {function!r})
    return function(*arguments, **options)
module.{function} = announced
"""


def stop_at(event: str, within: str = "") -> str:
    """Python that stops its process at the first audit event of a name, and of such a file."""
    return f"""
import os, signal, sys
held = []
def stop(event, arguments):
    if event == {event!r} and {within!r} in str(arguments[0]) and not held:
        held.append(event)
        os.kill(os.getpid(), signal.SIGSTOP)
sys.addaudithook(stop)
"""


@contextmanager
def held(
    trail: Trail,
    *arguments: str,
    event: str = PUBLISHING,
    within: str = "",
    prelude: str = "",
    **how: Any,
) -> Iterator["subprocess.Popen[str]"]:
    """Run `landscape` up to an event, and hold it there; whatever is left at the end is killed."""
    with trail.started(
        *(arguments or trail.by_settings),
        prelude=f"{prelude}\n{stop_at(event, within)}",
        start_new_session=True,
        **how,
    ) as process:
        try:
            stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert stopped is not None
            assert stopped.si_code == os.CLD_STOPPED, process.communicate()
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def send_on(process: "subprocess.Popen[str]") -> None:
    """Let a held process go on."""
    process.send_signal(signal.SIGCONT)


def assert_nobody_left(group: int) -> None:
    """Wait for what a process started to end, which nothing that the test knows may outlive."""
    for _ in range(1000):
        if not any(_is_alive_in(group, each) for each in psutil.process_iter()):
            return
        time.sleep(0.01)
    pytest.fail("a worker has outlived the export")


def _is_alive_in(group: int, process: psutil.Process) -> bool:
    # One that has ended stays a member of its group until somebody asks for its exit code.
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False
