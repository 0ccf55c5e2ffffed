"""The parts of an export on disk: written by workers, read and removed by their parent in order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.landscape.lines import Block
from elspeth.core.landscape.partition import Partition

_READ_BYTES = 1 << 16
"""Larger pieces cost more: each is memory that the process has to ask for anew."""


@dataclass(frozen=True, slots=True)
class Part:
    """One partition's place in the folder of an export: its lines, and its signatures apart."""

    folder: Path
    number: int
    partition: Partition

    @property
    def is_written(self) -> bool:
        """Whether all of it is there to be read."""
        return self._lines.exists()

    def write(self, blocks: Iterable[Block]) -> None:
        """Write all of it. What an earlier worker may have left of it is written anew."""
        unfinished = self._lines.with_suffix(".unfinished")
        with unfinished.open("wb") as lines, self._signatures.open("wb") as signatures:
            for block in blocks:
                lines.write(block.lines)
                signatures.write(block.signatures)
        unfinished.rename(self._lines)

    def read(self) -> Iterator[Block]:
        """Read it, lines first, in small blocks; then remove it."""
        for lines in _pieces(self._lines):
            # Canonical JSON holds no newline, so that there is one for each record.
            yield Block(lines, lines.count(b"\n"))
        for signatures in _pieces(self._signatures):
            yield Block(b"", 0, signatures)

    @property
    def _lines(self) -> Path:
        return self.folder / f"{self.number}.lines"

    @property
    def _signatures(self) -> Path:
        return self.folder / f"{self.number}.signatures"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            yield piece
    path.unlink()
