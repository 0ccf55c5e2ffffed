"""Costing: the exact counts of a candidate's exports of a few sizes, as a baseline keeps them."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.output.atomic import new_file
from harness import packaged
from harness.bench.environment import describe_environment
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask, Observation
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.trend import trend
from querygrowth.verdict import Outcome, Verdict, judge
from querygrowth.work import BRANCHES, VM_STEPS

# Baseline: what exports of a few sizes were accepted to cost, in exact counts, shape by shape.


DEFAULT_BASELINE = packaged.BASELINE
BASELINE_FORMAT = 1

_ACCEPT = "if it is meant: harness baseline --update, and say why in the commit"
_TIGHTEN = "tighten it: harness baseline --update"


class BaselineError(ValueError):
    """The baseline is missing or cannot be used."""


@dataclass(frozen=True)
class ShapeCost:
    """How often one shape was sent at each size."""

    table: str
    text: str
    counts: tuple[int, ...]
    slope: float

    @classmethod
    def of(cls, table: str, text: str, counts: Sequence[int], rows: Sequence[int]) -> "ShapeCost":
        """A shape with the slope of its counts: further queries for each further row."""
        return cls(table, text, tuple(counts), round(trend(rows, counts).slope, 6))


@dataclass(frozen=True)
class Costs:
    """What one export cost at each size of run, `rows` source rows each.

    `work` holds deterministic counts by name, under the versions they depend on
    (`Environment.software`): they can be compared under the same versions only.
    """

    rows: tuple[int, ...]
    shapes: tuple[ShapeCost, ...]
    rows_fetched: tuple[int, ...] | None
    work: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    format: int = BASELINE_FORMAT


def judge_costs(found: Costs, baseline: Costs) -> tuple[Verdict, ...]:
    """Judge costs by the baseline: any rise fails, a fall passes and asks to tighten it.

    Raises BaselineError when the two are about different sizes.
    """
    if found.rows != baseline.rows:
        raise BaselineError(
            f"the baseline is about {_numbers(baseline.rows)} rows, not {_numbers(found.rows)}: "
            "harness baseline --update"
        )
    return (
        _judge_queries(found, baseline),
        *_judge_fetched(found, baseline),
        *_judge_work(found, baseline),
    )


def merged(found: Costs, earlier: Costs | None) -> Costs:
    """Costs to accept: what was found, and the work that was accepted under other versions."""
    if earlier is None or earlier.rows != found.rows:
        return found
    return replace(found, work={**earlier.work, **found.work})


def load_baseline(path: Path) -> Costs:
    """Read an accepted baseline; BaselineError, in one line, if there is none to use."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a whole JSON document"
        raise BaselineError(f"no baseline in {path}: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != BASELINE_FORMAT:
        raise BaselineError(f"{path} is no baseline of format {BASELINE_FORMAT}")
    try:
        costs = _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BaselineError(f"no baseline in {path}: {where}: {first['msg']}") from error
    if not costs.shapes:
        raise BaselineError(f"{path} accepts no query at all: it was made from nothing")
    return costs


def save_baseline(costs: Costs, path: Path) -> None:
    """Write a baseline, as a diff can be read: one value a line."""
    with new_file(path) as file:
        file.write(_adapter().dump_json(costs, indent=1) + b"\n")


def _judge_queries(found: Costs, baseline: Costs) -> Verdict:
    """Shapes are matched by their text; those without a match, together, by their table."""
    shared = {each.text for each in found.shapes} & {each.text for each in baseline.shapes}
    now, before = (_grouped(each.shapes, shared) for each in (found, baseline))
    nothing = (0,) * len(found.rows)
    risen = [name for name, counts in now.items() if _is_above(counts, before.get(name, nothing))]
    total, accepted = _total(found), _total(baseline)
    verdict = judge(
        "queries",
        not risen,
        expected=f"at most {_numbers(accepted)} at {_numbers(found.rows)} rows, shape by shape",
        seen=f"{_numbers(total)}, above the baseline" if risen else _numbers(total),
        evidence=[
            f"{name}: {_numbers(before.get(name, nothing))} accepted, {_numbers(now[name])} found"
            for name in risen
        ],
        next_step=_ACCEPT,
    )
    return replace(verdict, next_step=_TIGHTEN) if not risen and now != before else verdict


def _judge_amounts(
    what: str, found: Sequence[int], accepted: Sequence[int], rows: Sequence[int]
) -> Verdict:
    risen = _is_above(found, accepted)
    verdict = judge(
        what,
        not risen,
        expected=f"at most {_numbers(accepted)} at {_numbers(rows)} rows",
        seen=f"{_numbers(found)}, above the baseline" if risen else _numbers(found),
        next_step=_ACCEPT,
    )
    fallen = not risen and tuple(found) != tuple(accepted)
    return replace(verdict, next_step=_TIGHTEN) if fallen else verdict


def _judge_fetched(found: Costs, baseline: Costs) -> Iterator[Verdict]:
    if found.rows_fetched is not None and baseline.rows_fetched is not None:
        yield _judge_amounts("rows fetched", found.rows_fetched, baseline.rows_fetched, found.rows)


def _judge_work(found: Costs, baseline: Costs) -> Iterator[Verdict]:
    for software, counted in found.work.items():
        accepted = baseline.work.get(software, {})
        for name, counts in counted.items():
            if name in accepted:
                yield _judge_amounts(name, counts, accepted[name], found.rows)
            else:
                known = ", ".join(baseline.work) or "no versions"
                seen = f"{_numbers(counts)}; the baseline knows {known}"
                yield Verdict(name, Outcome.SKIPPED, f"a baseline under {software}", seen)


def _grouped(shapes: Sequence[ShapeCost], shared: Collection[str]) -> dict[str, tuple[int, ...]]:
    groups: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for each in shapes:
        name = (
            f"{each.table}: {each.text}" if each.text in shared else f"{each.table}, other shapes"
        )
        groups[name].append(each.counts)
    return {name: tuple(map(sum, zip(*counts, strict=True))) for name, counts in groups.items()}


def _total(costs: Costs) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(each.counts for each in costs.shapes), strict=True)))


