"""Ends a command by signals and after its time, as exceptions that pass the clean-up code."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from elspeth.core.landscape.database import LandscapeDB

OpenDatabases: TypeAlias = list["LandscapeDB"]
"""Databases whose connections are cut when their command is stopped."""

_CLEAN_UP_SECONDS = 30.0

# A terminal that was closed, a limit of processor time, and the warnings of batch systems before
# they kill. The default action of each would leave the unfinished file and the status `pending`.
_OTHER_ENDS = (signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)


class CommandTimeoutError(TimeoutError):
    """A command did not end within its `--timeout`."""


class Terminated(SystemExit):
    """SIGTERM arrived, or another signal that ends a command."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.number = number
        super().__init__(128 + number)

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name}"


def end_on_signals() -> None:
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
        # These come again without a user: from the shell after the terminal, and every second.
        for ending in others:
            signal.signal(ending, signal.SIG_IGN)
        sys.unraisablehook = report_others
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        # Python says this of a signal that came together with the first one, with a traceback.
        if "ignored due to race condition" not in str(unraisable.exc_value):
            report(unraisable)

    report = sys.unraisablehook
    others = _unless_ignored(_OTHER_ENDS)
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
