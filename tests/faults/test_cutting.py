"""Fault 9: the connection to PostgreSQL cut by a proxy, at a byte, at a row, or for good."""

from collections.abc import Iterator

import pytest
from holding import PUBLISHING, READER, held, send_on
from proxying import Proxy, proxy_before
from sqlalchemy import make_url
from survival import ANY, COMPLETE, F3, FINE, PREVIOUS, Outcome, Trail, ended

SAMPLED, ALL = 4, 40
"""At how many bytes a connection is cut."""
SECONDS = "3"


@pytest.fixture
def proxy(trail_of_many_rows: Trail) -> Iterator[Proxy]:
    """A proxy in front of the trail's server."""
    with proxy_before(make_url(trail_of_many_rows.url)) as proxy:
        yield proxy


@pytest.fixture
def through(trail_of_many_rows: Trail, proxy: Proxy) -> tuple[str, ...]:
    """The command that exports as the settings say, through the proxy."""
    trail = trail_of_many_rows
    return trail.by_settings_at(proxy.through(make_url(trail.url)))


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_between_two_rows_fails_the_export(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    with trail_of_many_rows.injection() as injection:
        with held(trail_of_many_rows, *through, **READER) as process:
            proxy.cut()
            send_on(process)
            failed = ended(process)
        injection.survived(failed, F3)


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_after_any_number_of_bytes_fails_the_export(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...], is_full: bool
) -> None:
    trail = trail_of_many_rows
    assert trail.landscape(*through).code == 0
    # The last bytes only tell that the transaction has ended: then everything has been read.
    most = max(link.answered for link in proxy.links) * 95 // 100
    places = ALL if is_full else SAMPLED
    for place in range(places):
        trail.reset()
        proxy.links.clear()
        proxy.cut_after = 1 + place * most // (places - 1)
        with trail.injection() as injection:
            failed = trail.landscape(*through)
            assert proxy.cuts, "nothing was cut"
            injection.endured(failed, Outcome(3, PREVIOUS, ANY))
            assert trail.recorded().status in (None, "failed")
            injection.assert_exportable_again()


@pytest.mark.fault(9)
def test_a_connection_that_falls_silent_is_given_up_after_the_timeout(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    with trail_of_many_rows.injection() as injection:
        with held(trail_of_many_rows, *through, "--timeout", SECONDS, **READER) as process:
            proxy.hold()
            send_on(process)
            failed = ended(process)
        proxy.go_on()
        injection.endured(failed, Outcome(3, PREVIOUS, "pending"))
        assert f"not done within the {SECONDS} seconds" in failed.err
        assert trail_of_many_rows.reconcile().code == 1
        assert trail_of_many_rows.recorded().status == "failed"
        injection.assert_exportable_again()


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_before_the_status_update_is_made_anew(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    with trail_of_many_rows.injection() as injection:
        with held(trail_of_many_rows, *through, event=PUBLISHING) as process:
            proxy.cut()
            send_on(process)
            done = ended(process)
        injection.survived(done, FINE)


@pytest.mark.fault(9)
def test_a_connection_that_is_cut_for_good_before_the_status_update_leaves_it_pending(
    trail_of_many_rows: Trail, proxy: Proxy, through: tuple[str, ...]
) -> None:
    trail = trail_of_many_rows
    with trail.injection() as injection:
        with held(trail, *through, event=PUBLISHING) as process:
            proxy.cut(for_good=True)
            send_on(process)
            done = ended(process)
        injection.endured(done, Outcome(5, COMPLETE, "pending"))
        assert "landscape reconcile" in done.err
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        injection.assert_exportable_again()
