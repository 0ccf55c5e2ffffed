"""Search runs of all kinds for one that a candidate exports with other bytes than the control.

Hypothesis draws the runs from all axes and features. They are the same runs in every search, so
that one database and one export of the control serve all candidates.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from harness.checks.cases import Case
from harness.compare.exports import Comparison
from harness.generate.features import FEATURES
from harness.generate.spec import AXES, ImpossibleSpecError, RunSpec
from harness.generate.strategies import run_specs, tables_elsewhere
from querygrowth.verdict import Verdict, judge

EXAMPLES = 60
"""The number of runs that a search compares."""

_RUNS_PER_DATABASE = 15
_SHORT = "short_ids"
# A simpler run is worth some seconds, and no more: the first one is evidence enough.
_MAX_TRIES = 60


@cache
def drawn_specs() -> tuple[RunSpec, ...]:
    """Return the specs that a search compares on SQLite, the same ones in every process."""
    drawn: list[RunSpec] = []

    # Generation alone, and no database of examples: nothing may depend on earlier searches.
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(run_specs(max_rows=5))
    def draw(spec: RunSpec) -> None:
        drawn.append(replace(spec, run_id=f"drawn_{len(drawn)}", seed=len(drawn)))

    with tables_elsewhere():
        draw()
    # A new feature or axis changes what is drawn, and must not take another one out of the search.
    held = frozenset().union(*(spec.features for spec in drawn))
    for name, feature in FEATURES.items():
        if name not in held and not feature.corrupt and not feature.alone:
            number = len(drawn)
            spec = RunSpec.typical(10, run_id=f"drawn_{number}", seed=number)
            least = {axis: max(getattr(spec, axis), size) for axis, size in feature.needs.items()}
            drawn.append(replace(spec, **least, features=frozenset((name,))))
    return tuple(drawn)


def search_cases() -> Iterator[Case]:
    """Yield the cases of a search. Several runs share a database."""
    groups: list[list[RunSpec]] = [[]]
    for spec in drawn_specs():
        # The first ids of `short_ids` are the same in all runs, and a database takes an id once.
        is_second = _SHORT in spec.features and any(_SHORT in each.features for each in groups[-1])
        if is_second or len(groups[-1]) == _RUNS_PER_DATABASE:
            groups.append([])
        groups[-1].append(spec)
    for together in map(tuple, groups):
        yield from (Case(spec, spec.run_id, beside=together) for spec in together)


def search_differences(subject: str, compare: Callable[[Case], Comparison]) -> Verdict:
    """Compare drawn runs up to the first difference, and look for a simpler run that shows it.

    Args:
        subject: The name of the candidate.
        compare: Compares the candidate's export of a case with the control's.
    """
    for case in search_cases():
        if not compare(case).identical:
            simplest = simplest_difference(case, compare)
            verdict = compare(simplest).verdict()
            return replace(
                verdict,
                seen=f"{verdict.seen} (found by a search)",
                evidence=(f"the run {simplest.spec!r}", *verdict.evidence),
            )
    return judge(
        subject,
        True,
        expected="the export of the control, to the byte, for any run",
        seen=f"the same exports to the byte: {len(drawn_specs())} runs of a search",
    )


def simplest_difference(case: Case, compare: Callable[[Case], Comparison]) -> Case:
    """Return a case with fewer features and smaller axes whose exports still differ.

    Args:
        case: A case whose exports differ.
        compare: Compares the candidate's export of a case with the control's.
    """
    alone = Case(case.spec, case.spec.run_id)
    tries = iter(range(_MAX_TRIES))
    # A difference that needs the other runs of the database has no simpler case.
    if compare(alone).identical:
        return case
    progress = True
    while progress:
        progress = False
        for simplify in _simplifications(alone.spec):
            try:
                spec = simplify(alone.spec)
            except ImpossibleSpecError:
                continue
            if spec == alone.spec:
                continue
            if next(tries, None) is None:
                return alone
            if not compare(Case(spec, spec.run_id)).identical:
                alone, progress = Case(spec, spec.run_id), True
    return alone


def _simplifications(spec: RunSpec) -> Iterator[Callable[[RunSpec], RunSpec]]:
    """Yield functions that each make one thing of a spec simpler, the greatest first."""

    def without(name: str) -> Callable[[RunSpec], RunSpec]:
        return lambda spec: replace(spec, features=spec.features - {name})

    def lowered(name: str, to: Callable[[int], int]) -> Callable[[RunSpec], RunSpec]:
        def lower(spec: RunSpec) -> RunSpec:
            change: dict[str, Any] = {name: to(getattr(spec, name))}
            return replace(spec, **change)

        return lower

    yield lambda spec: replace(spec, features=frozenset())
    yield from (without(name) for name in sorted(spec.features))
    yield lambda spec: replace(spec, lineage_in_turn=False, seed=0)
    for name, axis in AXES.items():
        # The least value first, then one less: a search draws small values only.
        yield lowered(name, partial(min, axis.minimum))
        yield lowered(name, lambda value: value - 1)
