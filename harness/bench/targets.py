"""Targets: the agreed numbers of targets.toml, their metrics, and their verdicts.

To add a target, add a `[[target]]` to targets.toml. For a new metric, add it to SIZE_METRICS with
its unit and the keys that can bound it.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from harness import packaged
from harness.bench.measurements import FullMeasurement, Measurements, SizeResult
from harness.generate.spec import ROWS_TO_TAKE_TURNS
from querygrowth.verdict import Outcome, Verdict, judge

DEFAULT_TARGETS = packaged.TARGETS
_MEBIBYTE = 2**20


# Strict, as true would be read as 1. A file of results holds numbers below 1e15.
Word = Annotated[str, Field(pattern=r"\S")]
Number = Annotated[float, Field(strict=True, ge=0, lt=1e15)]
Size = Annotated[int, Field(strict=True, ge=ROWS_TO_TAKE_TURNS)]


class TargetsError(ValueError):
    """The file of targets is missing or cannot be used."""


class Target(BaseModel):
    """One agreed number: its metric, its bound, and the size of run it is judged at."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Word
    title: Word
    metric: str
    unit: str = ""
    exactly: StrictBool | Number | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    rows: Size | None = None
    from_rows: Size | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if sum(each is not None for each in (self.exactly, self.at_least, self.at_most)) != 1:
            raise ValueError("a target has exactly one of: exactly, at_least, at_most")
        if self.rows is not None and self.from_rows is not None:
            raise ValueError("a target is judged at rows or from_rows, not both")
        return self

    @property
    def bound(self) -> str:
        """The agreed number, in words."""
        if self.exactly is not None:
            return self.show(self.exactly)
        if self.at_least is not None:
            return f"at least {self.show(self.at_least)}"
        return f"at most {self.show(self.at_most or 0)}"

    @property
    def size(self) -> str:
        """The size of run that it is judged at, in words."""
        if self.metric in FULL_METRICS:
            return "by bench --full"
        if self.rows is not None:
            return f"at {self.rows:,} rows"
        return "at any size" if self.from_rows is None else f"at {self.from_rows:,} rows or more"

    def show(self, value: float) -> str:
        """Write a value of this metric with its unit."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        # Enough digits that a value just outside its bound looks different from it.
        digits = 0 if float(value).is_integer() or abs(value) >= 100 else 1 + (abs(value) < 10)
        return f"{value:,.{digits}f}{' ' if self.unit not in ('', 'x') else ''}{self.unit}"

    def is_judged_at(self, rows: int) -> bool:
        """Whether a run of this size decides the target."""
        if self.rows is not None:
            return rows == self.rows
        return self.from_rows is None or rows >= self.from_rows

    def is_reached_by(self, value: float) -> bool:
        """Whether a measured value is within the bound."""
        if self.exactly is not None:
            return value == self.exactly
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


@dataclass(frozen=True)
class Metric:
    """One measured value, its unit, and the keys that can bound it.

    Calling it returns the value; None where it was not measured. `is_absolute_time` marks a time or
    a rate that depends on the machine, unlike a ratio of two times of one job.
    """

    value: Callable[[Measurements], float | None]
    unit: str
    bounds: tuple[str, ...]
    is_absolute_time: bool = False

    def __call__(self, measured: Measurements) -> float | None:
        """Return the value."""
        return self.value(measured)


# A bound in the wrong direction would pass whatever was measured.
_MORE_IS_BETTER = ("at_least",)
_LESS_IS_BETTER = ("at_most", "exactly")
_YES = ("exactly = true",)


def _of_candidate(
    value: Callable[[SizeResult], float],
    unit: str = "",
    *,
    bounds: tuple[str, ...],
    is_absolute_time: bool = False,
) -> Metric:
    return Metric(lambda measured: value(measured.largest), unit, bounds, is_absolute_time)


def _of_full(
    value: Callable[[FullMeasurement], float | None],
    unit: str = "x",
    *,
    bounds: tuple[str, ...] = _MORE_IS_BETTER,
) -> Metric:
    return Metric(lambda measured: value(measured.full) if measured.full else None, unit, bounds)


def _against_control(database: str) -> Metric:
    def value(full: FullMeasurement) -> float | None:
        found = full.on(database)
        return found.candidate.times_faster_than(found.control) if found else None

    return _of_full(value)


def _against_maps(database: str) -> Metric:
    def value(full: FullMeasurement) -> float | None:
        found = full.on(database)
        return found.candidate.times_faster_than(found.in_memory_maps) if found else None

    return _of_full(value)


def _two_jobs_against_one(full: FullMeasurement) -> float | None:
    two_jobs = full.large.two_jobs
    return two_jobs.times_faster_than(full.large.one_job) if two_jobs else None


def _two_jobs_against_dump(full: FullMeasurement) -> float | None:
    two_jobs, dump = full.large.two_jobs, full.large.dump
    return two_jobs.times_faster_than(dump) if two_jobs and dump else None


SIZE_METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "queries": _of_candidate(
            lambda size: size.candidate.observation.activity.queries, bounds=_LESS_IS_BETTER
        ),
        "identical": _of_candidate(lambda size: size.comparison.identical, bounds=_YES),
        "speed_up": _of_candidate(lambda size: size.speed_up, "x", bounds=_MORE_IS_BETTER),
        "rows_per_second": _of_candidate(
            lambda size: size.candidate.timing.per_second(size.run.rows),
            bounds=_MORE_IS_BETTER,
            is_absolute_time=True,
        ),
        "peak_mebibytes": _of_candidate(
            lambda size: size.candidate.memory.above_start_bytes / _MEBIBYTE,
            "MiB",
            bounds=_LESS_IS_BETTER,
        ),
        "first_row_milliseconds": _of_candidate(
            lambda size: size.candidate.first_row_seconds * 1000,
            "ms",
            bounds=_LESS_IS_BETTER,
            is_absolute_time=True,
        ),
        "export_minutes": _of_candidate(
            lambda size: size.run.rows / size.candidate.timing.per_second(size.run.rows) / 60,
            "min",
            bounds=_LESS_IS_BETTER,
            is_absolute_time=True,
        ),
    }
)
"""The metrics of the candidate on the largest run, by their names in targets.toml."""

FULL_METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "sqlite_speed_up": _against_control("SQLite"),
        "sqlite_speed_up_over_maps": _against_maps("SQLite"),
        "postgresql_speed_up": _against_control("PostgreSQL"),
        "postgresql_speed_up_over_maps": _against_maps("PostgreSQL"),
        "large_rate_ratio": _of_full(lambda full: full.large.rate_ratio),
        "large_two_jobs_speed_up": _of_full(_two_jobs_against_one),
        "large_two_jobs_against_dump": _of_full(_two_jobs_against_dump),
        "large_first_row_milliseconds": _of_full(
            lambda full: full.large.first_row_seconds * 1000, "ms", bounds=_LESS_IS_BETTER
        ),
        "large_peak_mebibytes": _of_full(
            lambda full: full.large.candidate_memory.above_start_bytes / _MEBIBYTE,
            "MiB",
            bounds=_LESS_IS_BETTER,
        ),
    }
)
"""The metrics that only `bench --full` measures."""

METRICS: Mapping[str, Metric] = MappingProxyType({**SIZE_METRICS, **FULL_METRICS})
"""All metrics of targets."""


def load_targets(path: Path) -> tuple[Target, ...]:
    """Read the targets of a TOML file.

    Raises:
        TargetsError: The file has no target, or one has an unknown key, an unknown metric, a
            bound or a unit that is not its metric's, or an id that another target has. The message
            names the file, the fault, and the nearest known word.
    """
    # A typo must not pass: a target that nothing judges would look like one that is reached.
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: not UTF-8, not TOML, or an integer of thousands of digits.
        reason = getattr(error, "strerror", None) or error
        raise TargetsError(f"no targets in {path}: {reason}") from error
    for key in content:
        if key != "target":
            raise TargetsError(f"{path}: unknown key {key!r}{nearest_word(key, ['target'])}")
    entries = content.get("target")
    if not isinstance(entries, list) or not entries:
        raise TargetsError(f"{path} holds no [[target]]")
    targets = tuple(_read_target(path, number, entry) for number, entry in enumerate(entries, 1))
    for name, times in Counter(each.id for each in targets).items():
        if times > 1:
            raise TargetsError(f"{path}: {times} targets have the id {name!r}")
    return targets


def judge_targets(
    targets: Sequence[Target],
    measured: Measurements,
    metrics: Mapping[str, Metric] = METRICS,
    *,
    judges_times: bool = True,
) -> tuple[Verdict, ...]:
    """Judge every target; one that is not judged at this size, or was not measured, is skipped.

    Without `bench --full` its targets are skipped in one verdict.

    Args:
        targets: The targets, whose metrics are all among `metrics`.
        measured: The measurements to judge.
        metrics: The metrics by their names.
        judges_times: Whether absolute times and rates are judged, and not only shown.
    """
    rows = measured.largest.run.rows
    # One verdict for them all: nine skipped lines would bury the others.
    left = [] if measured.full else [each for each in targets if each.metric in FULL_METRICS]
    verdicts = [
        _recorded(each, metrics[each.metric](measured))
        if metrics[each.metric].is_absolute_time and not judges_times
        else _judge(each, metrics[each.metric](measured), rows)
        for each in targets
        if each not in left
    ]
    if left:
        ids = ", ".join(each.id for each in left)
        seen = "not measured (judged by bench --full)"
        verdicts.append(Verdict(ids, Outcome.SKIPPED, expected="the full measurement", seen=seen))
    return tuple(verdicts)


def _recorded(target: Target, value: float | None) -> Verdict:
    seen = "not measured" if value is None else target.show(value)
    where = f"{seen} (a time of this machine: judged by bench, {target.size})"
    return Verdict(f"{target.id} {target.title}", Outcome.SKIPPED, target.bound, where)


def _judge(target: Target, value: float | None, rows: int) -> Verdict:
    subject = f"{target.id} {target.title}"
    # The number is shown even where it is not judged: it may be far off already.
    if value is None or not target.is_judged_at(rows):
        seen = "not measured" if value is None else target.show(value)
        where = f"{seen} (judged {target.size})"
        return Verdict(subject, Outcome.SKIPPED, expected=target.bound, seen=where)
    return judge(
        subject,
        target.is_reached_by(value),
        expected=target.bound,
        seen=target.show(value),
        next_step=f"requirement {target.id} in docs/design/requirements.md",
    )


def _read_target(path: Path, number: int, entry: object) -> Target:
    where = f"{path}: target {number}"
    try:
        target = Target.model_validate(entry)
    except ValidationError as error:
        # An unknown key first: a misspelt one is reported as missing as well, before that.
        found = error.errors(include_url=False)
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            close = nearest_word(key, Target.model_fields)
            raise TargetsError(f"{where}: unknown key {key!r}{close}") from error
        raise TargetsError(f"{where}: {key or 'target'}: {first['msg']}") from error
    if target.metric not in METRICS:
        close = nearest_word(target.metric, METRICS)
        raise TargetsError(f"{where}: metric: unknown metric {target.metric!r}{close}")
    if target.metric in FULL_METRICS and (target.rows or target.from_rows):
        key = "rows" if target.rows else "from_rows"
        raise TargetsError(f"{where}: {key}: bench --full decides the size of {target.metric}")
    metric = METRICS[target.metric]
    if _bound_key(target) not in metric.bounds or target.at_least == 0:
        allowed = " or ".join(metric.bounds)
        above = ", above 0" if metric.bounds == _MORE_IS_BETTER else ""
        raise TargetsError(f"{where}: {target.metric} is bounded by {allowed}{above}")
    if "unit" in target.model_fields_set and target.unit != metric.unit:
        unit = repr(metric.unit) if metric.unit else "none"
        raise TargetsError(f"{where}: unit: {target.unit!r}, expected {unit}: leave it out")
    return target.model_copy(update={"unit": metric.unit})


def _bound_key(target: Target) -> str:
    """Return the key that bounds a target, with its value if that is a yes or no."""
    if isinstance(target.exactly, bool):
        return f"exactly = {str(target.exactly).lower()}"
    return next(
        key for key in ("exactly", "at_least", "at_most") if getattr(target, key) is not None
    )


def nearest_word(word: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown word of a file: the nearest known one."""
    # No cutoff: a far word still shows what kind of word belongs there.
    close = get_close_matches(word, known, n=1, cutoff=0)
    return f"; did you mean {close[0]!r}?" if close else ""
