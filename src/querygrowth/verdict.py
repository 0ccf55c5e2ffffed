"""Verdict: what was expected, what was seen, the evidence, and what to try next."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from querygrowth.call_sites import CallSite


class Outcome(str, Enum):
    """How a judgement came out. Only a failure fails; only a pass is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


@dataclass(frozen=True)
class Verdict:
    """One judgement on one thing, in words for a person.

    `evidence` holds finished lines, most telling first. `next_step` says where to look or what to
    try; it is empty when there is nothing to do. `site` is the line of source that it is about.
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
        if not self.passed:
            lines.append(f"expected: {self.expected}")
        if self.next_step:
            lines.append(f"look at: {self.next_step}")
        return "\n".join(lines)


class VerdictError(AssertionError):
    """At least one verdict failed; its text is every failed verdict, in order."""

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
    """A verdict that passes or fails on one condition."""
    return Verdict(
        subject=subject,
        outcome=Outcome.PASSED if holds else Outcome.FAILED,
        expected=expected,
        seen=seen,
        evidence=tuple(evidence),
        next_step="" if holds else next_step,
        site=site,
    )


def require(verdicts: Iterable[Verdict]) -> None:
    """Raise VerdictError if any verdict failed; say nothing otherwise."""
    __tracebackhide__ = True  # in pytest, the failing line is the caller's
    failed = tuple(each for each in verdicts if each.failed)
    if failed:
        raise VerdictError(failed)
