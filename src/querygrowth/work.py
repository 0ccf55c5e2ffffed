"""Deterministic work: counts that are the same on every run, on any machine, unlike time.

SQLite tells how many virtual-machine steps its statements took. The interpreter tells how many
jumps and branches the project's Python code took, which is where a quadratic merge shows that
sends no query at all. Loops inside C code (`in` on a list, sorting) are not seen.
"""

import dis
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import CodeType, FrameType
from typing import Any

from querygrowth.call_sites import Project
from querygrowth.driver import SQLITE_DRIVERS, DriverConnection, hooked_connections
from querygrowth.listener import AnyEngine, sync_engine

VM_STEPS = "vm_steps"
BRANCHES = "branches"

_MONITORING_TOOLS = range(5, -1, -1)


class Tally:
    """A count that is complete when its block has ended."""

    def __init__(self) -> None:
        self.count = 0


def has_vm_steps(engine: AnyEngine) -> bool:
    """Whether the engine's database can tell its machine steps: SQLite only."""
    return sync_engine(engine).dialect.driver in SQLITE_DRIVERS


@contextmanager
def count_vm_steps(engine: AnyEngine) -> Iterator[Tally]:
    """Count SQLite's virtual-machine steps, exactly; other databases raise ValueError."""
    target = sync_engine(engine)
    if not has_vm_steps(engine):
        raise ValueError(
            f"machine steps can be counted on SQLite only, not with {target.dialect.driver}: "
            "leave out vm_steps for this engine"
        )
    tally = Tally()
    with hooked_connections(target, _StepCounter) as connections:
        yield tally
    tally.count = sum(counter.steps for counter in connections.hooks)


class _StepCounter:
    """Counts one connection's steps; connections may run in threads of their own."""

    def __init__(self) -> None:
        self.steps = 0

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        # At any coarser granularity most steps of a small query go unseen.
        installed: Awaitable[object] | None = connection.set_progress_handler(self._step, 1)
        return installed

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        removed: Awaitable[object] | None = connection.set_progress_handler(None, 1)
        return removed

    def _step(self) -> int:
        self.steps += 1
        return 0  # anything else would interrupt the statement


@contextmanager
def count_branches(project: Project | None = None) -> Iterator[Tally]:
    """Count jumps and branches in Python code under `project` (the working directory).

    Slows that code down by about 20 times. From CPython 3.12 all threads are counted; on 3.11 the
    current one and those started inside the block. A debugger or a coverage tracer of this thread
    is put back afterwards.
    """
    tally = Tally()
    own = project or Project()
    collecting = gc.isenabled()
    gc.disable()  # a collection runs finalizers at moments of its own choosing
    try:
        with _counting_branches(own, tally):
            yield tally
    finally:
        if collecting:
            gc.enable()


if sys.version_info >= (3, 12):

    @contextmanager
    def _counting_branches(project: Project, tally: Tally) -> Iterator[None]:
        monitoring = sys.monitoring
        events = monitoring.events.JUMP | monitoring.events.BRANCH
        tool = next(tool for tool in _MONITORING_TOOLS if monitoring.get_tool(tool) is None)
        counter = count()

        def branched(code: CodeType, _offset: int, _destination: int) -> object:
            if not project.contains(code.co_filename):
                return monitoring.DISABLE
            next(counter)
            return None

        monitoring.use_tool_id(tool, "harness")
        try:
            for kind in (monitoring.events.JUMP, monitoring.events.BRANCH):
                monitoring.register_callback(tool, kind, branched)
            monitoring.set_events(tool, events)
            monitoring.restart_events()
            yield
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
            tally.count = next(counter)

else:
    Tracing = Callable[[FrameType, str, Any], Any]  # as sys.settrace is typed

    @contextmanager
    def _counting_branches(project: Project, tally: Tally) -> Iterator[None]:
        counter = count()
        tracer = _OpcodeTracer(project, counter)
        previous, previous_for_threads = sys.gettrace(), threading.gettrace()
        threading.settrace(tracer.enter)
        sys.settrace(tracer.enter)
        try:
            yield
        finally:
            sys.settrace(previous)
            threading.settrace(previous_for_threads)
            tally.count = next(counter)

    class _OpcodeTracer:
        """Sees every instruction of the project's frames and counts those that may jump."""

        def __init__(self, project: Project, counter: Iterator[int]) -> None:
            self._project = project
            self._counter = counter
            self._jumps = frozenset(dis.hasjrel + dis.hasjabs)

        def enter(self, frame: FrameType, event: str, arg: object) -> Tracing | None:
            if not self._project.contains(frame.f_code.co_filename):
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return self._instruction

        def _instruction(self, frame: FrameType, event: str, arg: object) -> Tracing:
            if event == "opcode" and frame.f_code.co_code[frame.f_lasti] in self._jumps:
                next(self._counter)
            return self._instruction
