"""Tell which call of the application a statement belongs to, the same in every run of a test."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from querygrowth.counting.engine import engines_of, sync_engines
from querygrowth.places.call_sites import Callers, Project
from querygrowth.places.off_stack import waiting_greenlets
from querygrowth.places.stack import StackWalker
from querygrowth.suite.trails import TestBody, TestFiles, Trail, TrailKey, trail_key

CallPlace: TypeAlias = tuple[object, ...]
"""The lines of the test that made a call. Equal in all runs of a test."""

# The test is not on the stack of a task, but a request that a client runs there has its context.
_context: ContextVar[object] = ContextVar("querygrowth_grown_call")
# They show the values of an assertion that has failed, which may load attributes.
_SHOWS = ("/_pytest/assertion/", "/_pytest/_io/", "/unittest/util.py", "/pprint.py", "/difflib.py")
_RUNNERS = ("/_pytest/", "/unittest/case.py")


@dataclass(frozen=True)
class Call:
    """One call of the application by a test.

    Attributes:
        place: The lines of the test that made it.
        number: Counts from 1 in the order of the calls.
    """

    place: CallPlace
    number: int


class CallFinder(StackWalker):
    """Walks the stack, and notes the call that each statement belongs to.

    Args:
        project: Decides which files are the user's own.
        files: Tells test files from others.
    """

    def __init__(self, project: Project, files: TestFiles) -> None:
        super().__init__(project)
        self.files = files
        self.begin(TestBody(None))

    def begin(self, body: TestBody) -> None:
        """Forget all calls.

        Args:
            body: The function of the test that begins.
        """
        self.body = body
        # The callers are kept, so that their ids stay theirs.
        self._calls: dict[int, tuple[Callers, Call | None]] = {}
        self._trails: dict[TrailKey, Trail] = {}
        self._numbers: dict[object, int] = {}
        self._current: tuple[FrameType | None, Call] | None = None
        self._made = 0
        self._body_frame: FrameType | None = None
        self.source = ""

    def trail_of(self, callers: Callers) -> Trail:
        """The lines that led to a statement."""
        key = trail_key(callers.chain)
        if key not in self._trails:
            self._trails[key] = Trail(callers.chain, self.body, self.files)
        return self._trails[key]

    def call_of(self, callers: Callers) -> Call | None:
        """The call that a statement belongs to; None for one that the test itself sent."""
        return self._calls.get(id(callers), (None, None))[1]

    def note_source(self, connection: Connection) -> None:
        """Note the name by which a test reaches the database that a call reads.

        Args:
            connection: The one that reads.
        """
        if self._body_frame is not None and not self.source:
            frame = self._body_frame
            own = getattr(frame.f_locals.get("self"), "__dict__", {})
            self.source = (
                source_name(connection, frame.f_locals)
                or source_name(connection, {f"self.{name}": each for name, each in own.items()})
                or source_name(connection, frame.f_globals)
            )

    def callers(self, frame: FrameType | None) -> Callers:
        """Find the callers of a statement; see `StackWalker.callers`."""
        found = super().callers(frame)
        if found.chain and not self.trail_of(found).in_test_code:
            self._calls[id(found)] = (found, self._call(frame))
        return found

    def _call(self, frame: FrameType | None) -> Call | None:
        path = self._to_the_body(_outward(frame))
        if path is None and threading.current_thread() is not threading.main_thread():
            # The test waits for this thread, mostly in a call of a client.
            main = sys._current_frames().get(threading.main_thread().ident or 0)
            path = self._to_the_body(_outward(main, greenlets=False))
        if path is None:
            return self._of_context()
        files = [each.f_code.co_filename for each in path[1:]]
        shown = any(each in file for file in files for each in _SHOWS)
        runs = any(each in file for file in files for each in _RUNNERS)
        represents = any(each.f_code.co_name == "__repr__" for each in path)
        # A fixture that the test asks for while it runs is not a call either.
        if shown or (runs and (represents or "/_pytest/fixtures.py" in "".join(files))):
            return None
        return self._of_frames(path)

    def _to_the_body(self, frames: Iterator[FrameType]) -> list[FrameType] | None:
        """The frames from the body of the test inwards; None if it is not among them."""
        path: list[FrameType] = []
        for frame in frames:
            path.append(frame)
            if self.body.is_code(frame.f_code):
                return path[::-1]
        return None

    def _of_frames(self, path: list[FrameType]) -> Call:
        """The call that the first frame of the application makes, behind the lines of tests."""
        # Where the application stands in the test module, only the body is a line of the test.
        inside = next(
            (n for n, each in enumerate(path) if not self.files.contains(each.f_code.co_filename)),
            1,
        )
        self._body_frame = path[0]
        place = tuple((each.f_code.co_name, each.f_lasti) for each in path[:inside])
        first = path[inside] if inside < len(path) else None
        # The frame is kept, so that no later call has its id.
        if self._current is None or self._current[0] is not first or first is None:
            self._current = (first, Call(place, self._next()))
        return Call(place, self._current[1].number)

    def _of_context(self) -> Call:
        context = _context.get(None)
        if context is None or context not in self._numbers:
            _context.set(context := object())
            self._numbers[context] = self._next()
        number = self._numbers[context]
        return Call(("call", number), number)

    def _next(self) -> int:
        self._made += 1
        return self._made


def _outward(frame: FrameType | None, *, greenlets: bool = True) -> Iterator[FrameType]:
    """Yield the frames of a stack, and those of the greenlets that wait for it."""
    while frame is not None:
        yield frame
        frame = frame.f_back
    if greenlets:
        for waiting in waiting_greenlets():
            yield from _outward(waiting, greenlets=False)


def source_name(connection: Connection, names: Mapping[str, Any]) -> str:
    """The name of a value that leads to the engine of a connection; empty without one.

    Sessions and connections that are in the transaction of the connection come first.
    """
    found: dict[int, str] = {}
    for name, value in list(names.items()):
        # pytest's assertions have variables whose names are not from the code.
        is_code = name.replace(".", "").isidentifier()
        rank = _rank(value, connection) if is_code else None
        if rank is not None:
            found.setdefault(rank, name)
    return found[min(found)] if found else ""


def _rank(value: Any, connection: Connection) -> int | None:
    kinds = ("sqlalchemy.", "flask_sqlalchemy")
    bases = getattr(type(value), "__mro__", ())
    if isinstance(value, type) or not any(each.__module__.startswith(kinds) for each in bases):
        return None
    with suppress(Exception):  # a proxy outside of its context, a session without an engine
        found = sync_engines(engines_of(value, call=False) or ()) or ()
        if any(each is connection.engine for each in found):
            plain = getattr(value, "sync_session", getattr(value, "sync_connection", value))
            if plain is connection:
                return 0
            if isinstance(plain, Session):
                held = plain.get_transaction() is not None
                return 1 if held else 3
            return 2
    return None
