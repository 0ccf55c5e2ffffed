"""Blocks of JSON Lines: encoded records with their HMAC signatures, and the manifest."""

import hashlib
from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, repeat, starmap
from math import copysign
from operator import add, itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Float

from elspeth.core.landscape.export.encoding import (
    AFTER_SIGNATURE,
    BEFORE_SIGNATURE,
    Halves,
    encode_line,
    encode_record,
    record_encoder,
)
from elspeth.core.landscape.export.merge import merge_records
from elspeth.core.landscape.export.queries import WHOLE, Partition
from elspeth.core.landscape.export.record_types import FetchedRow, Record, RecordType
from elspeth.core.landscape.export.snapshot import ReadSnapshot

MANIFEST = "manifest"
HASH_ALGORITHM = "sha256"
SIGNATURE_ALGORITHM = "hmac-sha256"
SIGNATURE_BYTES = 64
"""The length of a signature as hexadecimal digits."""

Clock: TypeAlias = Callable[[], datetime]

# A block of about 450 KB: large enough to make the calls for a block cheap, small enough for memory
# that does not grow with the run.
_LARGEST_BLOCK_RECORDS = 1024
# The block size of SHA-256 and the two pads: RFC 2104, section 2.
_HASH_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))

# In pieces, so that one join of all pieces of a block copies the bytes once and not twice.
Line: TypeAlias = tuple[bytes, ...]
"""A record's line in pieces."""

# The place of the signature in the pieces that `_signed_lines` returns.
_SIGNATURE_PIECE = itemgetter(2)


