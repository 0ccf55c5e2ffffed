"""The lines of a JSON Lines export, in blocks of encoded and signed records."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat, starmap
from operator import add, itemgetter
from typing import Any, TypeAlias

from elspeth.core.clock import Clock
from elspeth.core.landscape.encoding import (
    AFTER_SIGNATURE,
    BEFORE_SIGNATURE,
    Halves,
    encode_line,
    encode_record,
    record_encoder,
)
from elspeth.core.landscape.merge import merged
from elspeth.core.landscape.partition import WHOLE, Partition
from elspeth.core.landscape.records import FetchedRow, RecordType
from elspeth.core.landscape.signing import RunningHash, Signer
from elspeth.core.landscape.snapshot import ReadSnapshot

Line: TypeAlias = tuple[bytes, ...]
"""A record's line in pieces: joined with all others of a block at once, they are copied once."""

_SIGNATURE_PIECE = itemgetter(2)
"""Of a signed line."""

_LARGEST_BLOCK_RECORDS = 1024


@dataclass(frozen=True, slots=True)
class Block:
    """Some records of an export: their lines, and their signatures, one behind the other."""

    lines: bytes
    record_count: int
    signatures: bytes = b""


def read_blocks(
    snapshot: ReadSnapshot, run_id: str, signer: Signer | None, partition: Partition = WHOLE
) -> Iterator[Block]:
    """Read a run, or a partition of it, as blocks without the manifest; signed with a signer.

    Raises what `merged` raises.
    """

    def rendering(record_type: RecordType) -> Callable[[Sequence[FetchedRow]], Iterable[Line]]:
        encode = record_encoder(record_type, run_id)
        if signer is None:
            return lambda rows: ((*halves, b"\n") for halves in encode(rows))
        return lambda rows: _signed(list(encode(rows)), signer)

    lines = merged(snapshot, run_id, rendering, partition)
    while block := list(islice(lines, _LARGEST_BLOCK_RECORDS)):
        signatures = b"" if signer is None else b"".join(map(_SIGNATURE_PIECE, block))
        yield Block(b"".join(chain.from_iterable(block)), len(block), signatures)


def closed_by_manifest(
    blocks: Iterable[Block], run_id: str, signer: Signer, clock: Clock
) -> Iterator[Block]:
    """Yield signed blocks, and the manifest that they come to."""
    running = RunningHash()
    for block in blocks:
        running.add_all(block.signatures)
        yield block
    manifest: Mapping[str, Any] = running.manifest(run_id, clock)
    signature = signer.sign(encode_record(manifest))
    yield Block(encode_line({**manifest, "signature": signature}), 1)


def _signed(halves: Sequence[Halves], signer: Signer) -> Iterable[Line]:
    signatures = signer.sign_all(starmap(add, halves))
    heads, tails = zip(*halves, strict=True)
    before, after, newline = map(repeat, (BEFORE_SIGNATURE, AFTER_SIGNATURE, b"\n"))
    return zip(heads, before, signatures, after, tails, newline, strict=False)
