"""The baseline: the accepted exact counts of exports of three small runs, shape by shape."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

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

DEFAULT_BASELINE = packaged.BASELINE
BASELINE_FORMAT = 1

ROWS = (10, 30, 100)
"""The source rows of the runs."""
# Small, as counting Python's branches makes an export many times slower. Growth shows all the same.

_ACCEPT = "if it is intended: harness baseline --update, and say why in the commit"
_TIGHTEN = "tighten the baseline: harness baseline --update"


class BaselineError(ValueError):
    """The baseline is missing or cannot be used."""


@dataclass(frozen=True)
class ShapeCost:
    """How often one shape was sent at each size. `slope` is queries per further row."""

    table: str
    text: str
    counts: tuple[int, ...]
    slope: float

    @classmethod
    def of(cls, table: str, text: str, counts: Sequence[int], rows: Sequence[int]) -> "ShapeCost":
        """Build one, with the slope of its counts over the rows."""
        return cls(table, text, tuple(counts), round(trend(rows, counts).slope, 6))


@dataclass(frozen=True)
class Costs:
    """Exact counts of one exporter at each size of run.

    `rows` are the source rows of the sizes. `work` holds counts by name, under the versions that
    they depend on (`Environment.software`).
    """

    rows: tuple[int, ...]
    shapes: tuple[ShapeCost, ...]
    rows_fetched: tuple[int, ...] | None
    work: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)


# The file is a contract of models apart from the dataclasses, so that a change of those cannot
# change an accepted baseline by accident.
class _SavedShape(BaseModel):
    """One shape in baseline.json."""

    model_config = ConfigDict(from_attributes=True, allow_inf_nan=False)

    table: str
    text: str
    counts: tuple[int, ...]
    slope: float


class _SavedBaseline(BaseModel):
    """The schema of baseline.json."""

    model_config = ConfigDict(from_attributes=True)

    rows: tuple[int, ...]
    shapes: tuple[_SavedShape, ...]
    rows_fetched: tuple[int, ...] | None
    work: Mapping[str, Mapping[str, tuple[int, ...]]] = {}
    format: Literal[1] = 1


def count_costs(candidate: Measured, directory: Path) -> Costs:
    """Count exports of runs of ROWS rows; their databases go into `directory`."""
    observed: list[Observation] = []
    branches: list[int | None] = []
    for rows in ROWS:
        with LandscapeDB(f"sqlite:///{directory / f'costs-{rows}.db'}") as db:
            run = generate_run(db, RunSpec.typical(rows))
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            observed.append(candidate.observe(task))
            branches.append(candidate.count_branches(task))
            software = describe_environment(db, directory).software
    steps = [each.activity.work.get(VM_STEPS) for each in observed]
    work = {VM_STEPS: _all_known(steps), BRANCHES: _all_known(branches)}
    # A count that is missing at one size (another process, PostgreSQL) cannot be compared.
    known = {name: counts for name, counts in work.items() if counts}
    return Costs(
        ROWS,
        _shape_costs(observed),
        _all_known([each.activity.rows_fetched for each in observed]),
        {software: known} if known else {},
    )


def judge_costs(found: Costs, baseline: Costs) -> tuple[Verdict, ...]:
    """Judge costs by the baseline: a rise fails, a fall passes with advice to tighten it.

    Raises:
        BaselineError: The two are about runs of different sizes.
    """
    # A rise by one fails: the counts are exact, so there is no noise to allow for.
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
    """The costs to accept: the found ones, and the work accepted earlier under other versions."""
    # A developer has one pair of versions. The counts that CI compares under others must stay.
    if earlier is None or earlier.rows != found.rows:
        return found
    return replace(found, work={**earlier.work, **found.work})


def load_baseline(path: Path) -> Costs:
    """Read an accepted baseline.

    Raises:
        BaselineError: The file is missing, damaged, of another format, or accepts no query at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not a whole JSON document"
        raise BaselineError(f"no baseline in {path}: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != BASELINE_FORMAT:
        raise BaselineError(f"{path} is not a baseline of format {BASELINE_FORMAT}")
    try:
        saved = _SavedBaseline.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BaselineError(f"no baseline in {path}: {where}: {first['msg']}") from error
    if not saved.shapes:
        # It would accept an exporter that does nothing.
        raise BaselineError(f"{path} accepts no query at all")
    shapes = tuple(ShapeCost(**each.model_dump()) for each in saved.shapes)
    return Costs(saved.rows, shapes, saved.rows_fetched, saved.work)


def save_baseline(costs: Costs, path: Path) -> None:
    """Write a baseline with one value a line, so that a diff can be read."""
    saved = _SavedBaseline.model_validate(costs)
    with new_file(path) as file:
        file.write(saved.model_dump_json(indent=1).encode() + b"\n")


def _judge_queries(found: Costs, baseline: Costs) -> Verdict:
    # Shapes are matched by their text, and those without a match, together, by their table: a
    # statement that is only written differently passes, and one more query on its table fails.
    # Not in total: a rise in one shape must not be offset by a fall in another.
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


def _judge_counts(
    subject: str, found: Sequence[int], accepted: Sequence[int], rows: Sequence[int]
) -> Verdict:
    risen = _is_above(found, accepted)
    verdict = judge(
        subject,
        not risen,
        expected=f"at most {_numbers(accepted)} at {_numbers(rows)} rows",
        seen=f"{_numbers(found)}, above the baseline" if risen else _numbers(found),
        next_step=_ACCEPT,
    )
    fallen = not risen and tuple(found) != tuple(accepted)
    return replace(verdict, next_step=_TIGHTEN) if fallen else verdict


def _judge_fetched(found: Costs, baseline: Costs) -> Iterator[Verdict]:
    if found.rows_fetched is not None and baseline.rows_fetched is not None:
        yield _judge_counts("rows fetched", found.rows_fetched, baseline.rows_fetched, found.rows)


def _judge_work(found: Costs, baseline: Costs) -> Iterator[Verdict]:
    for software, counted in found.work.items():
        accepted = baseline.work.get(software, {})
        for name, counts in counted.items():
            if name in accepted:
                yield _judge_counts(name, counts, accepted[name], found.rows)
            else:
                # Skipped and not failed: a new version of Python or SQLite is not a regression.
                known = ", ".join(baseline.work) or "no versions"
                seen = f"{_numbers(counts)}; the baseline knows {known}"
                yield Verdict(name, Outcome.SKIPPED, f"a baseline under {software}", seen)


def _grouped(shapes: Sequence[ShapeCost], shared: Collection[str]) -> dict[str, tuple[int, ...]]:
    groups: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for each in shapes:
        name = each.text if each.text in shared else "other shapes"
        groups[f"{each.table}: {name}"].append(each.counts)
    return {name: tuple(map(sum, zip(*counts, strict=True))) for name, counts in groups.items()}


def _total(costs: Costs) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(each.counts for each in costs.shapes), strict=True)))


def _is_above(counts: Sequence[int], limits: Sequence[int]) -> bool:
    return any(count > limit for count, limit in zip(counts, limits, strict=True))


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)


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
