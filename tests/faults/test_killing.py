"""Faults 13, 14 and 15: processes that are killed or stopped while they export."""

import os
import signal
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from holding import PUBLISHING, assert_nobody_left, held, send_on
from survival import ANY, COMPLETE, KEY, KILLED, PREVIOUS, Outcome, Trail, ended
from tracing import FLUSHES, REMOVALS, RENAMES, WRITES, calls_of, counted, injecting, traced

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.keys import KEY_VARIABLE
from elspeth.core.landscape.pipeline.reconcile import reconcile_pending
from elspeth.core.settings import load_settings

NAMES = (*RENAMES, *REMOVALS)
SAMPLED = 1
"""How many places stand for all that one test knows, where not all are asked for."""


@pytest.mark.fault(13, short=6)
@pytest.mark.parametrize("calls", [WRITES, FLUSHES, NAMES], ids=lambda calls: calls[0])
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_sigkill_at_the_kth_change_of_the_disk(
    trail: Trail, calls: Sequence[str], is_full: bool, tmp_path: Path
) -> None:
    found = counted(calls_of(trail, tmp_path / "calls"))
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
    """A few, evenly spread, the last among them: late calls are those around publishing."""
    step = max(1, len(places) // SAMPLED)
    return list(islice(reversed(places), 0, None, step))[:SAMPLED]


def _kill_at(trail: Trail, call: str, k: int, log: Path) -> None:
    with trail.injection() as injection:
        died = trail.export(under=traced(log, *injecting(call, "signal=KILL", k)))
        injection.endured(died, KILLED)
        # Half of the exports that follow find the status settled, the other half settle it.
        if k % 2:
            _settle(trail)
            assert trail.recorded().status != "pending"
            injection.endured(died, KILLED)
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
    names = [name for name, _ in calls_of(trail, tmp_path / "calls")]
    published = max(at for at, name in enumerate(names) if name in RENAMES)
    k = names[:published].count(last) + 1
    trail.reset()
    with trail.injection() as injection:
        died = trail.export(under=traced(tmp_path / "log", *injecting(last, "signal=KILL", k)))
        injection.endured(died, Outcome(-9, COMPLETE, "pending", may_leave=True))
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
    with trail.injection() as injection:
        with held(trail) as process, trail.writing():
            send_on(process)
            trail.wait_until_published()
            process.kill()
            died = ended(process)
        injection.endured(died, Outcome(-9, COMPLETE, "pending", may_leave=True))
        if then == "reconcile":
            assert trail.reconcile().code == 0
            assert trail.recorded().status == "completed"
        injection.assert_exportable_again()


SIGNALS = [
    pytest.param(signal.SIGTERM, 143, "ended by SIGTERM", id="SIGTERM"),
    pytest.param(signal.SIGINT, 130, "interrupted", id="SIGINT"),
]


@pytest.mark.fault(15)
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
@pytest.mark.parametrize("event", [PUBLISHING, "open"])
def test_a_signal_ends_an_export_and_removes_what_is_unfinished(
    trail: Trail, event: str, sent: int, code: int, said: str
) -> None:
    within = ".export-" if event == "open" else ""
    with trail.injection() as injection:
        with held(trail, event=event, within=within) as process:
            assert trail.recorded().status == "pending"
            process.send_signal(sent)
            send_on(process)
            stopped = ended(process)
        injection.survived(stopped, Outcome(code, PREVIOUS, "failed", said))


@pytest.mark.fault(15)
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
@pytest.mark.parametrize("to_all", [False, True], ids=["to the parent", "to all"])
@pytest.mark.parametrize("export_format", ["json"])
def test_a_signal_ends_the_workers_too(
    trail: Trail, to_all: bool, sent: int, code: int, said: str
) -> None:
    with trail.injection() as injection:
        with held(
            trail, *trail.by_settings, "--jobs", "2", event="open", within=".parts/"
        ) as parent:
            if to_all:
                os.killpg(parent.pid, sent)
            else:
                parent.send_signal(sent)
            send_on(parent)
            stopped = ended(parent)
            assert_nobody_left(parent.pid)
        injection.survived(stopped, Outcome(code, PREVIOUS, "failed", said))


@pytest.mark.fault(15)
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
def test_a_signal_while_the_status_waits_for_a_lock(
    trail: Trail, sent: int, code: int, said: str
) -> None:
    with trail.injection() as injection:
        with held(trail) as process, trail.writing():
            send_on(process)
            trail.wait_until_published()
            process.send_signal(sent)
            stopped = ended(process)
        injection.survived(stopped, Outcome(code, COMPLETE, ANY, said))
