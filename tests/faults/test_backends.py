"""Fault 8: PostgreSQL backends that are terminated, killed or stalled while they are needed."""

import signal

import pytest
from backends import READING, WAITING, Fault, send, terminate
from holding import FETCHES, held, send_on
from sqlalchemy import make_url
from survival import F3, PREVIOUS, Outcome, Trail, ended

SECONDS = "3"
"""Of --timeout: more than an export takes up to where it is held, which counts too."""
TIMED_OUT = f"not done within the {SECONDS} seconds allowed by --timeout"

WHILE_READING = {
    "the reading one terminated": terminate(READING),
    "both terminated": terminate(READING, WAITING),
    "the reading one killed": send(signal.SIGKILL, READING),
    "the idle one killed": send(signal.SIGKILL, WAITING),
}
STALLS = {
    "the reading one stalled": send(signal.SIGSTOP, READING),
    "both stalled": send(signal.SIGSTOP, READING, WAITING),
}


@pytest.mark.fault(8)
@pytest.mark.parametrize("fault", WHILE_READING.values(), ids=WHILE_READING)
def test_a_backend_that_is_lost_while_reading_fails_the_export(
    fragile: Trail, fault: Fault
) -> None:
    with fragile.injection() as injection:
        with held(fragile, event="fetch", within="1024", prelude=FETCHES) as process:
            fault(make_url(fragile.url))
            send_on(process)
            failed = ended(process)
        injection.survived(failed, F3)


@pytest.mark.fault(8)
@pytest.mark.parametrize("fault", STALLS.values(), ids=STALLS)
def test_a_stall_while_reading_is_given_up_after_the_timeout(fragile: Trail, fault: Fault) -> None:
    with fragile.injection() as injection:
        with held(
            fragile,
            *(*fragile.by_settings, "--timeout", SECONDS),
            event="fetch",
            within="1024",
            prelude=FETCHES,
        ) as process:
            fault(make_url(fragile.url))
            send_on(process)
            failed = ended(process)
        injection.survived(failed, Outcome(3, PREVIOUS, "failed", TIMED_OUT))
