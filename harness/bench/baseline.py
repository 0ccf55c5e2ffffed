"""The baseline: the accepted exact counts of exports of three small runs, shape by shape."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.output.atomic import new_file
from harness import packaged
from harness.bench.environment import describe_environment
from harness.bench.targets import nearest_word
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask, Observation
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.counting.work import BRANCHES, VM_STEPS
from querygrowth.growth.trend import trend
from querygrowth.reports import visible
from querygrowth.verdict import Outcome, Verdict, judge

DEFAULT_BASELINE = packaged.BASELINE
BASELINE_FORMAT = 1

ROWS = (10, 30, 100)
"""The source rows of the runs."""
# Small, as counting Python's branches makes an export many times slower. Growth shows all the same.

_SOFTWARE = r"SQLite \d+(\.\d+)+, CPython \d+\.\d+"
"""The form of `Environment.software` for the runs of a baseline, which are in SQLite."""
_WORK = (VM_STEPS, BRANCHES)
_ACCEPT = "if it is intended: harness baseline --update, and say why in the commit"
_TO_JUDGE = "harness gate --base measures both revisions; harness baseline --update accepts"
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
Count = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]
Counts = tuple[Count, ...]


class _SavedShape(BaseModel):
    """One shape in baseline.json."""

    model_config = ConfigDict(from_attributes=True, extra="forbid", allow_inf_nan=False)

    table: str
    text: str
    counts: Counts
    slope: float


class _SavedBaseline(BaseModel):
    """The schema of baseline.json."""

    # Every mistake is refused: a count under a misspelt name would never be judged, and a shape
    # that is given twice would raise its limit.
    model_config = ConfigDict(from_attributes=True, extra="forbid")

    rows: Annotated[
        tuple[Annotated[StrictInt, Field(ge=1, le=2**63 - 1)], ...], Field(min_length=2)
    ]
    shapes: tuple[_SavedShape, ...]
    rows_fetched: Counts | None
    work: Mapping[str, Mapping[str, Counts]] = {}
    format: Literal[1] = 1

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        if list(self.rows) != sorted(set(self.rows)):
            raise ValueError(f"rows: {_numbers(self.rows)} do not ascend")
        for shape in self.shapes:
            _check_length(f"the shape {shape.text!r}", shape.counts, self.rows)
        named = Counter((each.table, each.text) for each in self.shapes)
        if repeated := [text for (_, text), times in named.items() if times > 1]:
            raise ValueError(f"the shape {repeated[0]!r} is given more than once")
        if self.rows_fetched is not None:
            _check_length("rows_fetched", self.rows_fetched, self.rows)
        for software, counted in self.work.items():
            if not re.fullmatch(_SOFTWARE, software):
                raise ValueError(f"work: {software!r} is not like 'SQLite 3.40.1, CPython 3.11'")
            for name, counts in counted.items():
                if name not in _WORK:
                    raise ValueError(f"work: unknown name {name!r}{nearest_word(name, _WORK)}")
                _check_length(f"work: {name} under {software}", counts, self.rows)
        return self


def _check_length(what: str, counts: Sequence[int], rows: Sequence[int]) -> None:
    if len(counts) != len(rows):
        raise ValueError(
            f"{what} has {len(counts)} counts, expected {len(rows)}, one for each size"
        )


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


def judge_costs(found: Costs, baseline: Costs, base: Costs | None = None) -> tuple[Verdict, ...]:
    """Judge costs by the baseline: a rise fails, a fall passes with advice to tighten it.

    A count that nothing accepted, or that was not measured, is inconclusive.

    Args:
        found: The costs of the candidate.
        baseline: The accepted costs.
        base: The costs of the base revision in the same job. They judge work under versions of
            SQLite and Python that the baseline does not have.

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
        _judge_fetched(found, baseline),
        *_judge_work(found, baseline, base),
    )


NO_BASELINE = "no baseline"
"""The kind of the verdict that stands for those on costs where nobody has accepted any."""


def without_baseline(name: str) -> Verdict:
    """Return the verdict on an exporter of another checkout that has no baseline.

    The accepted costs that come with the harness are those of its own exporter.

    Args:
        name: The exporter's name.
    """
    return Verdict(
        name,
        Outcome.SKIPPED,
        expected="costs that were accepted for this exporter",
        seen="judged without a baseline: the one of the harness is about its own exporter",
        next_step="harness baseline --update --file FILE with the same --src and --python, then "
        "gate --baseline FILE",
        kind=NO_BASELINE,
    )


