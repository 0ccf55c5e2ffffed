"""Gate: whether results let a change pass. What was not measured never passes."""

from collections.abc import Collection
from dataclasses import replace

from elspeth.command import ExitCode
from harness.results import Judgement, Results, Topic
from harness.verdict import Outcome, judge

REQUIRED = (
    Topic.VACUITY,
    Topic.EQUIVALENCE,
    Topic.GROWTH,
    Topic.BASELINE,
    Topic.TARGETS,
    Topic.SELFTEST,
)
"""What a gate has to have judged. Speed against a base is judged where there is a base."""

_JUDGED = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)


def completed(results: Results, required: Collection[Topic] = REQUIRED) -> Results:
    """Return the results with a failure added for every required topic that nothing judged.

    Results without a measured run are as good as none.
    """
    judged = {each.topic for each in results.judgements if each.verdict.outcome in _JUDGED}
    missing = [topic for topic in required if topic not in judged]
    if not results.sizes and Topic.VACUITY not in missing:
        missing.insert(0, Topic.VACUITY)
    return replace(results, judgements=(*results.judgements, *map(_missing, missing)))


def decide(results: Results, *, nightly: bool = False) -> ExitCode:
    """Decide: fine, or not. What stays inconclusive is fine on a pull request, not nightly."""
    if results.outcome is Outcome.PASSED:
        return ExitCode.FINE
    undecided = results.outcome is Outcome.INCONCLUSIVE
    return ExitCode.FINE if undecided and not nightly else ExitCode.NOT_FINE


def _missing(topic: Topic) -> Judgement:
    verdict = judge(
        "the gate",
        False,
        expected=f"a verdict about {topic.value}",
        seen="nothing was judged",
        next_step="an invocation that was cut short, or results of another command",
    )
    return Judgement(topic, verdict)
