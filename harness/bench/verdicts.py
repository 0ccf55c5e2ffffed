"""Judges what was measured at every size: done at all, the same bytes, no growth, on target."""

from collections.abc import Sequence
from dataclasses import replace

from harness.bench.measurements import FullMeasurement, Measurements, SizeResult
from harness.bench.results import Judgement, Topic
from harness.bench.targets import Target, judge_targets
from querygrowth.call_sites import CallSite
from querygrowth.growth import GrowthReport
from querygrowth.growth_verdicts import judge_growth
from querygrowth.verdict import Verdict, judge


def judge_sizes(
    sizes: Sequence[SizeResult],
    targets: Sequence[Target],
    *,
    full: FullMeasurement | None = None,
    defined_at: CallSite | None = None,
) -> tuple[Judgement, ...]:
    """Judge every size for vacuity, equivalence and growth, and the last one by the targets.

    Args:
        sizes: What was measured, from the smallest run to the largest.
        targets: The agreed numbers.
        full: What `bench --full` measured.
        defined_at: The site of a verdict that has none: where the candidate is defined.
    """
    verdicts = (
        (Topic.VACUITY, _judge_vacuity(sizes)),
        *((Topic.EQUIVALENCE, each.comparison.verdict()) for each in sizes),
        *((Topic.GROWTH, each) for each in _judge_growth(sizes)),
    )
    judged = (Judgement(topic, located(verdict, defined_at)) for topic, verdict in verdicts)
    on_target = judge_targets(targets, Measurements(sizes[-1], full))
    # The runs of all sizes begin alike, so that their first differences may be one and the same.
    return tuple(dict.fromkeys((*judged, *(Judgement(Topic.TARGETS, each) for each in on_target))))


def located(verdict: Verdict, default: CallSite | None) -> Verdict:
    """A failed verdict with the default site, if it has none."""
    return replace(verdict, site=default) if verdict.failed and not verdict.site else verdict


def _judge_vacuity(sizes: Sequence[SizeResult]) -> Verdict:
    """Judge whether both exporters did anything: doing nothing is within every limit."""
    done = [(size.run.rows, each.observation) for size in sizes for each in size.measurements]
    idle = [(rows, each) for rows, each in done if each.is_vacuous]
    return judge(
        "what was measured",
        not idle,
        expected="queries and records from every export",
        seen=f"{len(idle)} of {len(done)} exports did nothing" if idle else "every export did",
        evidence=[
            f"{each.subject}, {rows:,} rows: "
            f"{each.activity.queries} queries, {each.file.records} records"
            for rows, each in idle
        ],
        next_step="does it export the run it is asked for, from the database it is given?",
    )


def _judge_growth(sizes: Sequence[SizeResult]) -> tuple[Verdict, ...]:
    """Judge the candidate's activity over the sizes; nothing can be said of growth from one."""
    if len(sizes) < 2:
        return ()
    observed = [size.candidate.observation for size in sizes]
    report = GrowthReport.of(
        observed[0].subject,
        "rows",
        [size.run.rows for size in sizes],
        [each.activity for each in observed],
    )
    return judge_growth(report)
