"""Publish an export on disk as a JSON Lines file or a directory of CSV files."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from elspeth.core.compression import (
    Compression,
    CompressionUnavailableError,
    DamagedCompressionError,
    compressing,
    decompressed,
    require,
)
from elspeth.core.landscape.output.atomic import (
    ExportTargetError,
    new_directory,
    new_file,
    refuse_unusable,
)
from elspeth.core.landscape.output.csv_tables import CsvTables
from elspeth.core.safe_open import opened_regular

T = TypeVar("T")
Progress = Callable[[int], None]
"""Called repeatedly with the number of records written so far."""

CSV_NAMES = frozenset(
    {
        "run.csv",
        "node.csv",
        "edge.csv",
        "row.csv",
        "token.csv",
        "token_parent.csv",
        "node_state.csv",
        "routing_event.csv",
        "call.csv",
        "batch.csv",
        "batch_member.csv",
        "artifact.csv",
        "manifest.csv",
    }
)
"""The file names of a CSV export. A directory with any other file is never replaced."""

# The first record of an export comes within so many bytes, unless one of its hashes is longer.
_HEAD_BYTES = 2**20
LONG_LINE_BYTES = 64 * 1024 * 1024
"""The length of a line from which on `landscape verify` reads it on request only."""

# Lines are joined and progress is reported once for this many records, at a negligible cost.
_CHUNK_RECORDS = 1000


class Block(Protocol):
    """Consecutive lines of a JSON Lines file."""

    @property
    def lines(self) -> bytes:
        """The lines, with newlines."""

    @property
    def record_count(self) -> int:
        """The number of records in the lines."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash and size that identify an export on disk.

    Attributes:
        sha256: Of a file: over its bytes, uncompressed. Of a directory: over the lines
            `<sha256>  <name>` of its files in order of name, as sha256sum(1) prints them.
        size_bytes: The size of the file uncompressed, or the sum over the files of the directory.
    """

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PublishedExport:
    """A finished export on disk.

    Attributes:
        path: The file or directory.
        record_count: The number of records, the manifest included.
        size_bytes: As in `Fingerprint`.
        sha256: As in `Fingerprint`.
        compression: How the file is compressed; None if it is not.
        long_line_bytes: The length of the longest line, with its line break, if that is over
            64 MiB; otherwise 0.
    """

    path: Path
    record_count: int
    size_bytes: int
    sha256: str
    compression: Compression | None = None
    long_line_bytes: int = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the file or directory."""
        return Fingerprint(self.sha256, self.size_bytes)


@dataclass(frozen=True, slots=True)
class _Lines:
    lines: bytes
    record_count: int


def fingerprint(path: Path) -> Fingerprint:
    """Read an export on disk, a file or a directory, and return its fingerprint.

    Raises:
        OSError: It cannot be read, or is a link, or a directory that holds other than files.
    """
    if not path.is_dir():
        return _uncompressed_fingerprint(path)
    names = hashlib.sha256()
    size = 0
    for entry in sorted(path.iterdir()):
        file = _file_fingerprint(entry)
        names.update(f"{file.sha256}  {entry.name}\n".encode("utf-8", "surrogateescape"))
        size += file.size_bytes
    return Fingerprint(names.hexdigest(), size)


