"""Verifies several exports, and names what is missing: exports, attestations, runs without one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elspeth.cli.databases import reading_database
from elspeth.cli.found_exports import FoundExports
from elspeth.cli.runtime import (
    CommandTimeoutError,
    ExitCode,
    OpenDatabases,
    UsageError,
    exit_code_of,
)
from elspeth.cli.verify import VerifyRequest, VerifyResult
from elspeth.core.error_text import explain_failure

if TYPE_CHECKING:
    from elspeth.cli.reports import VerifyReport


@dataclass(frozen=True)
class VerifiedExport:
    """An export, with the result of verifying it or the reason why it could not be verified."""

    path: Path
    code: ExitCode
    result: VerifyResult | None = None
    reason: str | None = None

    @property
    def outcome(self) -> str:
        """Passed, failed, or inconclusive."""
        names = {ExitCode.PASSED: "passed", ExitCode.FAILED: "failed"}
        return names.get(self.code, "inconclusive")

    def lines(self) -> Iterator[str]:
        """Yield the lines about one of several exports, each with its path."""
        *lines, last = self.result.lines() if self.result is not None else (str(self.reason),)
        for line in lines:
            yield line if line.startswith(f"{self.path}: ") else f"{self.path}: {line}"
        yield f"{self.path}: {self.outcome}: {last}"


@dataclass(frozen=True)
class Missing:
    """Something that should be there: an attested export, or the export of a completed run."""

    kind: str
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: missing: {self.message}"


@dataclass(frozen=True)
class VerifiedExports:
    """Everything that was asked about, and what was found."""

    exports: Sequence[VerifiedExport]
    skipped: Sequence[tuple[Path, str]] = ()
    missing: Sequence[Missing] = ()

    @property
    def code(self) -> ExitCode:
        """The highest exit code of an export; at least 1 if something is missing."""
        least = ExitCode.FAILED if self.missing else ExitCode.PASSED
        return max((least, *(each.code for each in self.exports)))

    @property
    def unread_count(self) -> int:
        """The number of exports that could not be verified."""
        return sum(each.outcome == "inconclusive" for each in self.exports)

    @property
    def outcome(self) -> str:
        """Failed, where anything failed or is missing; inconclusive; or passed."""
        outcomes = {each.outcome for each in self.exports} | ({"failed"} if self.missing else set())
        return next((name for name in ("failed", "inconclusive") if name in outcomes), "passed")

    def summary(self) -> str:
        """Return the last line: how many exports of each outcome, and what is missing."""
        outcomes = [each.outcome for each in self.exports]
        counts = {
            **{name: outcomes.count(name) for name in ("passed", "failed", "inconclusive")},
            "skipped": len(self.skipped),
            "missing": len(self.missing),
        }
        shown = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return f"{len(self.exports):,} export{'s' * (len(self.exports) != 1)}: {shown}"

    def report(self) -> "VerifyReport":
        """Return the report for --json."""
        from elspeth.cli.reports import VerifyReport

        skipped = [
            {"path": str(path), "outcome": "skipped", "exit_code": 0, "reason": reason}
            for path, reason in self.skipped
        ]
        return VerifyReport.model_validate(
            {
                "outcome": self.outcome,
                "exit_code": int(self.code),
                "exports": (*map(_entry, self.exports), *skipped),
                "missing": [
                    {"kind": each.kind, "name": each.name, "message": each.message}
                    for each in self.missing
                ],
            }
        )


def verify_several(
    found: FoundExports,
    request: VerifyRequest,
    database_url: str | None,
    opened: OpenDatabases,
    report: Callable[[str], None],
) -> VerifiedExports:
    """Verify exports one after another; an error ends the verification of its export alone.

    Args:
        found: the exports.
        request: the options; its path is not used.
        database_url: a database, of which every completed run must have an export; or None.
        opened: the list of `stop_on_signals`.
        report: called with every line to print.

    Raises:
        CommandTimeoutError: time is over.
        UsageError: the database holds no runs, or none of the exported ones.
    """
    # First, because a wrong URL must not cost the verification of thousands of exports.
    stored = None if database_url is None else _stored_runs(database_url, opened)
    exports = []
    for path in found.exports:
        exports.append(_verify_one(path, request, found.kept[path]))
        for line in exports[-1].lines():
            report(line)
    for path, reason in found.skipped:
        report(f"{path}: skipped: {reason}")
    missing = [
        Missing("export", str(each.path), f"its attestation {each.attestation.name} is there")
        for each in found.missing
    ]
    held = {
        each.result.verification.run_id
        for each in exports
        if each.result is not None and each.result.verification is not None
    }
    if stored is not None and held and held.isdisjoint(stored):
        raise UsageError("--db: the database holds none of the exported runs: is it another one?")
    missing += [
        Missing("run", run_id, "a completed run of the database without an export here")
        for run_id, status in (stored or {}).items()
        if status == "completed" and run_id not in held
    ]
    for each in missing:
        report(str(each))
    verified = VerifiedExports(exports, found.skipped, missing)
    report(verified.summary())
    return verified


def _stored_runs(database_url: str, opened: OpenDatabases) -> Mapping[str, str]:
    """Return the status of every run of a database, by its id."""
    from elspeth.cli.run_choice import Selection

    with reading_database(database_url, opened) as db:
        return {run.run_id: run.status for run in Selection().runs(db)}


def _verify_one(path: Path, request: VerifyRequest, kept: Sequence[Path]) -> VerifiedExport:
    options = request.attestation
    if options is not None and kept:
        options = replace(options, follows=kept)
    try:
        result = replace(request, path=path, attestation=options).run()
    except CommandTimeoutError:
        raise
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        return VerifiedExport(path, code, reason=explain_failure(error))
    return VerifiedExport(path, ExitCode.PASSED if result.ok else ExitCode.FAILED, result)


def _entry(export: VerifiedExport) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": str(export.path),
        "outcome": export.outcome,
        "exit_code": int(export.code),
        "reason": export.reason,
    }
    result = export.result
    if result is not None and result.verification is not None:
        found = result.verification
        entry |= {
            "run_id": found.run_id,
            "is_signed": found.is_signed,
            "key_id": found.key_id,
            "record_count": found.record_count,
            "valid_count": found.valid_count,
            "defect_count": found.defect_count,
            "defects": [
                {
                    "reason": defect.reason.value,
                    "message": defect.message,
                    "file": defect.file,
                    "line": defect.line,
                }
                for defect in found.defects
            ],
            "left_out": found.left_out,
            "note": found.note,
        }
    if result is not None and result.attested is not None:
        from elspeth.cli.reports import AttestationEntry

        attestation = result.attested.attestation
        entry |= {
            "attestation": None if attestation is None else AttestationEntry.of(attestation),
            "attestation_defects": [
                {"reason": defect.reason.value, "message": defect.message, "file": str(defect.path)}
                for defect in result.attested.defects
            ],
        }
    return entry
