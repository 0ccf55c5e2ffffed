"""Prints for commands: lines that a script may read, warnings, tables and JSON reports."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from elspeth.cli.runtime import OutputConsole
from elspeth.core.error_text import one_line

if TYPE_CHECKING:
    from pydantic import BaseModel

_PIPED_WIDTH = 1000
"""The width of output that a script reads, so that no table wraps."""


def output_console() -> Console:
    """Return a console that never wraps or shortens output that a script may read."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    return OutputConsole(highlight=False, soft_wrap=True, width=_PIPED_WIDTH)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output, with control characters escaped."""
    # Not by rich, which takes 0.1 ms for a line: an export may be shown line by line.
    for line in lines:
        sys.stdout.write(f"{one_line(line)}\n")


def print_notes(lines: Iterable[str]) -> None:
    """Print lines to standard error, with control characters escaped."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(one_line(line)))


def warn(message: str) -> None:
    """Print a warning to standard error."""
    print_notes((f"warning: {message}",))


def print_json(report: "BaseModel") -> None:
    """Print a report as one line of JSON in ASCII."""
    sys.stdout.write(f"{json_text(report.model_dump())}\n")


def json_text(value: object) -> str:
    """Return a value as JSON in ASCII, without control characters."""
    # json escapes all of them but DEL. ASCII: a run id may hold what no encoding can write.
    return json.dumps(value, default=str).replace("\x7f", "\\u007f")
