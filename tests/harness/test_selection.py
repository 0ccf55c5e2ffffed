"""Which checks are selected, what was left out and why, and which failure is the gravest."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.checks import selection as module
from harness.checks.check import Check, CheckVerdict
from harness.checks.depth import Depth
from harness.checks.gravity import GRAVITY_OF_CHECK, Gravity, by_gravity, gravity, headline
from harness.checks.selection import (
    GROUPS,
    Selection,
    UnknownPartError,
    least_depth,
    run_selection,
)
from harness.checks.setup import CheckSetup
from harness.compare.difference import CORRUPT, SNAPSHOT, Kind
from harness.exporters.subject import DEFAULT_CANDIDATE, load_subject
from querygrowth.verdict import CRASH, GROWTH, Outcome, Verdict

SETUP = CheckSetup({}, load_subject(DEFAULT_CANDIDATE), None)  # type: ignore[arg-type]


def verdict(outcome: Outcome = Outcome.FAILED, seen: str = "seen", kind: str = "") -> Verdict:
    return Verdict("Exporter", outcome, "expected", seen, kind=kind)


def failed(check: Check, kind: str = "") -> CheckVerdict:
    return CheckVerdict(check, "sqlite", verdict(seen=f"{check} {kind}".strip(), kind=kind))


def selected(
    monkeypatch: pytest.MonkeyPatch, chosen: Selection, outcomes: dict[Check, Outcome]
) -> list[CheckVerdict]:
    """Run a selection whose checks give these outcomes; a check without one judges nothing."""

    def run_checks(*_: object, checks: tuple[Check], **__: Any) -> Iterator[CheckVerdict]:
        if checks[0] in outcomes:
            yield CheckVerdict(checks[0], "sqlite", verdict(outcomes[checks[0]]))

    monkeypatch.setattr(module, "run_checks", run_checks)
    return list(run_selection(load_subject(DEFAULT_CANDIDATE), SETUP, chosen))


def test_a_greater_depth_includes_the_checks_of_a_smaller_one() -> None:
    quick, default, everything = (set(Selection.of_depth(each).checks) for each in Depth)
    assert quick < default < everything == set(Check)


def test_quick_runs_two_checks_and_the_default_all_but_the_search() -> None:
    quick, default, everything = (Selection.of_depth(each) for each in Depth)
    assert quick.checks == (Check.RECORDS, Check.QUERIES)
    assert set(everything.checks) - set(default.checks) == {Check.SEARCH}


def test_every_check_belongs_to_exactly_one_group() -> None:
    grouped = [check for checks in GROUPS.values() for check in checks]
    assert sorted(grouped) == sorted(Check)


def test_parts_are_selected_in_the_order_of_checks_without_repetition() -> None:
    chosen = Selection.of_parts(("work", "costs", "records", "work"))
    assert chosen.checks == tuple(
        each for each in Check if each is Check.RECORDS or each in GRAVITY_OF_CHECK
    )
    assert chosen.named == {Check.RECORDS, Check.WORK}


def test_an_unknown_part_names_the_nearest() -> None:
    with pytest.raises(UnknownPartError, match=r"there is no part 'cots'; the nearest is 'costs'"):
        Selection.of_parts(("cots",))


def test_a_check_that_was_named_and_was_skipped_is_inconclusive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = {Check.PLAN: Outcome.SKIPPED}
    (found, *_) = selected(monkeypatch, Selection.of_parts(("plan",)), outcomes)
    assert found.verdict.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("chosen", [Selection((Check.PLAN,)), Selection.of_parts(("bytes",))])
def test_a_check_that_was_not_named_and_was_skipped_stays_skipped(
    monkeypatch: pytest.MonkeyPatch, chosen: Selection
) -> None:
    found = selected(monkeypatch, chosen, dict.fromkeys(Check, Outcome.SKIPPED))
    assert {each.verdict.outcome for each in found} == {Outcome.SKIPPED}


def test_a_selected_check_that_judges_nothing_is_inconclusive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = selected(monkeypatch, Selection((Check.PLAN,)), {})
    assert found[0].check is Check.PLAN
    assert found[0].verdict.outcome is Outcome.INCONCLUSIVE
    assert found[0].verdict.seen == "nothing was judged"
    assert found[0].verdict.expected == f"a verdict of {found[0].check}"


def test_what_is_left_out_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Selection.of_depth(Depth.QUICK)
    found = selected(monkeypatch, chosen, dict.fromkeys(Check, Outcome.PASSED))
    skipped = {
        each.check: each.verdict.seen for each in found if each.verdict.outcome is Outcome.SKIPPED
    }
    assert skipped.keys() == set(Check) - set(chosen.checks)
    for check, seen in skipped.items():
        needed = {Depth.DEFAULT: "without --quick", Depth.ALL: "with --all"}[least_depth(check)]
        assert seen == f"not asked for: runs {needed}"


def test_failures_are_ordered_by_gravity_and_not_by_the_order_of_checks() -> None:
    ordered = [
        failed(Check.MEMORY, CRASH),
        failed(Check.SNAPSHOT),
        failed(Check.QUERIES),
        failed(Check.SNAPSHOT, SNAPSHOT),
        failed(Check.RECORDS, CORRUPT),
        failed(Check.RECORDS, Kind.ORDER),
        failed(Check.WORK),
        failed(Check.RECORDS, Kind.ERROR),
    ]
    found = [ordered[each] for each in (3, 1, 5, 4, 7, 6, 0, 2)]
    assert sorted(found, key=by_gravity) == ordered
    assert [gravity(each) for each in ordered] == list(Gravity)


def test_queries_that_grow_in_a_large_run_are_graver_than_work_and_less_than_bytes() -> None:
    grown = failed(Check.SIZE, GROWTH)
    assert gravity(grown) is Gravity.GROWTH
    found = [failed(Check.WORK), grown, failed(Check.SIZE)]
    assert sorted(found, key=by_gravity) == found[::-1]


def test_the_first_of_two_failures_of_one_gravity_comes_first() -> None:
    found = [failed(Check.RECORDS), failed(Check.PLAN)]
    assert sorted(found, key=by_gravity) == found


def test_a_failure_comes_before_what_was_undecided() -> None:
    undecided = replace(failed(Check.RECORDS), verdict=verdict(Outcome.INCONCLUSIVE))
    assert min([undecided, failed(Check.WORK)], key=by_gravity).check is Check.WORK


def test_the_headline_names_the_gravest_failure_and_counts_all_outcomes() -> None:
    server = verdict(Outcome.SKIPPED, "there is no server")
    found = [
        failed(Check.QUERIES),
        CheckVerdict(Check.BACKENDS, "sqlite", server),
        CheckVerdict(Check.PLAN, "sqlite", verdict(Outcome.PASSED)),
        failed(Check.RECORDS),
    ]
    assert headline(found) == (
        "failed: Exporter: records: failed 2, passed 1, skipped 1 (backends: there is no server)"
    )


def test_the_headline_of_a_pass_is_the_count_alone() -> None:
    found = [CheckVerdict(Check.PLAN, "sqlite", verdict(Outcome.PASSED))] * 2
    assert headline(found) == "passed 2"
