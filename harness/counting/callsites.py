"""Where in the caller's code a statement was sent from."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from harness.counting.project import SQLALCHEMY_PATH, THIS_PACKAGE_PATH, Project

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
        libraries = (SQLALCHEMY_PATH, THIS_PACKAGE_PATH, "<frozen")
        if filename.startswith(libraries) or module.startswith(_CONDUITS):
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
