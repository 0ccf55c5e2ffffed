"""Checks an exported file or directory against its signatures; knows no exporter, no database."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.export.signed_lines import MANIFEST
from elspeth.core.landscape.keys import Keyring
from elspeth.core.landscape.verification.csv_files import (
    SPREADSHEET_MARKER,
    csv_file_names,
    read_csv,
)
from elspeth.core.landscape.verification.defects import (
    Finding,
    Problem,
    Reading,
    Reason,
    Verification,
    shown,
)
from elspeth.core.landscape.verification.jsonl import read_jsonl
from elspeth.core.landscape.verification.record_order import Grammar, KeysSeen
from elspeth.core.landscape.verification.record_shapes import Shape, known_shapes
from elspeth.core.landscape.verification.signatures import Signatures

# Judges the lines of an export one after the other, and the export as a whole at its end.


_MOST_FINDINGS = 20
_TRAILING = Problem(Reason.TRAILING_DATA, "there is more after the manifest")


class Check:
    """The state of one verification: what was seen so far and what was found wrong.

    Without `expected_run` the first record says which run it is. `keys_seen` makes primary keys
    unique across the whole export, not only among the children of one parent.
    """

    def __init__(
        self,
        signatures: Signatures,
        *,
        expected_run: str | None = None,
        keys_seen: KeysSeen | None = None,
    ) -> None:
        self._signatures = signatures
        self._run_id = expected_run
        self._keys_seen = keys_seen
        self._grammar = Grammar(remembers_keys=keys_seen is None)
        self._is_closed = False
        self._latest_was_read = True
        self._record_count = self._valid_count = self._finding_count = 0
        self._findings: list[Finding] = []
        self._counts: Counter[str] = Counter()
        self._manifest: Record | None = None

    def take(self, reading: Reading) -> None:
        """Judge the next line. Raises SigningKeyError for a signed one when there is no key."""
        problems = (_TRAILING,) if self._is_closed else self._problems(reading)
        self._record_count += 1
        if not problems:
            self._valid_count += 1
            return
        for problem in problems:
            self.find(Finding(*problem, reading.line, reading.file))

    def find(self, finding: Finding) -> None:
        """Take in what is wrong with the export, whatever record it is about."""
        self._finding_count += 1
        if len(self._findings) < _MOST_FINDINGS:
            self._findings.append(finding)

    def conclude(self) -> Verification:
        """Judge what only the end can show, and sum up."""
        missing = self._missing_end()
        if missing is not None:
            self._record_count += 1
            self.find(missing)
        return Verification(
            self._run_id,
            self._signatures.are_expected is not False,
            self._record_count,
            self._valid_count,
            self._finding_count,
            tuple(self._findings),
            self._signatures.all_are_bad,
            self._signatures.key_id,
            dict(self._counts),
            self._manifest,
        )

    def _missing_end(self) -> Finding | None:
        if self._record_count == 0:
            if any(each.reason is Reason.SPREADSHEET_COPY for each in self._findings):
                return None
            return Finding(Reason.EMPTY, "the export is empty: there is nothing to verify")
        if self._is_closed or self._signatures.are_expected is False:
            return None
        # A last line that could not be read was found wrong already, and may be the manifest.
        if not self._latest_was_read:
            return None
        return Finding(Reason.TRUNCATED, "no manifest: the end of the export is missing")

    def _problems(self, reading: Reading) -> Sequence[Problem]:
        """What is wrong with a line that stands before the end."""
        self._latest_was_read = reading.kind is not None
        if reading.kind is None:
            self._signatures.skip()
            return reading.problems
        self._counts[reading.kind] += 1
        wrong_run = None
        if reading.record["run_id"] != self._run_id:
            wrong_run = self._other_run(reading.record["run_id"])
        forged = self._signatures.check(reading)
        if reading.kind == MANIFEST:
            misplaced = self._close(reading.record)
        else:
            misplaced = self._place(reading.kind, reading.record)
        if not (wrong_run or forged or misplaced):
            return reading.problems
        return [*reading.problems, *filter(None, (wrong_run, forged)), *misplaced]

    def _other_run(self, run_id: str) -> Problem | None:
        """Take the first record's run as the expected one, if none was given."""
        if self._run_id is None:
            self._run_id = run_id
            return None
        return Problem(Reason.WRONG_RUN, f"of run {shown(run_id)}, not {shown(self._run_id)}")

    def _place(self, kind: str, record: Record) -> Sequence[Problem]:
        misplaced = self._grammar.place(kind, record)
        if self._keys_seen is not None and not self._keys_seen.add(kind, record):
            misplaced = Problem(Reason.DUPLICATE, f"a second {kind} of this key")
        return () if misplaced is None else (misplaced,)

    def _close(self, manifest: Record) -> Sequence[Problem]:
        self._is_closed = True
        self._manifest = manifest
        problems = list(self._signatures.check_manifest(manifest, self._record_count))
        if self._record_count == 0:
            problems.append(Problem(Reason.ORDER, "a manifest without a run before it"))
        return problems


__all__ = ["Finding", "Reason", "Verification", "verify"]


def verify(
    path: Path,
    key: bytes | Keyring | None,
    *,
    run_id: str | None = None,
    unique: bool = False,
    allow_unsigned: bool = False,
    unchecked: bool = False,
) -> Verification:
    """Check a JSON Lines export, or the directory of a CSV export, byte by byte.

    Of a keyring the key that fits is found by itself, one for the whole export.
    With `run_id` the export has to be of that run. `unique` looks for repeated primary keys
    across the whole export, through a temporary file, and not only among the children of one
    parent. `allow_unsigned` accepts an export without any signature, and `unchecked` one whose
    signatures nobody here has the key to check: something else has to vouch for its bytes.
    Streams: memory does not grow with the export.

    Raises OSError when something cannot be read, and SigningKeyError when `key` is None and the
    export is signed, unless it may go unchecked.
    """
    shapes = known_shapes()
    with ExitStack() as resources:
        check = Check(
            Signatures(_keys(key), may_be_unsigned=allow_unsigned, may_be_unchecked=unchecked),
            expected_run=run_id,
            keys_seen=resources.enter_context(KeysSeen()) if unique else None,
        )
        if (path / SPREADSHEET_MARKER).exists():
            check.find(_COPY)
            readings: Iterable[Reading] = ()
        elif path.is_dir():
            for finding in _foreign_files(path, shapes):
                check.find(finding)
            readings = read_csv(path, shapes)
        else:
            readings = read_jsonl(resources.enter_context(path.open("rb")), shapes)
        for reading in readings:
            check.take(reading)
    return check.conclude()


_COPY = Finding(
    Reason.SPREADSHEET_COPY,
    "this is a copy for spreadsheets, which never verifies: verify the export it was made of",
    file=SPREADSHEET_MARKER,
)


def _keys(key: bytes | Keyring | None) -> Sequence[bytes]:
    if isinstance(key, Keyring):
        return key.keys
    return () if key is None else (key,)


def _foreign_files(directory: Path, shapes: Mapping[str, Shape]) -> Iterable[Finding]:
    """What lies in the directory and is no part of an export, so that no signature covers it."""
    known = csv_file_names(shapes)
    for entry in directory.iterdir():
        if entry.name not in known:
            yield Finding(Reason.FOREIGN_FILE, "is no part of an export", file=shown(entry.name))
