"""Runs a command: exit codes that scripts can rely on, one line per error, signals.

Exit codes: 0 passed; 1 failed (a check found something wrong); 2 usage or configuration;
3 input, output or database; 4 corrupt audit data; 5 published, but its status or durability is
unconfirmed; 130 and 143 when ended by SIGINT and SIGTERM, 128 + n by another signal of number n.
"""

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from importlib.machinery import EXTENSION_SUFFIXES
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import typer
from rich.console import Console

from elspeth.core.error_text import explain_failure, one_line

# Nothing else of ours is imported here: `--help` would wait for SQLAlchemy and pydantic. A function
# imports what it needs; by then the command has loaded it, or an error is explained.
if TYPE_CHECKING:
    from elspeth.core.landscape.database import LandscapeDB


class ExitCode(IntEnum):
    """The exit codes of a command."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    IO = 3
    CORRUPT = 4
    UNCONFIRMED = 5
    INTERRUPTED = 130
    TERMINATED = 143


class CommandTimeoutError(TimeoutError):
    """A command did not end within its `--timeout`."""


class Terminated(SystemExit):
    """SIGTERM arrived, or another signal that ends a command."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.number = number
        super().__init__(128 + number)

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name}"


class UsageError(ValueError):
    """The options of a command cannot work; the message says what to do instead."""


# Some versions of typer depend on click, others contain it. Only this way to the base class of
# usage errors works with both.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]
OpenDatabases: TypeAlias = list["LandscapeDB"]
"""Databases whose connections are cut when their command is stopped."""

_CLEAN_UP_SECONDS = 30.0

# A terminal that was closed, a limit of processor time, and the warnings of batch systems before
# they kill. The default action of each would leave the unfinished file and the status `pending`.
_OTHER_ENDS = (signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)

UsageErrors: TypeAlias = Callable[[], tuple[type[Exception], ...]]
"""Imports and returns the errors of a command that count as wrong usage."""


def run_command(app: typer.Typer, name: str, *, usage_errors: UsageErrors = tuple) -> NoReturn:
    """Run the command line and exit with its code.

    Args:
        app: the commands.
        name: the name of the program in messages.
        usage_errors: returns further errors that count as wrong usage.
    """
    _open_standard_streams()
    _end_on_signals()
    # Libraries log a lost connection, and the error that follows reports it already. Without a
    # handler Python would print the log records too, with SQLAlchemy's tracebacks.
    if not logging.getLogger().hasHandlers():
        logging.getLogger().addHandler(logging.NullHandler())
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The id of a run may hold characters that the encoding of the terminal lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_flush_output(_run(app, name, usage_errors)))


class OutputConsole(Console):
    """A console on standard output that leaves a broken pipe to `run_command`."""

    def on_broken_pipe(self) -> None:
        """Raise the error; rich would exit with another code."""
        raise BrokenPipeError


def _end_on_signals() -> None:
    """Let the signals that ask a command to end raise an exception; Python does so for SIGINT."""
    # The default action ends the process at once, and leaves unfinished files.
    for number in (signal.SIGTERM, *_unless_ignored(_OTHER_ENDS)):
        signal.signal(number, _terminate)


@contextmanager
def stop_on_signals(*, timeout_seconds: float | None = None) -> Iterator[OpenDatabases]:
    """Let signals and a timeout end the block, wherever it waits.

    Yields a list, to which the block adds the databases that it opens. A SIGTERM or SIGINT after
    another signal ends the process without clean-up.

    Args:
        timeout_seconds: the longest time that the block may take; None for no limit.

    Raises:
        CommandTimeoutError: the block took longer.
    """
    opened: OpenDatabases = []

    def stop(number: int, _: FrameType | None) -> NoReturn:
        # A server that has stopped answering would block the rollback and the close as well.
        for db in opened:
            db.cut()
        if number == signal.SIGALRM and timeout_seconds is not None:
            raise CommandTimeoutError(
                f"not done within the {timeout_seconds:g} seconds allowed by --timeout"
            )
        # A user who sends a second signal does not want to wait for the clean-up.
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, signal.SIG_DFL)
        for ending in repeated:
            signal.signal(ending, signal.SIG_IGN)
        sys.unraisablehook = report_others
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        # Python says this of a signal that came together with the first one, with a traceback.
        if "ignored due to race condition" not in str(unraisable.exc_value):
            report(unraisable)

    report = sys.unraisablehook
    others = _unless_ignored(_OTHER_ENDS)
    # These may come again without a user: from the shell after the terminal, every second, and
    # together with the first signal. An alarm of ours also ends a clean-up that takes too long.
    repeated = others if timeout_seconds is not None else [*others, signal.SIGALRM]
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, *others)
    before = {number: signal.signal(number, stop) for number in numbers}
    # The timer fires again, in case the clean-up waits for a server too. Zero starts no timer.
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds or 0, _CLEAN_UP_SECONDS)
    try:
        yield opened
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = report


def _unless_ignored(numbers: Sequence[signal.Signals]) -> Sequence[signal.Signals]:
    # `nohup` ignores SIGHUP for the command that it starts.
    return [each for each in numbers if signal.getsignal(each) is not signal.SIG_IGN]


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    raise Terminated(number)


