"""What the tests of faults rely on: an export without one, and a check that sees what is wrong."""

from collections.abc import Callable

import pytest
from fault_table import LostError
from survival import FINE, KEY, KILLED, OLD, Ended, Trail

KILLED_SILENTLY = Ended(-9, "", "")


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_an_export_without_a_fault_is_complete_and_so_is_the_next(trail: Trail) -> None:
    with trail.injection() as injection:
        injection.survived(trail.export(), FINE)


def tear(trail: Trail) -> None:
    trail.export()
    file = trail.target if trail.export_format == "json" else trail.target / "row.csv"
    file.write_bytes(file.read_bytes()[:-1])


def remove(trail: Trail) -> None:
    trail.remove_target()


def change_evidence(trail: Trail) -> None:
    trail.execute("UPDATE rows SET row_index = 100 WHERE row_index = 0")


def claim_completion(trail: Trail) -> None:
    trail.execute("UPDATE runs SET export_status = 'completed'")


def suffer(trail: Trail, spoil: Callable[[Trail], None], ended: Ended) -> None:
    with trail.injection() as injection:
        spoil(trail)
        injection.survived(ended, KILLED)


@pytest.mark.parametrize(
    ("spoil", "said"), [(tear, "torn"), (remove, "gone"), (change_evidence, "evidence")]
)
def test_what_is_lost_is_seen_and_counted(
    trail: Trail, spoil: Callable[[Trail], None], said: str
) -> None:
    with pytest.raises(LostError, match=said):
        suffer(trail, spoil, KILLED_SILENTLY)
    assert (trail.tally.injections, trail.tally.survived, trail.tally.lost) == (1, 0, 1)


@pytest.mark.parametrize(
    ("spoil", "ended"),
    [
        (claim_completion, KILLED_SILENTLY),
        (lambda _: None, Ended(-9, "", f"error: {KEY}\n")),
        (lambda _: None, Ended(-9, KEY, "")),
        (lambda _: None, Ended(-9, "", "Traceback (most recent call last):\n")),
        (lambda _: None, Ended(0, "", "")),
    ],
)
def test_what_is_not_survived_is_seen_and_counted(
    trail: Trail, spoil: Callable[[Trail], None], ended: Ended
) -> None:
    with pytest.raises(AssertionError):
        suffer(trail, spoil, ended)
    assert (trail.tally.injections, trail.tally.survived, trail.tally.lost) == (1, 0, 0)


def test_an_injection_of_which_nothing_is_asserted_does_not_pass(trail: Trail) -> None:
    with pytest.raises(AssertionError, match="nothing was asserted"), trail.injection():
        assert trail.content()


def test_an_old_export_is_none_that_verifies(trail: Trail) -> None:
    assert set((trail.content() or {}).values()) == {OLD}
    assert not trail.is_complete()
