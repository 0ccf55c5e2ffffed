"""Fault 8: PostgreSQL backends that are terminated, killed or stalled during an export."""

import signal
from collections.abc import Mapping

import pytest
from audit_trail import Trail
from fault_injection import COMPLETE, IO_FAILURE, PREVIOUS, Outcome, inject_fault
from formats import in_turn
from landscape_command import Ended, ended
from paused_process import (
    AT_PUBLISH,
    CALL,
    WHILE_FETCHING,
    audit_call,
    paused,
    resume,
    wait_until_asleep,
)
from postgres_processes import READING, WAITING, Fault, Server

# The timer is sent by hand, once the export waits: three seconds are too few to get there on a busy
# machine, and too many to wait for on another.
SECONDS = "600"
"""The --timeout. An export takes less time up to where it is paused, which counts too."""
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
@in_turn("fault", LOSSES.values(), ids=LOSSES)
def test_a_backend_that_is_lost_while_reading_fails_the_export(
    fragile: Trail, server: Server, fault: Fault
) -> None:
    with inject_fault(fragile) as injection:
        with paused(fragile, **WHILE_FETCHING) as process:
            fault(server)
            resume(process)
            failed = ended(process)
        injection.assert_survived(failed, IO_FAILURE)


@pytest.mark.fault(8)
@pytest.mark.parametrize("fault", STALLS.values(), ids=STALLS)
def test_a_stall_while_reading_fails_the_export_after_the_timeout(
    fragile: Trail, server: Server, fault: Fault
) -> None:
    with inject_fault(fragile) as injection:
        failed = export_with_stall(fragile, server, fault, signal.SIGALRM, WHILE_FETCHING)
        injection.assert_survived(failed, Outcome(3, PREVIOUS, "failed", TIMED_OUT))


SIGNALS = [
    pytest.param(signal.SIGTERM, 143, "ended by SIGTERM", id="SIGTERM"),
    pytest.param(signal.SIGINT, 130, "interrupted", id="SIGINT"),
    pytest.param(signal.SIGALRM, 3, TIMED_OUT, id="timeout"),
]
LANDSCAPE = "elspeth.core.landscape"
MAIN_THREAD = {
    "prelude": audit_call(f"{LANDSCAPE}.export.exporter", "refuse_orphans"),
    "event": CALL,
}
"""A query of the main thread, while another thread reads ahead."""


def export_with_stall(
    trail: Trail, server: Server, fault: Fault, sent: int, paused_at: Mapping[str, str], *more: str
) -> Ended:
    """Pause an export, inject a stall, and end the export by a signal or that of its timer."""
    limit = ("--timeout", SECONDS) if sent == signal.SIGALRM else ()
    with paused(trail, *trail.by_settings, *limit, *more, **paused_at) as process:
        fault(server)
        resume(process)
        wait_until_asleep(process.pid)
        process.send_signal(sent)
        return ended(process)


@pytest.mark.fault(15)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "message"), SIGNALS)
@pytest.mark.parametrize("paused_at", [WHILE_FETCHING, MAIN_THREAD], ids=["reader", "main thread"])
def test_a_signal_ends_an_export_that_waits_for_a_stalled_backend(
    fragile: Trail, server: Server, paused_at: Mapping[str, str], sent: int, code: int, message: str
) -> None:
    with inject_fault(fragile) as injection:
        stopped = export_with_stall(
            fragile, server, lambda it: it.send(signal.SIGSTOP, READING), sent, paused_at
        )
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, "failed", message))


BETWEEN_QUERIES = {
    "prelude": audit_call(f"{LANDSCAPE}.export.exporter", "read_blocks"),
    "event": CALL,
}
"""No query is running, but a transaction is open that has to be ended."""


@pytest.mark.fault(15)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "message"), SIGNALS[:2])
@pytest.mark.parametrize(
    "paused_at", [WHILE_FETCHING, BETWEEN_QUERIES], ids=["reading", "between queries"]
)
def test_a_signal_ends_an_export_from_a_server_that_works(
    trail_of_many_rows: Trail, paused_at: Mapping[str, str], sent: int, code: int, message: str
) -> None:
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        with paused(trail, **paused_at) as process:
            process.send_signal(sent)
            resume(process)
            stopped = ended(process)
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, "failed", message))


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "message"), SIGNALS)
def test_a_stall_at_the_status_update_leaves_the_export_pending(
    fragile: Trail, server: Server, sent: int, code: int, message: str
) -> None:
    """The export has been published by then."""
    code = 5 if sent == signal.SIGALRM else code
    with inject_fault(fragile) as injection:
        stopped = export_with_stall(
            fragile,
            server,
            lambda it: it.send(signal.SIGSTOP, WAITING),
            sent,
            {"event": AT_PUBLISH},
        )
        injection.assert_intact(stopped, Outcome(code, COMPLETE, "pending"))
        assert message in stopped.err
        assert fragile.reconcile().code == 0
        assert fragile.recorded().status == "completed"
        injection.assert_exportable_again()


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "message"), SIGNALS)
def test_a_stall_before_anything_is_recorded_leaves_no_status(
    fragile: Trail, server: Server, sent: int, code: int, message: str
) -> None:
    schema = {"prelude": audit_call(f"{LANDSCAPE}.database", "read_schema"), "event": CALL}
    with inject_fault(fragile) as injection:
        stopped = export_with_stall(
            fragile, server, lambda it: it.send(signal.SIGSTOP, READING), sent, schema
        )
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, None, message))


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize(("sent", "code", "message"), SIGNALS)
def test_a_server_that_does_not_answer_a_connection_leaves_no_status(
    fragile: Trail, server: Server, sent: int, code: int, message: str
) -> None:
    at_start = {"prelude": audit_call(f"{LANDSCAPE}.database", "create_engine"), "event": CALL}
    with inject_fault(fragile) as injection:
        stopped = export_with_stall(fragile, server, Server.suspend, sent, at_start)
        server.resume()
        injection.assert_survived(stopped, Outcome(code, PREVIOUS, None, message))


@pytest.mark.fault(8)
@pytest.mark.parametrize("export_format", ["json"])
def test_a_server_that_stops_answering_while_reading_leaves_the_export_pending(
    fragile: Trail, server: Server
) -> None:
    with inject_fault(fragile) as injection:
        stopped = export_with_stall(fragile, server, Server.suspend, signal.SIGALRM, WHILE_FETCHING)
        server.resume()
        injection.assert_intact(stopped, Outcome(3, PREVIOUS, "pending"))
        assert TIMED_OUT in stopped.err
        assert "its export_status stays pending" in stopped.err
        assert fragile.reconcile().code == 1
        assert fragile.recorded().status == "failed"
        injection.assert_exportable_again()