def _uncompressed_fingerprint(path: Path) -> Fingerprint:
    digest = hashlib.sha256()
    size = 0
    try:
        with opened_regular(path) as file, decompressed(file) as content:
            while chunk := content.read(_HEAD_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except DamagedCompressionError:
        # Of the bytes as they are, so that it is that of no whole export.
        return _file_fingerprint(path)
    return Fingerprint(digest.hexdigest(), size)


def _file_fingerprint(path: Path) -> Fingerprint:
    with opened_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Fingerprint(digest, file.tell())


def publish_jsonl(
    path: Path,
    lines: Iterable[bytes],
    *,
    progress: Progress | None = None,
    compression: Compression | None = None,
) -> PublishedExport:
    """Write lines to a file, which appears at `path` when it is complete.

    Args:
        path: The file, replaced when it exists.
        lines: The lines, with newlines. Closed on exit if it has a `close`.
        progress: Called repeatedly with the number of lines written so far.
        compression: Compresses the file; None leaves it as it is.

    Raises:
        ExportTargetError: `path` cannot be a file.
        CompressionUnavailableError: The package of the compression is missing.
        OSError: Writing fails.
    """
    with closed_on_exit(lines) as source:
        blocks = in_blocks(source)
        return publish_blocks(path, blocks, progress=progress, compression=compression)


def publish_blocks(
    path: Path,
    blocks: Iterable[Block],
    *,
    progress: Progress | None = None,
    compression: Compression | None = None,
) -> PublishedExport:
    """Write blocks of lines to a file, like `publish_jsonl`.

    Args:
        path: The file, replaced when it exists.
        blocks: The blocks. Closed on exit if they have a `close`.
        progress: Called after every block with the number of records written so far.
        compression: Compresses the file; None leaves it as it is.

    Raises:
        ExportTargetError: `path` cannot be a file.
        CompressionUnavailableError: The package of the compression is missing.
        OSError: Writing fails.
    """
    if compression is not None:
        require(compression)
    with new_file(path) as file:
        written = write_blocks(file, blocks, progress=progress, compression=compression)
    return replace(written, path=path)


def write_blocks(
    file: IO[bytes],
    blocks: Iterable[Block],
    *,
    progress: Progress | None = None,
    compression: Compression | None = None,
) -> PublishedExport:
    """Write blocks of lines to an open file, like `publish_blocks`, and leave it open.

    An error leaves what was written so far.

    Args:
        file: The file, or a pipe.
        blocks: The blocks. Closed on exit if they have a `close`.
        progress: As in `publish_blocks`.
        compression: As in `publish_blocks`.

    Returns:
        The export, with the path `-`.
    """
    # Hashed while it is written: reading a file of gigabytes again would take minutes.
    digest = hashlib.sha256()
    records = size = longest = 0
    with compressing(file, compression) as output, closed_on_exit(blocks) as source:
        for block in source:
            output.write(block.lines)
            digest.update(block.lines)
            records += block.record_count
            size += len(block.lines)
            # Only such a block can hold such a line. Usual blocks have half a megabyte.
            if len(block.lines) > LONG_LINE_BYTES:
                longest = max(longest, *map(len, block.lines.splitlines(keepends=True)))
            if progress is not None:
                progress(records)
    return PublishedExport(
        Path("-"),
        records,
        size,
        digest.hexdigest(),
        compression,
        longest if longest > LONG_LINE_BYTES else 0,
    )


def in_blocks(lines: Iterator[bytes]) -> Iterator[Block]:
    """Yield lines joined to blocks of a thousand."""
    while chunk := list(islice(lines, _CHUNK_RECORDS)):
        yield _Lines(b"".join(chunk), len(chunk))


def publish_csv(
    directory: Path, records: Iterable[Mapping[str, Any]], *, progress: Progress | None = None
) -> PublishedExport:
    """Write one CSV file a record type to a directory, which appears when it is complete.

    A type without records gets no file. Columns are the sorted keys of the type's records. Null is
    an empty field. Lines end in CRLF (RFC 4180).

    Args:
        directory: The directory, replaced when it holds an earlier export.
        records: The records. Closed on exit if they have a `close`.
        progress: Called repeatedly with the number of records written so far.

    Raises:
        ExportTargetError: `directory` holds anything but files of an export.
        ValueError: A record has an unknown type.
        OSError: Writing fails.
    """
    count = 0
    with (
        new_directory(directory, refuse=_refuse_foreign_contents) as unfinished,
        CsvTables(unfinished, CSV_NAMES, LONG_LINE_BYTES) as tables,
        closed_on_exit(records) as source,
    ):
        for count, record in enumerate(source, start=1):
            tables.write(record)
            if progress is not None and count % _CHUNK_RECORDS == 0:
                progress(count)
        if progress is not None:
            progress(count)
        longest = tables.longest_line
    # Read again to hash them: the files are written interleaved and through text buffers.
    found = fingerprint(directory)
    return PublishedExport(
        directory,
        count,
        found.size_bytes,
        found.sha256,
        long_line_bytes=longest if longest > LONG_LINE_BYTES else 0,
    )


@contextmanager
def closed_on_exit(source: Iterable[T]) -> Iterator[Iterator[T]]:
    """Iterate over `source` and close it on exit, so that a generator ends its snapshot."""
    # Garbage collection would close it too, but only when the last reference to an error is gone.
    try:
        yield iter(source)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def refuse_other_content(path: Path, *, is_csv: bool) -> None:
    """Refuse a target whose content is not that of an earlier export, by its beginning.

    Args:
        path: The file, or the directory of CSV files. What is absent, empty, a link or of another
            kind is accepted here: `new_file` and `new_directory` judge these.
        is_csv: Whether it is to be a directory of CSV files.

    Raises:
        ExportTargetError: There is other content, which an export must not replace, or the path
            cannot be written.
        OSError: It cannot be read.
    """
    refuse_unusable(path)
    if path.is_symlink() or path.is_dir() != is_csv:
        return
    files = sorted(each for each in path.iterdir() if each.name in CSV_NAMES) if is_csv else [path]
    for file in files:
        if file.is_symlink() or not file.is_file():
            continue
        with opened_regular(file) as opened:
            head = _uncompressed_head(opened)
        if is_csv:
            is_export = b"record_type" in head.partition(b"\n")[0]
        else:
            is_export = head.lstrip()[:1] in (b"{", b"[") and b'"record_type"' in head
        # `new_file` refuses a database, and says what it is.
        if head and not is_export and not head.startswith(b"SQLite format 3\0"):
            raise ExportTargetError(
                f"{file} is not an export, so an export must not replace it; move it away, or "
                "choose another place"
            )


def _uncompressed_head(file: io.BufferedReader) -> bytes:
    try:
        with decompressed(file) as content:
            return content.read(_HEAD_BYTES)
    except (DamagedCompressionError, CompressionUnavailableError):
        # Not to be replaced: what it holds is not known.
        file.seek(0)
        return file.read(_HEAD_BYTES)


def _refuse_foreign_contents(directory: Path) -> None:
    """Refuse to replace a directory that holds files of anything but an export."""
    if not directory.exists() and not directory.is_symlink():
        return
    if directory.is_symlink() or not directory.is_dir():
        raise ExportTargetError(
            f"{directory} is not a directory; a CSV export needs one for itself alone"
        )
    foreign = sorted(
        entry.name
        for entry in directory.iterdir()
        # A folder of such a name holds something else, and a link leads to it.
        if entry.name not in CSV_NAMES or entry.is_symlink() or not entry.is_file()
    )
    if foreign:
        raise ExportTargetError(
            f"{directory} holds {foreign[0]!r}, which does not belong to a CSV export; "
            "choose another directory, or move it away"
        )
