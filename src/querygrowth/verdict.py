"""Verdicts: one judgement each, with what was seen, where, what was expected, and what to try."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from querygrowth.call_sites import CallSite


class Outcome(str, Enum):
    """How a judgement came out. Only FAILED fails a test, and only PASSED is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


@dataclass(frozen=True)
class Verdict:
    """One judgement on one subject, in words for a person.

    Args:
        subject: What was judged: an action, a test, an exporter.
        outcome: How it came out.
        expected: The expectation, in words. For a failure, the one that was broken.
        seen: What was measured.
        evidence: Further lines, the most telling first. `site` is not among them.
        next_step: Where to look or what to try; empty when there is nothing to do.
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
        """Whether the expectation was met. A skipped or inconclusive judgement was not."""
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
        super().__init__("\n\n".join(str(each) for each in verdicts))
        self.verdicts = verdicts


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

    A pass has nothing to look at: neither `next_step` nor `site`.

    Args:
        subject: What was judged.
        holds: Whether the expectation was met.
        expected: The expectation.
        seen: What was measured.
        evidence: Further lines, the most telling first.
        next_step: What to try after a failure.
        site: The line of source that the verdict is about.
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
    failed = tuple(each for each in verdicts if each.failed)
    if failed:
        raise VerdictError(failed)
