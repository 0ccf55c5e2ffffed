"""Count deterministic work, which is the same in every run and on every machine, unlike time.

SQLite reports how many virtual-machine steps its statements took. The interpreter reports how many
jumps and branches the project's Python code took: a quadratic merge shows there although it sends
no query. Loops inside C code (`in` on a list, sorting) are not seen.
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
from querygrowth.engine import AnyEngine, sync_engine

VM_STEPS = "vm_steps"
BRANCHES = "branches"

# The ids that sys.monitoring has for tools. Debuggers, coverage and profilers use the low ones.
_MONITORING_TOOLS = range(5, -1, -1)


class Tally:
    """A count that is complete at the end of its block."""

    def __init__(self) -> None:
        self.count = 0


def has_vm_steps(engine: AnyEngine) -> bool:
    """Whether the engine's database reports its machine steps. Only SQLite does."""
    return sync_engine(engine).dialect.driver in SQLITE_DRIVERS


@contextmanager
def count_vm_steps(engine: AnyEngine) -> Iterator[Tally]:
    """Count SQLite's virtual-machine steps inside the block, exactly.

    Raises:
        ValueError: The database is not SQLite.
    """
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
    """Counts the steps of one connection, because connections may run in different threads."""

    def __init__(self) -> None:
        self.steps = 0

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        # The handler is called after every step. With any larger interval, a query that takes
        # fewer steps than that counts nothing.
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
    """Count jumps and branches in the project's Python code inside the block.

    The project's code runs about 20 times slower meanwhile. From CPython 3.12 all threads are
    counted; before, the current thread and those that are started inside the block. A debugger or
    a coverage tracer of this thread is put back afterwards.

    Args:
        project: Which code counts. Default: the files below the working directory.
    """
    tally = Tally()
    own = project or Project()
    collecting = gc.isenabled()
    gc.disable()  # a collection would run finalizers, and count them, at unpredictable moments
    try:
        with _counted_branches(own, tally):
            yield tally
    finally:
        if collecting:
            gc.enable()


if sys.version_info >= (3, 12):

    @contextmanager
    def _counted_branches(project: Project, tally: Tally) -> Iterator[None]:
        monitoring = sys.monitoring
        events = monitoring.events.JUMP | monitoring.events.BRANCH
        tool = next(tool for tool in _MONITORING_TOOLS if monitoring.get_tool(tool) is None)
        counter = count()  # next() on it is atomic, and several threads count at once

        def branched(code: CodeType, _offset: int, _destination: int) -> object:
            if not project.contains(code.co_filename):
                return monitoring.DISABLE  # this place never calls again, which keeps it cheap
            next(counter)
            return None

        monitoring.use_tool_id(tool, "querygrowth")
        try:
            for kind in (monitoring.events.JUMP, monitoring.events.BRANCH):
                monitoring.register_callback(tool, kind, branched)
            monitoring.set_events(tool, events)
            monitoring.restart_events()  # an earlier block may have disabled places
            yield
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
            tally.count = next(counter)

else:
    Tracing = Callable[[FrameType, str, Any], Any]  # as sys.settrace is typed

    @contextmanager
    def _counted_branches(project: Project, tally: Tally) -> Iterator[None]:
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
        """Counts the instructions of the project's frames that may jump."""

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
