"""Results of mutants, and the files that keep them: for a run to resume, and for shards to join."""

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

import elspeth
import querygrowth
from harness import packaged
from querygrowth.verdict import Outcome

RunDepth: TypeAlias = Literal["default", "all"]
"""The checks that a mutant went through: those of the default, or those of `--all` too."""


class MutantSelectionError(ValueError):
    """A selection names no mutant, or a file of results cannot be resumed."""


class MutantResult(BaseModel):
    """What the checks said about one mutant.

    Attributes:
        mutant: The identifier.
        operator: The operator that made it.
        description: The change.
        outcome: passed: a check caught it. failed: no check did. skipped: it is equivalent, which
            `proof` shows. inconclusive: no check caught it, and one could not judge.
        depth: The checks that it went through last.
        check: The check that caught it; empty if none did.
        line: The first line of that verdict, or of the one that could not judge.
        proof: Why it is equivalent to the exporter that it was made of.
        cpu_seconds: The CPU seconds of the checks and of the mutant's processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mutant: str
    operator: str
    description: str
    outcome: Outcome
    depth: RunDepth
    check: str = ""
    line: str = ""
    proof: str = ""
    cpu_seconds: float = 0.0


class Header(BaseModel):
    """The first line of a file of results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["harness mutant results"] = "harness mutant results"
    version: Literal[1] = 1
    source: str


def read_results(paths: Iterable[Path]) -> list[MutantResult]:
    """Read files of results, such as those of all shards. A later result of a mutant counts.

    Raises:
        MutantSelectionError: A file does not hold results, or the files are of several sources.
    """
    files = [_read_file(path) for path in paths]
    if len({each.source for each in files}) > 1:
        raise MutantSelectionError("the files hold results of several sources: run one again")
    found = {result.mutant: result for each in files for result in each.results}
    return list(found.values())


@dataclass(frozen=True)
class _ResultFile:
    """A file of results: the source that its header names, its results, and its whole lines."""

    source: str
    results: tuple[MutantResult, ...]
    content: str


def _read_file(path: Path) -> _ResultFile:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        header = Header.model_validate_json(lines[0] if lines else "")
        if not _is_json(lines[-1]):
            del lines[-1]  # It was cut when a run was ended.
        results = tuple(MutantResult.model_validate_json(line) for line in lines[1:])
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise MutantSelectionError(f"{path} holds no results of mutants: {reason}") from None
    return _ResultFile(header.source, results, "".join(f"{line}\n" for line in lines))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def known_results(path: Path, depth: RunDepth) -> dict[str, MutantResult]:
    """Return the results in a file that need no other run; make the file if it does not exist."""
    header = Header(source=source_digest())
    if not path.exists():
        path.write_text(f"{header.model_dump_json()}\n", encoding="utf-8")
        return {}
    file = _read_file(path)
    if file.source != header.source:
        raise MutantSelectionError(
            f"{path} holds results of another source: the checks, the exporters, Python or SQLite "
            "changed since. Name a new file"
        )
    # Without the line that was cut, which the next result would be appended to.
    path.write_text(file.content, encoding="utf-8")
    return {
        each.mutant: each
        for each in file.results
        # What the default missed has to go through the other checks.
        if depth == "default" or each.depth == "all" or each.outcome is Outcome.PASSED
    }


def source_digest() -> str:
    """Return a hash of what a result depends on: the checks, the exporters, Python and SQLite."""
    digest = hashlib.sha256(f"{sys.version} {sqlite3.sqlite_version}".encode())
    packages = (Path(elspeth.__path__[0]), Path(querygrowth.__path__[0]))
    for folder in (packaged.PACKAGE, packaged.FIXTURES, *packages):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
