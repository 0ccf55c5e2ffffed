"""What went wrong, in one line for a person or a log: no statement, no parameter, no password."""

import os

from sqlalchemy.exc import DBAPIError


def describe_failure(error: BaseException) -> str:
    """Say it without what SQLAlchemy adds: the statement, its parameters and links.

    An error that says nothing is named by its type.
    """
    if isinstance(error, DBAPIError) and error.orig is not None:
        return f"database: {' '.join(str(error.orig).split())}"
    if isinstance(error, OSError) and error.strerror:
        # Where a descriptor was used in the place of a name, the name is a number.
        name = None if isinstance(error.filename, int) else error.filename
        return f"{os.fsdecode(name)}: {error.strerror}" if name else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) or type(error).__name__


def explain_failure(error: BaseException) -> str:
    """Say it, and what was noted about it on the way: the rows that a worker was at."""
    return "; ".join((describe_failure(error), *getattr(error, "__notes__", ())))
