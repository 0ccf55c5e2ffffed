"""The gate: everything that a change to an exporter is put through, and whether it may pass.

`run_gate` measures, checks and judges. `completed` and `decide` work from results alone, so that
saved results are decided about like fresh ones.
"""

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.bench.baseline import (
    NO_BASELINE,
    Costs,
    accepts_versions_of,
    count_costs,
    judge_costs,
    without_baseline,
)
from harness.bench.experiment import Experiment, located, run_experiment
from harness.bench.paired_ratio import Pairing
from harness.bench.race import OnStep, Race, run_race
from harness.bench.results import NOT_JUDGED, Judgement, Results, Topic
from harness.bench.revision_costs import RevisionCostsError, count_revision
from harness.checks.check import Limits
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.formulas import formulas_of
from harness.checks.gravity import by_gravity, is_about_cost
from harness.checks.selection import Selection, run_selection
from harness.checks.selftest import SelftestSelection, run_selftest
from harness.checks.setup import prepare_checks
from harness.exporters.measured import ExportFailedError
from querygrowth.reports import site_within, with_relative_site
from querygrowth.verdict import Outcome, Verdict, exit_code, judge

REQUIRED = (
    Topic.VACUITY,
    Topic.EQUIVALENCE,
    Topic.GROWTH,
    Topic.BASELINE,
    Topic.TARGETS,
    Topic.SELFTEST,
)
"""The topics that must have been judged. Speed against a base needs a base, and is optional."""

_JUDGED = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)


def completed(results: Results, required: Collection[Topic] = REQUIRED) -> Results:
    """Return the results with a failure added for every required topic that nothing judged."""
    # Skipped does not count: a topic with skipped verdicts only must not pass.
    judged = {
        each.topic
        for each in results.judgements
        if each.verdict.outcome in _JUDGED or _has_no_baseline(each)
    }
    missing = [topic for topic in required if topic not in judged]
    if not results.sizes and not _exported(results):
        # The export ended in an error: that failure explains why nothing else was judged.
        return results
    # A saved file may contain a verdict on vacuity and no measured run that it is about.
    if not results.sizes and Topic.VACUITY not in missing:
        missing.insert(0, Topic.VACUITY)
    return replace(results, judgements=(*results.judgements, *map(_missing, missing)))


def decide(results: Results, *, nightly: bool = False) -> int:
    """Return the exit code by the outcome of the whole: inconclusive passes, but not `nightly`."""
    # A noisy machine must not block a pull request. The nightly gate has the time to decide.
    return exit_code(results.outcome, strict=nightly)


def _exported(results: Results) -> bool:
    """Whether no verdict says that an exporter did nothing or ended in an error."""
    return not any(each.topic is Topic.VACUITY for each in results.failures)


def _has_no_baseline(judgement: Judgement) -> bool:
    """Whether it says that nobody has accepted costs of an exporter of another checkout."""
    return judgement.topic is Topic.BASELINE and judgement.verdict.kind == NO_BASELINE


def _missing(topic: Topic) -> Judgement:
    verdict = judge(
        "the gate",
        False,
        expected=f"a verdict about {topic.value}",
        seen="nothing was judged",
        next_step="whether the round was cut short, or the results are of another command",
        kind=NOT_JUDGED,
    )
    return Judgement(topic, verdict)


_DEFAULT_CHECKS = Selection.of_depth(Depth.DEFAULT)
_NOTHING_DECLARED = Declared()

_FURTHER_STEPS = 3
# The costs, the formulas and the self-test.


@dataclass(frozen=True)
class Gate:
    """The candidate's experiment, checks and limits; `race` only where there is a base.

    `baseline` is None for an exporter of another checkout whose costs nobody has accepted.
    """

    experiment: Experiment
    baseline: Costs | None
    selftest: SelftestSelection
    selection: Selection = _DEFAULT_CHECKS
    race: Race | None = None
    declared: Declared = _NOTHING_DECLARED
    limits: Limits | None = None

    @property
    def steps(self) -> int:
        """The number of steps that it announces."""
        return (
            self.experiment.steps
            + len(self.selection.checks)
            + _FURTHER_STEPS
            + (self.race is not None)
        )


