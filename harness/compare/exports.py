"""Compare two exporters on a stored run: records, files, signatures and errors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice, zip_longest
from pathlib import Path

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.compare.capture import (
    MAX_RECORDS,
    Capture,
    Refusal,
    Spool,
    capture,
    same_refusal,
    spool,
)
from harness.compare.difference import CORRUPT, Difference, Kind, Mismatch, classify, same_record
from harness.compare.files import first_difference_in_files, line_offset
from harness.compare.hints import of_error, of_signature
from harness.compare.records import Record, Records, RunLookup, WithoutTime, label, run_lookup
from harness.exporters.measured import Measured, control_for
from harness.exporters.subject import Subject
from harness.temporary_folder import temporary_folder
from querygrowth.verdict import CRASH, Verdict, judge, require

NO_ERROR = "no error"
"""What a difference in errors shows for the exporter that ended in none."""

# Not a secret: only the two exports of a comparison are signed with it.
SIGNING_KEY = b"the harness signs with this key of its own, which proves nothing"
"""The default key of comparisons."""


def fixed_clock() -> datetime:
    """Return the time of all manifests in comparisons: the same one on every call."""
    return datetime(2026, 1, 1, 12, 30, 15, 250000, tzinfo=UTC)


@dataclass(frozen=True)
class Comparison:
    """Two exports of one run, and the first difference between them.

    Attributes:
        control: The control's name.
        candidate: The candidate's name.
        run_id: The exported run.
        records: The number of records that the control yielded.
        difference: The first difference; None if there is none.
        control_sha256: The hash of the control's JSON Lines file; None where writing was refused.
        candidate_sha256: The hash of the candidate's. Where its clock cannot be set, a valid time
            and signature of its manifest are set aside in it.
        refusal: The error that the control's export ended in.
        other_refusal: The classes of the control's and of the candidate's error, if they differ and
            callers catch both alike.
    """

    control: str
    candidate: str
    run_id: str
    records: int
    difference: Difference | None
    control_sha256: str | None
    candidate_sha256: str | None
    refusal: Refusal | None
    other_refusal: tuple[str, str] | None = None

    @property
    def identical(self) -> bool:
        """Whether there is no difference."""
        return self.difference is None

    def verdict(self) -> Verdict:
        """Judge the candidate by the control's export."""
        found = self.difference
        same = f"refused alike: {self.refusal}" if self.refusal else "the same export to the byte"
        if self.other_refusal:
            same = f"refused with {self.other_refusal[1]}, which is caught like {self.refusal}"
        return judge(
            self.candidate,
            found is None,
            expected=f"the export of {self.control}, to the byte",
            seen=f"{same} ({self.records} records)" if found is None else found.headline,
            evidence=(f"run        {self.run_id}", *(found.evidence if found else ())),
            next_step=found.hint if found else "",
            kind=self._kind_of_failure(found) if found else "",
            about=found.about if found else "",
        )

    def _kind_of_failure(self, found: Difference) -> str:
        """Return the class of the difference, and tell apart which exporter ended in an error."""
        if found.kind is not Kind.ERROR:
            return found.verdict_kind
        if self.refusal is None:
            return CRASH
        if found.found != NO_ERROR:
            return Kind.ERROR.value
        is_corrupt = self.refusal.type_name == CorruptAuditDataError.__name__
        return CORRUPT if is_corrupt else Kind.BYTES.value


def first_difference(
    control: Iterable[Record], candidate: Iterable[Record], *, run_of: RunLookup | None = None
) -> Difference | None:
    """Find the first difference between the records of two exports; None if they are the same.

    Values, their types, the order of keys and the order of records count. Memory does not grow
    with the number of records.

    Args:
        control: The control's records.
        candidate: The candidate's records.
        run_of: Finds the run of a record, to recognise records of another run.
    """
    with temporary_folder() as directory:
        # Iterators go to temporary files, because classifying a difference reads records again.
        sides = (
            _rereadable(control, directory / "control"),
            _rereadable(candidate, directory / "candidate"),
        )
        mismatch = _first_mismatch(*sides)
        return classify(mismatch, *sides, run_of) if mismatch else None


def compare_exports(
    db: LandscapeDB,
    run_id: str,
    *,
    candidate: Subject | Measured,
    control: Subject | Measured | None = None,
    signing_key: bytes | None = SIGNING_KEY,
    clock: Clock = fixed_clock,
    directory: Path | None = None,
    max_records: int = MAX_RECORDS,
) -> Comparison:
    """Export a run with both and compare records, JSON Lines, CSV files, signatures and errors.

    Args:
        db: The database with the run.
        run_id: The run to export. If it does not exist, both have to refuse it alike.
        candidate: The exporter to judge. If its clock cannot be set, its manifest is verified
            instead of compared byte by byte.
        control: The exporter to compare with; default: the control, in a separate process for a
            large run.
        signing_key: The key that both sign with; None for unsigned exports.
        clock: The clock of both.
        directory: A folder that keeps both exports. It must not exist. By default they are removed.
        max_records: The records after which the candidate's export counts as endless.

    Raises:
        SubjectError: The candidate cannot be used as an exporter.
        ExportFailedError: The process of an exporter did not survive the export.
    """
    with temporary_folder() as temporary:
        where = directory or temporary
        if control is None:
            control = control_for(db, run_id)

        def captured(exporter: Subject | Measured, name: str, limit: int) -> Capture:
            return capture(
                exporter,
                db,
                run_id,
                signing_key=signing_key,
                clock=clock,
                directory=where / name,
                max_records=limit,
            )

        return compare_captures(
            captured(control, "control", MAX_RECORDS),
            captured(candidate, "candidate", max_records),
            run_id=run_id,
            signing_key=signing_key,
            run_of=run_lookup(db),
        )


