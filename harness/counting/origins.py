"""Origins: the line that caused each statement, past the functions that all statements go through.

An exporter that sends everything through one function has one call site for all its queries. The
telling line is the innermost one that not every other statement came through as well.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sqlalchemy import Engine, event

from harness.counting.callsites import CallSite
from harness.counting.project import Project

Stack = tuple[CallSite, ...]
"""The lines of the project's code that were under way, the innermost first."""


@contextmanager
def trace_origins(engine: Engine, project_root: Path | None = None) -> Iterator[dict[str, Stack]]:
    """Keep, for each statement text that is sent in the block, the stack that sent it first."""
    project = Project(project_root or Path.cwd())
    stacks: dict[str, Stack] = {}

    def before(*arguments: object) -> None:
        statement = str(arguments[2])
        if statement not in stacks:
            stacks[statement] = tuple(_frames(sys._getframe(1), project))

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
