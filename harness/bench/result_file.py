"""The file of results: results.json written, read back, and its versions.

`result_schema` holds the models. Format 1, whose judgements had a place beside the verdict, is
read and rewritten as format 2; an unknown format is refused by its number.
"""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from elspeth.core.landscape.output.atomic import new_file
from harness.bench.result_schema import FORMAT, SavedResults
from harness.bench.results import Results, ResultsError
from querygrowth.reports import visible
from querygrowth.work import VM_STEPS

_FORMAT = "format"


def save_results(results: Results, path: Path) -> None:
    """Write results as JSON; a file already at `path` is replaced whole or not at all."""
    fields = {name: getattr(results, name) for name in SavedResults.model_fields if name != _FORMAT}
    saved = SavedResults.model_validate({_FORMAT: FORMAT, **fields})
    with new_file(path) as file:
        file.write(saved.model_dump_json(indent=1).encode() + b"\n")


def load_results(path: Path) -> Results:
    """Read results of format 2, or of format 1.

    Raises:
        ResultsError: The file is missing, empty, cut off, damaged, of an unknown format, or newer
            than this version. The message is one line that names the file and the reason.
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
        current = content if found == FORMAT else _from_format_1(content)
        # From text, as the strict reading of a number or a time depends on where it comes from.
        return SavedResults.model_validate_json(json.dumps(current), strict=True).restored()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # A key of the file may hold a line break or a terminal's control codes.
        reason = visible(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise ResultsError(f"no results in {path}: {reason}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"no results in {path}: damaged, though of format {found}") from error


def results_schema() -> str:
    """The JSON Schema of a file of results, as published in docs/results.schema.json."""
    schema = SavedResults.model_json_schema(mode="serialization")
    # Versions of pydantic word a constant differently.
    schema["properties"][_FORMAT] = {"const": FORMAT, "title": "Format", "type": "integer"}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**dialect, **schema}, indent=1) + "\n"


def _finite(text: str) -> float:
    """Read a number as pydantic will; one that is not finite could not be saved again."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def _format_of(content: object, path: Path) -> int:
    found = content.get(_FORMAT) if isinstance(content, dict) else None
    if type(found) is not int:
        raise ResultsError(f"no results in {path}: it says no format number")
    if found > FORMAT:
        raise ResultsError(
            f"{path} is of format {found}, newer than {FORMAT}: "
            "read it with the version of the harness that wrote it"
        )
    if found < 1:
        raise ResultsError(f"{path} is of format {found}, older than 1, the oldest that is read")
    return found


def _from_format_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite format 1 as format 2.

    Format 1 kept the place of a judgement beside its verdict, and the counts of an export beside
    what it wrote. Errors of a damaged file pass through as they come.
    """
    kept = {name: value for name, value in content.items() if name != "comparisons"}
    return {
        **kept,
        _FORMAT: FORMAT,
        "full": None,
        "sizes": [_size_from_format_1(each) for each in content["sizes"]],
        "judgements": [
            {"topic": each["topic"], "verdict": {**each["verdict"], "site": each["place"]}}
            for each in content["judgements"]
        ],
    }


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
