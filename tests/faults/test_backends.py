"""Fault 8: PostgreSQL backends that are terminated, killed or stalled while they are needed."""

import signal
import time
from collections.abc import Mapping

import psutil
import pytest
from backends import READING, WAITING, Fault, Server
from holding import CALL, PUBLISHING, READER, announcing, held, send_on
from survival import COMPLETE, F3, PREVIOUS, Ended, Outcome, Trail, ended

SECONDS = "3"
"""Of --timeout: more than an export takes up to where it is held, which counts too."""
TIMED_OUT = f"not done within the {SECONDS} seconds allowed by --timeout"

LOSSES: Mapping[str, Fault] = {
    "the reading one terminated": lambda server: server.terminate(READING),
    "both terminated": lambda server: server.terminate(READING, WAITING),
    "the reading one killed": lambda server: server.send(signal.SIGKILL, READING),
    "the idle one killed": lambda server: server.send(signal.SIGKILL, WAITING),
}
STALLS: Mapping[str, Fault] = {
    "the reading one stalled": lambda server: server.send(signal.SIGSTOP, READING),
    "both stalled": lambda server: server.send(signal.SIGSTOP, READING, WAITING),
}


@pytest.mark.fault(8)
@pytest.mark.parametrize("fault", LOSSES.values(), ids=LOSSES)
def test_a_backend_that_is_lost_while_reading_fails_the_export(
    fragile: Trail, server: Server, fault: Fault
) -> None:
    with fragile.injection() as injection:
        with held(fragile, **READER) as process:
            fault(server)
            send_on(process)
            failed = ended(process)
        injection.survived(failed, F3)


@pytest.mark.fault(8)
@pytest.mark.parametrize("fault", STALLS.values(), ids=STALLS)
def test_a_stall_while_reading_is_given_up_after_the_timeout(
    fragile: Trail, server: Server, fault: Fault
) -> None:
    with fragile.injection() as injection:
        with held(
            fragile,
            *(*fragile.by_settings, "--timeout", SECONDS),
            **READER,
        ) as process:
            fault(server)
            send_on(process)
            failed = ended(process)
        injection.survived(failed, Outcome(3, PREVIOUS, "failed", TIMED_OUT))


SIGNALS = [
    pytest.param(signal.SIGTERM, 143, "ended by SIGTERM", id="SIGTERM"),
    pytest.param(signal.SIGINT, 130, "interrupted", id="SIGINT"),
    pytest.param(signal.SIGALRM, 3, TIMED_OUT, id="timeout"),
]
LANDSCAPE = "elspeth.core.landscape"
MAIN_THREAD = {"prelude": announcing(f"{LANDSCAPE}.exporter", "refuse_orphans"), "event": CALL}
"""Where the export itself asks, and not the thread that reads ahead of it."""


def stalled(
    trail: Trail, server: Server, fault: Fault, sent: int, held_at: Mapping[str, str], *more: str
) -> Ended:
    """Hold an export, inject a stall, and end it by a signal or the time limit."""
    limit = ("--timeout", SECONDS) if sent == signal.SIGALRM else ()
    with held(trail, *trail.by_settings, *limit, *more, **held_at) as process:
        fault(server)
        send_on(process)
        if sent != signal.SIGALRM:
            wait_until_asleep(process.pid)
            process.send_signal(sent)
        return ended(process)


def wait_until_asleep(pid: int) -> None:
    """Wait until a process that was sent on does nothing any more."""
    process = psutil.Process(pid)
    before = None
    while (now := (process.status(), process.cpu_times()[:2])) != before or now[0] != "sleeping":
        before = now
        time.sleep(0.3)


@pytest.mark.fault(15)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
@pytest.mark.parametrize("held_at", [READER, MAIN_THREAD], ids=["reader", "main thread"])
def test_a_signal_ends_an_export_that_waits_for_a_stalled_backend(
    fragile: Trail, server: Server, held_at: Mapping[str, str], sent: int, code: int, said: str
) -> None:
    with fragile.injection() as injection:
        stopped = stalled(
            fragile, server, lambda it: it.send(signal.SIGSTOP, READING), sent, held_at
        )
        injection.survived(stopped, Outcome(code, PREVIOUS, "failed", said))


BETWEEN_QUERIES = {"prelude": announcing(f"{LANDSCAPE}.exporter", "read_blocks"), "event": CALL}
"""Where nothing is asked just now, but a transaction is open that has to be ended."""


@pytest.mark.fault(15)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS[:2])
@pytest.mark.parametrize("held_at", [READER, BETWEEN_QUERIES], ids=["reading", "between queries"])
def test_a_signal_ends_an_export_from_a_server_that_is_well(
    trail_of_many_rows: Trail, held_at: Mapping[str, str], sent: int, code: int, said: str
) -> None:
    trail = trail_of_many_rows
    with trail.injection() as injection:
        with held(trail, **held_at) as process:
            process.send_signal(sent)
            send_on(process)
            stopped = ended(process)
        injection.survived(stopped, Outcome(code, PREVIOUS, "failed", said))


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
def test_a_stall_at_the_status_update(
    fragile: Trail, server: Server, sent: int, code: int, said: str
) -> None:
    """The export is in place by then."""
    code = 5 if sent == signal.SIGALRM else code
    with fragile.injection() as injection:
        stopped = stalled(
            fragile,
            server,
            lambda it: it.send(signal.SIGSTOP, WAITING),
            sent,
            {"event": PUBLISHING},
        )
        injection.endured(stopped, Outcome(code, COMPLETE, "pending"))
        assert said in stopped.err
        assert fragile.reconcile().code == 0
        assert fragile.recorded().status == "completed"
        injection.assert_exportable_again()


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
def test_a_stall_before_anything_is_recorded(
    fragile: Trail, server: Server, sent: int, code: int, said: str
) -> None:
    schema = {"prelude": announcing(f"{LANDSCAPE}.database", "inspect"), "event": CALL}
    with fragile.injection() as injection:
        stopped = stalled(
            fragile, server, lambda it: it.send(signal.SIGSTOP, WAITING), sent, schema
        )
        injection.survived(stopped, Outcome(code, PREVIOUS, None, said))


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "said"), SIGNALS)
def test_a_server_that_does_not_answer_at_all(
    fragile: Trail, server: Server, sent: int, code: int, said: str
) -> None:
    at_start = {"prelude": announcing(f"{LANDSCAPE}.database", "create_engine"), "event": CALL}
    with fragile.injection() as injection:
        stopped = stalled(fragile, server, Server.stop, sent, at_start)
        server.go_on()
        injection.survived(stopped, Outcome(code, PREVIOUS, None, said))


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
def test_a_server_that_stops_while_reading_leaves_it_pending_to_be_settled(
    fragile: Trail, server: Server
) -> None:
    with fragile.injection() as injection:
        stopped = stalled(fragile, server, Server.stop, signal.SIGALRM, READER)
        server.go_on()
        injection.endured(stopped, Outcome(3, PREVIOUS, "pending"))
        assert TIMED_OUT in stopped.err
        assert "its export_status stays pending" in stopped.err
        assert fragile.reconcile().code == 1
        assert fragile.recorded().status == "failed"
        injection.assert_exportable_again()