def _open_standard_streams() -> None:
    """Open what the caller has closed of standard input, output and error.

    Raises:
        SystemExit: standard output is closed, so that no result could be shown.
    """
    # The next opened file, such as the export, would get a free number below 3, and a message
    # would be written into it.
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        while (opened := os.open(os.devnull, os.O_RDWR)) < number:
            pass
        if opened > number:
            os.close(opened)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    # Before any work: an export that succeeds could not say so.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        sys.exit(fail("standard output is closed; redirect it to a file or /dev/null", ExitCode.IO))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _run(app: typer.Typer, name: str, usage_errors: UsageErrors) -> int:
    """Run the command, print its error, and return the exit code."""
    try:
        return _invoke(app, name)
    except BrokenPipeError:
        # No message: a reader that ends early, such as `head`, is usual.
        return ExitCode.IO
    except KeyboardInterrupt as error:
        return fail(explain_failure(error), ExitCode.INTERRUPTED)
    except Terminated as error:
        fail(explain_failure(error), ExitCode.TERMINATED)
        return 128 + error.number
    except _ClickException as error:
        return fail(_usage_message(error), ExitCode.USAGE)
    except Exception as error:
        try:
            code = _code_of(error, usage_errors)
        except (ImportError, MemoryError, OSError, SystemError):
            # It imports the kinds of errors. Where even that fails, memory or descriptors are out.
            code = ExitCode.IO
        if code is None:
            raise
        return fail(
            _explain_usage(error) if code is ExitCode.USAGE else explain_failure(error), code
        )


def _explain_usage(error: Exception) -> str:
    from elspeth.contracts.errors import RunNotFoundError

    if isinstance(error, RunNotFoundError):
        return f"{error}; landscape runs lists the runs of a database"
    return str(error) or "aborted"


def exit_code_of(error: Exception) -> ExitCode | None:
    """Return the exit code of an error that ends the work on one of several exports.

    None is a fault of the program.
    """
    from elspeth.core.landscape.exporter import ParallelExportError

    return _code_of(error, lambda: (ParallelExportError,))


def _code_of(error: Exception, usage_errors: UsageErrors) -> ExitCode | None:
    """Return the exit code of an error that ends a command; None for a fault of the program."""
    if isinstance(error, MemoryError) or _is_of_library(error):
        return ExitCode.IO
    from sqlalchemy.exc import SQLAlchemyError

    from elspeth.contracts.errors import CorruptAuditDataError, RunNotFoundError
    from elspeth.core.compression import CompressionUnavailableError
    from elspeth.core.landscape.attestation.statement import AttestationError
    from elspeth.core.landscape.database import (
        DatabaseNotFoundError,
        LeaveOutError,
        NotALandscapeDatabaseError,
        SchemaMismatchError,
    )
    from elspeth.core.landscape.keys import SigningKeyError
    from elspeth.core.landscape.output.atomic import ExportTargetError, UnconfirmedExportError
    from elspeth.core.settings import SettingsError

    usage = (
        typer.Abort,
        UsageError,
        SettingsError,
        SigningKeyError,
        CompressionUnavailableError,
        ExportTargetError,
        AttestationError,
        DatabaseNotFoundError,
        LeaveOutError,
        RunNotFoundError,
        *usage_errors(),
    )
    # The order matters: some usage errors are kinds of OSError.
    kinds = {
        ExitCode.UNCONFIRMED: (UnconfirmedExportError,),
        ExitCode.USAGE: usage,
        ExitCode.CORRUPT: (CorruptAuditDataError,),
        ExitCode.IO: (OSError, SQLAlchemyError, NotALandscapeDatabaseError, SchemaMismatchError),
    }
    return next((code for code, kind in kinds.items() if isinstance(error, kind)), None)


def _is_of_library(error: Exception) -> bool:
    """Whether a compiled module is installed, and the system cannot load it."""
    # Other import errors are faults of the program, which show a traceback.
    path = str(getattr(error, "path", None) or "")
    return isinstance(error, ImportError) and path.endswith(tuple(EXTENSION_SUFFIXES))


def _invoke(app: typer.Typer, name: str) -> int:
    # Not `app()`: it ends with other exit codes after a broken pipe and after Ctrl-C.
    command = typer.main.get_command(app)
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            return int(command.invoke(context) or ExitCode.PASSED)
    except typer.Exit as stop:
        return stop.exit_code


def _flush_output(code: int) -> int:
    """Flush standard output, and return the exit code: that of an I/O error if flushing fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python flushes again at shutdown and would then exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == ExitCode.PASSED:
            # No message, as in `_run`.
            if isinstance(error, BrokenPipeError):
                return ExitCode.IO
            return fail(f"standard output: {error.strerror}", ExitCode.IO)
    return code


def fail(message: str, code: ExitCode) -> ExitCode:
    """Print a line of error, and return the exit code."""
    print(f"error: {one_line(message)}", file=sys.stderr)  # noqa: T201 - the output of the command
    return code


def _usage_message(error: Exception) -> str:
    message = getattr(error, "format_message", error.__str__)()
    # Newer versions of typer check values with pydantic, which puts this before some messages.
    message = str(message).replace(": Value error, ", ": ")
    return f"{' '.join(str(message).split())} (--help shows what there is)"