def _is_above(counts: Sequence[int], limits: Sequence[int]) -> bool:
    return any(count > limit for count, limit in zip(counts, limits, strict=True))


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)


@cache
def _adapter() -> TypeAdapter[Costs]:
    return TypeAdapter(Costs)


ROWS = (10, 30, 100)
"""Small, because every branch of Python is counted; what grows faster than the run still shows."""


def cost(candidate: Measured, directory: Path) -> Costs:
    """Count the exports of the baseline's runs, whose databases go into `directory`."""
    observed: list[Observation] = []
    branches: list[int | None] = []
    for rows in ROWS:
        with LandscapeDB(f"sqlite:///{directory / f'costs-{rows}.db'}") as db:
            run = generate_run(db, RunSpec.typical(rows))
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            observed.append(candidate.observe(task))
            branches.append(candidate.count_branches(task))
            software = describe_environment(db, directory).software
    work = {VM_STEPS: [each.activity.work.get(VM_STEPS) for each in observed], BRANCHES: branches}
    known = {name: counts for name, each in work.items() if (counts := _all_known(each))}
    return Costs(
        ROWS,
        _shape_costs(observed),
        _all_known([each.activity.rows_fetched for each in observed]),
        {software: known} if known else {},
    )


def _shape_costs(observed: Sequence[Observation]) -> tuple[ShapeCost, ...]:
    counts = [
        Counter({(sent.shape.table, sent.shape.text): sent.count for sent in each.activity.shapes})
        for each in observed
    ]
    names = sorted({name for each in counts for name in each})
    return tuple(
        ShapeCost.of(table, text, [each[table, text] for each in counts], ROWS)
        for table, text in names
    )


def _all_known(counts: Sequence[int | None]) -> tuple[int, ...] | None:
    known = tuple(each for each in counts if each is not None)
    return known if len(known) == len(counts) else None
