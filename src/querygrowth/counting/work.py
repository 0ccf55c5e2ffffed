"""Count deterministic work, which unlike time is the same in every run and on every machine.

SQLite reports the virtual-machine steps of its statements. The interpreter reports the jumps and
branches in the project's Python code: a quadratic merge shows there although it sends no query.
Loops inside C code (`in` on a list, sorting) are not seen.
"""

import dis
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import CodeType, FrameType
from typing import Any

from querygrowth.counting.connection_trace import DriverConnection, is_callback
from querygrowth.counting.driver import SQLITE_DRIVERS, hooked_connections
from querygrowth.counting.engine import AnyEngine, sync_engine
from querygrowth.counting.other_connections import observed_settrace
from querygrowth.places.call_sites import CallSite, Project, call_site, default_project

VM_STEPS = "vm_steps"
BRANCHES = "branches"

# The tool ids of sys.monitoring, the highest first: debuggers, coverage and profilers use 0 to 2.
_MONITORING_TOOLS = range(5, -1, -1)
_TOOL = "querygrowth"


class Tally:
    """A count that is complete at the end of its block.

    Attributes:
        count: The count; 0 before the end.
        read: Returns the count so far.
        site: The line at which most of it was counted, where that is known.
        replaced: The hook by which it was counted and whose place something else took inside the
            block, in words. The count is too low then. Empty if there was none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.read: Callable[[], int] = lambda: self.count
        self.site: CallSite | None = None
        self.replaced = ""


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
    # Hooked by connection and not once for the engine, because connections may run in different
    # threads: a counter for one of them needs no lock.
    tally, finished = Tally(), _FinishedSteps()
    with hooked_connections(target, lambda: _StepCounter(finished)) as connections:
        # Read twice for every statement. Without a total of finished counters, an action that
        # checks out a connection for every statement would take a time that grows with its square.
        tally.read = lambda: (
            finished.steps + sum(counter.steps for counter in connections.installed)
        )
        yield tally
    tally.count = tally.read()
    if connections.are_replaced:
        tally.replaced = "the progress handler of the driver"


class _FinishedSteps:
    """The steps of connections that were returned to the pool."""

    def __init__(self) -> None:
        self.steps = 0
        self._lock = threading.Lock()  # connections of several threads may be returned at once

    def add(self, steps: int) -> None:
        with self._lock:
            self.steps += steps


class _StepCounter:
    """Counts the steps of one connection, from its checkout to its return."""

    def __init__(self, finished: _FinishedSteps) -> None:
        self.steps = 0
        self._finished = finished

    def install(self, connection: DriverConnection) -> Awaitable[object] | None:
        # The handler is called after every step. With any larger interval, a query that takes
        # fewer steps than that counts nothing.
        installed: Awaitable[object] | None = connection.set_progress_handler(self._step, 1)
        return installed

    def remove(self, connection: DriverConnection) -> Awaitable[object] | None:
        # First: a connection of another thread refuses the call below.
        self._finished.add(self.steps)
        removed: Awaitable[object] | None = connection.set_progress_handler(None, 1)
        return removed

    def is_replaced(self, connection: DriverConnection) -> bool:
        return not is_callback(self._step, connection)

    def _step(self) -> int:
        self.steps += 1
        return 0  # any other result interrupts the statement


@contextmanager
def count_branches(project: Project | None = None) -> Iterator[Tally]:
    """Count jumps and branches in the project's Python code inside the block.

    The project's code runs 20 to 40 times slower in it. From CPython 3.12 on, all threads are
    counted; before, the current thread and those that are started inside the block. A debugger or
    a coverage tracer of this thread is restored afterwards.

    Args:
        project: Decides which code is counted. Default: the files below the working directory.
    """
    tally = Tally()
    collecting = gc.isenabled()
    gc.disable()  # a collection would run finalizers at unpredictable moments, and count them
    try:
        with _counted_branches(project or default_project(), tally):
            yield tally
    finally:
        if collecting:
            gc.enable()


def _busiest(
    codes: Mapping[int, CodeType], places: Mapping[tuple[int, int], int]
) -> CallSite | None:
    """The line of the place that was counted most often."""
    if not places:
        return None
    code, offset = max(places, key=lambda place: places[place])
    return call_site((codes[code], offset))


if sys.version_info >= (3, 12):

    @contextmanager
    def _counted_branches(project: Project, tally: Tally) -> Iterator[None]:
        monitoring = sys.monitoring
        events = monitoring.events.JUMP | monitoring.events.BRANCH
        tool = next(tool for tool in _MONITORING_TOOLS if monitoring.get_tool(tool) is None)
        counter = count()  # next() on it is atomic, and several threads count at once

        # By function and offset. Threads may lose single counts here, unlike in the counter.
        places: dict[tuple[int, int], int] = {}
        codes: dict[int, CodeType] = {}

        def branched(code: CodeType, offset: int, _destination: int) -> object:
            if not project.contains(code.co_filename):
                return monitoring.DISABLE  # this place does not call again, which keeps it cheap
            next(counter)
            place = (id(code), offset)
            if place in places:
                places[place] += 1
            else:
                places[place] = 1
                codes[id(code)] = code  # another object must not get its identity
            return None

        monitoring.use_tool_id(tool, _TOOL)
        try:
            for kind in (monitoring.events.JUMP, monitoring.events.BRANCH):
                monitoring.register_callback(tool, kind, branched)
            monitoring.set_events(tool, events)
            monitoring.restart_events()  # another block may have disabled places of this project
            yield
        finally:
            if monitoring.get_tool(tool) != _TOOL or monitoring.get_events(tool) != events:
                tally.replaced = "the tool of sys.monitoring"
            if monitoring.get_tool(tool) is None:
                # CPython 3.12 goes on calling the callbacks of a tool that was freed.
                monitoring.use_tool_id(tool, _TOOL)
            if monitoring.get_tool(tool) == _TOOL:
                monitoring.set_events(tool, 0)
                for kind in (monitoring.events.JUMP, monitoring.events.BRANCH):
                    if monitoring.register_callback(tool, kind, None) is not branched:
                        tally.replaced = "the callback of sys.monitoring"
                monitoring.free_tool_id(tool)
            tally.count = next(counter)
            tally.site = _busiest(codes, places)

# sys.monitoring is new in CPython 3.12 (PEP 669). Before, a trace function sees every instruction.
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
            with observed_settrace() as calls:
                yield
        finally:
            if calls or sys.gettrace() != tracer.enter:
                tally.replaced = "the trace function of sys.settrace"
            sys.settrace(previous)
            threading.settrace(previous_for_threads)
            tally.count = next(counter)
            tally.site = _busiest(tracer.codes, tracer.places)

    class _OpcodeTracer:
        """Counts the instructions of the project's frames that may jump."""

        def __init__(self, project: Project, counter: Iterator[int]) -> None:
            self._project = project
            self._counter = counter
            self._jumps = frozenset(dis.hasjrel + dis.hasjabs)
            # By the identity of a code object, and not by its value, which is slow to hash and does
            # not tell files apart. The project is asked once for a function, and not at every call.
            self._tracers: dict[int, Tracing | None] = {}
            self.codes: dict[int, CodeType] = {}  # another object must not get their identity
            self.places: dict[tuple[int, int], int] = {}

        def enter(self, frame: FrameType, event: str, arg: object) -> Tracing | None:
            code = frame.f_code
            try:
                tracer = self._tracers[id(code)]
            except KeyError:
                self.codes[id(code)] = code
                inside = self._project.contains(code.co_filename)
                tracer = self._tracers[id(code)] = self._tracer_of(code) if inside else None
            if tracer is not None:
                # Jumps can only be counted by instruction. Lines would cost a further call for
                # each.
                frame.f_trace_opcodes = True
                frame.f_trace_lines = False
            return tracer

        def _tracer_of(self, code: CodeType) -> Tracing:
            """Return a function that is called for every instruction, and does little."""
            jumps, count_one, counted = self._jumps, self._counter.__next__, self.places
            places = {
                offset: (id(code), offset)
                for offset, opcode in enumerate(code.co_code)
                if opcode in jumps
            }

            def instruction(frame: FrameType, event: str, arg: object) -> Tracing:
                if event == "opcode" and (place := places.get(frame.f_lasti)):
                    count_one()
                    counted[place] = counted.get(place, 0) + 1
                return instruction

            return instruction