def accepts_versions_of(baseline: Costs, found: Costs) -> bool:
    """Whether the baseline has every work count of the found costs, under the same versions."""
    return all(
        name in baseline.work.get(software, {})
        for software, counted in found.work.items()
        for name in counted
    )


def merged(found: Costs, earlier: Costs | None) -> Costs:
    """The costs to accept: the found ones, and those accepted earlier that were not found now."""
    # A developer has one pair of versions, and a candidate in another process or without source
    # has no work counts. The counts that CI compares must stay.
    if earlier is None or earlier.rows != found.rows:
        return found
    software = {**earlier.work, **found.work}
    work = {each: {**earlier.work.get(each, {}), **found.work.get(each, {})} for each in software}
    fetched = earlier.rows_fetched if found.rows_fetched is None else found.rows_fetched
    return replace(found, work=work, rows_fetched=fetched)


def load_baseline(path: Path) -> Costs:
    """Read an accepted baseline.

    Raises:
        BaselineError: The file is missing, damaged, of another format, or accepts no query at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except BaselineError as error:
        raise BaselineError(f"no baseline in {path}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not a whole JSON document"
        raise BaselineError(f"no baseline in {path}: {reason}") from error
    found = content.get("format") if isinstance(content, dict) else None
    # True equals 1 in Python.
    if type(found) is not int or found != BASELINE_FORMAT:
        raise BaselineError(f"{path} is not a baseline of format {BASELINE_FORMAT}")
    try:
        saved = _SavedBaseline.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # The checks of the whole file have no location, and name the place themselves.
        where = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        raise BaselineError(visible(f"no baseline in {path}: {where}{first['msg']}")) from error
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


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    # Of two equal keys, json keeps the last one, and the first would not be judged.
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = next(name for name, times in Counter(k for k, _ in pairs).items() if times > 1)
        raise BaselineError(f"the key {repeated!r} is given more than once")
    return content


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


def _judge_fetched(found: Costs, baseline: Costs) -> Verdict:
    if found.rows_fetched is None or baseline.rows_fetched is None:
        accepted = "the baseline has no such count"
        if baseline.rows_fetched is not None:
            accepted = f"at most {_numbers(baseline.rows_fetched)}"
        fetched = "not measured" if found.rows_fetched is None else _numbers(found.rows_fetched)
        return _not_judged("rows fetched", fetched, expected=accepted)
    return _judge_counts("rows fetched", found.rows_fetched, baseline.rows_fetched, found.rows)


def _judge_work(found: Costs, baseline: Costs, base: Costs | None) -> Iterator[Verdict]:
    for software, counted in found.work.items():
        accepted = baseline.work.get(software, {})
        # Measured in the same job, so that the versions and the runs are the same as head's.
        of_base = base.work.get(software, {}) if base and base.rows == found.rows else {}
        for name, counts in counted.items():
            if name in accepted:
                yield _judge_counts(name, counts, accepted[name], found.rows)
            elif name in of_base:
                verdict = _judge_counts(name, counts, of_base[name], found.rows)
                expected = f"{verdict.expected}, as the base revision under {software}"
                yield replace(verdict, expected=expected)
            else:
                # Not a failure: a new version of Python or SQLite is not a regression.
                known = ", ".join(baseline.work) or "no versions"
                seen = f"{_numbers(counts)}; the baseline knows {known}"
                yield _not_judged(name, seen, expected=f"a baseline under {software}")
    counted_names = {name for counted in found.work.values() for name in counted}
    accepted_names = {name for counted in baseline.work.values() for name in counted}
    for name in (each for each in _WORK if each in accepted_names - counted_names):
        yield _not_judged(name, "not measured", expected="at most the accepted count")


def _not_judged(subject: str, seen: str, *, expected: str) -> Verdict:
    # Inconclusive and not skipped: a ratchet that was not judged must not pass the nightly gate.
    return Verdict(subject, Outcome.INCONCLUSIVE, expected, seen, next_step=_TO_JUDGE)


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
