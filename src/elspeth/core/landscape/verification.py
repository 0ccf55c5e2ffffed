"""Checks an exported file or directory against its signatures; knows no exporter, no database."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from elspeth.core.landscape.keys import Keyring
from elspeth.core.landscape.verifying.checking import Check
from elspeth.core.landscape.verifying.csv_reading import (
    SPREADSHEET_MARKER,
    csv_file_names,
    read_csv,
)
from elspeth.core.landscape.verifying.fields import Shape, known_shapes
from elspeth.core.landscape.verifying.findings import Finding, Reason, Verification, shown
from elspeth.core.landscape.verifying.jsonl_reading import read_jsonl
from elspeth.core.landscape.verifying.reading import Reading
from elspeth.core.landscape.verifying.signatures import Signatures
from elspeth.core.landscape.verifying.uniqueness import KeysSeen

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
