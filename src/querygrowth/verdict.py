"""Verdict: one judgement, with its measurement, its place, its expectation and what to try."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from querygrowth.places.call_sites import CallSite

CRASH = "crash"
"""The kind of a failed verdict on code that raised, hung, or ended its process."""
GROWTH = "growth"
"""The kind of a failed verdict on queries that grew, among verdicts on something else."""


class Outcome(str, Enum):
    """The outcome of a judgement. Only FAILED fails a test, and only PASSED is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


BY_URGENCY = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED, Outcome.SKIPPED)
"""The outcomes, the most urgent first: the first that occurs is the outcome of the whole."""


def overall_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome of several judgements together: the most urgent one that occurs.

    A failure comes before an inconclusive judgement, and that before a pass. Judgements that were
    skipped change nothing. Without any, or with skipped ones only, the outcome is SKIPPED: nothing
    was judged.
    """
    occurring = set(outcomes)
    return next((each for each in BY_URGENCY if each in occurring), Outcome.SKIPPED)


def exit_code(outcome: Outcome, *, strict: bool = True) -> int:
    """Return the exit code of a command by the outcome of the whole.

    Args:
        outcome: The outcome of all judgements together.
        strict: Whether an inconclusive outcome fails.

    Returns:
        0 for a pass, and 1 otherwise. Skipped is no pass, because nothing was judged.
    """
    undecided = outcome is Outcome.INCONCLUSIVE and not strict
    return 0 if outcome is Outcome.PASSED or undecided else 1


@dataclass(frozen=True)
class Verdict:
    """One judgement on one subject, in words for a person.

    Args:
        subject: The name of the action, test or exporter that was judged.
        outcome: The outcome.
        expected: The expectation. For a failure, the one that was broken.
        seen: The measurement in words.
        evidence: Further lines, the most important first. `site` is not among them.
        next_step: Where to look or what to try; empty after a pass.
        site: The line of source that the verdict is about, if it is known.
        kind: The kind of failure in one word, for programs that sort failures; may be empty.
        about: The thing that failed, such as "node_state.attempt": failures of one kind about one
            thing have one cause. May be empty.
    """

    subject: str
    outcome: Outcome
    expected: str
    seen: str
    evidence: tuple[str, ...] = ()
    next_step: str = ""
    site: CallSite | None = None
    kind: str = ""
    about: str = ""

    @property
    def passed(self) -> bool:
        """Whether the expectation was met. A skipped or inconclusive judgement is not a pass."""
        return self.outcome is Outcome.PASSED

    @property
    def failed(self) -> bool:
        """Whether the expectation was broken."""
        return self.outcome is Outcome.FAILED

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self.seen}", *(f"  {line}" for line in self.evidence)]
        if self.site:
            lines.append(f"at: {self.site}")
        if not self.passed:
            lines.append(f"expected: {self.expected}")
        if self.next_step:
            lines.append(f"look at: {self.next_step}")
        return "\n".join(lines)


class VerdictError(AssertionError):
    """At least one verdict failed. The message shows every failed verdict, in order."""

    def __init__(self, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__("\n\n".join(map(str, verdicts)))
        self.verdicts = verdicts


class InconclusiveWarning(UserWarning):
    """A judgement of a test was inconclusive. The message shows the verdict."""


def judge(
    subject: str,
    holds: bool,
    *,
    expected: str,
    seen: str,
    evidence: Iterable[str] = (),
    next_step: str = "",
    site: CallSite | None = None,
    kind: str = "",
    about: str = "",
) -> Verdict:
    """Build a verdict that passes or fails on one condition.

    Args:
        subject: The name of what is judged.
        holds: Whether the expectation was met.
        expected: The expectation.
        seen: The measurement in words.
        evidence: Further lines, the most important first.
        next_step: What to try after a failure. A pass does not keep it.
        site: The line of source that caused a failure. A pass does not keep it.
        kind: The kind of failure in one word. A pass does not keep it.
        about: The thing that failed. A pass does not keep it.
    """
    return Verdict(
        subject=subject,
        outcome=Outcome.PASSED if holds else Outcome.FAILED,
        expected=expected,
        seen=seen,
        evidence=tuple(evidence),
        next_step="" if holds else next_step,
        site=None if holds else site,
        kind="" if holds else kind,
        about="" if holds else about,
    )


def require(verdicts: Iterable[Verdict]) -> None:
    """Raise VerdictError if any verdict failed; do nothing otherwise."""
    __tracebackhide__ = True  # in pytest, the failing line is the caller's
    failed = tuple(verdict for verdict in verdicts if verdict.failed)
    if failed:
        raise VerdictError(failed)
