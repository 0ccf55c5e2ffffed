"""Gravity: the order of causes in which the failures of a candidate are shown.

A crash explains everything that is missing after it. Lost or wrong bytes matter more than costs. An
error in other words than the control's matters least.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from harness.checks.run import Check, CheckVerdict
from harness.compare.difference import Kind
from querygrowth.verdict import BY_URGENCY, CRASH


class Gravity(IntEnum):
    """The causes of failures, the gravest first."""

    CRASH = 0
    BYTES = 1
    GROWTH = 2
    WORK = 3
    REFUSAL = 4


# The kind of a verdict decides first: every check can show a crash, or a refusal in other words.
_OF_KIND: Mapping[str, Gravity] = MappingProxyType(
    {CRASH: Gravity.CRASH, Kind.ERROR.value: Gravity.REFUSAL}
)
_OF_CHECK: Mapping[Check, Gravity] = MappingProxyType(
    {
        Check.QUERIES: Gravity.GROWTH,
        Check.SEARCH: Gravity.GROWTH,
        Check.WORK: Gravity.WORK,
        Check.MEMORY: Gravity.WORK,
    }
)


def gravity(found: CheckVerdict) -> Gravity:
    """Return the cause that a failed verdict stands for. Checks of contents stand for bytes."""
    of_check = _OF_CHECK.get(found.check, Gravity.BYTES)
    return _OF_KIND.get(found.verdict.kind, of_check)


def by_gravity(found: CheckVerdict) -> tuple[int, Gravity]:
    """Return the key that sorts verdicts: failed ones first, and the gravest of them first.

    The sort keeps the order of the checks among verdicts of one gravity.
    """
    return BY_URGENCY.index(found.verdict.outcome), gravity(found)
