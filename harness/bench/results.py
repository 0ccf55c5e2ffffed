"""Results: all that one invocation observed and how it was judged, and its file. Rendering and
deciding need nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from elspeth.core.landscape.output.atomic import new_file
from harness.bench.environment import Environment
from harness.bench.paired_ratio import Pairing
from harness.bench.targets import Target
from harness.compare.exports import Comparison
from harness.exporters.observation import MemoryUse, Observation
from harness.exporters.timing import Timing
from querygrowth.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict

FORMAT = 1
"""The version of the file; raised by every change that an older reader would misread."""


class ResultsError(ValueError):
    """A file of results is missing, cut off, or of a format that this version cannot read."""


class Topic(StrEnum):
    """What a judgement is about, in the order in which failures are told."""

    VACUITY = "vacuity"
    EQUIVALENCE = "equivalence"
    GROWTH = "growth"
    BASELINE = "baseline"
    TARGETS = "targets"
    SPEED = "speed against base"
    SELFTEST = "self-test"


@dataclass(frozen=True)
class Place:
    """A line of source that a judgement points at: path from the checkout's root, line from 1."""

    path: str
    line: int
    function: str = ""

    @classmethod
    def of(cls, site: CallSite | None, root: Path) -> Self | None:
        """Where a call site is below `root`; None if it is not, or is in an installed library."""
        if site is None or "site-packages" in Path(site.path).parts:
            return None
        path = Path(site.path).resolve()
        if not path.is_relative_to(root.resolve()):
            return None
        return cls(path.relative_to(root.resolve()).as_posix(), site.line, site.function)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f" in {self.function}" if self.function else "")


@dataclass(frozen=True)
class Judgement:
    """A verdict, what it is about, and the place to look at."""

    topic: Topic
    verdict: Verdict
    place: Place | None = None

    @property
    def failed(self) -> bool:
        """Whether the expectation was broken."""
        return self.verdict.failed


@dataclass(frozen=True)
class MeasuredRun:
    """The run that was exported: its spec as JSON text, and what it holds by table."""

    spec: str
    run_id: str
    rows: int
    cardinalities: Mapping[str, int]


@dataclass(frozen=True)
class Measurement:
    """All that was measured of one exporter on one run."""

    observation: Observation
    timing: Timing
    memory: MemoryUse
    first_row_seconds: float

    @property
    def records_per_second(self) -> float:
        """Records written in the median round, the manifest included."""
        return self.timing.per_second(self.observation.records)


@dataclass(frozen=True)
class SizeResult:
    """Both exporters on a run of one size, and their files compared."""

    run: MeasuredRun
    control: Measurement
    candidate: Measurement
    comparison: Comparison

    @property
    def speed_up(self) -> float:
        """How many times the control's records/s the candidate writes."""
        return self.candidate.timing.times_faster_than(self.control.timing)

    @property
    def measurements(self) -> tuple[Measurement, Measurement]:
        """The control's and the candidate's."""
        return self.control, self.candidate


@dataclass(frozen=True)
class Results:
    """One invocation: where, what was observed at each size, and what it means.

    `sizes` ascend; `targets` are judged at the last. `formulas` gives each exporter's queries as
    a formula of what is in a run, by the exporter's name.
    """

    environment: Environment
    measured_at: datetime
    sizes: tuple[SizeResult, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    formulas: Mapping[str, str] = field(default_factory=dict)
    pairing: Pairing | None = None
    targets: tuple[Target, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    format: int = FORMAT

    @property
    def largest(self) -> SizeResult:
        """Both exporters on the largest run; ResultsError when no run was measured."""
        if not self.sizes:
            raise ResultsError("the results hold no measured run")
        return self.sizes[-1]

    @property
    def ordered_judgements(self) -> tuple[Judgement, ...]:
        """Failures first, then what could not be decided; within that, by topic."""
        outcomes = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED, Outcome.SKIPPED)
        topics = list(Topic)
        return tuple(
            sorted(
                self.judgements,
                key=lambda each: (outcomes.index(each.verdict.outcome), topics.index(each.topic)),
            )
        )

    @property
    def outcome(self) -> Outcome:
        """How it came out as a whole. Nothing judged, or all of it skipped, is a failure."""
        outcomes = {each.verdict.outcome for each in self.judgements}
        for outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED):
            if outcome in outcomes:
                return outcome
        return Outcome.FAILED

    @property
    def failures(self) -> tuple[Judgement, ...]:
        """What failed, the first to explain first."""
        return tuple(each for each in self.ordered_judgements if each.failed)


def save_results(results: Results, path: Path) -> None:
    """Write the results as JSON; a file already at `path` is replaced whole or not at all."""
    with new_file(path) as file:
        file.write(_adapter().dump_json(results, indent=1) + b"\n")


def load_results(path: Path) -> Results:
    """Read what `save_results` wrote.

    Raises ResultsError, in one line, for a file that is missing, empty, cut off, of another
    format, or newer than this version.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not a whole JSON document"
        raise ResultsError(f"no results in {path}: {reason}") from error
    _check_format(content, path)
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # A key of the file may hold a line break or a terminal's control codes.
        where = "".join(
            char if char.isprintable() else " " for char in ".".join(map(str, first["loc"]))
        )
        raise ResultsError(f"no results in {path}: {where}: {first['msg']}") from error


def _finite(text: str) -> float:
    """Read a number as pydantic will; what is not finite could not be saved again."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def _check_format(content: object, path: Path) -> None:
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int:
        raise ResultsError(f"no results in {path}: it says no format number")
    if found > FORMAT:
        raise ResultsError(
            f"{path} is of format {found}, newer than {FORMAT}: "
            "read it with the version of the harness that wrote it"
        )
    if found < FORMAT:
        raise ResultsError(f"{path} is of format {found}, older than {FORMAT}: measure again")


@cache
def _adapter() -> TypeAdapter[Results]:
    return TypeAdapter(Results)
