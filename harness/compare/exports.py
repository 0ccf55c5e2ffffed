"""Equivalence: whether an auditor could tell two exporters apart, and where first."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice, zip_longest
from pathlib import Path

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.compare.capture import MAX_RECORDS, Capture, Refusal, capture, spool
from harness.compare.difference import (
    Difference,
    Kind,
    Owner,
    Parting,
    Record,
    Records,
    classify,
    same_record,
)
from harness.compare.files import first_difference_in_files, line_offset
from harness.compare.hints import of_signature
from harness.compare.manifest import Timeless
from harness.compare.ownership import owner_in
from harness.compare.record_types import label
from harness.exporters.control import control_for
from harness.exporters.subject import Subject
from querygrowth.verdict import Verdict, judge, require

SIGNING_KEY = b"the harness signs with this key of its own, which proves nothing"
"""The key for comparisons that are given none. Any will do: both sides get the same."""


def fixed_clock() -> datetime:
    """Return one moment, always, as a manifest's `exported_at`."""
    return datetime(2026, 1, 1, 12, 30, 15, 250000, tzinfo=UTC)


@dataclass(frozen=True)
class Comparison:
    """Two exports of one run, and the first difference between them.

    `records` is how many records the control emitted. The hashes are of the JSON Lines files, and
    differ in identical exports only when the candidate takes no clock; None where writing was
    refused.
    """

    control: str
    candidate: str
    run_id: str
    records: int
    difference: Difference | None
    control_sha256: str | None
    candidate_sha256: str | None
    refusal: Refusal | None

    @property
    def identical(self) -> bool:
        """Whether no difference was found."""
        return self.difference is None

    def verdict(self) -> Verdict:
        """Judge the candidate by what the control exported."""
        found = self.difference
        same = f"refused alike: {self.refusal}" if self.refusal else "the same export to the byte"
        return judge(
            self.candidate,
            found is None,
            expected=f"the export of {self.control}, to the byte",
            seen=f"{same} ({self.records} records)" if found is None else found.headline,
            evidence=(f"run        {self.run_id}", *(found.evidence if found else ())),
            next_step=found.hint if found else "",
        )


def first_difference(
    control: Iterable[Record], candidate: Iterable[Record], *, owner: Owner | None = None
) -> Difference | None:
    """Find where two exports' records part: content, order, key order or types; None if nowhere.

    Iterators are kept in temporary files, to be read again once they differ; lists and spools are
    read where they are. Memory does not grow with the number of records.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as directory:
        sides = (
            _rereadable(control, Path(directory, "control")),
            _rereadable(candidate, Path(directory, "candidate")),
        )
        parting = _parting(*sides)
        return classify(parting, *sides, owner) if parting else None


def compare_exports(
    db: LandscapeDB,
    run_id: str,
    *,
    candidate: Subject,
    control: Subject | None = None,
    signing_key: bytes | None = SIGNING_KEY,
    clock: Clock = fixed_clock,
    directory: Path | None = None,
    max_records: int = MAX_RECORDS,
) -> Comparison:
    """Export a run with both and compare records, JSON Lines, CSV files, signatures and errors.

    The exports are unsigned when `signing_key` is None. They are left in `directory`, which must
    not exist, for a look at them; without one they are removed. A candidate without a clock has
    its manifest verified under the key, and not compared by the byte. Raises SubjectError for a
    candidate that is no exporter, or yields more than `max_records`.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as temporary:
        where = directory or Path(temporary)
        if control is None:
            control = control_for(db, run_id, clock=clock, directory=Path(temporary))

        def captured(subject: Subject, name: str, limit: int) -> Capture:
            return capture(
                subject,
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
            owner=owner_in(db),
        )


def assert_same_export(
    db: LandscapeDB,
    run_id: str,
    *,
    candidate: Subject,
    control: Subject | None = None,
    signing_key: bytes | None = SIGNING_KEY,
    clock: Clock = fixed_clock,
) -> None:
    """Raise VerdictError, an AssertionError, unless both exporters export the run alike."""
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
    owner: Owner | None = None,
) -> Comparison:
    """Compare two exports of a run that were caught before, perhaps in other processes."""
    difference = first_difference_in_records(control, candidate, signing_key, owner)
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
    )


def first_difference_in_records(
    control: Capture, candidate: Capture, signing_key: bytes | None, owner: Owner | None = None
) -> Difference | None:
    """Compare the records of two captures, and the errors they ended in.

    Two exports that refuse with one error are alike when the shorter begins the longer: how much
    an exporter reads before it yields is its own affair.
    """
    sides: tuple[Records, Records] = (control.records, candidate.records)
    if not candidate.fixed_clock and signing_key is not None:
        sides = (Timeless(control.records, signing_key), Timeless(candidate.records, signing_key))
    parting = _parting(*sides)
    if parting is None or parting.expected is None or parting.found is None:
        difference = _difference_in_errors(control, candidate, parting)
        if difference or (control.error and candidate.error):
            return difference
        if not candidate.record_count:
            return _nothing_exported(control, parting)
    return classify(parting, *sides, owner) if parting else None


def _difference_in_errors(
    control: Capture, candidate: Capture, parting: Parting | None
) -> Difference | None:
    if control.error == candidate.error:
        return None
    next_record = parting and (parting.found or parting.expected)
    return Difference(
        kind=Kind.ERROR,
        expected=str(control.error or "no error"),
        found=str(candidate.error or "no error"),
        number=min(control.record_count, candidate.record_count) + 1,
        record=label(next_record) if next_record else "",
        hint="" if candidate.error else "the candidate exports what no export may carry",
    )


def _nothing_exported(control: Capture, parting: Parting | None) -> Difference:
    return Difference(
        kind=Kind.VACUOUS,
        expected=f"{control.record_count} records" if parting else "anything to compare",
        found="no record and no error",
        hint="does the exporter do its work? Is the run the right one?",
    )


def _parting(control: Records, candidate: Records) -> Parting | None:
    pairs = zip_longest(control, candidate)
    for number, (expected, found) in enumerate(pairs, start=1):
        if expected is None or found is None or not same_record(expected, found):
            return Parting(number, expected, found)
    return None


def _rereadable(records: Iterable[Record], path: Path) -> Records:
    return spool(records, path) if isinstance(records, Iterator) else records
