"""Shapes of generated runs (features and axes): how many runs hold a shape, and a pair of shapes.

As a pytest plugin it collects the shapes of the runs that the property tests of a session try, and
prints the counts at the end of the session.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from sqlalchemy import text

from elspeth.core.landscape.database import LandscapeDB
from harness.generate.features import FEATURES, Feature
from harness.generate.spec import AXES, RunSpec

_NOT_A_SHAPE = ("rows", "parents", "nodes", "neighbour_rows")
"""Axes whose value alone makes no difference in the kind of records."""
_SHAPE_AXES = [each for name, each in AXES.items() if name not in _NOT_A_SHAPE]
_PHYSICAL_PLACE = {"sqlite": "rowid", "postgresql": "ctid"}

SUMMARIES: Mapping[str, str] = {each.name: each.summary for each in _SHAPE_AXES} | {
    each.name: each.summary for each in FEATURES.values() if not each.corrupt
}
"""What each shape is that an export has to contain, by its name."""


def shapes_of(spec: RunSpec) -> frozenset[str]:
    """The features of a spec, and its axes above their minimum."""
    grown = (each.name for each in _SHAPE_AXES if getattr(spec, each.name) > each.minimum)
    return spec.features.union(grown)


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

    @property
    def pairs_never(self) -> list[frozenset[str]]:
        """The possible pairs of shapes that no run holds."""
        return [pair for pair, runs in self.pairs.items() if not runs]

    def __str__(self) -> str:
        """One line: what the runs hold, and the rarest shape."""
        held = len(self.shapes) - len(self.never)
        pairs = len(self.pairs) - len(self.pairs_never)
        rarest = min(self.shapes, key=lambda name: self.shapes[name])
        return (
            f"{self.runs} runs: {held} of {len(self.shapes)} shapes, "
            f"{pairs} of {len(self.pairs)} pairs; rarest {rarest} ({self.shapes[rarest]})"
        )


def shape_coverage(runs: Iterable[frozenset[str]]) -> ShapeCoverage:
    """Count over the shapes of each run. All known shapes and possible pairs are listed."""
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
    """Draw specs as a property test of so many examples would, the same ones every time."""
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
    """Return the features that a stored run shows, whether it was generated or not.

    It sends one query over the whole run for each feature, so the run should be small.
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
    """Yield one line for each shape, a matrix of the pairs by the numbers of shapes, and a sum."""
    name_width = max(map(len, found.shapes))
    yield f" no  {'shape':{name_width}}  runs  summary"
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


_RUNS = pytest.StashKey[list[frozenset[str]]]()
_OUTPUT = "shapes"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RUNS] = []


@pytest.fixture(scope="session")
def exercise(pytestconfig: pytest.Config) -> Callable[[RunSpec], None]:
    """A function to call with each spec whose run a property test tries."""
    runs = pytestconfig.stash[_RUNS]
    return lambda spec: runs.append(shapes_of(spec))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send what this process has collected to the controller, when pytest-xdist runs several."""
    if hasattr(session.config, "workeroutput"):
        runs = session.config.stash[_RUNS]
        session.config.workeroutput[_OUTPUT] = [sorted(shapes) for shapes in runs]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Receive what another process has collected. A process that crashed sends nothing."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    seen = getattr(node, "workeroutput", {}).get(_OUTPUT, [])
    config.stash[_RUNS] += map(frozenset, seen)


def pytest_terminal_summary(
    terminalreporter: "pytest.TerminalReporter", config: pytest.Config
) -> None:
    runs = config.stash[_RUNS]
    if runs and not hasattr(config, "workerinput"):
        terminalreporter.section("shapes of the runs of property tests")
        coverage = shape_coverage(runs)
        lines = coverage_lines(coverage) if config.get_verbosity() > 0 else [str(coverage)]
        for line in lines:
            terminalreporter.write_line(line)
