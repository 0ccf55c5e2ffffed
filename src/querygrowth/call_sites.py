"""Origins: the line that caused each statement, past the functions that all statements go through.

An exporter that sends everything through one function has one call site for all its queries. The
telling line is the innermost one that not every other statement came through as well.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import Engine, event

# Project: which source files are the user's own, not a library's or this package's.


SQLALCHEMY_PATH = str(Path(sqlalchemy.__file__).parent)
THIS_PACKAGE_PATH = str(Path(__file__).parent)


class Project:
    """The user's own code: the files below `root`, without environments of libraries kept there.

    Args:
        root: The directory that holds the project; default: the working directory.
        passed_over: Further directories whose frames are never call sites, such as a tool that
            calls the code under measurement.
    """

    def __init__(self, root: Path | None = None, passed_over: Sequence[Path] = ()) -> None:
        self._root = f"{(root or Path.cwd()).resolve()}/"
        self.passed_over = (SQLALCHEMY_PATH, THIS_PACKAGE_PATH, *map(str, passed_over))
        environments = (p for p in (sys.prefix, sys.base_prefix) if p.startswith(self._root))
        self._libraries = (*self.passed_over, *environments)

    def contains(self, filename: str) -> bool:
        """Whether this is a file of the project; `filename` as code objects have it."""
        return (
            filename.startswith(self._root)
            and not filename.startswith(self._libraries)
            and "/site-packages/" not in filename[len(self._root) - 1 :]
        )


# Where in the caller's code a statement was sent from.


# What stands between a caller and SQLAlchemy without being either.
_CONDUITS = ("asyncio", "contextlib", "greenlet", "aiosqlite", "threading", "concurrent.futures")


class RawSite(NamedTuple):
    """A place as the interpreter has it: cheap to take, made readable by `call_site`."""

    code: CodeType
    line: int


class Trail(NamedTuple):
    """The two frames of interest: the nearest caller, and the nearest in the user's project."""

    nearest: RawSite | None
    project: RawSite | None


@dataclass(frozen=True)
class CallSite:
    """A place in source: absolute path, line from 1, qualified name of the function."""

    path: str
    line: int
    function: str

    def __str__(self) -> str:
        path = Path(self.path)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{self.line} in {self.function}"


class Tracker:
    """Walks the stack outward to the code that caused a statement.

    Frames of SQLAlchemy and of this package are passed over. Behind an async engine the walk goes
    on through the greenlet that SQLAlchemy runs its synchronous core in.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        # One answer for each file, not for each frame.
        self._known: dict[str, _Kind] = {}

    def trail(self, frame: FrameType | None) -> Trail:
        """Look outward from `frame`; either part is None when no frame fits it."""
        nearest: RawSite | None = None
        known = self._known
        stacks: Iterator[FrameType] | None = None
        while frame is not None:
            kind = known.get(frame.f_code.co_filename) or self._learn(frame)
            if kind is not _Kind.PASSED_OVER:
                site = RawSite(frame.f_code, frame.f_lineno)
                nearest = nearest or site
                if kind is _Kind.PROJECT:
                    return Trail(nearest, site)
            frame = frame.f_back
            if frame is None:
                stacks = stacks or _waiting_stacks()
                frame = next(stacks, None)
        return Trail(nearest, None)

    def _learn(self, frame: FrameType) -> "_Kind":
        filename, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        kind = _Kind.OTHER
        passed_over = (*self._project.passed_over, "<frozen")
        if filename.startswith(passed_over) or module.startswith(_CONDUITS):
            kind = _Kind.PASSED_OVER
        elif self._project.contains(filename):
            kind = _Kind.PROJECT
        self._known[filename] = kind
        return kind


class _Kind(Enum):
    """Whose code a file is, as far as call sites go."""

    PASSED_OVER = auto()
    PROJECT = auto()
    OTHER = auto()


def call_site(raw: RawSite | None) -> CallSite | None:
    """The readable form of a recorded place."""
    if raw is None:
        return None
    return CallSite(path=raw.code.co_filename, line=raw.line, function=raw.code.co_qualname)


def _waiting_stacks() -> Iterator[FrameType]:
    """The innermost frame of each greenlet that waits for the current one, nearest first."""
    greenlet_module = sys.modules.get("greenlet")
    waiting = greenlet_module.getcurrent().parent if greenlet_module else None
    while waiting is not None:
        if waiting.gr_frame is not None:
            yield waiting.gr_frame
        waiting = waiting.parent


Stack = tuple[CallSite, ...]
"""The lines of the project's code that were under way, the innermost first."""


@contextmanager
def trace_origins(engine: Engine, project: Project | None = None) -> Iterator[dict[str, Stack]]:
    """Keep, for each statement text that is sent in the block, the stack that sent it first."""
    own = project or Project()
    stacks: dict[str, Stack] = {}

    def before(*arguments: object) -> None:
        statement = str(arguments[2])
        if statement not in stacks:
            stacks[statement] = tuple(_frames(sys._getframe(1), own))

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield stacks
    finally:
        event.remove(engine, "before_cursor_execute", before)


def telling_lines(stacks: Mapping[str, Stack]) -> Mapping[str, CallSite]:
    """For each statement, the innermost line that no other went through; or else the innermost."""
    shared = Counter(_line(frame) for stack in stacks.values() for frame in set(stack))
    return {
        statement: next((each for each in stack if shared[_line(each)] == 1), stack[0])
        for statement, stack in stacks.items()
        if stack
    }


def _frames(frame: FrameType | None, project: Project) -> Iterator[CallSite]:
    while frame is not None:
        code = frame.f_code
        if project.contains(code.co_filename):
            yield CallSite(code.co_filename, frame.f_lineno, code.co_qualname)
        frame = frame.f_back


def _line(site: CallSite) -> tuple[str, int]:
    return site.path, site.line
