"""Coverage: which shapes a run holds, and how often each, and each pair, was exercised."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from sqlalchemy import text

from elspeth.core.landscape.database import LandscapeDB
from harness.generate.features import FEATURES, Feature
from harness.generate.spec import AXES, RunSpec

_PHYSICAL_PLACE = {"sqlite": "rowid", "postgresql": "ctid"}

SUMMARIES: Mapping[str, str] = {
    each.name: each.summary for each in AXES.values() if each.is_shape
} | {each.name: each.summary for each in FEATURES.values() if not each.corrupt}
"""What each shape is that an export has to carry, by its name."""


@dataclass(frozen=True)
class ShapeCoverage:
    """How many of some runs hold each shape, and each pair of shapes."""

    runs: int
    shapes: Mapping[str, int]
    pairs: Mapping[frozenset[str], int]

    @property
    def never(self) -> list[str]:
        """The shapes that no run holds."""
        return [name for name, runs in self.shapes.items() if not runs]

    def __str__(self) -> str:
        """Tell in a line what the runs reached, and what they reached least."""
        held = len(self.shapes) - len(self.never)
        pairs = len(self.pairs) - len(self.pairs_never)
        rarest = min(self.shapes, key=lambda name: self.shapes[name])
        return (
            f"{self.runs} runs: {held} of {len(self.shapes)} shapes, "
            f"{pairs} of {len(self.pairs)} pairs; rarest {rarest} ({self.shapes[rarest]})"
        )

    @property
    def pairs_never(self) -> list[frozenset[str]]:
        """The pairs of shapes that no run holds, though a run can."""
        return [pair for pair, runs in self.pairs.items() if not runs]


def shape_coverage(runs: Iterable[frozenset[str]]) -> ShapeCoverage:
    """Count over the shapes that each run holds; every known shape and possible pair is listed."""
    held = list(runs)
    single = Counter(name for shapes in held for name in shapes)
    paired = Counter(frozenset(pair) for shapes in held for pair in combinations(sorted(shapes), 2))
    return ShapeCoverage(
        runs=len(held),
        shapes={name: single[name] for name in SUMMARIES},
        pairs={pair: paired[pair] for pair in _possible_pairs()},
    )


def _possible_pairs() -> list[frozenset[str]]:
    return [
        frozenset(pair)
        for pair in combinations(SUMMARIES, 2)
        if not any(name in FEATURES and FEATURES[name].excludes & set(pair) for name in pair)
    ]


def drawn_specs(specs: SearchStrategy[RunSpec], examples: int) -> list[RunSpec]:
    """Draw the same specs every time, as a property test of so many examples would."""
    drawn: list[RunSpec] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(specs)
    def draw(spec: RunSpec) -> None:
        drawn.append(spec)

    draw()
    return drawn


def held_features(db: LandscapeDB, run_id: str) -> frozenset[str]:
    """Look in a stored run, generated or not, for the evidence of each feature.

    A query for each feature over the whole run: for small ones.
    """
    backend = db.engine.dialect.name
    with db.connection() as connection:
        return frozenset(
            each.name
            for each in FEATURES.values()
            if (each.portable or backend == "sqlite")
            and connection.execute(text(_evidence(each, backend)), {"run_id": run_id}).first()
        )


def _evidence(feature: Feature, backend: str) -> str:
    return feature.evidence.replace("{physical_place}", _PHYSICAL_PLACE[backend])


def coverage_lines(found: ShapeCoverage) -> Iterator[str]:
    """Write each shape on a line, then each pair in a matrix by the shapes' numbers, then a sum."""
    name_width = max(map(len, found.shapes))
    yield f" no  {'shape':{name_width}}  runs  what it is"
    for number, (name, runs) in enumerate(found.shapes.items(), start=1):
        yield f"{number:3}  {name:{name_width}}  {runs:4}  {SUMMARIES[name]}"
    yield ""
    yield "Runs that hold both; - where one hides the other:"
    yield from _matrix(found)
    yield ""
    yield str(found)
    yield from (f"never: {name}" for name in found.never)


def _matrix(found: ShapeCoverage) -> Iterator[str]:
    names = list(found.shapes)
    width = 1 + max(len(str(number)) for number in (len(names), *found.pairs.values()))
    yield "   " + "".join(f"{number:{width}}" for number in range(1, len(names)))
    for place, name in enumerate(names[1:], start=1):
        runs = (found.pairs.get(frozenset((name, other)), "-") for other in names[:place])
        yield f"{place + 1:3}" + "".join(f"{count:>{width}}" for count in runs)
