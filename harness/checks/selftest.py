"""Selftest: whether the check catches every seeded fault by its name, and no correct exporter."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from elspeth.core.landscape import LandscapeDB
from harness import packaged
from harness.checks.costs import Declared
from harness.checks.reference_runs import postgresql_databases
from harness.checks.run import Finding, Ground, Part, findings, open_ground
from harness.exporters.subject import SubjectError, load_subject
from querygrowth.contract import Allowance

# Seeded faults: the exporters broken on purpose, the correct ones, and what each must get.


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


def load_seeded_faults(path: Path = packaged.SEEDED_FAULTS) -> tuple[SeededFault, ...]:
    """Read every fault that is listed; SubjectError where there is no list or it makes no sense."""
    return tuple(
        SeededFault(
            number=entry["number"],
            exporter=f"harness.fixtures.faulty_exporters.{entry['exporter']}",
            part=Part(entry["part"]),
            names=tuple(entry["names"]),
            needs=entry.get("needs", ""),
        )
        for entry in _entries(path, "fault")
    )


def load_correct_exporters(path: Path = packaged.CORRECT_EXPORTERS) -> tuple[CorrectExporter, ...]:
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
        for entry in _entries(path, "correct")
    )


def _entries(path: Path, name: str) -> list[Mapping[str, Any]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SubjectError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SubjectError(f"{path} is not TOML: {error}") from None
    entries: list[Mapping[str, Any]] = content.get(name, [])
    if not entries:
        raise SubjectError(f"{path} lists nothing")
    return entries


ICU_OPTIONS = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'"
"""What makes a PostgreSQL database sort text as English does, and not by bytes."""


class Result(StrEnum):
    """How trying one exporter came out."""

    CAUGHT = "caught"
    MISSED = "missed"
    MISNAMED = "caught under another name"
    SILENT = "silent"
    FALSE_ALARM = "false alarm"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Tried:
    """One exporter, what was asked of it, and what the check said.

    `label` is the fault's number, or "correct". `part` is the part that caught it, or must have.
    `words` is the first line of the first failed verdict, or why it was skipped.
    """

    label: str
    exporter: str
    result: Result
    part: str = ""
    words: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether this is as it should be; a skip is neither fine nor a failure of the check."""
        return self.result in (Result.CAUGHT, Result.SILENT)

    @property
    def failed(self) -> bool:
        """Whether the check was wrong about this exporter."""
        return not self.is_fine and self.result is not Result.SKIPPED


def run_selftest(
    faults: Sequence[SeededFault],
    correct: Sequence[CorrectExporter],
    *,
    postgresql: str | None = None,
) -> Iterator[Tried]:
    """Check every exporter, and yield how that came out as it becomes known.

    `postgresql` is the URL of a server for the faults that only show there; without one they are
    skipped, with the reason.
    """
    with ExitStack() as stack:
        grounds = {"": stack.enter_context(open_ground())}
        for fault in faults:
            reason = _why_not(fault.needs, postgresql)
            if reason:
                yield Tried(_label(fault), fault.exporter, Result.SKIPPED, fault.part, reason)
                continue
            if fault.needs not in grounds:
                options = ICU_OPTIONS if fault.needs == "icu" else ""
                ground = open_ground(postgresql=postgresql, options=options)
                grounds[fault.needs] = stack.enter_context(ground)
            yield try_fault(fault, grounds[fault.needs])
        for each in correct:
            yield try_correct(each, grounds[""])


def try_fault(fault: SeededFault, ground: Ground) -> Tried:
    """Check a faulty exporter up to the first failed verdict, and hold that to what it must be."""
    failed = _first_failed(findings(load_subject(fault.exporter), ground))
    if failed is None:
        return Tried(_label(fault), fault.exporter, Result.MISSED, fault.part)
    words = _first_line(failed)
    named = failed.part is fault.part and all(name in words for name in fault.names)
    result = Result.CAUGHT if named else Result.MISNAMED
    return Tried(_label(fault), fault.exporter, result, failed.part, words)


def try_correct(exporter: CorrectExporter, ground: Ground) -> Tried:
    """Check a correct exporter in every part, with what it declares."""
    subject = load_subject(exporter.exporter)
    failed = _first_failed(findings(subject, ground, declared=exporter.declared))
    if failed is None:
        return Tried("correct", exporter.exporter, Result.SILENT)
    return Tried("correct", exporter.exporter, Result.FALSE_ALARM, failed.part, _first_line(failed))


def _first_failed(found: Iterator[Finding]) -> Finding | None:
    return next((each for each in found if each.verdict.failed), None)


def _first_line(finding: Finding) -> str:
    return str(finding.verdict).splitlines()[0]


def _label(fault: SeededFault) -> str:
    return f"fault {fault.number}"


def _why_not(needs: str, postgresql: str | None) -> str:
    """Say what a fault needs that is not there; empty when nothing is amiss."""
    if needs and postgresql is None:
        return "shows on PostgreSQL only: give a server with --postgresql"
    if needs == "icu" and postgresql is not None:
        return _why_no_icu(postgresql)
    return ""


def _why_no_icu(postgresql: str) -> str:
    try:
        with (
            postgresql_databases(postgresql, options=ICU_OPTIONS) as new,
            LandscapeDB(new()) as db,
            db.connection() as connection,
        ):
            by_language = connection.execute(text("SELECT 'a' < 'B'")).scalar()
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        return f"needs a PostgreSQL with ICU collations; this one: {reason}"
    return "" if by_language else "needs a PostgreSQL with ICU collations; this one sorts by bytes"
