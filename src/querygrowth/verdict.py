"""Verdict: one judgement, with its measurement, its place, its expectation and what to try."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from querygrowth.call_sites import CallSite


class Outcome(str, Enum):
    """The outcome of a judgement. Only FAILED fails a test, and only PASSED is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


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
    """

    subject: str
    outcome: Outcome
    expected: str
    seen: str
    evidence: tuple[str, ...] = ()
    next_step: str = ""
    site: CallSite | None = None

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
    """
    return Verdict(
        subject=subject,
        outcome=Outcome.PASSED if holds else Outcome.FAILED,
        expected=expected,
        seen=seen,
        evidence=tuple(evidence),
        next_step="" if holds else next_step,
        site=None if holds else site,
    )


def require(verdicts: Iterable[Verdict]) -> None:
    """Raise VerdictError if any verdict failed; do nothing otherwise."""
    __tracebackhide__ = True  # in pytest, the failing line is the caller's
    failed = tuple(verdict for verdict in verdicts if verdict.failed)
    if failed:
        raise VerdictError(failed)
