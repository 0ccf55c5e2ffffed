"""The lines of an export as the reader of single lines parses them."""

from collections.abc import Iterator
from typing import IO

from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES, ParsedLine
from elspeth.core.landscape.verification.jsonl import FastPath, read_blocks, read_lines


def read_jsonl(file: IO[bytes], max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[ParsedLine]:
    """Yield every line of an export, without the patterns that read whole blocks."""
    fast_path = FastPath(max_line_bytes)
    number = 1
    for block in read_blocks(file, max_line_bytes):
        for line in read_lines(block, number, fast_path, max_line_bytes):
            yield line
            number = line.number + 1
