"""Results: all that a round of the harness observed, and its judgements.

Reports and the gate's decision are made from results alone. `result_file` writes and reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from harness.bench.environment import Environment
from harness.bench.measurements import FullMeasurement, SizeResult
from harness.bench.paired_ratio import Pairing
from harness.bench.targets import Target
from harness.compare.difference import CORRUPT, SNAPSHOT, Kind
from querygrowth.verdict import BY_URGENCY, Outcome, Verdict, overall_outcome


class ResultsError(ValueError):
    """Results are missing, cut off, or of a format that this version cannot read."""


class Topic(StrEnum):
    """The topics of judgements, in the order in which failures are shown."""

    # The cause comes first. An exporter that does nothing also has other bytes, and one with other
    # bytes may have other costs.

    VACUITY = "vacuity"
    EQUIVALENCE = "equivalence"
    GROWTH = "growth"
    BASELINE = "baseline"
    TARGETS = "targets"
    SPEED = "speed against base"
    SELFTEST = "self-test"


# An export that sends a query for each entity is no snapshot either. Another error or another order
# of the same records is no cause of that.
_AFTER_GROWTH = frozenset((SNAPSHOT, CORRUPT, Kind.ORDER.value, Kind.ERROR.value))


NOT_JUDGED = "not judged"
"""The kind of a failed verdict on a topic that nothing judged."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and its topic. The verdict's site is relative to the checkout's root."""

    topic: Topic
    verdict: Verdict

    @classmethod
    def of_check(cls, verdict: Verdict, *, is_cost: bool) -> "Judgement":
        """Return the verdict of a check as a judgement: on growth, or on equivalence."""
        return cls(Topic.GROWTH if is_cost else Topic.EQUIVALENCE, verdict)


@dataclass(frozen=True)
class Results:
    """The environment, the measurements and the judgements of one round.

    `sizes` ascend; `targets` are judged at the last. `formulas` gives the queries of an exporter,
    by its name, as a formula of the run's cardinalities. `full` is None without `bench --full`.
    """

    environment: Environment
    measured_at: datetime
    sizes: tuple[SizeResult, ...] = ()
    full: FullMeasurement | None = None
    formulas: Mapping[str, str] = field(default_factory=dict)
    pairing: Pairing | None = None
    targets: tuple[Target, ...] = ()
    judgements: tuple[Judgement, ...] = ()

    @property
    def largest(self) -> SizeResult:
        """Both exporters on the largest run; ResultsError when no run was measured."""
        if not self.sizes:
            raise ResultsError("the results hold no measured run")
        return self.sizes[-1]

    @property
    def ordered_judgements(self) -> tuple[Judgement, ...]:
        """Failed first, then inconclusive, passed and skipped; within that, by topic.

        Failures of _AFTER_GROWTH come after those of growth, although they are about bytes.
        """
        topics = list(Topic)

        def rank(each: Judgement) -> tuple[int, float]:
            topic = topics.index(each.topic)
            if each.verdict.failed and each.verdict.kind in _AFTER_GROWTH:
                topic = topics.index(Topic.GROWTH)
                return BY_URGENCY.index(each.verdict.outcome), topic + 0.5
            return BY_URGENCY.index(each.verdict.outcome), topic

        return tuple(sorted(self.judgements, key=rank))

    @property
    def outcome(self) -> Outcome:
        """The outcome of the whole. Nothing judged, or everything skipped, is a failure."""
        found = overall_outcome(each.verdict.outcome for each in self.judgements)
        # A round that judged nothing must not pass a gate.
        return Outcome.FAILED if found is Outcome.SKIPPED else found

    @property
    def failures(self) -> tuple[Judgement, ...]:
        """The failed judgements, the most important one first."""
        return tuple(each for each in self.ordered_judgements if each.verdict.failed)
