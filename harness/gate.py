"""Gating: everything that a change to an exporter is put through, gathered into one result."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from elspeth.cli.runtime import ExitCode
from elspeth.core.landscape import LandscapeDB
from harness.bench.baseline import Costs, cost, judge_costs
from harness.bench.experiment import Experiment, OnStep, run_experiment
from harness.bench.paired_ratio import Pairing
from harness.bench.race import Race, run_race
from harness.bench.results import Judgement, Place, Results, Topic
from harness.checks.formulas import attribute_queries
from harness.checks.run import Part as CheckPart
from harness.checks.run import findings, open_ground
from harness.checks.selftest import CorrectExporter, SeededFault, Tried, run_selftest
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.observation import ExportTask, ShapeCount
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.verdict import Outcome, Verdict, judge

# Gate: whether results let a change pass. What was not measured never passes.


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


CHECKED = (
    CheckPart.RECORDS,
    CheckPart.PLAN,
    CheckPart.QUERIES,
    CheckPart.SIZE,
    CheckPart.WORK,
    CheckPart.SNAPSHOT,
)
"""What a pull request is checked for; the rest takes longer and is for the night."""

_TOPICS = MappingProxyType(
    {
        CheckPart.QUERIES: Topic.GROWTH,
        CheckPart.SEARCH: Topic.GROWTH,
        CheckPart.WORK: Topic.GROWTH,
        CheckPart.MEMORY: Topic.GROWTH,
    }
)
"""Where a part of the check is not about equivalence."""

_COUNTING = frozenset(CheckPart) - {CheckPart.RECORDS, CheckPart.PLAN, CheckPart.BACKENDS}
"""What can be asked only of an exporter in this process, or by its name here."""

_IF_MISJUDGED = "what changed in harness/ or fixtures/, or in what these exporters build on"
_SHOWN_CHARACTERS = 150
"""Of a shape, in the evidence of a verdict on growth."""

_STEPS_OF_ITS_OWN = 4


@dataclass(frozen=True)
class SelftestSelection:
    """The exporters that the harness is tried on itself."""

    faults: tuple[SeededFault, ...]
    correct: tuple[CorrectExporter, ...] = ()

    @classmethod
    def short(cls, faults: Sequence[SeededFault]) -> "SelftestSelection":
        """The first fault of each of the quick parts: whether the check works at all."""
        quick = (CheckPart.RECORDS, CheckPart.PLAN, CheckPart.QUERIES)
        first = {part: next((f for f in faults if f.part is part), None) for part in quick}
        return cls(tuple(fault for fault in first.values() if fault is not None))


@dataclass(frozen=True)
class Gating:
    """What to put the candidate of an experiment through; `race` where there is a base."""

    experiment: Experiment
    baseline: Costs
    selftest: SelftestSelection
    parts: tuple[CheckPart, ...] = CHECKED
    race: Race | None = None

    @property
    def steps(self) -> int:
        """How many steps it takes."""
        return self.experiment.steps + len(self.parts) + _STEPS_OF_ITS_OWN + (self.race is not None)


def run_gating(gating: Gating, directory: Path, on_step: OnStep) -> Results:
    """Measure, check, cost, race and self-test, in that order, and judge it all.

    Everything is gone through, also after a failure, so that one report tells of all.
    """
    experiment = gating.experiment
    results = run_experiment(experiment, directory, on_step)
    checked = tuple(_check(gating, results, directory, on_step))
    on_step("counting the costs that the baseline is about")
    costs = judge_costs(cost(experiment.candidate, directory), gating.baseline)
    on_step("finding the formulas of the queries")
    both = (experiment.control, experiment.candidate)
    formulas = attribute_queries({each.name: each for each in both}, directory)
    on_step("trying the check on faulty exporters")
    tried = run_selftest(gating.selftest.faults, gating.selftest.correct)
    judgements = (
        *results.judgements,
        *checked,
        *(Judgement(Topic.BASELINE, each) for each in costs),
        *(Judgement(Topic.SELFTEST, _verdict_on(each)) for each in tried),
    )
    told = {name: str(each.total) for name, each in formulas.items()}
    # One fault can break one limit along many axes, in the same words.
    results = replace(results, judgements=tuple(dict.fromkeys(judgements)), formulas=told)
    return completed(_raced(results, gating.race, directory, on_step))


def _check(
    gating: Gating, results: Results, directory: Path, on_step: OnStep
) -> Iterator[Judgement]:
    """Go through the parts of the check, and point each failure at a line if one is known."""
    candidate = gating.experiment.candidate
    defined_at = Place.of(candidate.defined_at, Path.cwd())
    shapes = results.largest.candidate.observation.shapes
    with open_ground() as ground, LandscapeDB(f"sqlite:///{directory / 'check.db'}") as db:
        run = generate_run(db, RunSpec())
        subject = candidate.subject(ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory))
        for part in gating.parts:
            if part in _COUNTING and not candidate.is_here:
                continue
            on_step(f"checking: {part}")
            for found in findings(subject, ground, parts=(part,)):
                topic = _TOPICS.get(part, Topic.EQUIVALENCE)
                place = _sent_from(found.verdict, shapes) or defined_at
                yield Judgement(topic, found.verdict, place)


def _sent_from(verdict: Verdict, shapes: Sequence[ShapeCount]) -> Place | None:
    """Where the first shape that a verdict's evidence shows is sent from."""
    for shape in sorted(shapes, key=lambda each: -each.count):
        shown = shape.text[:_SHOWN_CHARACTERS]
        if verdict.failed and any(shown in line for line in verdict.evidence):
            return Place.of(shape.site, Path.cwd())
    return None


def _verdict_on(tried: Tried) -> Verdict:
    outcome = Outcome.PASSED if tried.is_fine else Outcome.SKIPPED
    return Verdict(
        subject=f"{tried.exporter.removeprefix('harness.fixtures.')} ({tried.label})",
        outcome=Outcome.FAILED if tried.failed else outcome,
        expected="to be caught under its name" if tried.label != "correct" else "no alarm",
        seen=f"{tried.result}{f' by {tried.part}' if tried.part else ''}",
        evidence=(tried.words,) if tried.words else (),
        next_step=_IF_MISJUDGED if tried.failed else "",
    )


def _raced(results: Results, race: Race | None, directory: Path, on_step: OnStep) -> Results:
    """Add the race against the base revision, if there is one."""
    if race is None:
        return results

    def tell(pairing: Pairing, limit: int) -> None:
        on_step(f"racing {race.base.name}: {pairing.ratio:.3f} after {len(pairing.base.seconds)}")

    pairing = run_race(race, directory, tell)
    judgement = Judgement(Topic.SPEED, pairing.verdict())
    return replace(results, pairing=pairing, judgements=(*results.judgements, judgement))
