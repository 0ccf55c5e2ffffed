"""How a command ends: one line for every error, and the exit codes that scripts can rely on.

0 fine; 1 the thing checked is not fine; 2 usage or configuration; 3 input, output or database;
4 corrupt audit data; 5 published, but its status or durability is unconfirmed; 130 and 143 when
ended by SIGINT and SIGTERM.
"""

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import NoReturn, TypeAlias

import typer
from rich.console import Console
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from elspeth.contracts.errors import CorruptAuditDataError, RunNotFoundError
from elspeth.core.error_text import explain_failure
from elspeth.core.landscape.attestation.statement import AttestationError
from elspeth.core.landscape.database import (
    DatabaseNotFoundError,
    LandscapeDB,
    NotALandscapeDatabaseError,
)
from elspeth.core.landscape.keys import SigningKeyError
from elspeth.core.landscape.output.atomic import ExportTargetError, UnconfirmedExportError
from elspeth.core.settings import SettingsError


class ExitCode(IntEnum):
    """What a command's exit code means."""

    FINE = 0
    NOT_FINE = 1
    USAGE = 2
    IO = 3
    CORRUPT = 4
    UNCONFIRMED = 5
    INTERRUPTED = 130
    TERMINATED = 143


class TookTooLongError(TimeoutError):
    """A command was not done within the time that it was given."""


class Terminated(SystemExit):
    """SIGTERM came; an exception, so that unfinished files are removed on the way out."""

    def __init__(self) -> None:
        super().__init__(ExitCode.TERMINATED.value)

    def __str__(self) -> str:
        return "ended by SIGTERM"


class UsageError(ValueError):
    """A command was asked for something it cannot do; the message says what to do instead."""


# Both typer with its own click and typer on top of click derive their usage errors from this.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]
Opened: TypeAlias = list[LandscapeDB]
"""Databases that are open, and cut when their command is stopped."""

_USAGE = (
    UsageError,
    SettingsError,
    SigningKeyError,
    ExportTargetError,
    AttestationError,
    DatabaseNotFoundError,
    RunNotFoundError,
)
_IO = (OSError, SQLAlchemyError, NotALandscapeDatabaseError, MemoryError)
_SECONDS_TO_CLEAN_UP = 30.0


def run_command(
    app: typer.Typer, name: str, *, usage_errors: tuple[type[Exception], ...] = ()
) -> NoReturn:
    """Run a command line to its end, and exit with the code that says how it went.

    `usage_errors` are the command's own errors that count as wrong usage.
    """
    signal.signal(signal.SIGTERM, _terminate)
    # What libraries warn of is told by the error that follows: a connection that is lost.
    # Without any handler Python would print it, in psycopg's words and SQLAlchemy's tracebacks.
    if not logging.getLogger().hasHandlers():
        logging.getLogger().addHandler(logging.NullHandler())
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A run's id may hold what the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    usage = (typer.Abort, *_USAGE, *usage_errors)
    sys.exit(_after_flushing(_outcome(app, name, usage)))


class OutputConsole(Console):
    """A console on standard output that leaves it to `run_command` when its reader has gone."""

    def on_broken_pipe(self) -> None:
        """Report the error, where rich would exit with a code of its own."""
        raise BrokenPipeError


def open_database(url: str, *, read_only: bool = False) -> LandscapeDB:
    """Open the database that a command names; UsageError where the URL or its driver will not do.

    One that is only read has to exist, any other is made where missing.
    """
    return _opened(url, read_only=read_only, create_tables=not read_only)


def _opened(url: str, *, read_only: bool, create_tables: bool) -> LandscapeDB:
    try:
        return LandscapeDB.from_url(url, create_tables=create_tables, read_only=read_only)
    except (ValueError, ArgumentError) as error:
        raise UsageError(str(error)) from error
    except ImportError as error:
        raise UsageError(
            f"The database driver cannot be loaded ({error}): "
            "pip install 'elspeth-landscape[postgresql]'"
        ) from error


@contextmanager
def reading_database(url: str, opened: Opened | None = None) -> Iterator[LandscapeDB]:
    """Open an existing Landscape database for reading only, and make sure that it is one.

    It is among those `opened` before it is asked anything.
    """
    with open_database(url, read_only=True) as landscape:
        if opened is not None:
            opened.append(landscape)
        landscape.check_schema()
        yield landscape


@contextmanager
def recording_database(url: str, opened: Opened | None = None) -> Iterator[LandscapeDB]:
    """Open an existing Landscape database to record export_status in, and make sure it is one."""
    with _opened(url, read_only=False, create_tables=False) as landscape:
        if opened is not None:
            opened.append(landscape)
        landscape.check_schema()
        yield landscape


@contextmanager
def stoppable(*, seconds: float | None = None) -> Iterator[Opened]:
    """Let SIGTERM, SIGINT and the end of the `seconds` allowed end the block, wherever it waits.

    Gives the databases that the block opens, for it to fill. Their connections to a server are cut
    first, for one that has stopped answering would hold up the clean-up too. A second signal ends
    the process as it is. Raises TookTooLongError.
    """
    opened: Opened = []

    def stop(number: int, _: FrameType | None) -> NoReturn:
        for db in opened:
            db.cut()
        if number == signal.SIGALRM:
            raise TookTooLongError(f"not done within the {seconds:g} seconds allowed by --timeout")
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.signal(number, stop) for number in numbers}
    # It rings again, in case that the clean-up waits for a server too.
    signal.setitimer(signal.ITIMER_REAL, seconds or 0, _SECONDS_TO_CLEAN_UP if seconds else 0)
    try:
        yield opened
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def one_line(text: str) -> str:
    """Show text of unknown origin on one line: control characters come out escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _outcome(app: typer.Typer, name: str, usage: tuple[type[Exception], ...]) -> int:
    try:
        return _invoke(app, name)
    except BrokenPipeError:
        return ExitCode.IO
    except KeyboardInterrupt as error:
        return _fail(explain_failure(error), ExitCode.INTERRUPTED)
    except Terminated as error:
        return _fail(explain_failure(error), ExitCode.TERMINATED)
    except UnconfirmedExportError as error:
        return _fail(explain_failure(error), ExitCode.UNCONFIRMED)
    except usage as error:
        return _fail(str(error) or "aborted", ExitCode.USAGE)
    except CorruptAuditDataError as error:
        return _fail(explain_failure(error), ExitCode.CORRUPT)
    except _IO as error:
        return _fail(explain_failure(error), ExitCode.IO)
    except _ClickException as error:
        return _fail(_usage_message(error), ExitCode.USAGE)


def _invoke(app: typer.Typer, name: str) -> int:
    # Not `app()`, which answers a broken pipe and Ctrl-C with exit codes of its own.
    command = typer.main.get_command(app)
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            return int(command.invoke(context) or ExitCode.FINE)
    except typer.Exit as stop:
        return stop.exit_code


def _after_flushing(code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try once more while shutting down, and exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == ExitCode.FINE:
            return _fail(f"standard output: {error.strerror}", ExitCode.IO)
    return code


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


def _fail(message: str, code: ExitCode) -> ExitCode:
    print(f"error: {one_line(message)}", file=sys.stderr)  # noqa: T201 - what a command is for
    return code


def _usage_message(error: Exception) -> str:
    message = getattr(error, "format_message", error.__str__)()
    return f"{' '.join(str(message).split())} (--help shows what there is)"
