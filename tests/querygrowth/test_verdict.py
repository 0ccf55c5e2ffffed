"""Verdicts: their words, and that only a failure fails."""

import pytest

from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import (
    Outcome,
    Verdict,
    VerdictError,
    exit_code,
    judge,
    overall_outcome,
    require,
)

GREW = judge(
    "LandscapeExporter",
    False,
    expected="the same count at every scale",
    seen="queries grew with rows",
    evidence=["rows  2, 20   12 queries", "rows  501     13   node_states 1 -> 2"],
    next_step="IN lists split into chunks of 500",
)


def test_a_failure_says_what_where_what_was_expected_and_what_to_try() -> None:
    assert str(GREW) == (
        "LandscapeExporter: queries grew with rows\n"
        "  rows  2, 20   12 queries\n"
        "  rows  501     13   node_states 1 -> 2\n"
        "expected: the same count at every scale\n"
        "look at: IN lists split into chunks of 500"
    )


def test_a_pass_gives_no_advice() -> None:
    line = CallSite("/shop/orders.py", 12, "items_of")
    given = {"next_step": "the loop", "kind": "order", "about": "items"}
    kept, broken = (
        judge("exporter", holds, expected="12", seen="12 queries", site=line, **given)
        for holds in (True, False)
    )
    assert str(kept) == "exporter: 12 queries"
    assert (kept.next_step, kept.kind, kept.about, kept.site) == ("", "", "", None)
    assert (broken.kind, broken.about, broken.site) == ("order", "items", line)


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.INCONCLUSIVE])
def test_a_skipped_or_inconclusive_verdict_neither_passes_nor_fails(outcome: Outcome) -> None:
    verdict = Verdict("exporter", outcome, "12", "no server")
    assert (verdict.passed, verdict.failed) == (False, False)
    require([verdict])


def test_all_failures_are_raised_together_as_an_assertion() -> None:
    with pytest.raises(AssertionError, match=r"(?s)grew with rows.*grew with rows") as failure:
        require([GREW, GREW])
    assert isinstance(failure.value, VerdictError)
    assert failure.value.verdicts == (GREW, GREW)


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ("passed failed inconclusive skipped", "failed"),
        ("passed inconclusive skipped", "inconclusive"),
        ("skipped passed", "passed"),
        ("skipped", "skipped"),
        ("", "skipped"),
    ],
)
def test_the_most_urgent_outcome_is_that_of_the_whole(outcomes: str, whole: str) -> None:
    assert overall_outcome(map(Outcome, outcomes.split())) is Outcome(whole)


@pytest.mark.parametrize(
    ("outcome", "strict", "tolerant"),
    [("passed", 0, 0), ("failed", 1, 1), ("inconclusive", 1, 0), ("skipped", 1, 1)],
)
def test_only_an_inconclusive_outcome_may_be_tolerated(
    outcome: str, strict: int, tolerant: int
) -> None:
    assert exit_code(Outcome(outcome)) == strict
    assert exit_code(Outcome(outcome), strict=False) == tolerant


def test_a_failure_keeps_what_a_pass_drops_and_neither_invents_anything() -> None:
    site = CallSite("/shop/orders.py", 12, "items_of")
    given = {"expected": "12", "seen": "13", "next_step": "the loop", "site": site, "kind": "crash"}
    failed, passed = (judge("exporter", holds, **given) for holds in (False, True))
    assert (failed.next_step, failed.site, failed.kind) == ("the loop", site, "crash")
    assert (passed.next_step, passed.site, passed.kind) == ("", None, "")
    assert judge("exporter", False, expected="12", seen="13") == Verdict(
        "exporter", Outcome.FAILED, "12", "13"
    )


def test_the_message_of_several_failures_has_a_blank_line_between_them() -> None:
    other = Verdict("exporter", Outcome.FAILED, "12", "13 queries")
    with pytest.raises(VerdictError) as failure:
        require([GREW, Verdict("exporter", Outcome.PASSED, "12", "12 queries"), other])
    assert str(failure.value) == f"{GREW}\n\n{other}"


def test_the_failing_line_in_pytest_is_that_of_the_caller() -> None:
    with pytest.raises(VerdictError) as failure:
        require([GREW])
    hidden = [entry.ishidden(failure) for entry in failure.traceback]
    assert (hidden[0], hidden[-1]) == (False, True)
