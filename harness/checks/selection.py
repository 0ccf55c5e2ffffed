"""Selection: which checks a candidate is asked, how much they try, and what was left out.

The options --part, --quick and --all choose a selection. `run_selection` runs it for `harness
check`, the self-test and the gate.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType

from harness.checks.check import ALL_CHECKS, Check, CheckVerdict, Limits
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.gravity import GRAVITY_OF_CHECK, Gravity
from harness.checks.known_growth import KnownGrowth
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup
from harness.exporters.measured import Measured
from harness.exporters.subject import Subject
from querygrowth.verdict import Outcome, Verdict

OnStep = Callable[[str], None]
"""Called with the name of a step before it starts."""

# The default is what fits in 30 CPU seconds, and --quick what fits in 3. Measured for the batched
# exporter on one core at 3 GHz: search 2.1 s.
_LEAST_DEPTH: Mapping[Check, Depth] = MappingProxyType(
    {
        Check.RECORDS: Depth.QUICK,
        Check.QUERIES: Depth.QUICK,
        Check.SEARCH: Depth.ALL,
    }
)
"""The smallest depth that includes a check. The others are included by default."""

GROUPS: Mapping[str, tuple[Check, ...]] = MappingProxyType(
    {
        "bytes": tuple(
            each for each in Check if GRAVITY_OF_CHECK.get(each, Gravity.BYTES) is Gravity.BYTES
        ),
        "costs": tuple(each for each in Check if each in GRAVITY_OF_CHECK),
    }
)
"""Names of several checks, for --part."""


class UnknownPartError(ValueError):
    """A name is neither that of a check nor of a group. The message names the nearest one."""


@dataclass(frozen=True)
class Selection:
    """The checks to run.

    Attributes:
        checks: The checks, in the order of `Check`.
        depth: How much they try.
        named: The checks that a person asked for by their names. Such a check is inconclusive if it
            could not judge. Any other is skipped then.
    """

    checks: tuple[Check, ...]
    depth: Depth = Depth.DEFAULT
    named: frozenset[Check] = frozenset()

    @classmethod
    def of_depth(cls, depth: Depth) -> "Selection":
        """Select every check that the depth includes."""
        included = (each for each in Check if least_depth(each) <= depth)
        return cls(tuple(included), depth)

    @classmethod
    def of_parts(cls, parts: tuple[str, ...], depth: Depth = Depth.DEFAULT) -> "Selection":
        """Select checks and groups by name.

        Args:
            parts: Names of checks and of groups.
            depth: How much the checks try.

        Raises:
            UnknownPartError: A name is unknown.
        """
        chosen = {check for name in parts for check in _checks_of(name)}
        named = frozenset(each for each in chosen if each.value in parts)
        return cls(tuple(each for each in Check if each in chosen), depth, named)

    @property
    def left_out(self) -> tuple[Check, ...]:
        """The checks that are not selected."""
        return tuple(each for each in Check if each not in self.checks)


def least_depth(check: Check) -> Depth:
    """Return the smallest depth that includes a check."""
    return _LEAST_DEPTH.get(check, Depth.DEFAULT)


def run_selection(
    candidate: Subject | Measured,
    setup: CheckSetup,
    selection: Selection,
    *,
    declared: Declared | None = None,
    limits: Limits | None = None,
    on_step: OnStep = lambda step: None,
) -> Iterator[CheckVerdict]:
    """Run the selected checks and yield a verdict as soon as it is known.

    Checks that are left out are yielded at the end as skipped, with the reason.

    Args:
        candidate: The exporter to check.
        setup: From `prepare_checks`.
        selection: The checks.
        declared: The costs that the candidate declares; default: those of a streaming exporter.
        limits: The seconds after which an export counts as hanging; default: those of `Limits`.
        on_step: Called with the name of a check before it starts.

    Raises:
        SubjectError: The candidate cannot be used as an exporter.
    """
    growth = KnownGrowth()
    found_by: set[Check] = set()
    for check in selection.checks:
        on_step(check.value)
        judged = False
        for found in run_checks(
            candidate,
            setup,
            checks=(check,),
            declared=declared,
            depth=selection.depth,
            limits=limits,
            growth=growth,
        ):
            judged = True
            found_by.add(found.check)
            yield _as_asked(found, selection)
        if not judged:
            # A check that judges nothing must not look like one that passed.
            nothing = Verdict(
                candidate.name, Outcome.INCONCLUSIVE, f"a verdict of {check}", "nothing was judged"
            )
            yield CheckVerdict(check, "", nothing)
    for check in selection.left_out:
        if check in found_by:
            continue  # Another check showed a side effect, so that this one has a verdict.
        yield _skipped(candidate.name, check, _reason_left_out(check, selection))


def _skipped(candidate: str, check: Check, reason: str) -> CheckVerdict:
    verdict = Verdict(
        candidate,
        Outcome.SKIPPED,
        f"the check {check}",
        reason,
        next_step=f"harness check --part {check}",
    )
    return CheckVerdict(check, "", verdict)


def _reason_left_out(check: Check, selection: Selection) -> str:
    least = least_depth(check)
    if least <= selection.depth:
        return "not asked for"
    return f"not asked for: runs {'with --all' if least is Depth.ALL else 'without --quick'}"


def _as_asked(found: CheckVerdict, selection: Selection) -> CheckVerdict:
    """Return a skipped check as inconclusive if it was asked for by name."""
    if found.check not in selection.named or found.verdict.outcome is not Outcome.SKIPPED:
        return found
    return replace(found, verdict=replace(found.verdict, outcome=Outcome.INCONCLUSIVE))


def _checks_of(name: str) -> tuple[Check, ...]:
    """Return the checks that a name stands for; UnknownPartError if there are none."""
    if name in GROUPS:
        return GROUPS[name]
    names = [each.value for each in ALL_CHECKS]
    if name in names:
        return (Check(name),)
    nearest = get_close_matches(name, [*names, *GROUPS], n=1, cutoff=0)[0]
    raise UnknownPartError(f"there is no part {name!r}; the nearest is {nearest!r}")
