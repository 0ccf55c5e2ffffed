"""Verifies an exported file or directory: form, signatures, order and manifest.

Uses no exporter and no database: the verifier has its own record shapes, order, encoding and
signature check, so that it does not repeat a mistake of an exporter.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from elspeth.core.compression import DamagedCompressionError, is_decompressed
from elspeth.core.landscape.keys import Keyring
from elspeth.core.landscape.verification.csv_files import (
    FILE_NAMES,
    SPREADSHEET_MARKER,
    read_csv,
)
from elspeth.core.landscape.verification.defects import (
    MAX_LINE_BYTES,
    Defect,
    Reason,
    Verification,
    short_repr,
)
from elspeth.core.landscape.verification.original_json import Form, read_original
from elspeth.core.landscape.verification.read import opened
from elspeth.core.landscape.verification.record_order import UniqueKeys
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, SignatureVerifier
from elspeth.core.landscape.verification.verifier import Verifier, check_jsonl

__all__ = ["Defect", "Reason", "Verification", "verify"]

_COPY = Defect(
    Reason.SPREADSHEET_COPY,
    "this is a copy for spreadsheets, which never verifies: verify the export it was made of",
    file=SPREADSHEET_MARKER,
)


def verify(
    path: Path,
    key: bytes | Keyring | None,
    *,
    run_id: str | None = None,
    unique: bool = False,
    allow_unsigned: bool = False,
    allow_unchecked: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
    jobs: int = 1,
) -> Verification:
    """Verify a JSON Lines export, or the directory of a CSV export, byte by byte.

    The export is streamed: memory does not grow with its size. A file that gzip or zstd compressed
    is recognised by its content, and its uncompressed bytes are verified. A JSON file of the
    original exporter is verified as far as it can be; the result's `note` says what was not
    checked.

    Args:
        path: a file of JSON Lines or with a JSON array, or a directory of CSV files.
        key: the signing key, or a keyring of which one key must fit the whole export.
        run_id: the run that the export must be of; None takes the run of the first record.
        unique: find repeated primary keys across the whole export, through a temporary file, and
            not only among the children of one parent.
        allow_unsigned: accept an export without any signature.
        allow_unchecked: accept signatures unchecked when `key` is None, because something else,
            such as an attestation, covers the bytes.
        max_line_bytes: the length of the longest line that is read. A few times as much memory is
            needed for a line.
        jobs: the number of processes that share the lines of a JSON Lines file. An export that has
            a defect is then read again by this process alone, so that the result is the same. A
            pipe, a compressed file, another form and `unique` take this process only.

    Raises:
        CompressionUnavailableError: the file is compressed and the package for it is missing.
        OSError: something cannot be read, or a process that shares the lines has ended.
        SigningKeyError: the export is signed, `key` is None and `allow_unchecked` is false.
    """
    keys = key.keys if isinstance(key, Keyring) else () if key is None else (key,)
    accepted = AcceptedSignatures(keys, allow_unsigned, allow_unchecked)
    with ExitStack() as resources:
        unique_keys = resources.enter_context(UniqueKeys()) if unique else None
        form, file = opened(path, resources)
        is_plain = file is not None and form is Form.CANONICAL and not is_decompressed(file)
        if file is not None and is_plain and jobs > 1 and unique_keys is None:
            # Imported here: a verification by one process does not wait for multiprocessing.
            from elspeth.core.landscape.verification.shared_lines import verify_in_parts

            shared = verify_in_parts(file, accepted, run_id, jobs, max_line_bytes)
            if shared is not None:
                return shared
        verifier = Verifier(
            SignatureVerifier(accepted), expected_run=run_id, unique_keys=unique_keys, form=form
        )
        # First, because a copy is a directory of CSV files too and would give misleading defects.
        if (path / SPREADSHEET_MARKER).exists():
            verifier.report(_COPY)
        elif file is None:
            for defect in _foreign_files(path):
                verifier.report(defect)
            verifier.check_all(read_csv(path, max_line_bytes))
        else:
            try:
                if form.is_original:
                    verifier.check_all(read_original(file, form, max_line_bytes))
                else:
                    check_jsonl(file, verifier, max_line_bytes)
            except DamagedCompressionError as error:
                verifier.end_early(Defect(Reason.CORRUPT_COMPRESSION, str(error)))
    return verifier.result()


def _foreign_files(directory: Path) -> Iterator[Defect]:
    """Yield a defect for every file that is not part of an export."""
    # No signature covers such a file, so it must not pass as part of the evidence.
    for entry in directory.iterdir():
        if entry.name not in FILE_NAMES:
            yield Defect(
                Reason.FOREIGN_FILE, "is not part of an export", file=short_repr(entry.name)
            )
