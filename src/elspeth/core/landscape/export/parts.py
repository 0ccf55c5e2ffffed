"""Parts of a parallel export: files that a worker writes and the parent checks and joins."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import IO

from elspeth.core.landscape.export.queries import Partition
from elspeth.core.landscape.export.signed_lines import Block

# Larger reads cost more: the allocator gets memory of that size from the operating system each
# time.
_READ_BYTES = 1 << 16
_NAME_BYTES = 8
_RECEIPT = ".receipt"


class DamagedPartError(OSError):
    """A part does not hold what its worker has written. Nothing was published."""


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """The two files of one attempt at a part, with the length and SHA-256 of each.

    Attributes:
        lines: The file of lines, its length in bytes and its digest.
        signatures: The same of the signatures.
    """

    lines: tuple[Path, int, str]
    signatures: tuple[Path, int, str]

    def read(self) -> Iterator[Block]:
        """Read the part in small blocks, lines first, then signatures, and remove its files.

        Raises:
            DamagedPartError: Length or digest differ, after the last block of a file.
        """
        # Removed at once, so that an export never needs twice its size on disk.
        for lines in _read_and_remove(*self.lines):
            # Canonical JSON escapes newlines, so the newlines count the records.
            yield Block(lines, lines.count(b"\n"))
        for signatures in _read_and_remove(*self.signatures):
            yield Block(b"", 0, signatures)


@dataclass(frozen=True, slots=True)
class Part:
    """One partition of an export, written by a worker, read and removed by the parent.

    An executor may run a task again while the first attempt is only stalled. So every attempt
    writes files with a name that no other attempt has, the parent takes the files of one attempt,
    and what other attempts write is not read.

    Attributes:
        folder: The folder of the files.
        number: The index of the part in the export, from 0.
        partition: The rows in it.
    """

    folder: Path
    number: int
    partition: Partition

    def write(self, blocks: Iterable[Block]) -> None:
        """Write the part, unless the parent has taken it from another attempt."""
        if self._taken.exists():
            return
        stem = f"{self.number}-{token_hex(_NAME_BYTES)}"
        files = [self.folder / f"{stem}.{kind}" for kind in ("lines", "signatures")]
        with files[0].open("xb") as lines, files[1].open("xb") as signatures:
            written = [_HashedFile(lines), _HashedFile(signatures)]
            for block in blocks:
                written[0].write(block.lines)
                written[1].write(block.signatures)
        # The rename comes last: the parent reads the files as soon as their receipt is there.
        unfinished = self.folder / f"{stem}.unfinished"
        unfinished.write_text(json.dumps([(each.length, each.digest) for each in written]))
        unfinished.rename(self.folder / f"{stem}{_RECEIPT}")

    def take(self) -> WrittenPart | None:
        """Return the part as one attempt has written it, None if no attempt is complete.

        Called by the parent. The choice is final: take a part once.
        """
        names = [path.name for path in self.folder.iterdir() if path.suffix == _RECEIPT]
        for name in sorted(name for name in names if name.startswith(f"{self.number}-")):
            receipt = self.folder / name
            lines, signatures = json.loads(receipt.read_text())
            self._taken.touch()
            return WrittenPart(
                (receipt.with_suffix(".lines"), *lines),
                (receipt.with_suffix(".signatures"), *signatures),
            )
        return None

    @property
    def _taken(self) -> Path:
        return self.folder / f"{self.number}.taken"


class _HashedFile:
    """A file that is written, with the length and the digest of its content."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.length = 0

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._hash.update(content)
        self.length += len(content)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _read_and_remove(path: Path, length: int, digest: str) -> Iterator[bytes]:
    found, hashed = 0, hashlib.sha256()
    # Unbuffered: a buffer would copy pieces that have the right size already.
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            found += len(piece)
            hashed.update(piece)
            yield piece
    if (found, hashed.hexdigest()) != (length, digest):
        raise DamagedPartError(
            f"{path} does not hold the {length:,} bytes that a worker has written "
            f"({found:,} bytes found, or others): do all workers and this process see one folder?"
        )
    path.unlink()


@contextmanager
def fenced_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in `parent` for one export alone, and remove it on exit."""
    # An attempt that was only stalled may go on after the export has ended, beside the next export
    # to the same target. It must not find that one's folder, nor create files while this one is
    # being emptied, so the folder first loses its name.
    folder = parent / token_hex(_NAME_BYTES)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        ended = folder.with_suffix(".ended")
        with suppress(OSError):
            folder.rename(ended)
        shutil.rmtree(ended, ignore_errors=True)
