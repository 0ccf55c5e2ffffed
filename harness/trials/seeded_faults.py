"""Seeded faults: the exporters broken on purpose, the correct ones, and what each must get."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.growing.contracts import Allowance
from harness.subject import SubjectError
from harness.trials.checking import Part
from harness.trials.costs import Declared

FIXTURES = Path("fixtures")
"""Where they are, from the root of a checkout."""

_FAULTY, _CORRECT = "faulty_exporters/seeded.toml", "correct_exporters/designs.toml"


@dataclass(frozen=True)
class SeededFault:
    """One fault: its exporter, and what catching it means.

    The first failed verdict must come from `part`, and its first line hold all of `names`. `needs`
    is empty, "postgresql", or "icu" for a PostgreSQL that can sort as a language does.
    """

    number: int
    exporter: str
    part: Part
    names: tuple[str, ...]
    needs: str = ""


@dataclass(frozen=True)
class CorrectExporter:
    """An exporter of another design that must pass, with what it declares of its costs."""

    exporter: str
    declared: Declared


def load_seeded_faults(fixtures: Path = FIXTURES) -> tuple[SeededFault, ...]:
    """Read every fault that is listed; SubjectError where there is no list or it makes no sense."""
    return tuple(
        SeededFault(
            number=entry["number"],
            exporter=f"fixtures.faulty_exporters.{entry['exporter']}",
            part=Part(entry["part"]),
            names=tuple(entry["names"]),
            needs=entry.get("needs", ""),
        )
        for entry in _entries(fixtures / _FAULTY, "fault")
    )


def load_correct_exporters(fixtures: Path = FIXTURES) -> tuple[CorrectExporter, ...]:
    """Read every correct exporter that is listed."""
    return tuple(
        CorrectExporter(
            entry["exporter"],
            Declared(
                bytes_per_record=entry.get("bytes_per_record", Declared.bytes_per_record),
                allowances=tuple(
                    Allowance(table, chunk=size) for table, size in entry.get("chunked", {}).items()
                ),
            ),
        )
        for entry in _entries(fixtures / _CORRECT, "correct")
    )


def _entries(path: Path, name: str) -> list[Mapping[str, Any]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SubjectError(f"no {path} here: run this from the root of a checkout") from None
    except tomllib.TOMLDecodeError as error:
        raise SubjectError(f"{path} is not TOML: {error}") from None
    entries: list[Mapping[str, Any]] = content.get(name, [])
    if not entries:
        raise SubjectError(f"{path} lists nothing")
    return entries