def run_gate(gate: Gate, directory: Path, on_step: OnStep) -> Results:
    """Measure, check, count costs, self-test and race, in that order, and judge everything."""
    # Nothing stops at a failure, so that one report shows all of them.
    experiment = gate.experiment
    results = run_experiment(experiment, directory, on_step)
    checked = tuple(_check(gate, directory, on_step))
    on_step("counting the costs that the baseline is about")
    costs = _judge_costs(gate, directory, on_step)
    on_step("finding the formulas of the queries")
    # An export that ended in an error has no formula.
    both = (experiment.control, *((experiment.candidate,) if _exported(results) else ()))
    raised: list[Verdict] = []
    try:
        texts = formulas_of(both, directory)
    except ExportFailedError as error:
        texts = {}
        raised.append(_of_error(error, experiment))
    on_step("checking exporters that are broken on purpose")
    tried = run_selftest(gate.selftest)
    judgements = (
        *results.judgements,
        *checked,
        *(Judgement(Topic.BASELINE, each) for each in costs),
        *(Judgement(Topic.VACUITY, each) for each in raised),
        *(Judgement(Topic.SELFTEST, each.verdict) for each in tried),
    )
    # A fault that breaks one limit along many axes gives the same verdict many times.
    results = replace(results, judgements=tuple(dict.fromkeys(judgements)), formulas=texts)
    try:
        results = _raced(results, gate.race, directory, on_step)
    except ExportFailedError as error:
        # What was measured before minutes of racing is kept and reported.
        failed = Judgement(Topic.VACUITY, _of_error(error, experiment))
        results = replace(results, judgements=(*results.judgements, failed))
    return completed(results)


def _of_error(error: ExportFailedError, experiment: Experiment) -> Verdict:
    """Return the verdict on an export that did not end, with a line of the checkout."""
    defined_at = site_within(experiment.candidate.defined_at, experiment.checkout)
    return located(with_relative_site(error.verdict, experiment.checkout), defined_at)


def _judge_costs(gate: Gate, directory: Path, on_step: OnStep) -> tuple[Verdict, ...]:
    """Judge the candidate's costs by the baseline; an error of the exporter is a failure."""
    experiment, baseline = gate.experiment, gate.baseline
    if baseline is None:
        return (without_baseline(experiment.candidate.name),)
    try:
        found = count_costs(experiment.candidate, directory)
    except ExportFailedError as error:
        return (_of_error(error, experiment),)
    # The program that counts a revision needs the harness's own environment.
    is_elsewhere = gate.race is not None and gate.race.python != sys.executable
    if gate.race is None or is_elsewhere or accepts_versions_of(baseline, found):
        return judge_costs(found, baseline)
    # Work counts of other versions of SQLite or Python cannot be compared with the baseline's.
    race = gate.race
    on_step(f"counting the costs of {race.base.name}, as the baseline lacks these versions")
    try:
        base = count_revision(race.base, race.reference, race.python, directory / "base-costs")
    except RevisionCostsError as error:
        return tuple(
            replace(each, evidence=(*each.evidence, str(error)))
            if each.outcome is Outcome.INCONCLUSIVE
            else each
            for each in judge_costs(found, baseline)
        )
    return judge_costs(found, baseline, base)


def _check(gate: Gate, directory: Path, on_step: OnStep) -> Iterator[Judgement]:
    """Yield the judgements of all checks, with sites relative to the checkout."""
    candidate, checkout = gate.experiment.candidate, gate.experiment.checkout
    defined_at = site_within(candidate.defined_at, checkout)
    with prepare_checks() as setup:
        found = sorted(
            run_selection(
                candidate,
                setup,
                gate.selection,
                declared=gate.declared,
                limits=gate.limits,
                on_step=lambda check: on_step(f"checking: {check}"),
            ),
            key=by_gravity,
        )
    for each in found:
        verdict = located(with_relative_site(each.verdict, checkout), defined_at)
        yield Judgement.of_check(verdict, is_cost=is_about_cost(each))


def _raced(results: Results, race: Race | None, directory: Path, on_step: OnStep) -> Results:
    """Return the results with the race against the base revision, if there is one."""
    if race is None:
        return results
    expected = f"not slower than {race.base.name}"

    def not_raced(outcome: Outcome, why: str, next_step: str = "") -> Results:
        verdict = Verdict("speed", outcome, expected, f"not raced: {why}", next_step=next_step)
        return replace(results, judgements=(*results.judgements, Judgement(Topic.SPEED, verdict)))

    if not _exported(results):
        return not_raced(Outcome.SKIPPED, "the export did nothing or ended in an error")

    def tell(pairing: Pairing, limit: int) -> None:
        on_step(f"racing {race.base.name}: {pairing.wall.ratio:.3f} after {pairing.rounds}")

    try:
        pairing = run_race(race, directory, tell)
    except ExportFailedError as error:
        # The change that is judged did not make the base fail or need minutes.
        if error.verdict.subject != race.probe(race.base, "base").label:
            raise
        why = f"{error.verdict.subject}: {error.verdict.seen}"
        return not_raced(Outcome.INCONCLUSIVE, why, "a base whose export ends, or fewer --rows")
    judgement = Judgement(Topic.SPEED, pairing.verdict())
    return replace(results, pairing=pairing, judgements=(*results.judgements, judgement))