class Signer:
    """HMAC-SHA256 (RFC 2104) with the two hash states of the key computed once."""

    # To copy two hash states takes 0.9 µs for a signature, `hmac.digest` 4.4 µs, and signing is 20
    # % of an export's time. A property test compares the result with the standard library.

    def __init__(self, key: bytes) -> None:
        # As the RFC says: a long key is replaced by its hash, a short one is padded with zeros.
        block = hashlib.sha256(key).digest() if len(key) > _HASH_BLOCK_BYTES else key
        block = block.ljust(_HASH_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def sign(self, message: bytes) -> str:
        """Return the signature of `message`: 64 lower-case hexadecimal digits."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def sign_all(self, messages: Iterable[bytes]) -> list[bytes]:
        """Return the signatures of all messages, as the ASCII bytes of what `sign` returns."""
        # The steps of `sign` without a call for each message, and one conversion to digits for all
        # of them. The loop runs once for every exported record.
        new_inner, new_outer = self._inner.copy, self._outer.copy
        digests = []
        for message in messages:
            inner = new_inner()
            inner.update(message)
            outer = new_outer()
            outer.update(inner.digest())
            digests.append(outer.digest())
        digits = hexlify(b"".join(digests))
        return [digits[at : at + SIGNATURE_BYTES] for at in range(0, len(digits), SIGNATURE_BYTES)]


class RunningHash:
    """SHA-256 over the hexadecimal signatures of an export in emission order, and their count."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.record_count = 0

    def add(self, signature: str) -> None:
        """Add the signature of the next record."""
        # Not by add_all, which derives the count from the length: a subclass of the exporter may
        # sign with a text of another length.
        self._hash.update(signature.encode("ascii"))
        self.record_count += 1

    def add_all(self, signatures: bytes) -> None:
        """Add the signatures of the next records, joined without a separator."""
        self._hash.update(signatures)
        self.record_count += len(signatures) // SIGNATURE_BYTES

    def manifest(self, run_id: str, clock: Clock, left_out: Sequence[str] = ()) -> Record:
        """Return the unsigned manifest of the records so far. The clock is read by this call.

        Args:
            run_id: The run.
            clock: Gives `exported_at`.
            left_out: The names of what the export leaves out on request.
        """
        manifest = {
            "record_type": MANIFEST,
            "run_id": run_id,
            "record_count": self.record_count,
            "final_hash": self._hash.hexdigest(),
            "hash_algorithm": HASH_ALGORITHM,
            "signature_algorithm": SIGNATURE_ALGORITHM,
            "exported_at": clock().isoformat(),
        }
        # Text, since every field of a record is a plain value, and absent where nothing is left
        # out, so that those manifests keep their bytes.
        return manifest | {"left_out": ",".join(left_out)} if left_out else manifest


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records of an export.

    Attributes:
        lines: The lines of the records, with newlines.
        record_count: The number of records.
        signatures: The joined signatures of the records, or empty.
    """

    lines: bytes
    record_count: int
    # Apart from the lines, so that the running hash of the manifest needs no parsing of lines that
    # a worker of a parallel export has written.
    signatures: bytes = b""


def read_blocks(
    snapshot: ReadSnapshot,
    run_id: str,
    signer: Signer | None,
    partition: Partition = WHOLE,
    *,
    for_csv: bool = False,
) -> Iterator[Block]:
    """Read a run as blocks of up to 1,024 records, without the manifest.

    Args:
        snapshot: The snapshot to read from.
        run_id: The run.
        signer: Signs the records; None leaves them unsigned.
        partition: The part of the run to read.
        for_csv: Write -0.0 as it is, and sign it as canonical JSON writes it: as 0. The lines are
            then read again for CSV files, which hold -0.0.

    Raises:
        RunNotFoundError: There is no such run, and the partition opens the export.
        CorruptAuditDataError: A stored value must not be exported.
    """

    def renderer_for(record_type: RecordType) -> Callable[[Sequence[FetchedRow]], Iterable[Line]]:
        encode = record_encoder(record_type, run_id)

        def render(rows: Sequence[FetchedRow]) -> Iterable[Line]:
            if signer is None:
                return ((*halves, b"\n") for halves in encode(rows))
            return _signed_lines(list(encode(rows)), signer)

        return _with_negative_zeros(render, record_type) if for_csv else render

    lines = merge_records(snapshot, run_id, renderer_for, partition)
    while block := list(islice(lines, _LARGEST_BLOCK_RECORDS)):
        signatures = b"" if signer is None else b"".join(map(_SIGNATURE_PIECE, block))
        yield Block(b"".join(chain.from_iterable(block)), len(block), signatures)


def record_blocks(records: Iterable[Record]) -> Iterator[Block]:
    """Encode records that exist as dicts, signed or not, as blocks."""
    lines = map(encode_line, records)
    while block := list(islice(lines, _LARGEST_BLOCK_RECORDS)):
        yield Block(b"".join(block), len(block))


def add_manifest(
    blocks: Iterable[Block],
    run_id: str,
    signer: Signer,
    clock: Clock,
    left_out: Sequence[str] = (),
) -> Iterator[Block]:
    """Yield signed blocks unchanged, and after them a block with their signed manifest.

    Args:
        blocks: All blocks of the export, with signatures.
        run_id: The run.
        signer: Signs the manifest.
        clock: Gives the manifest's `exported_at`, read after the last block.
        left_out: The names of what the export leaves out on request.
    """
    running = RunningHash()
    for block in blocks:
        running.add_all(block.signatures)
        yield block
    manifest: Mapping[str, Any] = running.manifest(run_id, clock, left_out)
    signature = signer.sign(encode_record(manifest))
    yield Block(encode_line({**manifest, "signature": signature}), 1)


def _signed_lines(halves: Sequence[Halves], signer: Signer) -> Iterable[Line]:
    # The signature is put between the halves of the signed text. A record is encoded once; to
    # encode the record with its signature would be a second time.
    signatures = signer.sign_all(starmap(add, halves))
    heads, tails = zip(*halves, strict=True)
    before, after, newline = map(repeat, (BEFORE_SIGNATURE, AFTER_SIGNATURE, b"\n"))
    return zip(heads, before, signatures, after, tails, newline, strict=False)


def _with_negative_zeros(
    render: Callable[[Sequence[FetchedRow]], Iterable[Line]], record_type: RecordType
) -> Callable[[Sequence[FetchedRow]], Iterable[Line]]:
    """Return a function like `render` that writes -0.0 where a row holds it."""
    numbers = {
        b'"%b":' % name.encode(): record_type.position(name) for name in record_type.names_of(Float)
    }

    def rendered(rows: Sequence[FetchedRow]) -> Iterator[Line]:
        for row, (head, *rest) in zip(rows, render(rows), strict=True):
            for key, at in numbers.items():
                if row[at] == 0 and copysign(1, row[at]) < 0:
                    # Only the key itself: a text holds no unescaped quotes. It sorts before the
                    # signature, so it is in the first piece.
                    head = head.replace(key + b"0", key + b"-0.0", 1)
            yield (head, *rest)

    return rendered if numbers else render
