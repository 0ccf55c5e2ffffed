"""Fault 9: a proxy cuts the connection to PostgreSQL at a byte, between rows, or permanently."""

import signal
from collections.abc import Iterator

import pytest
from audit_trail import Trail
from fault_injection import ANY, COMPLETE, IO_FAILURE, PREVIOUS, SUCCEEDED, Outcome, inject_fault
from landscape_command import ended
from paused_process import AT_PUBLISH, WHILE_FETCHING, paused, resume, wait_until_asleep
from sqlalchemy import make_url
from tcp_proxy import Proxy, proxy_for

# psycopg leaves a server-side cursor open whose connection is lost while it is closed, and warns of
# that when the object is deleted.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ServerCursorMixin.__del__:pytest.PytestUnraisableExceptionWarning"
)

SAMPLED, ALL = 4, 40
"""The number of places at which a connection is cut: in the short form, and in the full one."""
# The timer is sent by hand: a busy machine needs more than a few seconds to get there.
SECONDS = "600"


@pytest.fixture
def proxy(trail_of_many_rows: Trail) -> Iterator[Proxy]:
    """A proxy in front of the server of the trail."""
    with proxy_for(make_url(trail_of_many_rows.url)) as proxy:
        yield proxy


@pytest.fixture
def through(trail_of_many_rows: Trail, proxy: Proxy) -> tuple[str, ...]:
    """The arguments that export by the settings, through the proxy."""
    trail = trail_of_many_rows
    return trail.by_settings_at(proxy.through(make_url(trail.url)))


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_between_two_rows_fails_the_export(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    with inject_fault(trail_of_many_rows) as injection:
        with paused(trail_of_many_rows, *through, **WHILE_FETCHING) as process:
            proxy.cut()
            resume(process)
            failed = ended(process)
        injection.assert_survived(failed, IO_FAILURE)


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_after_any_number_of_bytes_fails_the_export(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...], is_full: bool
) -> None:
    trail = trail_of_many_rows
    assert trail.landscape(*through).code == 0
    # The last bytes only confirm the end of the transaction, when everything has been read.
    most = max(link.sent_bytes for link in proxy.links) * 95 // 100
    places = ALL if is_full else SAMPLED
    for place in range(places):
        trail.reset()
        proxy.links.clear()
        proxy.cut_after = 1 + place * most // (places - 1)
        with inject_fault(trail) as injection:
            failed = trail.landscape(*through)
            assert proxy.cuts, "no connection was cut"
            injection.assert_intact(failed, Outcome(3, PREVIOUS, ANY))
            assert trail.recorded().status in (None, "failed")
            injection.assert_exportable_again()


@pytest.mark.fault(9)
def test_a_connection_that_stops_answering_fails_the_export_after_the_timeout(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    with inject_fault(trail_of_many_rows) as injection:
        with paused(
            trail_of_many_rows, *through, "--timeout", SECONDS, **WHILE_FETCHING
        ) as process:
            proxy.pause()
            resume(process)
            wait_until_asleep(process.pid)
            process.send_signal(signal.SIGALRM)
            failed = ended(process)
        proxy.resume()
        injection.assert_intact(failed, Outcome(3, PREVIOUS, "pending"))
        assert f"not done within the {SECONDS} seconds" in failed.err
        assert trail_of_many_rows.reconcile().code == 1
        assert trail_of_many_rows.recorded().status == "failed"
        injection.assert_exportable_again()


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_before_the_status_update_is_replaced(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    with inject_fault(trail_of_many_rows) as injection:
        with paused(trail_of_many_rows, *through, event=AT_PUBLISH) as process:
            proxy.cut()
            resume(process)
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(9)
def test_a_server_that_is_gone_before_the_status_update_leaves_it_pending(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        with paused(trail, *through, event=AT_PUBLISH) as process:
            proxy.cut(refuse_new=True)
            resume(process)
            done = ended(process)
        injection.assert_intact(done, Outcome(5, COMPLETE, "pending"))
        assert "landscape reconcile" in done.err
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        injection.assert_exportable_again()
