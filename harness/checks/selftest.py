"""Selftest: check faulty and correct exporters whose verdicts are known.

It passes if every seeded fault fails its listed check in the listed words, and every correct
exporter passes all checks.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from elspeth.core.landscape import LandscapeDB
from harness import packaged
from harness.checks.check import Check, CheckVerdict
from harness.checks.declared import Declared, chunked
from harness.checks.depth import Depth
from harness.checks.reference_runs import postgresql_databases
from harness.checks.selection import OnStep, Selection, least_depth, run_selection
from harness.checks.setup import CheckSetup, prepare_checks
from harness.exporters.measured import in_own_process
from harness.exporters.subject import SubjectError
from querygrowth.verdict import Outcome, Verdict

# template1 may have another collation, and PostgreSQL copies only template0 with a new one.
ICU_OPTIONS = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'"
"""Options of CREATE DATABASE with which PostgreSQL sorts text in English order, not by bytes."""

_DECLARED = ("transactions", "rows_per_record", "bytes_per_record", "worker_processes")
_EXPORTERS = "harness.fixtures.faulty_exporters"
_NEXT_STEP = "the last changes in harness/ and fixtures/, and in the code that the exporters extend"


@dataclass(frozen=True)
class SeededFault:
    """A faulty exporter, and the failure that the checks must report first.

    Attributes:
        number: The number of the fault.
        exporter: The exporter, as module:attribute.
        check: The check that gives the first failed verdict.
        words: The words that the first line of that verdict contains.
        needs: Empty, "postgresql", or "icu" for a PostgreSQL with the collations of languages.
        depth: The smallest depth at which the check must catch it.
    """

    number: int
    exporter: str
    check: Check
    words: tuple[str, ...]
    needs: str = ""
    depth: Depth = Depth.DEFAULT


@dataclass(frozen=True)
class CorrectExporter:
    """A correct exporter of another design, and the costs that it declares."""

    exporter: str
    declared: Declared


# One for bytes, one for query plans and one for counts: enough to show that checks work at all.
_FIRST_CHECKS = (Check.RECORDS, Check.PLAN, Check.QUERIES)


@dataclass(frozen=True)
class SelftestSelection:
    """The exporters that the self-test checks, and how.

    Attributes:
        faults: The faulty exporters. They come first.
        correct: The correct exporters.
        depth: How much the checks try. With ALL, only on what the default misses.
        parts: The names of checks and groups to run; all that the depth includes if empty.
    """

    faults: tuple[SeededFault, ...]
    correct: tuple[CorrectExporter, ...] = ()
    depth: Depth = Depth.ALL
    parts: tuple[str, ...] = ()

    @classmethod
    def short(cls, faults: Sequence[SeededFault]) -> "SelftestSelection":
        """Select the first fault of a few checks, and no correct exporter."""
        first = (next((f for f in faults if f.check is each), None) for each in _FIRST_CHECKS)
        return cls(tuple(fault for fault in first if fault is not None), depth=Depth.DEFAULT)

    @classmethod
    def of_parts(
        cls,
        faults: Sequence[SeededFault],
        correct: Sequence[CorrectExporter],
        parts: tuple[str, ...],
        depth: Depth,
    ) -> "SelftestSelection":
        """Select the faults of the named checks and groups, and all correct exporters.

        Args:
            faults: The faults to choose from.
            correct: The correct exporters.
            parts: Names of checks and of groups.
            depth: How much the checks try.

        Raises:
            UnknownPartError: A name is unknown.
        """
        checks = Selection.of_parts(parts).checks
        chosen = tuple(each for each in faults if each.check in checks)
        return cls(chosen, tuple(correct), depth, parts)

    def checks_at(self, depth: Depth) -> Selection:
        """Return the checks to run at a depth."""
        return Selection.of_parts(self.parts, depth) if self.parts else Selection.of_depth(depth)


@dataclass(frozen=True)
class SelftestResult:
    """The judgement on the checks for one exporter.

    Attributes:
        exporter: The exporter, as module:attribute.
        fault: The number of its seeded fault; None for a correct exporter.
        check: The check that failed first, or that should have failed; None for a correct exporter
            that passed.
        verdict: Its evidence is the first line of that failure.
    """

    exporter: str
    fault: int | None
    check: Check | None
    verdict: Verdict

    @property
    def label(self) -> str:
        """`fault 7`, or `correct`."""
        return "correct" if self.fault is None else f"fault {self.fault}"


def load_seeded_faults(path: Path = packaged.SEEDED_FAULTS) -> tuple[SeededFault, ...]:
    """Read the list of seeded faults.

    Raises:
        SubjectError: The file cannot be read, or has an empty list. The message names it.
    """
    return tuple(
        SeededFault(
            number=entry["number"],
            exporter=f"{_EXPORTERS}.{entry['exporter']}",
            check=Check(entry["check"]),
            words=tuple(entry["words"]),
            needs=entry.get("needs", ""),
            depth=Depth.ALL if entry.get("all") else Depth.DEFAULT,
        )
        for entry in _entries(path, "fault")
    )


def load_correct_exporters(path: Path = packaged.CORRECT_EXPORTERS) -> tuple[CorrectExporter, ...]:
    """Read the list of correct exporters; raises like `load_seeded_faults`."""
    return tuple(
        CorrectExporter(
            entry["exporter"],
            Declared(
                **{name: entry[name] for name in _DECLARED if name in entry},
                allowances=tuple(map(chunked, entry.get("chunked", ()))),
            ),
        )
        for entry in _entries(path, "correct")
    )


def run_selftest(
    selection: SelftestSelection,
    *,
    postgresql: str | None = None,
    on_step: OnStep = lambda step: None,
) -> Iterator[SelftestResult]:
    """Check every exporter, and yield a result as soon as it is known.

    Args:
        selection: The exporters and the checks.
        postgresql: URL of a server on which databases may be created. Without it, faults that only
            PostgreSQL shows are skipped, with the reason.
        on_step: Called with the name of an exporter before it is checked.
    """
    if postgresql is not None:
        with postgresql_databases(postgresql):
            pass  # A server that cannot be reached is reported before minutes of other checks.
    with ExitStack() as stack:
        # One setup for all exporters with the same needs: the control then exports a run only once.
        setups = {"": stack.enter_context(prepare_checks())}
        for fault in selection.faults:
            on_step(_short(fault.exporter))
            reason = _unmet_need(fault, selection, postgresql)
            if reason:
                yield _fault_result(fault, fault.check, Outcome.SKIPPED, reason)
                continue
            if fault.needs not in setups:
                options = ICU_OPTIONS if fault.needs == "icu" else ""
                setup = prepare_checks(postgresql=postgresql, options=options)
                setups[fault.needs] = stack.enter_context(setup)
            yield try_fault(fault, setups[fault.needs], selection)
        for each in selection.correct:
            on_step(_short(each.exporter))
            yield try_correct(each, setups[""], selection)


_EVERYTHING = SelftestSelection(())


def try_fault(
    fault: SeededFault, setup: CheckSetup, selection: SelftestSelection = _EVERYTHING
) -> SelftestResult:
    """Check a faulty exporter up to its first failed verdict, and judge that failure."""
    failed = None
    with in_own_process(fault.exporter) as candidate:
        # The default first: most faults fail there, and all that checks can try takes minutes.
        for depth in dict.fromkeys((min(Depth.DEFAULT, selection.depth), selection.depth)):
            found = run_selection(candidate, setup, selection.checks_at(depth))
            failed = next((each for each in found if each.verdict.failed), None)
            if failed is not None:
                break
    if failed is None:
        return _fault_result(fault, fault.check, Outcome.FAILED, "missed: no check failed")
    line = _first_line(failed)
    # A failure for another reason does not show that the check sees this fault.
    if failed.check is fault.check and all(word in line for word in fault.words):
        return _fault_result(fault, failed.check, Outcome.PASSED, "caught by its name", line)
    return _fault_result(fault, failed.check, Outcome.FAILED, "caught under another name", line)


def try_correct(
    correct: CorrectExporter, setup: CheckSetup, selection: SelftestSelection = _EVERYTHING
) -> SelftestResult:
    """Check a correct exporter with the costs that it declares, up to the first failed verdict."""
    alarm = undecided = None
    with in_own_process(correct.exporter) as candidate:
        for each in run_selection(
            candidate,
            setup,
            selection.checks_at(selection.depth),
            declared=correct.declared,
        ):
            if each.verdict.failed:
                alarm = each
                break
            if each.verdict.outcome is Outcome.INCONCLUSIVE:
                undecided = undecided or each
    cause = alarm or undecided
    verdict = Verdict(
        subject=f"{_short(correct.exporter)} (correct)",
        outcome=cause.verdict.outcome if cause else Outcome.PASSED,
        expected="no check fails",
        seen="no alarm"
        if cause is None
        else f"{'false alarm' if alarm else 'no verdict'} by the check {cause.check}",
        evidence=(_first_line(cause),) if cause else (),
        next_step=_NEXT_STEP if cause else "",
    )
    return SelftestResult(correct.exporter, None, cause.check if cause else None, verdict)


def _fault_result(
    fault: SeededFault, check: Check, outcome: Outcome, seen: str, line: str = ""
) -> SelftestResult:
    verdict = Verdict(
        subject=f"{_short(fault.exporter)} (fault {fault.number})",
        outcome=outcome,
        expected=f"the check {fault.check} fails first, with the words {', '.join(fault.words)}",
        seen=seen,
        evidence=(line,) if line else (),
        next_step=_NEXT_STEP if outcome is Outcome.FAILED else "",
    )
    return SelftestResult(fault.exporter, fault.number, check, verdict)


def _short(exporter: str) -> str:
    return exporter.removeprefix("harness.fixtures.")


def _first_line(failed: CheckVerdict) -> str:
    return str(failed.verdict).splitlines()[0]


def _unmet_need(fault: SeededFault, selection: SelftestSelection, postgresql: str | None) -> str:
    """Return the need of a fault that is not met, in words; empty if all are."""
    needs = fault.needs
    # A check that is named runs at any depth.
    least = fault.depth if selection.parts else max(fault.depth, least_depth(fault.check))
    if selection.depth < least:
        return "shows with all checks only: harness selftest --all"
    if needs and postgresql is None:
        return "shows on PostgreSQL only: harness selftest --postgresql URL"
    if needs != "icu" or postgresql is None:
        return ""
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


def _entries(path: Path, name: str) -> list[Mapping[str, Any]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SubjectError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SubjectError(f"{path} is not TOML: {error}") from None
    entries: list[Mapping[str, Any]] = content.get(name, [])
    if not entries:
        raise SubjectError(f"{path} lists nothing")
    return entries
