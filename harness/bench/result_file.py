"""The files of results: results.json and history.jsonl, written and read, with their versions.

A file of an older format is read. One of a newer format is refused, with its number.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from elspeth.core.landscape.output.atomic import new_file
from harness.bench.measurements import SizeResult
from harness.bench.result_schema import FORMAT, Count, Positive, Ratio, SavedResults
from harness.bench.results import Results, ResultsError
from harness.bench.targets import METRICS, nearest_word
from querygrowth.counting.work import VM_STEPS
from querygrowth.reports import visible

HISTORY_FORMAT = 2
"""The version of a line of history.jsonl."""

_FORMAT = "format"

_COMPARED_WITH = 5
_CHANGED_BY = 0.10
# Beyond the spread from day to day of a ratio that one process measures.


@dataclass(frozen=True)
class Entry:
    """The figures of one round, at its largest run, that the history keeps.

    `speed_up` is against the control in the same process. `rows_per_second` is None in lines of an
    older format. `changed` marks an entry whose speed-up
    is a tenth away from the median of the entries before it; it is computed, and not saved.
    """

    measured_at: datetime
    commit: str
    machine: str
    rows: int
    queries: int
    records_per_second: float
    speed_up: float
    rows_per_second: float | None = None
    changed: bool = False


class SavedEntry(BaseModel):
    """One line of history.jsonl."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, allow_inf_nan=False)

    format: Literal[2] = 2
    measured_at: AwareDatetime
    commit: str
    machine: str
    rows: Positive
    queries: Count
    records_per_second: Ratio
    speed_up: Ratio
    rows_per_second: Ratio | None = None


def save_results(results: Results, path: Path) -> None:
    """Write results as JSON; a file already at `path` is replaced whole or not at all."""
    fields = {name: getattr(results, name) for name in SavedResults.model_fields if name != _FORMAT}
    saved = SavedResults.model_validate({_FORMAT: FORMAT, **fields})
    with new_file(path) as file:
        file.write(saved.model_dump_json(indent=1).encode() + b"\n")


def load_results(path: Path) -> Results:
    """Read results of format 3, or of an older one.

    Raises:
        ResultsError: The file is missing, empty, cut off, damaged, or of an unknown format. The
            message is one line that names the file and the reason.
    """
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite
        )
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not a whole JSON document"
        raise ResultsError(f"no results in {path}: {reason}") from error
    found = _format_of(content, path)
    try:
        current = _from_format_1(content) if found < 2 else content
        current = _from_format_2(current) if found < FORMAT else current
        # From text: in strict mode pydantic accepts a time or a tuple only as JSON writes it.
        results = SavedResults.model_validate_json(json.dumps(current), strict=True).restored()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # A key of the file may hold a line break or a terminal's control codes.
        reason = visible(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise ResultsError(f"no results in {path}: {reason}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"no results in {path}: damaged, though of format {found}") from error
    for contradiction in _contradictions(results):
        raise ResultsError(visible(f"no results in {path}: {contradiction}"))
    return results


def _contradictions(results: Results) -> Iterator[str]:
    """Yield what no round of the harness writes: a file was edited, or is of another program."""
    # Not in the models: they check what is saved too, and minutes of measurement must not be lost.
    for number, target in enumerate(results.targets):
        if target.metric not in METRICS:
            nearest = nearest_word(target.metric, METRICS)
            yield f"targets.{number}.metric: unknown metric {target.metric!r}{nearest}"
    for number, size in enumerate(results.sizes):
        try:
            spec = json.loads(size.run.spec)
        except (ValueError, RecursionError):
            spec = None
        if not isinstance(spec, dict):
            yield f"sizes.{number}.run.spec: not a JSON object"
        elif spec.get("rows", size.run.rows) != size.run.rows:
            yield f"sizes.{number}.run.rows: {size.run.rows}, but {spec['rows']} in its spec"
        if size.comparison.identical and not _digests_agree(size):
            yield f"sizes.{number}.comparison: no difference, but the sha256 of the files differ"


def _digests_agree(size: SizeResult) -> bool:
    """Whether the digests of a size fit a comparison without a difference."""
    control, candidate = (each.observation.file.sha256 for each in size.measurements)
    compared = size.comparison
    if compared.refusal is not None:
        return True
    if compared.control_sha256 != control:
        return False
    if compared.candidate_sha256 == control:
        return candidate == control
    # The time in the manifest of an exporter that takes no clock gives every export another digest.
    return candidate not in (control, compared.candidate_sha256)


def results_schema() -> str:
    """The JSON Schema of a file of results, as published in docs/results.schema.json."""
    schema = SavedResults.model_json_schema(mode="serialization")
    # Versions of pydantic word a constant differently.
    schema["properties"][_FORMAT] = {"const": FORMAT, "title": "Format", "type": "integer"}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**dialect, **schema}, indent=1) + "\n"


def entry_of(results: Results) -> Entry:
    """The entry of results for the history; ResultsError when no run was measured."""
    largest = results.largest
    return Entry(
        measured_at=results.measured_at,
        commit=results.environment.commit,
        machine=results.environment.machine,
        rows=largest.run.rows,
        queries=largest.candidate.observation.activity.queries,
        records_per_second=largest.candidate.records_per_second,
        speed_up=largest.speed_up,
        rows_per_second=largest.candidate.timing.per_second(largest.run.rows),
    )


