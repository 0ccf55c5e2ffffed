"""Checks the lines of one export in turn, and the export as a whole at its end."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from elspeth.core.landscape.verification.defects import (
    Defect,
    ParsedLine,
    Reason,
    Record,
    Verification,
    short_repr,
)
from elspeth.core.landscape.verification.jsonl import (
    FastPath,
    ReadableLines,
    read_blocks,
    read_lines,
)
from elspeth.core.landscape.verification.line_patterns import Block, LinePatterns
from elspeth.core.landscape.verification.original_json import Form, note_of
from elspeth.core.landscape.verification.record_order import Place, RecordOrder, UniqueKeys
from elspeth.core.landscape.verification.record_shapes import MANIFEST
from elspeth.core.landscape.verification.signatures import SignatureVerifier

# A wrong key makes every record a defect; the first few show the cause, and memory stays flat.
_MOST_DEFECTS = 20
_TRAILING = Defect(Reason.TRAILING_DATA, "there is more after the manifest")


class Verifier:
    """Checks the lines of one export in turn, and the export as a whole at its end."""

    def __init__(
        self,
        signatures: SignatureVerifier,
        *,
        expected_run: str | None = None,
        unique_keys: UniqueKeys | None = None,
        form: Form = Form.CANONICAL,
        order: RecordOrder | None = None,
    ) -> None:
        """Start before the first line.

        Args:
            signatures: checks the signatures of this export.
            expected_run: the run that all records must name; None takes that of the first record.
            unique_keys: finds repeated primary keys across the whole export; None compares only
                the children of one parent.
            form: how the records are written.
            order: checks the place of every record; None for that of a whole export.
        """
        self._signatures = signatures
        self._run_id = expected_run
        self._unique_keys = unique_keys
        self._form = form
        self._order = order or RecordOrder(
            finds_duplicates=unique_keys is None, of_original=form.is_original
        )
        self._is_closed = False
        self._latest_is_readable = True
        self._record_count = self._valid_count = self._defect_count = 0
        self._defects: list[Defect] = []
        self._counts: Counter[str] = Counter()
        self._manifest: Record | None = None

    def check_all(self, lines: Iterable[ParsedLine]) -> None:
        """Check the next lines. Raises SigningKeyError for a signed line without a key."""
        for line in lines:
            self.check(line)

    def check(self, line: ParsedLine) -> None:
        """Check the next line. Raises SigningKeyError for a signed line without a key."""
        defects = self._check_after_end(line) if self._is_closed else self._check_before_end(line)
        self._record_count += 1
        if not defects:
            self._valid_count += 1
            return
        for defect in defects:
            self.report(defect.at(line.number, line.file, line.unit))

    @property
    def next_number(self) -> int:
        """The number of the next line of an export that is one file, from 1."""
        return self._record_count + 1

    def patterns(self) -> LinePatterns | None:
        """Return what reads the lines of this export by the block; None while that is unknown.

        None also with `UniqueKeys`, which take their time for every record anyhow.
        """
        if self._run_id is None or not self._signatures.takes_blocks or self._unique_keys:
            return None
        return LinePatterns(self._run_id, is_signed=self._signatures.is_signed is True)

    def check_block(self, block: Block) -> bool:
        """Check the next lines at once, which `patterns` has read.

        Returns:
            False if nothing was checked, because `check` has to check them one by one.
        """
        if self._is_closed or not self._signatures.check_block(block.messages, block.signatures):
            return False
        self._latest_is_readable = True
        number = self._record_count
        self._record_count += len(block.record_types)
        self._valid_count += len(block.record_types)
        self._counts.update(block.record_types)
        misplaced = map(
            self._order.place,
            block.record_types,
            block.keys,
            block.parent_ids,
            block.sort_keys,
        )
        for defect in misplaced:
            number += 1
            if defect is not None:
                self._valid_count -= 1
                self.report(defect.at(number, "", "line"))
        return True

    @property
    def is_open_and_valid(self) -> bool:
        """Whether there were records, none of them the manifest, and none has a defect."""
        return self._record_count > 0 and not self._defect_count and not self._is_closed

    @property
    def run_id(self) -> str | None:
        """The run that was expected, or else the run that the first record names."""
        return self._run_id

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of records so far, by type."""
        return dict(self._counts)

    def add_checked(self, counts: Mapping[str, int], places: Iterable[Place]) -> None:
        """Add the next lines, of which all is checked but the places directly inside the run.

        Args:
            counts: the number of their records, by type.
            places: the places of those that stand directly inside the run.
        """
        self._latest_is_readable = True
        self._counts.update(counts)
        self._record_count += sum(counts.values())
        self._valid_count += sum(counts.values())
        for place in places:
            misplaced = self._order.place(
                place.record_type, place.key, self._run_id, place.sort_key
            )
            if misplaced is not None:
                self.report(misplaced)

    def report(self, defect: Defect) -> None:
        """Count a defect, and keep it if it is among the first."""
        self._defect_count += 1
        if len(self._defects) < _MOST_DEFECTS:
            self._defects.append(defect)

    def end_early(self, defect: Defect) -> None:
        """Report why nothing more can be read; a missing end has the same cause."""
        self._record_count += 1
        self._latest_is_readable = False
        self.report(defect)

    def result(self) -> Verification:
        """Check for a missing end, and return the result."""
        missing = self._missing_end()
        if missing is not None:
            self._record_count += 1
            self.report(missing)
        return Verification(
            run_id=self._run_id,
            is_signed=self._signatures.is_signed is not False,
            record_count=self._record_count,
            valid_count=self._valid_count,
            defect_count=self._defect_count,
            defects=tuple(self._defects),
            every_signature_is_bad=self._signatures.every_signature_is_bad,
            key_id=self._signatures.key_id,
            key_length=self._signatures.key_length,
            counts=dict(self._counts),
            manifest=self._manifest,
            note=note_of(self._form, is_signed=self._signatures.is_signed is not False),
        )

    def _missing_end(self) -> Defect | None:
        if self._record_count == 0:
            if any(defect.reason is Reason.SPREADSHEET_COPY for defect in self._defects):
                return None
            return Defect(Reason.EMPTY, "the export is empty: there is nothing to verify")
        if self._is_closed or self._signatures.is_signed is False:
            return None
        # An unreadable last line is a defect already, and may be the manifest.
        if not self._latest_is_readable:
            return None
        return Defect(Reason.TRUNCATED, "no manifest: the end of the export is missing")

    def _check_after_end(self, line: ParsedLine) -> Sequence[Defect]:
        """Return the defects of a line that the manifest precedes."""
        # What follows the last record of an array may be its missing end.
        return line.defects if self._form is Form.ARRAY and line.defects else (_TRAILING,)

    def _check_before_end(self, line: ParsedLine) -> Sequence[Defect]:
        """Return the defects of a line that no manifest precedes."""
        self._latest_is_readable = line.record_type is not None
        if line.record_type is None:
            self._signatures.skip_unreadable()
            return line.defects
        self._counts[line.record_type] += 1
        # Hot path: a valid record costs one comparison, and no list is built for it.
        wrong_run = None
        if line.record["run_id"] != self._run_id:
            wrong_run = self._check_other_run(line.record["run_id"])
        forged = self._signatures.check(line)
        if line.record_type == MANIFEST:
            misplaced = self._close(line.record)
        else:
            place = self._check_place(line.record_type, line.record)
            misplaced = () if place is None else (place,)
        if not (wrong_run or forged or misplaced):
            return line.defects
        return [*line.defects, *filter(None, (wrong_run, forged)), *misplaced]

    def _check_other_run(self, run_id: str) -> Defect | None:
        """Take the run of the first record as the expected one, if none was given."""
        if self._run_id is None:
            self._run_id = run_id
            return None
        message = f"of run {short_repr(run_id)}, not {short_repr(self._run_id)}"
        return Defect(Reason.WRONG_RUN, message)

    def _check_place(self, record_type: str, record: Record) -> Defect | None:
        misplaced = self._order.check(record_type, record)
        # Replaces a defect of the order, which a repeated key often causes.
        if self._unique_keys is not None and not self._unique_keys.add(record_type, record):
            misplaced = Defect(Reason.DUPLICATE, f"a second {record_type} of this key")
        return misplaced

    def _close(self, manifest: Record) -> Sequence[Defect]:
        self._is_closed = True
        self._manifest = manifest
        defects = list(self._signatures.check_manifest(manifest, self._record_count))
        if self._record_count == 0:
            defects.append(Defect(Reason.ORDER, "a manifest without a run before it"))
        return defects


def check_jsonl(file: ReadableLines, verifier: Verifier, max_line_bytes: int) -> None:
    """Check the lines of a canonical JSON Lines export: by the block, or else one by one.

    Args:
        file: the export.
        verifier: checks the lines.
        max_line_bytes: the length of the longest line that is read.
    """
    fast_path = FastPath(max_line_bytes)
    patterns: LinePatterns | None = None
    for content in read_blocks(file, max_line_bytes):
        # A block that is longer than the longest line may hold a line that is too long.
        block = None
        if len(content) <= max_line_bytes and (patterns := patterns or verifier.patterns()):
            block = patterns.read(content)
        if block is None or not verifier.check_block(block):
            for line in read_lines(content, verifier.next_number, fast_path, max_line_bytes):
                verifier.check(line)
