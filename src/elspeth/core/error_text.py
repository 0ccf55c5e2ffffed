"""One-line descriptions of errors, without SQL statements, parameters or passwords."""

import os
import sys


def describe_failure(error: BaseException) -> str:
    """Return the message of an error as one line, or the name of its type if it has none."""
    # SQLAlchemy's message adds the statement and its parameters, which are audited data; the
    # driver's message does not.
    # Not imported: where SQLAlchemy is not loaded, the error is none of its errors.
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    if sqlalchemy is not None and isinstance(error, sqlalchemy.DBAPIError) and error.orig:
        return f"database: {' '.join(str(error.orig).split())}"
    if isinstance(error, OSError) and error.strerror:
        # The file name of an error about a descriptor is a number, which helps no reader.
        name = None if isinstance(error.filename, int) else error.filename
        return f"{os.fsdecode(name)}: {error.strerror}" if name else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) or type(error).__name__


def explain_failure(error: BaseException) -> str:
    """Return the message of an error with its notes, such as the rows that a worker exported."""
    return "; ".join((describe_failure(error), *getattr(error, "__notes__", ())))


def one_line(text: str) -> str:
    """Return text of unknown origin on one line, with control characters escaped."""
    # Fast path: most text, of which millions of lines may be shown.
    if text.isprintable():
        return text
    # A line break would forge a second line of output, and ESC begins a terminal's command.
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
