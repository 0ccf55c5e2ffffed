"""Walk the stack outward from a statement to the code that caused it (`StackWalker`).

Nothing else in this package walks frames. Some code does not stand on the stack as its author wrote
it: the generated code of a template, a route whose result is serialised after it returned, and the
code behind a greenlet, a task or a worker thread. `querygrowth.places.off_stack` finds those.
"""

import sys
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from types import CodeType, FrameType
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

from querygrowth.places.call_sites import Callers, Place, Project, Steps, steps_of
from querygrowth.places.off_stack import (
    at_their_callers,
    is_in_greenlet,
    is_route_runner,
    is_template,
    route_site,
    template_site,
    waiting_frames,
    waiting_greenlets,
)

# Modules between a caller and SQLAlchemy that are neither: they run a coroutine, a thread or the
# body of a `with` for their caller.
_INTERMEDIARIES = frozenset(
    ("aiosqlite", "anyio", "asyncio", "concurrent", "contextlib", "greenlet", "threading")
)
# Outside of these frames there is a test runner and no code of the user.
_RUNNERS = frozenset(("_pytest", "pluggy"))
_GENERATED = "<string>"  # the file name of any code that was generated at run time
# Deeper recursions are cut. The frames nearest to the statement are kept.
_MOST_STEPS = 2 * 24  # of 24 callers; see `Callers.steps`
# Frame 0 is StackWalker's, frame 1 that of the listener, and frames 2 and 3 are SQLAlchemy's.
_FIRST_CALLER = 4
_CONNECTION_EXECUTE = 6
_EXECUTE = Connection.execute.__code__


class _FrameKind(Enum):
    PASSED_OVER = auto()
    PROJECT = auto()
    OTHER = auto()
    TEMPLATE = auto()
    ROUTE_RUNNER = auto()
    TEST_RUNNER = auto()


# An attribute of an Enum class is slow to read in some versions of CPython, and the walk is inside
# of every statement.
_PASSED_OVER, _PROJECT, _OTHER = _FrameKind.PASSED_OVER, _FrameKind.PROJECT, _FrameKind.OTHER
_TEMPLATE, _ROUTE_RUNNER = _FrameKind.TEMPLATE, _FrameKind.ROUTE_RUNNER
_TEST_RUNNER = _FrameKind.TEST_RUNNER


_new = tuple.__new__

_KNOWN_FILES: WeakKeyDictionary[Project, dict[str, _FrameKind]] = WeakKeyDictionary()


class StackWalker:
    """Walks the stack outward from a statement to the code that caused it.

    It passes over frames of SQLAlchemy, of this package, and of the project's `passed_over`.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        # This runs once for every statement, and a stack is often 50 frames deep. A file is
        # classified once; each further frame of it costs one dictionary look-up.
        # Once for a project, because a suite counts in many short blocks.
        self._kinds = _KNOWN_FILES.setdefault(project, {})

    def callers_of_statement(self) -> Callers:
        """Find the callers of the statement in whose `before_cursor_execute` this is called.

        It must be called by the listener itself.
        """
        # Most statements come through Connection.execute, with a known number of frames in between.
        # They are all of SQLAlchemy. To reach a frame by its number is cheaper than to walk there.
        # Where there are more frames or fewer, the walk begins further inside.
        try:
            frame = sys._getframe(_CONNECTION_EXECUTE)
        except ValueError:  # the stack is not as deep
            frame = None
        if frame is None or frame.f_code is not _EXECUTE:
            frame = sys._getframe(_FIRST_CALLER)
        return self.callers(frame)

    def callers(self, frame: FrameType | None) -> Callers:
        """Find the callers of a statement. A part is empty when no frame fits it."""
        outside: Place | None = None
        entry: CodeType | None = None
        steps: Steps = []
        templates = False
        innermost = frame
        kinds = self._kinds
        append = steps.append
        frame = frame or next(waiting_greenlets(), None)
        greenlets: Iterator[FrameType] | None = None
        while frame is not None:
            code = frame.f_code
            try:  # in place of get(), whose call takes longer
                kind = kinds[code.co_filename]
            except KeyError:
                kind = self._classify(frame)
            if kind is _PROJECT:
                append(code)
                append(frame.f_lasti)
            elif kind is _PASSED_OVER:
                if not steps and outside is None:
                    entry = code
            elif kind is _TEST_RUNNER:
                break
            elif kind is _TEMPLATE:
                steps += (template_site(frame), 0)
                templates = True
            else:
                if not steps and outside is None:
                    outside = (code, frame.f_lasti)
                # A route that has returned is nearer to its result than the code around it, such as
                # a middleware.
                if kind is _ROUTE_RUNNER and not steps and (route := route_site(frame)):
                    steps += (route, 0)
            frame = frame.f_back
            # Behind an async engine, SQLAlchemy's synchronous core runs in a greenlet. Its stack
            # ends there, and the caller's stack is that of the greenlet that waits for it.
            if frame is None:
                if greenlets is None and not is_in_greenlet():
                    break
                greenlets = greenlets or waiting_greenlets()
                frame = next(greenlets, None)
        if templates:
            steps = steps_of(at_their_callers(Callers(None, steps).chain))
        if not steps:
            steps = steps_of(self._waiting(innermost))
        if len(steps) > _MOST_STEPS:
            del steps[_MOST_STEPS:]
        # Not Callers(...), which takes twice as long.
        return _new(Callers, (outside, steps, entry))

    def _waiting(self, innermost: FrameType | None) -> list[Place]:
        """The project's places in the tasks that wait for this task or thread."""
        chain: list[Place] = []
        for frame in waiting_frames(innermost):
            kind = self._kinds.get(frame.f_code.co_filename) or self._classify(frame)
            if kind is _PROJECT:
                chain.append((frame.f_code, frame.f_lasti))
            elif kind is _ROUTE_RUNNER and not chain and (route := route_site(frame)):
                chain.append(route)
        return chain

    def _classify(self, frame: FrameType) -> _FrameKind:
        filename = frame.f_code.co_filename
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        # The project comes before the intermediaries: it may have a package of the same name.
        kind = _OTHER
        if is_template(frame):
            # The code of a template that was not loaded from a file has no path either.
            shown = not Path(filename).is_absolute() or self._project.contains(filename)
            kind = _TEMPLATE if shown else _OTHER
        # SQLAlchemy generates wrappers of its methods, in some releases without a file name.
        elif self._project.passes_over(filename) or package == "sqlalchemy":
            kind = _PASSED_OVER
        elif self._project.contains(filename):
            kind = _PROJECT
        elif package in _RUNNERS:
            kind = _TEST_RUNNER
        elif package in _INTERMEDIARIES:
            kind = _PASSED_OVER
        elif is_route_runner(frame):
            kind = _ROUTE_RUNNER
        if filename != _GENERATED:
            self._kinds[filename] = kind
        return kind
