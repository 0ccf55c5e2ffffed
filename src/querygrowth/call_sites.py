"""Find the line of the user's code that caused a statement.

`Project` decides which files are the user's own. `StackWalker` walks the stack outward from a
statement; nothing else in this package walks frames. `distinct_sites` finds different lines for
statements that were all sent through one function.
"""

# SQLAlchemy is not imported here, because verdicts need `CallSite` and must stay cheap to import.

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

_SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"

# Modules between a caller and SQLAlchemy that are neither: they run a coroutine, a thread or the
# body of a `with` for their caller.
_INTERMEDIARIES = ("aiosqlite", "asyncio", "concurrent", "contextlib", "greenlet", "threading")


def _sqlalchemy_folder() -> str:
    spec = find_spec("sqlalchemy")
    folders = spec.submodule_search_locations if spec else None
    return f"{folders[0] if folders else 'sqlalchemy'}{os.sep}"


# "<frozen" begins the names of modules inside the interpreter, such as importlib's.
_NEVER_CALL_SITES = (_sqlalchemy_folder(), f"{Path(__file__).parent}{os.sep}", "<frozen")


class Project:
    """The files that are the user's own code: those below `root` that are not installed.

    Args:
        root: The directory that holds the project. Default: the working directory.
        passed_over: Further files and directories whose frames are never call sites, such as those
            of a tool that calls the measured code.
    """

    def __init__(self, root: Path | None = None, passed_over: Sequence[Path] = ()) -> None:
        self._root = f"{(root or Path.cwd()).resolve()}{os.sep}"
        self._passed_over = (
            *_NEVER_CALL_SITES,
            # The separator keeps "tool" from covering "tool_tests" too.
            *(str(path) if path.is_file() else f"{path}{os.sep}" for path in passed_over),
        )
        # The root may hold a virtual environment, or be a folder above the interpreter's own.
        environments = (f"{prefix}{os.sep}" for prefix in (sys.prefix, sys.base_prefix))
        self._not_the_users = (
            *self._passed_over,
            *(folder for folder in environments if folder.startswith(self._root)),
        )

    def contains(self, filename: str) -> bool:
        """Whether a file belongs to the project. `filename` is a code object's `co_filename`."""
        return (
            filename.startswith(self._root)
            and not filename.startswith(self._not_the_users)
            # Only below the root, because the root itself may be in site-packages.
            and _SITE_PACKAGES not in filename[len(self._root) - 1 :]
        )

    def passes_over(self, filename: str) -> bool:
        """Whether frames of this file are never call sites."""
        return filename.startswith(self._passed_over)


@dataclass(frozen=True)
class CallSite:
    """A place in source code: absolute path, line from 1, and the function's qualified name.

    CPython 3.10 keeps only the short name of a function.
    """

    path: str
    line: int
    function: str

    def __str__(self) -> str:
        path, folder = Path(self.path), Path.cwd()
        shown = path.relative_to(folder) if path.is_relative_to(folder) else path
        return f"{shown}:{self.line} in {self.function}"


class RawSite(NamedTuple):
    """A place as the interpreter holds it. `call_site` makes it readable."""

    # Two references are cheap to record inside a statement. Names and paths are read later, and
    # only for statements that are shown.

    code: CodeType
    line: int


class Callers(NamedTuple):
    """The two callers of interest: the nearest one, and the nearest one in the user's project."""

    nearest: RawSite | CallSite | None
    project: RawSite | CallSite | None


class _FrameKind(Enum):
    PASSED_OVER = auto()
    PROJECT = auto()
    OTHER = auto()


class StackWalker:
    """Walks the stack outward from a statement to the code that caused it.

    It passes over frames of SQLAlchemy, of this package, and of the project's `passed_over`.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        # This runs once for every statement, and a stack is often 50 frames deep. A file is
        # classified once; each further frame of it costs one dictionary look-up.
        self._kinds: dict[str, _FrameKind] = {}

    def callers(self, frame: FrameType | None) -> Callers:
        """Find the callers of a statement; a part is None when no frame fits it."""
        nearest: RawSite | None = None
        for caller, in_project in self._outward(frame):
            site = RawSite(caller.f_code, caller.f_lineno)
            nearest = nearest or site
            if in_project:
                return Callers(nearest, site)
        return Callers(nearest, None)

    def project_stack(self, frame: FrameType | None) -> tuple[CallSite, ...]:
        """The lines of the project on the stack, the innermost first."""
        return tuple(
            _readable(caller.f_code, caller.f_lineno)
            for caller, in_project in self._outward(frame)
            if in_project
        )

    def _outward(self, frame: FrameType | None) -> Iterator[tuple[FrameType, bool]]:
        """Yield the frames that can be call sites, and whether they are in the project."""
        kinds = self._kinds
        waiting: Iterator[FrameType] | None = None
        while frame is not None:
            kind = kinds.get(frame.f_code.co_filename) or self._classify(frame)
            if kind is not _FrameKind.PASSED_OVER:
                yield frame, kind is _FrameKind.PROJECT
            frame = frame.f_back
            # Behind an async engine, SQLAlchemy's synchronous core runs in a greenlet. Its stack
            # ends there, and the caller's stack is that of the greenlet that waits for it.
            if frame is None:
                waiting = waiting or _waiting_greenlets()
                frame = next(waiting, None)

    def _classify(self, frame: FrameType) -> _FrameKind:
        filename = frame.f_code.co_filename
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        # The project comes before the intermediaries: it may have a package of the same name.
        kind = _FrameKind.OTHER
        if self._project.passes_over(filename):
            kind = _FrameKind.PASSED_OVER
        elif self._project.contains(filename):
            kind = _FrameKind.PROJECT
        elif package in _INTERMEDIARIES:
            kind = _FrameKind.PASSED_OVER
        self._kinds[filename] = kind
        return kind


def call_site(place: RawSite | CallSite | None) -> CallSite | None:
    """The readable form of a recorded place. A place of another process is readable already."""
    return _readable(*place) if isinstance(place, RawSite) else place


def distinct_sites(stacks: Mapping[str, Sequence[CallSite]]) -> Mapping[str, CallSite]:
    """The innermost line of a statement's stack that no other statement went through.

    Args:
        stacks: The project's lines that led to a statement, the innermost first, by its text.

    Returns:
        A line by the text of the statement. A statement that shares all its lines with others has
        its innermost line. A statement with an empty stack is left out.
    """
    # Code that sends everything through one function has a single call site for all its queries.
    # The line that distinguishes them is further out.
    shared = Counter((site.path, site.line) for stack in stacks.values() for site in set(stack))
    return {
        statement: next((site for site in stack if shared[site.path, site.line] == 1), stack[0])
        for statement, stack in stacks.items()
        if stack
    }


def _readable(code: CodeType, line: int) -> CallSite:
    # co_qualname is new in CPython 3.11.
    return CallSite(code.co_filename, line, getattr(code, "co_qualname", code.co_name))


def _waiting_greenlets() -> Iterator[FrameType]:
    """Yield the innermost frames of the greenlets that wait for the current one, nearest first."""
    # Greenlet is optional. If it is not imported yet, this code runs in no greenlet.
    greenlet_module = sys.modules.get("greenlet")
    waiting = greenlet_module.getcurrent().parent if greenlet_module else None
    while waiting is not None:
        if waiting.gr_frame is not None:
            yield waiting.gr_frame
        waiting = waiting.parent
