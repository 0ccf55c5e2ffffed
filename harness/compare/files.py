"""The first difference between the files of two captures: JSON Lines and CSV, byte by byte."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import rfc8785

from harness.compare.capture import STALE, Capture, same_refusal
from harness.compare.difference import Difference, Kind, same_record
from harness.compare.records import MANIFEST, Record, without_time

_CHUNK_BYTES = 1 << 16
_EXCERPT_BYTES = 60


def first_difference_in_files(
    control: Capture, candidate: Capture, signing_key: bytes | None
) -> Difference | None:
    """Compare the JSON Lines files and the CSV directories of two captures, byte by byte.

    Args:
        control: The control's capture.
        candidate: The candidate's capture.
        signing_key: Verifies the manifest of a candidate whose clock cannot be set; None if the
            exports are unsigned.
    """
    key = None if candidate.fixed_clock else signing_key
    errors = (
        (control.jsonl.name, control.jsonl_error, candidate.jsonl_error),
        (control.csv.name, control.csv_error, candidate.csv_error),
    )
    for place, expected, found in errors:
        if not same_refusal(expected, found):
            return Difference(
                Kind.ERROR, str(expected or "no error"), str(found or "no error"), place
            )
    return _in_names(control, candidate) or _in_contents(control, candidate, key)


def line_offset(path: Path, number: int) -> int:
    """Return the byte at which a line starts. Lines count from 1."""
    with path.open("rb") as file:
        for _ in range(number - 1):
            file.readline()
        return file.tell()


@dataclass(frozen=True)
class _Mismatch:
    """The first byte that differs, its line (from 1), and the byte at which that line starts."""

    byte_offset: int
    line: int
    line_offset: int


def _in_names(control: Capture, candidate: Capture) -> Difference | None:
    """Compare which files exist.

    Stale files must be gone, and a refused export must not leave a file.
    """
    expected, found = _files(control), _files(candidate)
    for name in sorted(expected.keys() - found.keys()):
        return Difference(Kind.MISSING_FILE, "a file", "none", name)
    for name in sorted(found.keys() - expected.keys()):
        is_stale = found[name].read_bytes() == STALE.encode()
        hint = (
            "left by an earlier export: write to a new directory, then replace" if is_stale else ""
        )
        return Difference(Kind.EXTRA_FILE, "no file", "a file", name, hint=hint)
    return None


def _in_contents(control: Capture, candidate: Capture, key: bytes | None) -> Difference | None:
    expected, found = _files(control), _files(candidate)
    # The JSON Lines file first: its lines are records, which is easier to read than CSV.
    for name in sorted(expected, key=lambda name: (name != control.jsonl.name, name)):
        mismatch = _first_mismatch(expected[name], found[name])
        if mismatch is None or (
            key and _is_sound_manifest(expected[name], found[name], mismatch, key)
        ):
            continue
        return _differing_bytes(name, expected[name], found[name], mismatch)
    return None


def _files(side: Capture) -> dict[str, Path]:
    """Return every file of a capture by its name in the export."""
    csv_files = side.csv.iterdir() if side.csv.is_dir() else ()
    files = {f"{side.csv.name}/{path.name}": path for path in csv_files}
    return files | ({side.jsonl.name: side.jsonl} if side.jsonl.exists() else {})


def _first_mismatch(one: Path, other: Path) -> _Mismatch | None:
    """Find the first byte that differs. The end of the shorter file counts as a difference."""
    offset, line, line_offset = 0, 1, 0
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            # In chunks, so that memory does not grow with the files.
            chunk, counterpart = first.read(_CHUNK_BYTES), second.read(_CHUNK_BYTES)
            same = chunk[: _length_of_shared_start(chunk, counterpart)]
            line += same.count(b"\n")
            line_offset = offset + same.rfind(b"\n") + 1 if b"\n" in same else line_offset
            offset += len(same)
            if chunk != counterpart:
                return _Mismatch(offset, line, line_offset)
            if not chunk:
                return None


def _length_of_shared_start(one: bytes, other: bytes) -> int:
    # Hot path: nearly all chunks are equal, and one comparison in C is enough for them.
    if one == other:
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _is_sound_manifest(expected: Path, found: Path, mismatch: _Mismatch, key: bytes) -> bool:
    """Whether two files differ in the manifest only, and there only in a valid time."""
    # The manifest is the last record, so a difference in it is the first one of the whole file.
    read = _manifest_row if expected.suffix == ".csv" else _manifest_line
    try:
        manifests = [read(path, mismatch.line_offset) for path in (expected, found)]
    except (ValueError, csv.Error):
        return False
    return same_record(*(without_time(manifest, key) for manifest in manifests))


def _manifest_line(path: Path, offset: int) -> Record:
    """Read the last line of a JSON Lines file. Raises ValueError unless it is a manifest."""
    with path.open("rb") as file:
        file.seek(offset)
        line = file.read(_CHUNK_BYTES)
    record: Record = json.loads(line)
    # A candidate may write any value as a line.
    if not isinstance(record, dict):
        raise ValueError("not a record")
    if record.get("record_type") != MANIFEST or rfc8785.dumps(dict(record)) + b"\n" != line:
        raise ValueError("not a canonical manifest")
    return record


def _manifest_row(path: Path, _: int) -> Record:
    """Read the only row of manifest.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    # Its signature covers the count as a number.
    return {**row, "record_count": int(row.get("record_count", ""))}


def _differing_bytes(name: str, expected: Path, found: Path, mismatch: _Mismatch) -> Difference:
    return Difference(
        kind=Kind.BYTES,
        expected=_excerpt(expected, mismatch),
        found=_excerpt(found, mismatch),
        place=name,
        number=mismatch.line,
        byte_offset=mismatch.byte_offset,
        hint="the records are the same, the file is not: how are they written?",
    )


def _excerpt(path: Path, mismatch: _Mismatch) -> str:
    """Show the bytes around the first difference."""
    start = max(mismatch.line_offset, mismatch.byte_offset - _EXCERPT_BYTES // 2)
    with path.open("rb") as file:
        file.seek(start)
        shown = file.read(_EXCERPT_BYTES)
    return repr(shown)[1:] if shown else "the end of the file"
