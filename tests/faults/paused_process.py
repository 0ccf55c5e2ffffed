"""Pauses an export at a chosen audit event: the process stops itself there until it is resumed."""

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
from audit_trail import Trail

AT_PUBLISH = "os.rename"
"""The audit event of publishing: everything is written, and the rename to the target is next."""

FETCH_EVENT = """
import sys, psycopg
fetchmany = psycopg.ServerCursor.fetchmany
def audited(cursor, size=0):
    sys.audit("fetch", size)
    return fetchmany(cursor, size)
psycopg.ServerCursor.fetchmany = audited
"""
"""Python code that raises the audit event `fetch` with the number of rows asked of PostgreSQL."""

WHILE_FETCHING: Mapping[str, str] = MappingProxyType(
    {"prelude": FETCH_EVENT, "event": "fetch", "within": "1024"}
)
"""Arguments of `paused`: an export from PostgreSQL that has read many rows and will read more."""

CALL = "call"


def audit_call(module: str, function: str) -> str:
    """Return Python code that raises the audit event CALL before a function of a module runs."""
    return f"""
import sys, {module} as module
def audited(*arguments, function=module.{function}, **options):
    sys.audit({CALL!r}, {function!r})
    return function(*arguments, **options)
module.{function} = audited
"""


def stop_at(event: str, within: str = "") -> str:
    """Return Python code that stops its process, once, at an audit event.

    Args:
        event: The name of the audit event.
        within: A part of the event's first argument, such as a file name.
    """
    return f"""
import os, signal, sys
stopped = []
def stop(event, arguments):
    if event == {event!r} and {within!r} in str(arguments[0]) and not stopped:
        stopped.append(event)
        os.kill(os.getpid(), signal.SIGSTOP)
sys.addaudithook(stop)
"""


@contextmanager
def paused(
    trail: Trail,
    *arguments: str,
    event: str = AT_PUBLISH,
    within: str = "",
    prelude: str = "",
    **options: Any,
) -> Iterator["subprocess.Popen[str]"]:
    """Run `landscape` up to an audit event and pause it there. On exit it is killed.

    Args:
        trail: The audit trail to export.
        *arguments: The command's arguments; without them, it exports by the settings.
        event: The audit event to pause at.
        within: A part of the event's first argument, such as a file name.
        prelude: Python code that the process runs first.
        **options: Arguments of `Trail.started`.
    """
    with trail.started(
        *(arguments or trail.by_settings),
        prelude=f"{prelude}\n{stop_at(event, within)}",
        start_new_session=True,
        **options,
    ) as process:
        try:
            stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert stopped is not None
            assert stopped.si_code == os.CLD_STOPPED, process.communicate()
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def resume(process: "subprocess.Popen[str]") -> None:
    """Let a paused process go on."""
    process.send_signal(signal.SIGCONT)


def wait_until_asleep(pid: int) -> None:
    """Wait until a resumed process uses no more CPU time."""
    process = psutil.Process(pid)
    before = None
    while (now := (process.status(), process.cpu_times()[:2])) != before or now[0] != "sleeping":
        before = now
        time.sleep(0.3)


def assert_no_process_left(group: int) -> None:
    """Wait until no process of a group is alive; fail after ten seconds."""
    for _ in range(1000):
        if not any(_is_alive_in(group, each) for each in psutil.process_iter()):
            return
        time.sleep(0.01)
    pytest.fail("a worker has outlived the export")


def _is_alive_in(group: int, process: psutil.Process) -> bool:
    # A process that has ended stays in its group until its exit code is read.
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False