def assert_same_export(
    db: LandscapeDB,
    run_id: str,
    *,
    candidate: Subject | Measured,
    control: Subject | Measured | None = None,
    signing_key: bytes | None = SIGNING_KEY,
    clock: Clock = fixed_clock,
) -> None:
    """Raise VerdictError, an AssertionError, unless both exporters export the run alike.

    For a test suite. Takes the arguments of `compare_exports`.
    """
    comparison = compare_exports(
        db, run_id, candidate=candidate, control=control, signing_key=signing_key, clock=clock
    )
    require([comparison.verdict()])


def compare_captures(
    control: Capture,
    candidate: Capture,
    *,
    run_id: str,
    signing_key: bytes | None,
    run_of: RunLookup | None = None,
) -> Comparison:
    """Compare two captured exports of a run.

    Args:
        control: The control's capture.
        candidate: The candidate's capture.
        run_id: The exported run, for messages.
        signing_key: The key that both were signed with; None if unsigned.
        run_of: Finds the run of a record, to recognise records of another run.
    """
    # Records before files: a difference in a record is easier to understand than one in a byte.
    difference = _first_difference_in_records(control, candidate, signing_key, run_of)
    if difference is None:
        difference = first_difference_in_files(control, candidate, signing_key)
    elif difference.number is not None and control.jsonl.exists():
        difference = replace(difference, byte_offset=line_offset(control.jsonl, difference.number))
    if difference and difference.kind is Kind.SIGNATURE and signing_key is not None:
        record = next(islice(candidate.records, (difference.number or 1) - 1, None))
        difference = replace(difference, hint=of_signature(record, signing_key))
    return Comparison(
        control=control.subject,
        candidate=candidate.subject,
        run_id=run_id,
        records=control.record_count,
        difference=difference,
        control_sha256=control.sha256,
        candidate_sha256=candidate.sha256,
        refusal=control.error,
        other_refusal=_other_refusal(control.error, candidate.error),
    )


def _other_refusal(control: Refusal | None, candidate: Refusal | None) -> tuple[str, str] | None:
    if control is None or candidate is None or control.type_name == candidate.type_name:
        return None
    return control.type_name, candidate.type_name


def _first_difference_in_records(
    control: Capture, candidate: Capture, signing_key: bytes | None, run_of: RunLookup | None = None
) -> Difference | None:
    """Compare the records of two captures, and the errors that they ended in.

    Two exports that end in the same error are the same if the longer one starts with the shorter.
    """
    if candidate.error and not candidate.error.type_name:
        # The export was stopped: what differs before that follows from the same cause.
        return _difference_in_errors(control, candidate, None)
    sides: tuple[Records, Records] = (control.records, candidate.records)
    if not candidate.fixed_clock and signing_key is not None:
        sides = (
            WithoutTime(control.records, signing_key),
            WithoutTime(candidate.records, signing_key),
        )
    mismatch = _first_mismatch(*sides)
    # One export has ended, or both. The number of records before an error depends on how an
    # exporter reads, so the errors decide before a missing record does.
    if mismatch is None or mismatch.expected is None or mismatch.found is None:
        difference = _difference_in_errors(control, candidate, mismatch)
        if difference or (control.error and candidate.error):
            return difference
        # Otherwise an exporter that does nothing passes wherever the control exports nothing.
        if not candidate.record_count:
            return _nothing_exported(control, mismatch)
    return classify(mismatch, *sides, run_of) if mismatch else None


def _difference_in_errors(
    control: Capture, candidate: Capture, mismatch: Mismatch | None
) -> Difference | None:
    if same_refusal(control.error, candidate.error):
        return None
    next_record = mismatch and (mismatch.found or mismatch.expected)
    return Difference(
        kind=Kind.ERROR,
        expected=str(control.error or NO_ERROR),
        found=str(candidate.error or NO_ERROR),
        number=min(control.record_count, candidate.record_count) + 1,
        record=label(next_record) if next_record else "",
        hint=of_error(str(candidate.error or ""), candidate.record_count),
    )


def _nothing_exported(control: Capture, mismatch: Mismatch | None) -> Difference:
    return Difference(
        kind=Kind.VACUOUS,
        expected=f"{control.record_count} records" if mismatch else "anything to compare",
        found="no record and no error",
        hint="does the exporter do its work? Is the run the right one?",
    )


def _first_mismatch(control: Records, candidate: Records) -> Mismatch | None:
    # Nearly all exports are the same, and to compare bytes takes a tenth of comparing records.
    if isinstance(control, Spool) and isinstance(candidate, Spool) and control.is_like(candidate):
        return None
    pairs = zip_longest(control, candidate)
    for number, (expected, found) in enumerate(pairs, start=1):
        if expected is None or found is None or not same_record(expected, found):
            return Mismatch(number, expected, found)
    return None


def _rereadable(records: Iterable[Record], path: Path) -> Records:
    return spool(records, path) if isinstance(records, Iterator) else records
