"""An error as one line for a person or a log, without statements, parameters or passwords."""

import os

from sqlalchemy.exc import DBAPIError


def describe_failure(error: BaseException) -> str:
    """Return the message of an error, without the statement and parameters that SQLAlchemy adds.

    An error without a message is described by the name of its type.
    """
    if isinstance(error, DBAPIError) and error.orig is not None:
        return f"database: {' '.join(str(error.orig).split())}"
    if isinstance(error, OSError) and error.strerror:
        # For an error about a descriptor the file name is a number, which is left out.
        name = None if isinstance(error.filename, int) else error.filename
        return f"{os.fsdecode(name)}: {error.strerror}" if name else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) or type(error).__name__


def explain_failure(error: BaseException) -> str:
    """Return the message of an error and its notes, such as the rows that a worker was at."""
    return "; ".join((describe_failure(error), *getattr(error, "__notes__", ())))


def one_line(text: str) -> str:
    """Return text of unknown origin on one line, with control characters escaped."""
    # A line break would forge a second line of output, and ESC begins a terminal's command.
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
