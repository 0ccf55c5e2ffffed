"""Opens the database that a command names."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from elspeth.cli.runtime import OpenDatabases, UsageError
from elspeth.core.extras import extra_hint

# Imported by the functions: `--help` would wait for SQLAlchemy.
if TYPE_CHECKING:
    from elspeth.core.landscape.database import LandscapeDB


def open_database(
    url: str, *, read_only: bool = False, create_tables: bool = True
) -> "LandscapeDB":
    """Open the database that a command names.

    Args:
        url: its SQLAlchemy URL.
        read_only: refuse to write to the database.
        create_tables: create the database and its tables if they are missing.

    Raises:
        UsageError: the URL is wrong, or its driver is not installed.
    """
    from sqlalchemy.exc import ArgumentError

    from elspeth.core.landscape.database import LandscapeDB, NotALandscapeDatabaseError

    try:
        return LandscapeDB.from_url(url, create_tables=create_tables, read_only=read_only)
    except NotALandscapeDatabaseError:
        raise
    except (ValueError, ArgumentError) as error:
        raise UsageError(str(error)) from error
    except ImportError as error:
        raise UsageError(
            f"The database driver cannot be loaded ({error}): {extra_hint('postgresql')}"
        ) from error


def reading_database(
    url: str, opened: OpenDatabases | None = None, *, leave_out: Sequence[str] | None = None
) -> "AbstractContextManager[LandscapeDB]":
    """Open an existing Landscape database for reading, and check its schema.

    Args:
        url: its SQLAlchemy URL.
        opened: the list of `stop_on_signals`, to which the database is added.
        leave_out: names of what an export leaves out; None to accept unknown tables and columns,
            because nothing is exported.
    """
    landscape = open_database(url, read_only=True, create_tables=False)
    return _with_schema(landscape, opened, leave_out)


@contextmanager
def recording_database(url: str, opened: OpenDatabases) -> "Iterator[LandscapeDB]":
    """Open a database to write export_status, whose schema `reading_database` has checked.

    Args:
        url: its SQLAlchemy URL.
        opened: the list of `stop_on_signals`, to which the database is added.
    """
    # Not checked again: this connection writes, and has the limits of time of its role.
    with open_database(url, create_tables=False) as landscape:
        opened.append(landscape)
        yield landscape


@contextmanager
def _with_schema(
    landscape: "LandscapeDB", opened: OpenDatabases | None, leave_out: Sequence[str] | None
) -> "Iterator[LandscapeDB]":
    with landscape:
        # Before the first query, because the server may not even answer that one.
        if opened is not None:
            opened.append(landscape)
        if leave_out is None:
            landscape.check_tables()
        else:
            landscape.check_schema(leave_out)
        # Before the work: it explains a run that is not found, and a latest run that is not it.
        _warn_of_standby(landscape)
        yield landscape


def _warn_of_standby(landscape: "LandscapeDB") -> None:
    from elspeth.core.landscape.standby import standby_warning

    if (warning := standby_warning(landscape)) is not None:
        from elspeth.cli.console import warn

        warn(warning)
