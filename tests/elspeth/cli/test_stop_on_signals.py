"""Signals and the timer of a command end its block, and are as before after it."""

import signal
import time

import pytest

from elspeth.cli import runtime
from elspeth.cli.runtime import CommandTimeoutError, Terminated, stop_on_signals


class Database:
    """Counts how often its connections are cut."""

    def __init__(self) -> None:
        self.cuts = 0

    def cut(self) -> None:
        self.cuts += 1


@pytest.fixture(autouse=True)
def closed_terminal() -> None:
    """Let SIGHUP end the process, also where `nohup` has started the tests."""
    # The fixture `signal_handlers` puts the present handler back.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def timer() -> tuple[float, float]:
    return signal.getitimer(signal.ITIMER_REAL)


def test_without_a_timeout_no_timer_runs() -> None:
    with stop_on_signals():
        assert timer() == (0.0, 0.0)


def test_the_timer_has_the_timeout_and_then_30_seconds_for_the_clean_up() -> None:
    started = time.monotonic()
    with stop_on_signals(timeout_seconds=100):
        left, interval = timer()
        # The timer had run before it was read, on a busy machine for a while.
        assert 100 - (time.monotonic() - started) - 0.1 < left <= 100
        assert interval == 30
    assert timer() == (0.0, 0.0)


def test_the_timer_ends_when_the_block_fails() -> None:
    with pytest.raises(ValueError, match="ours"), stop_on_signals(timeout_seconds=100):
        raise ValueError("ours")
    assert timer() == (0.0, 0.0)


def test_a_clean_up_that_waits_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_CLEAN_UP_SECONDS", 0.1)
    database = Database()
    handler = signal.getsignal(signal.SIGALRM)

    def wait_and_clean_up() -> None:
        with stop_on_signals(timeout_seconds=100) as opened:
            opened.append(database)
            # Not before: the timer may end before the next line runs on a busy machine.
            signal.setitimer(signal.ITIMER_REAL, 0.1, timer()[1])
            try:
                time.sleep(60)
            finally:
                time.sleep(60)

    with pytest.raises(CommandTimeoutError, match=r"^not done within the 100 seconds allowed"):
        wait_and_clean_up()
    assert database.cuts == 2
    assert signal.getsignal(signal.SIGALRM) == handler


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGTERM, Terminated),
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGHUP, Terminated),
        (signal.SIGXCPU, Terminated),
        (signal.SIGUSR1, Terminated),
        (signal.SIGALRM, Terminated),
    ],
)
def test_a_signal_cuts_the_databases_and_a_second_one_ends_the_process(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    database = Database()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP, signal.SIGXCPU)
    before = [signal.getsignal(each) for each in numbers]
    in_clean_up: list[object] = []

    def be_stopped() -> None:
        with stop_on_signals() as opened:
            opened.append(database)
            try:
                signal.raise_signal(number)
            finally:
                in_clean_up.extend(map(signal.getsignal, (signal.SIGTERM, signal.SIGINT)))

    with pytest.raises(raised) as stopped:
        be_stopped()
    if isinstance(stopped.value, Terminated):
        assert stopped.value.code == 128 + number
    assert database.cuts == 1
    assert in_clean_up == [signal.SIG_DFL, signal.SIG_DFL]
    assert [signal.getsignal(each) for each in numbers] == before


def test_a_signal_that_comes_again_by_itself_does_not_end_the_clean_up() -> None:
    cleaned_up = False

    def be_stopped() -> None:
        nonlocal cleaned_up
        with stop_on_signals():
            try:
                signal.raise_signal(signal.SIGHUP)
            finally:
                signal.raise_signal(signal.SIGHUP)
                signal.raise_signal(signal.SIGXCPU)
                cleaned_up = True

    with pytest.raises(Terminated, match="ended by SIGHUP"):
        be_stopped()
    assert cleaned_up
