"""The history: earlier results, one line of JSON each, and where the speed-up changed.

Only the speed-up against the control in the same process is compared over time. Rates are kept for
people: between two jobs on one machine they differed by a quarter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter, ValidationError

from harness.bench.results import Results, ResultsError

_COMPARED_WITH = 5
_CHANGED_BY = 0.10
"""Beyond the spread that a ratio of one process has from day to day."""


@dataclass(frozen=True)
class Entry:
    """What one round measured at its largest run.

    `speed_up` is against the control in the same process, so it holds on another machine too;
    `records_per_second` does not. `changed` marks an entry whose speed-up left its earlier level.
    """

    measured_at: datetime
    commit: str
    machine: str
    rows: int
    queries: int
    records_per_second: float
    speed_up: float
    changed: bool = False


def entry_of(results: Results) -> Entry:
    """The entry that the history keeps of results; ResultsError when no run was measured."""
    largest = results.largest
    return Entry(
        measured_at=results.measured_at,
        commit=results.environment.commit,
        machine=results.environment.machine,
        rows=largest.run.rows,
        queries=largest.candidate.observation.activity.queries,
        records_per_second=largest.candidate.records_per_second,
        speed_up=largest.speed_up,
    )


def append_entry(path: Path, entry: Entry) -> None:
    """Add one line to the file, which is created if need be."""
    with path.open("ab") as file:
        file.write(_ENTRY.dump_json(entry) + b"\n")


def load_history(path: Path) -> tuple[Entry, ...]:
    """Read all entries, oldest first; ResultsError names the line that cannot be read."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ResultsError(f"no history in {path}: {error.strerror}") from error
    return tuple(_read(path, number, line) for number, line in enumerate(lines, start=1))


def comparable(entries: Iterable[Entry], like: Entry) -> tuple[Entry, ...]:
    """The entries of the same machine and the same size as `like`, with changes marked."""
    kept = [each for each in entries if (each.machine, each.rows) == (like.machine, like.rows)]
    return tuple(
        replace(each, changed=_has_changed(each, kept[max(0, n - _COMPARED_WITH) : n]))
        for n, each in enumerate(kept)
    )


def _has_changed(entry: Entry, before: Sequence[Entry]) -> bool:
    """Whether the speed-up is a tenth away from the median of the few before it."""
    if not before:
        return False
    # The median, as one noisy result among the five must not move the level.
    level = median(each.speed_up for each in before)
    return abs(entry.speed_up - level) > _CHANGED_BY * level


def _read(path: Path, number: int, line: bytes) -> Entry:
    try:
        return _ENTRY.validate_json(line)
    except ValidationError as error:
        raise ResultsError(f"{path}: line {number} is not an entry of a history") from error


_ENTRY = TypeAdapter(Entry)