def append_entry(path: Path, entry: Entry) -> None:
    """Add one line to the file, which is created if need be."""
    # In one write, so that a crash leaves at most a last line that is cut off.
    with path.open("ab") as file:
        file.write(SavedEntry.model_validate(entry).model_dump_json().encode() + b"\n")


def load_history(path: Path) -> tuple[Entry, ...]:
    """Read all entries, oldest first.

    Raises:
        ResultsError: The file is missing, or a line is damaged or of an unknown format. The message
            names the line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ResultsError(
            f"no history in {path}: {error.strerror}; harness history --add RESULTS begins one"
        ) from error
    return tuple(_read_entry(line, f"{path}: line {n}") for n, line in enumerate(lines, start=1))


def comparable(entries: Iterable[Entry], like: Entry) -> tuple[Entry, ...]:
    """The entries of the same machine and the same size as `like`, with changes marked."""
    # Only the speed-up is compared over time. Rates are kept for people: between two jobs on one
    # machine they differed by a quarter.
    kept = [each for each in entries if (each.machine, each.rows) == (like.machine, like.rows)]
    return tuple(
        replace(each, changed=_has_changed(each, kept[max(0, n - _COMPARED_WITH) : n]))
        for n, each in enumerate(kept)
    )


def _has_changed(entry: Entry, before: Sequence[Entry]) -> bool:
    if not before:
        return False
    # The median, as one noisy result among the five must not move the level.
    level = median(each.speed_up for each in before)
    return abs(entry.speed_up - level) > _CHANGED_BY * level


def _read_entry(line: bytes, where: str) -> Entry:
    try:
        content = json.loads(line)
        if isinstance(content, dict) and _FORMAT not in content:
            # Before format 1, a line was a dump of Entry, with its mark.
            content = {_FORMAT: 1, **content}
            content.pop("changed", None)
        _refuse_newer(content, HISTORY_FORMAT, where)
        if isinstance(content, dict) and type(content[_FORMAT]) is int and content[_FORMAT] == 1:
            # Format 1 lacks the rows/s, and is otherwise the same.
            content = {**content, _FORMAT: HISTORY_FORMAT}
        saved = SavedEntry.model_validate_json(json.dumps(content), strict=True)
    except ResultsError:
        raise
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{where} is not an entry of a history") from error
    return Entry(**saved.model_dump(exclude={_FORMAT}))


def _refuse_newer(content: object, newest: int, where: str) -> None:
    found = content.get(_FORMAT) if isinstance(content, dict) else None
    if type(found) is int and found > newest:
        raise ResultsError(
            f"{where} is of format {found}, newer than {newest}: "
            "read it with the version of the harness that wrote it"
        )


def _finite(text: str) -> float:
    # Such a number could be read, but pydantic would write it as null.
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def _format_of(content: object, path: Path) -> int:
    found = content.get(_FORMAT) if isinstance(content, dict) else None
    if type(found) is not int:
        raise ResultsError(f"no results in {path}: it says no format number")
    _refuse_newer(content, FORMAT, str(path))
    if found < 1:
        raise ResultsError(f"{path} is of format {found}, older than 1, the oldest that is read")
    return found


def _from_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite format 1 as format 2; KeyError, TypeError or AttributeError if it is damaged."""
    # Format 1 kept the place of a judgement beside its verdict, and the counts of an export beside
    # the digest of its file.
    kept = {name: value for name, value in content.items() if name != "comparisons"}
    return {
        **kept,
        _FORMAT: 2,
        "full": None,
        "sizes": [_size_from_format_1(each) for each in content["sizes"]],
        "judgements": [
            {"topic": each["topic"], "verdict": {**each["verdict"], "site": each["place"]}}
            for each in content["judgements"]
        ],
    }


def _from_format_2(content: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite format 2 as format 3, which has the CPU time of a comparison of revisions."""
    old = content["pairing"]
    pairing = old and {
        "rows": old["rows"],
        "records": None,
        "wall": {name: value for name, value in old.items() if name != "rows"},
        "cpu": None,
    }
    return {**content, _FORMAT: FORMAT, "pairing": pairing}


def _size_from_format_1(size: Mapping[str, Any]) -> dict[str, Any]:
    sides = {side: size[side] for side in ("control", "candidate")}
    return {
        **size,
        **{
            side: {**each, "observation": _observation_from_format_1(each["observation"])}
            for side, each in sides.items()
        },
    }


def _observation_from_format_1(observation: Mapping[str, Any]) -> dict[str, Any]:
    counts = ("session_statements", "transactions", "rows_fetched", "shapes")
    written = ("records", "size_bytes", "sha256")
    steps = observation["vm_steps"]
    return {
        "subject": observation["subject"],
        "activity": {
            **{name: observation[name] for name in counts},
            "checkouts": None,
            "bypassed": None,
            "records": observation["records"],
            "work": {} if steps is None else {VM_STEPS: steps},
            "sites": {},
        },
        "file": {name: observation[name] for name in written},
    }
