"""Gravity: the order of causes in which a candidate's failures are shown, and their summary.

A crash explains everything that is missing after it. Lost or wrong bytes matter more than costs. An
export that sends a query for each entity is no snapshot either, so that growth comes before that. A
corrupt value that is exported, and the same records in another order, concern fewer runs. An error
in other words than the control's matters least.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType

from harness.checks.check import Check, CheckVerdict
from harness.compare.difference import CORRUPT, SNAPSHOT, Kind
from harness.exporters.failure import HANG
from querygrowth.verdict import BY_URGENCY, CRASH, GROWTH, Outcome, Verdict


class Gravity(IntEnum):
    """The causes of failures, the gravest first."""

    CRASH = 0
    BYTES = 1
    GROWTH = 2
    SNAPSHOT = 3
    CORRUPT = 4
    ORDER = 5
    WORK = 6
    REFUSAL = 7


GRAVITY_OF_CHECK: Mapping[Check, Gravity] = MappingProxyType(
    {
        Check.QUERIES: Gravity.GROWTH,
        Check.SEARCH: Gravity.GROWTH,
        Check.WORK: Gravity.WORK,
        Check.MEMORY: Gravity.WORK,
    }
)
"""The causes that the checks of costs find. All other checks are about bytes."""

# Every check can show a crash, or a refusal in other words, and that of large runs judges bytes and
# queries. So the kind of a verdict decides first.
_OF_KIND: Mapping[str, Gravity] = MappingProxyType(
    {
        CRASH: Gravity.CRASH,
        Kind.ERROR.value: Gravity.REFUSAL,
        GROWTH: Gravity.GROWTH,
        SNAPSHOT: Gravity.SNAPSHOT,
        CORRUPT: Gravity.CORRUPT,
        Kind.ORDER.value: Gravity.ORDER,
    }
)


_ON_LARGE_RUNS = frozenset((Check.WORK, Check.SIZE, Check.MEMORY))


def graver(found: Verdict | None, other: Verdict) -> Verdict:
    """Return the graver of two failed verdicts of a comparison; the first if they are alike."""
    if found is None or _gravity_of_kind(other) < _gravity_of_kind(found):
        return other
    return found


def is_minor(verdict: Verdict) -> bool:
    """Whether a graver failure than this one may be found in further cases."""
    return _gravity_of_kind(verdict) > Gravity.GROWTH


def _gravity_of_kind(verdict: Verdict) -> Gravity:
    return _OF_KIND.get(verdict.kind, Gravity.BYTES)


def gravity(found: CheckVerdict) -> Gravity:
    """Return the cause that a failed verdict shows."""
    of_check = GRAVITY_OF_CHECK.get(found.check, Gravity.BYTES)
    if found.verdict.kind == HANG:
        # Runs of thousands of rows: an export that is slow there has ended on smaller ones.
        return Gravity.WORK if found.check in _ON_LARGE_RUNS else Gravity.CRASH
    return _OF_KIND.get(found.verdict.kind, of_check)


def is_about_cost(found: CheckVerdict) -> bool:
    """Return whether a verdict is about what an export costs, and not about what it yields."""
    return found.check in GRAVITY_OF_CHECK or found.verdict.kind == GROWTH


def by_gravity(found: CheckVerdict) -> tuple[int, Gravity]:
    """Return the key that sorts verdicts: failed ones first, and the gravest of them first.

    The sort keeps the order of the checks among verdicts of one gravity.
    """
    return BY_URGENCY.index(found.verdict.outcome), gravity(found)


def headline(found: Sequence[CheckVerdict], formula: str = "", following: int = 0) -> str:
    """Return the result in one line: the gravest failure, and the number of verdicts by outcome.

    Skipped checks are named with the reason, for example `passed 9, skipped 1 (process: not asked
    for: runs with --all)`.

    Args:
        found: All verdicts.
        formula: The queries of an export, which says more than one axis along which they grew.
        following: How many of the failed verdicts follow from others, which are the causes.
    """
    gravest = min(found, key=by_gravity)
    verdict = gravest.verdict
    if verdict.outcome not in (Outcome.FAILED, Outcome.INCONCLUSIVE):
        return count_outcomes(found, following)
    seen = verdict.seen
    if formula and verdict.failed and gravity(gravest) is Gravity.GROWTH:
        seen = f"{seen}: {formula}"
    return f"{verdict.outcome}: {verdict.subject}: {seen}: {count_outcomes(found, following)}"


def count_outcomes(found: Sequence[CheckVerdict], following: int = 0) -> str:
    """Count verdicts by outcome, and name the skipped checks with the reasons.

    Args:
        found: All verdicts.
        following: How many of the failed verdicts follow from others; they are counted apart.
    """
    counts = Counter(each.verdict.outcome for each in found)
    reasons: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for each in found:
        if each.verdict.outcome is Outcome.SKIPPED:
            reasons[each.verdict.seen][each.check.value] = None
    skipped = "; ".join(f"{', '.join(checks)}: {seen}" for seen, checks in reasons.items())
    counts[Outcome.FAILED] -= following
    remarks = {Outcome.SKIPPED: f" ({skipped})", Outcome.FAILED: and_following(following)}
    return ", ".join(
        f"{outcome} {counts[outcome]}{remarks.get(outcome, '')}"
        for outcome in BY_URGENCY
        if counts[outcome]
    )


def and_following(number: int) -> str:
    """Return the remark on failures that follow from a cause, with a blank before; empty for 0."""
    return f" (and {number} that {'follows' if number == 1 else 'follow'})" if number else ""
