"""The fault tests themselves: an export without a fault passes, and every violation is detected."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_trail import OLD, Trail
from fault_injection import KILLED, SUCCEEDED, inject_fault
from fault_table import FAULTS, ROW, TABLE, LostError, put_table
from landscape_command import KEY, Ended, ended

KILLED_SILENTLY = Ended(-9, "", "")


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_an_export_without_a_fault_is_complete_and_so_is_the_next(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with trail.started(*trail.by_settings) as process:
            in_new_process = ended(process)
        injection.assert_survived(in_new_process, SUCCEEDED)


@pytest.mark.parametrize("export_format", ["json"])
def test_a_command_ends_in_this_process_as_in_a_new_one(trail: Trail) -> None:
    for arguments in (["export", "--unknown"], ["verify", str(trail.target)], ["runs", "--help"]):
        with trail.started(*arguments) as process:
            assert trail.landscape(*arguments) == ended(process)


def truncate(trail: Trail) -> None:
    trail.export()
    file = trail.target if trail.export_format == "json" else trail.target / "row.csv"
    file.write_bytes(file.read_bytes()[:-1])


def remove(trail: Trail) -> None:
    trail.remove_target()


def change_evidence(trail: Trail) -> None:
    trail.execute("UPDATE rows SET row_index = 100 WHERE row_index = 0")


def claim_completion(trail: Trail) -> None:
    trail.execute("UPDATE runs SET export_status = 'completed'")


def spoil_trail(trail: Trail, spoil: Callable[[Trail], None], how: Ended) -> None:
    with inject_fault(trail) as injection:
        spoil(trail)
        injection.assert_survived(how, KILLED)


@pytest.mark.parametrize(
    ("spoil", "message"), [(truncate, "torn"), (remove, "gone"), (change_evidence, "evidence")]
)
def test_a_loss_is_detected_and_counted(
    trail: Trail, spoil: Callable[[Trail], None], message: str
) -> None:
    with pytest.raises(LostError, match=message):
        spoil_trail(trail, spoil, KILLED_SILENTLY)
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
def test_another_violation_is_detected_and_counted(
    trail: Trail, spoil: Callable[[Trail], None], ended: Ended
) -> None:
    with pytest.raises(AssertionError):
        spoil_trail(trail, spoil, ended)
    assert (trail.tally.injections, trail.tally.survived, trail.tally.lost) == (1, 0, 0)


def test_an_injection_without_an_assertion_fails(trail: Trail) -> None:
    with pytest.raises(AssertionError, match="nothing was asserted"), inject_fault(trail):
        assert trail.content()


def test_the_old_export_does_not_verify(trail: Trail) -> None:
    assert set((trail.content() or {}).values()) == {OLD}
    assert not trail.is_complete()


PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_the_page_has_the_rows_of_the_suite() -> None:
    (table,) = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    assert [(int(number), words) for number, words in ROW.findall(table)] == list(FAULTS.items())


def test_the_suite_injects_every_fault_of_the_table() -> None:
    tests = "".join(each.read_text() for each in Path(__file__).parent.glob("test_*.py"))
    assert {int(number) for number in re.findall(r"mark\.fault\((\d+)", tests)} == set(FAULTS)


def test_a_table_is_put_in_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    put_table(page, ["a line", r"\1 and a skip"], datetime(2026, 1, 2, tzinfo=UTC))
    (table,) = TABLE.findall(page.read_text())
    assert table == "```\nRun of 2026-01-02\n\na line\n\\1 and a skip\n```\n"
    assert TABLE.sub("", page.read_text()) == TABLE.sub("", PAGE.read_text())


def test_a_page_without_a_place_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a page")
    with pytest.raises(ValueError, match=r"page\.md: no place for the table"):
        put_table(page, ["a line"], datetime(2026, 1, 2, tzinfo=UTC))
    assert page.read_text() == "a page"
