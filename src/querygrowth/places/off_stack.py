"""Find code that caused a statement but does not stand on its stack as its author wrote it.

These are templates of Jinja2, routes of FastAPI whose result is serialised after they returned, and
the callers behind greenlets, tasks of asyncio and worker threads. None of these packages
is imported here: the code that is looked for runs only after somebody else imported them.
"""

import asyncio
import dis
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any

from querygrowth.places.call_sites import CallSite, Place, call_site, function_name

_TEMPLATE = "__jinja_template__"  # a global of the module that Jinja2 compiles a template to
_OF_A_STRING = "<template>"
_WORKERS = ("run", "_connection_worker_thread")
_WAIT_IN = ("threading", "concurrent", "queue")
_MOST_WAITING = 8  # the longest row of tasks that wait for each other


def is_template(frame: FrameType) -> bool:
    """Whether a frame runs the code that Jinja2 generated from a template."""
    return _TEMPLATE in frame.f_globals


def template_site(frame: FrameType) -> CallSite:
    """The line of the template that a frame of its generated code runs."""
    template: Any = frame.f_globals[_TEMPLATE]
    # A template from a dictionary has a name, one from a string has neither name nor file.
    path = frame.f_code.co_filename
    if path.startswith("<"):
        path = template.name or _OF_A_STRING
    block = frame.f_code.co_name.removeprefix("block_")
    return CallSite(
        path,
        template.get_corresponding_lineno(frame.f_lineno),
        "the template" if block == "root" else f"block {block}",
    )


def at_their_callers(chain: Sequence[Place]) -> list[Place]:
    """The same places, with the lines of templates from strings at the lines that rendered them."""
    # Such a template stands in no file that anybody could open.
    placed: list[Place] = []
    inside: CallSite | None = None
    for place in chain:
        if isinstance(place, CallSite) and place.path == _OF_A_STRING:
            inside = inside or place
        elif inside is not None:
            outer = call_site(place)
            function = f"{outer.function}, line {inside.line} of a template"
            placed.append(CallSite(outer.path, outer.line, function))
            inside = None
        else:
            placed.append(place)
    return placed if inside is None else [*placed, inside]


def is_route_runner(frame: FrameType) -> bool:
    """Whether a frame belongs to FastAPI's module that runs routes and serialises results."""
    return frame.f_globals.get("__name__") == "fastapi.routing"


def route_site(frame: FrameType) -> CallSite | None:
    """The route that a frame of FastAPI's runs; None if it runs none.

    The line is that of the route's only `return`, or of its definition if there are more.
    """
    dependant = frame.f_locals.get("dependant")
    code = getattr(getattr(dependant, "call", None), "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return CallSite(code.co_filename, _return_line(code), function_name(code))


def _return_line(code: CodeType) -> int:
    lines: set[int] = set()
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        starts = instruction.starts_line
        if starts and not isinstance(starts, bool):  # a bool, and `line_number`, from 3.13 on
            line = starts
        line = getattr(instruction, "line_number", None) or line
        if instruction.opname in {"RETURN_VALUE", "RETURN_CONST"}:
            lines.add(line)
    return lines.pop() if len(lines) == 1 else code.co_firstlineno


def is_in_greenlet() -> bool:
    """Whether a greenlet runs that another one waits for."""
    # Greenlet is optional. If it is not imported yet, this code runs in no greenlet.
    greenlet_module = sys.modules.get("greenlet")
    return greenlet_module is not None and greenlet_module.getcurrent().parent is not None


def waiting_greenlets() -> Iterator[FrameType]:
    """Yield the innermost frames of the greenlets that wait for the current one, nearest first."""
    waiting = sys.modules["greenlet"].getcurrent().parent if is_in_greenlet() else None
    while waiting is not None:
        if waiting.gr_frame is not None:
            yield waiting.gr_frame
        waiting = waiting.parent


def waiting_frames(innermost: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the tasks that wait for the current task or thread, the nearest first.

    The coroutine of a library may run as a task, or its function in a thread. The user's code then
    stands on no stack, but it is suspended where it waits for the result.
    """
    # Of the main thread, only an event loop can have its callers elsewhere.
    in_loop = asyncio._get_running_loop() is not None
    if not in_loop and threading.current_thread() is threading.main_thread():
        return
    task = asyncio.current_task() if in_loop else _host_of_worker(innermost)
    if task is not None and not in_loop:
        yield from _suspended(task)
    if task is None and not in_loop:
        yield from _waiting_threads()
    for _ in range(_MOST_WAITING):
        task = _waiting_for(task) if task is not None else None
        if task is None:
            return
        yield from _suspended(task)


def _waiting_threads() -> Iterator[FrameType]:
    """Yield the frames of the threads that wait for a thread, a future or a lock."""
    # A thread does not know which one started it. A pool that runs a function of a library for the
    # user's code mostly has that code waiting for the result.
    for number, frame in sys._current_frames().items():
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if number != threading.get_ident() and module in _WAIT_IN:
            waiting: FrameType | None = frame
            while waiting is not None:
                yield waiting
                waiting = waiting.f_back


def _host_of_worker(frame: FrameType | None) -> "asyncio.Task[Any] | None":
    """The task that waits for this worker thread, if it is one of anyio or aiosqlite."""
    # Both keep the future of the call that they run in a variable of this name.
    while frame is not None:
        future = frame.f_locals.get("future") if frame.f_code.co_name in _WORKERS else None
        if isinstance(future, asyncio.Future) and not future.done():
            return _awaiting(future)
        frame = frame.f_back
    return None


def _waiting_for(task: "asyncio.Task[Any]") -> "asyncio.Task[Any] | None":
    """The task that awaits `task`, itself, in `asyncio.gather` or in a TaskGroup."""
    for callback in getattr(task, "_callbacks", None) or ():
        owner = getattr(callback[0], "__self__", None)
        parent = getattr(owner, "_parent_task", None)  # of a TaskGroup
        if isinstance(parent, asyncio.Task):
            return parent
    return _awaiting(task)


def _awaiting(future: "asyncio.Future[Any]") -> "asyncio.Task[Any] | None":
    """The task that awaits a future or a task, alone or in `asyncio.gather`."""
    try:
        tasks: Iterable[asyncio.Task[Any]] = asyncio.all_tasks(future.get_loop())
    except RuntimeError:  # the tasks changed while another thread listed them
        return None
    for task in tasks:
        awaited = getattr(task, "_fut_waiter", None)
        if awaited is not None and (
            awaited is future or future in (getattr(awaited, "_children", None) or ())
        ):
            return task
    return None


def _suspended(task: "asyncio.Task[Any]") -> Iterator[FrameType]:
    """Yield the frames of a suspended task, the innermost first."""
    frames: list[FrameType] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):  # coroutines, generators, async generators
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                frames.append(frame)
                awaited = getattr(awaited, f"{kind}_await", None) or getattr(
                    awaited, f"{kind}_yieldfrom", None
                )
                break
        else:
            awaited = None
    yield from reversed(frames)
