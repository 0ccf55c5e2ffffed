"""Faults 13, 14 and 15: SIGKILL, and signals that end a command, while an export runs."""

import os
import signal
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from audit_trail import Trail
from fault_injection import ANY, COMPLETE, KILLED, PREVIOUS, SUCCEEDED, Outcome, inject_fault
from formats import in_turn
from landscape_command import KEY, ended
from paused_process import AT_PUBLISH, assert_no_process_left, paused, resume
from strace import (
    FLUSHES,
    REMOVALS,
    RENAMES,
    WRITES,
    disk_calls,
    inject_option,
    strace_command,
)

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.pipeline.export_status import reconcile_pending
from elspeth.core.settings import load_settings

NAMES = (*RENAMES, *REMOVALS)
SAMPLED = 1
"""The number of places that a test of the short form tries."""


@pytest.mark.fault(13, short=6)
@pytest.mark.parametrize("calls", [WRITES, FLUSHES, NAMES], ids=lambda calls: calls[0])
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_sigkill_at_the_kth_change_of_the_disk(
    trail: Trail, calls: Sequence[str], is_full: bool, tmp_path: Path
) -> None:
    found = Counter(name for name, _ in disk_calls(trail, tmp_path / "calls"))
    places = [(call, k) for call in calls for k in range(1, found[call] + 1)]
    failures: list[str] = []
    for call, k in places if is_full else _sample(places):
        trail.reset()
        try:
            _kill_at(trail, call, k, tmp_path / "log")
        except AssertionError as error:
            failures.append(f"{call} {k}: {error}")
    assert failures == []


def _sample(places: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    """Choose evenly spread places, among them the last. The last calls are those of publishing."""
    step = max(1, len(places) // SAMPLED)
    return list(islice(reversed(places), 0, None, step))[:SAMPLED]


def _kill_at(trail: Trail, call: str, k: int, log: Path) -> None:
    with inject_fault(trail) as injection:
        died = trail.export(under=strace_command(log, *inject_option(call, "signal=KILL", k)))
        injection.assert_intact(died, KILLED)
        # The next export finds the status settled in half of the cases, and settles it in the rest.
        if k % 2:
            _settle(trail)
            assert trail.recorded().status != "pending"
            injection.assert_intact(died, KILLED)
        injection.assert_exportable_again()


def _settle(trail: Trail) -> None:
    settings = load_settings(trail.settings_file, environ={})
    with LandscapeDB(trail.url, create_tables=False) as db:
        reconcile_pending(db, settings, {KEY_VARIABLE: KEY})


@pytest.mark.fault(14)
@pytest.mark.parametrize("last", ["fsync", "pwrite64"])
def test_sigkill_after_publishing_leaves_it_pending_for_the_next_call_to_complete(
    trail: Trail, last: str, tmp_path: Path
) -> None:
    names = [name for name, _ in disk_calls(trail, tmp_path / "calls")]
    published = max(at for at, name in enumerate(names) if name in RENAMES)
    k = names[:published].count(last) + 1
    trail.reset()
    with inject_fault(trail) as injection:
        died = trail.export(
            under=strace_command(tmp_path / "log", *inject_option(last, "signal=KILL", k))
        )
        injection.assert_intact(died, Outcome(-9, COMPLETE, "pending", may_leave=True))
        published_bytes = trail.content()
        settled = trail.reconcile()
        assert settled.code == 0
        assert settled.out.startswith("run-1: completed: ")
        assert trail.recorded().status == "completed"
        assert trail.content() == published_bytes
        assert trail.unfinished() == []
        injection.assert_exportable_again()


@pytest.mark.fault(14)
@pytest.mark.parametrize("then", ["reconcile", "export"])
def test_sigkill_while_the_status_update_waits(trail: Trail, then: str) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process, trail.write_lock():
            resume(process)
            trail.wait_until_published()
            process.kill()
            died = ended(process)
        injection.assert_intact(died, Outcome(-9, COMPLETE, "pending", may_leave=True))
        if then == "reconcile":
            assert trail.reconcile().code == 0
            assert trail.recorded().status == "completed"
        injection.assert_exportable_again()


SIGNALS = [
    pytest.param(signal.SIGTERM, 143, "ended by SIGTERM", id="SIGTERM"),
    pytest.param(signal.SIGINT, 130, "interrupted", id="SIGINT"),
    pytest.param(signal.SIGHUP, 129, "ended by SIGHUP", id="SIGHUP"),
    pytest.param(signal.SIGXCPU, 152, "ended by SIGXCPU", id="SIGXCPU"),
]


@pytest.fixture(autouse=True)
def closed_terminal() -> None:
    """Let SIGHUP end processes, also where `nohup` has started the tests."""
    # The fixture `signal_handlers` puts the present handler back.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.fault(15)
@in_turn(("sent", "code", "message"), SIGNALS)
@pytest.mark.parametrize("event", [AT_PUBLISH, "open"])
def test_a_signal_ends_an_export_and_removes_what_is_unfinished(
    trail: Trail, event: str, sent: int, code: int, message: str
) -> None:
    within = ".export-" if event == "open" else ""
    with inject_fault(trail) as injection:
        with paused(trail, event=event, within=within) as process:
            assert trail.recorded().status == "pending"
            process.send_signal(sent)
            resume(process)
            stopped = ended(process)
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, "failed", message))


@pytest.mark.fault(15)
@in_turn(
    "both",
    [
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGHUP),
        (signal.SIGALRM, signal.SIGINT),
    ],
    ids=str,
)
def test_two_signals_at_once_end_an_export_with_one_line(
    trail: Trail, both: Sequence[signal.Signals]
) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process:
            # It is stopped, so that both arrive before either is handled.
            for each in both:
                process.send_signal(each)
            resume(process)
            stopped = ended(process)
        assert stopped.code in {128 + each for each in both}
        injection.assert_survived(stopped, Outcome(ANY, PREVIOUS, "failed"))


@pytest.mark.fault(15)
def test_an_export_goes_on_where_nohup_ignores_a_closed_terminal(trail: Trail) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with inject_fault(trail) as injection:
        with paused(trail, before=ignore) as process:
            process.send_signal(signal.SIGHUP)
            resume(process)
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(15)
@pytest.mark.parametrize(("sent", "code", "message"), SIGNALS)
@pytest.mark.parametrize("to_all", [False, True], ids=["to the parent", "to all"])
@pytest.mark.parametrize("export_format", ["json"])
def test_a_signal_ends_the_workers_too(
    trail: Trail, to_all: bool, sent: int, code: int, message: str
) -> None:
    with inject_fault(trail) as injection:
        with paused(
            trail, *trail.by_settings, "--jobs", "2", event="open", within=".parts/"
        ) as parent:
            if to_all:
                os.killpg(parent.pid, sent)
            else:
                parent.send_signal(sent)
            resume(parent)
            stopped = ended(parent)
            assert_no_process_left(parent.pid)
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, "failed", message))


@pytest.mark.fault(15)
@in_turn(("sent", "code", "message"), SIGNALS)
def test_a_signal_while_the_status_waits_for_a_lock(
    trail: Trail, sent: int, code: int, message: str
) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process, trail.write_lock():
            resume(process)
            trail.wait_until_published()
            process.send_signal(sent)
            stopped = ended(process)
        injection.assert_survived(stopped, Outcome(code, COMPLETE, ANY, message))
