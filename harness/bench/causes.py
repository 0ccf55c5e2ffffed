"""The causes of failures: one failure for a cause, with the failures that follow from it.

One query in a loop breaks a dozen expectations: it grows along many axes, opens transactions, and
misses targets. One edit repairs them all, so they are reported as one failure. Nothing is left out:
what follows from a cause is listed beneath it, and shows by itself once the cause is repaired.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.bench.results import NOT_JUDGED, Judgement, Results, Topic
from harness.compare.difference import SNAPSHOT
from querygrowth.verdict import CRASH, GROWTH, Verdict

_SAME_BYTES = "identical"
# The metric of a target that other bytes break.


@dataclass(frozen=True)
class Failure:
    """A failed judgement, and the failed judgements that follow from it."""

    cause: Judgement
    results: tuple[Judgement, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for every different result, in words."""
        found = (
            f"{each.topic.value}: {each.verdict.subject}: {each.verdict.seen} "
            f"(expected: {each.verdict.expected})"
            for each in self.results
            if (each.topic, each.verdict.subject, each.verdict.seen, each.verdict.expected)
            != _words(self.cause)
        )
        return tuple(dict.fromkeys(found))

    def explained(self) -> Verdict:
        """The cause's verdict, with a line of evidence for every result."""
        verdict = self.cause.verdict
        further = tuple(f"as a result: {line}" for line in self.lines)
        return replace(verdict, evidence=(*verdict.evidence, *further))


def failures_by_cause(results: Results) -> tuple[Failure, ...]:
    """Group the failed judgements of results by their causes, the most important cause first."""
    bytes_targets = {
        f"{each.id} {each.title}" for each in results.targets if each.metric == _SAME_BYTES
    }
    return group_by_cause(results.failures, bytes_targets)


def group_by_cause(
    failures: Sequence[Judgement], bytes_targets: Collection[str] = ()
) -> tuple[Failure, ...]:
    """Group failed judgements by their causes, in the order of the causes.

    Args:
        failures: Failed judgements, the most important one first.
        bytes_targets: The subjects of the judgements on targets that other bytes break.
    """
    found: dict[Judgement, list[Judgement]] = {}
    # A failure that others may follow from comes before them in any order of the report.
    for judgement in sorted(failures, key=_depends_on_others):
        causes = list(found)
        cause = next(_causes_of(judgement, causes, bytes_targets), None)
        if cause is None:
            found[judgement] = []
        else:
            found[cause].append(judgement)
    order = {judgement: number for number, judgement in reversed(list(enumerate(failures)))}
    return tuple(
        Failure(cause, tuple(following))
        for cause, following in sorted(found.items(), key=lambda item: order[item[0]])
    )


def _depends_on_others(judgement: Judgement) -> int:
    """Return 0 for a failure that is surely a cause, and more for one that may follow from it."""
    if judgement.verdict.kind in (CRASH, GROWTH, NOT_JUDGED):
        return 0
    is_cost = judgement.topic in (Topic.BASELINE, Topic.TARGETS, Topic.SPEED)
    return 2 if is_cost or judgement.verdict.kind == SNAPSHOT else 1


def _causes_of(
    judgement: Judgement, causes: Sequence[Judgement], bytes_targets: Collection[str]
) -> Iterator[Judgement]:
    """Yield the causes that a failure follows from, the likeliest first."""
    verdict = judgement.verdict
    yield from (each for each in causes if _is_same_failure(judgement, each))
    if verdict.kind == CRASH:
        # An export that crashes on usual runs explains the crashes on all others.
        yield from (each for each in causes if each.topic is Topic.VACUITY)
        return
    growth = [each for each in causes if _is_growth(each)]
    # What is wrong at the line of a growing query is repaired with it.
    yield from (each for each in growth if _is_same_line(verdict, each.verdict))
    if judgement.topic is Topic.GROWTH and verdict.kind != GROWTH:
        yield from (each for each in growth if _is_same_function(verdict, each.verdict))
    if verdict.kind == SNAPSHOT:
        # Memory that grows breaks no snapshot. A file with this kind holds that of growth too.
        yield from (each for each in growth if each.verdict.kind == GROWTH)
    if judgement.topic is Topic.TARGETS and verdict.subject in bytes_targets:
        yield from (each for each in causes if each.topic is Topic.EQUIVALENCE)
    elif judgement.topic in (Topic.BASELINE, Topic.TARGETS, Topic.SPEED):
        yield from growth
        # A query more costs rows, work and time as well, and the baseline names the query.
        yield from (each for each in causes if each.topic is Topic.BASELINE)


def _is_growth(judgement: Judgement) -> bool:
    """Whether it is about queries whose number grew."""
    verdict = judgement.verdict
    # Files of earlier versions hold no kind.
    return judgement.topic is Topic.GROWTH and verdict.kind in (GROWTH, "")


def _is_same_failure(judgement: Judgement, cause: Judgement) -> bool:
    """Whether both are one failure, seen in several runs or by several checks."""
    one, other = judgement.verdict, cause.verdict
    if one.kind != other.kind:
        return False
    if one.kind == NOT_JUDGED:
        return True
    if one.kind == CRASH:
        if one.site is None and other.site is None:
            return (one.subject, one.seen) == (other.subject, other.seen)
        return _is_same_line(one, other)
    if one.about and one.about == other.about:
        return judgement.topic is cause.topic
    return _words(judgement)[:3] == _words(cause)[:3]


def _words(judgement: Judgement) -> tuple[Topic, str, str, str]:
    verdict = judgement.verdict
    return judgement.topic, verdict.subject, verdict.seen, verdict.expected


def _is_same_line(one: Verdict, other: Verdict) -> bool:
    return (
        one.site is not None
        and other.site is not None
        and (one.site.path, one.site.line) == (other.site.path, other.site.line)
    )


def _is_same_function(one: Verdict, other: Verdict) -> bool:
    return (
        one.site is not None
        and other.site is not None
        and (one.site.path, one.site.function) == (other.site.path, other.site.function)
    )
