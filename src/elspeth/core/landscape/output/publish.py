"""Exports on disk: a JSON Lines file or a directory of CSV files, published atomically."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.export.signed_lines import MANIFEST, Block
from elspeth.core.landscape.output.atomic import (
    ExportTargetError,
    create_owner_only,
    flush_to_disk,
    new_directory,
    new_file,
    refuse_unusable,
    settle_directory,
)
from elspeth.core.safe_open import opened_regular

T = TypeVar("T")
Progress = Callable[[int], None]
"""Called now and then with the number of records written so far."""

CSV_NAMES = frozenset(f"{name}.csv" for name in (*(kind.name for kind in RECORD_TYPES), MANIFEST))
_CHUNK_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an export on disk is recognised by."""

    sha256: str
    """As `PublishedExport` has it."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PublishedExport:
    """A finished export: where it is, how many records it holds and how large it is."""

    path: Path
    record_count: int
    size_bytes: int
    sha256: str
    """Of the file's bytes; of a directory, over its files' names and hashes in order of name."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What it is recognised by, as it was written."""
        return Fingerprint(self.sha256, self.size_bytes)


def fingerprint(path: Path) -> Fingerprint:
    """Read the file, or all files of the directory, of an export. Raises OSError."""
    if not path.is_dir():
        return _fingerprint_of_file(path)
    names = hashlib.sha256()
    size = 0
    for each in sorted(path.iterdir()):
        file = _fingerprint_of_file(each)
        names.update(f"{file.sha256}  {each.name}\n".encode("utf-8", "surrogateescape"))
        size += file.size_bytes
    return Fingerprint(names.hexdigest(), size)


def _fingerprint_of_file(path: Path) -> Fingerprint:
    with opened_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Fingerprint(digest, file.tell())


def publish_jsonl(
    path: Path, lines: Iterable[bytes], *, progress: Progress | None = None
) -> PublishedExport:
    """Write `lines`, each with its newline, to the file `path`, replacing it when complete.

    Raises ExportTargetError when `path` cannot be a file, and OSError when writing fails.
    """
    with let_go_of(lines) as source:
        return publish_blocks(path, _in_blocks(source), progress=progress)


def publish_blocks(
    path: Path, blocks: Iterable[Block], *, progress: Progress | None = None
) -> PublishedExport:
    """Write blocks of lines to the file `path`, as `publish_jsonl` does."""
    digest = hashlib.sha256()
    records = size = 0
    with new_file(path) as file, let_go_of(blocks) as source:
        for block in source:
            file.write(block.lines)
            digest.update(block.lines)
            records += block.record_count
            size += len(block.lines)
            if progress is not None:
                progress(records)
    return PublishedExport(path, records, size, digest.hexdigest())


def _in_blocks(lines: Iterator[bytes]) -> Iterator[Block]:
    while chunk := list(islice(lines, _CHUNK_RECORDS)):
        yield Block(b"".join(chunk), len(chunk))


def publish_csv(
    directory: Path, records: Iterable[Mapping[str, Any]], *, progress: Progress | None = None
) -> PublishedExport:
    """Write one `<record_type>.csv` per type met to `directory`, replacing it when complete.

    Columns are the sorted keys of the type's records; null is an empty field; lines end in CRLF
    (RFC 4180). Raises ExportTargetError when `directory` holds anything but such files, and
    OSError when writing fails.
    """
    refuse_unusable(directory)
    _refuse_foreign_contents(directory)
    count = 0
    with (
        new_directory(directory) as unfinished,
        _CsvTables(unfinished) as tables,
        let_go_of(records) as source,
    ):
        for count, record in enumerate(source, start=1):
            tables.write(record)
            if progress is not None and count % _CHUNK_RECORDS == 0:
                progress(count)
        if progress is not None:
            progress(count)
    return _describe_directory(directory, count)


@contextmanager
def let_go_of(source: Iterable[T]) -> Iterator[Iterator[T]]:
    """Iterate, and when that is cut short free at once what the source holds: a snapshot."""
    try:
        yield iter(source)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


class _CsvTables:
    """One open CSV file for every record type met so far."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tables: dict[str, _CsvTable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as closing_all:
            for table in self._tables.values():
                closing_all.callback(table.close, durable=kind is None)

    def write(self, record: Mapping[str, Any]) -> None:
        name = record["record_type"]
        table = self._tables.get(name)
        if table is None:
            if f"{name}.csv" not in CSV_NAMES:
                raise ValueError(f"No record type {name!r}: it has no place in a CSV export")
            table = self._tables[name] = _CsvTable(self._directory / f"{name}.csv", record)
        table.write(record)


class _CsvTable:
    """The CSV file of one record type, with a column for every key met so far."""

    def __init__(self, path: Path, first: Mapping[str, Any]) -> None:
        self._path = path
        self._columns = first.keys()
        self._open()

    def write(self, record: Mapping[str, Any]) -> None:
        if not record.keys() <= self._columns:
            self._widen(record)
        self._writer.writerow(map(record.get, self._names))

    def close(self, *, durable: bool = False) -> None:
        with self._text:
            self._text.flush()
            if durable:
                flush_to_disk(self._binary)

    def _open(self) -> None:
        self._binary = create_owner_only(self._path)
        self._text = io.TextIOWrapper(self._binary, encoding="utf-8", newline="")
        self._names = sorted(self._columns)
        self._writer = csv.writer(self._text)
        self._writer.writerow(self._names)

    def _widen(self, record: Mapping[str, Any]) -> None:
        """Write the file again with columns for this record's keys; earlier rows leave them empty.

        The exporters here never need it, but an exporter on trial may yield uneven records.
        """
        self.close()
        narrow = self._path.rename(self._path.with_suffix(".narrow"))
        self._columns = dict.fromkeys((*self._columns, *record)).keys()
        self._open()
        with narrow.open(encoding="utf-8", newline="") as file:
            for earlier in csv.DictReader(file):
                self._writer.writerow(map(earlier.get, self._names))
        narrow.unlink()


def _refuse_foreign_contents(directory: Path) -> None:
    """Refuse to replace a directory that holds anything an export does not write."""
    settle_directory(directory)
    if not directory.exists() and not directory.is_symlink():
        return
    if directory.is_symlink() or not directory.is_dir():
        raise ExportTargetError(f"{directory} is no directory; a CSV export needs one of its own")
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in CSV_NAMES)
    if foreign:
        raise ExportTargetError(
            f"{directory} holds {foreign[0]!r}, which is no part of a CSV export; "
            "choose another directory, or move it away"
        )


def _describe_directory(directory: Path, record_count: int) -> PublishedExport:
    found = fingerprint(directory)
    return PublishedExport(directory, record_count, found.size_bytes, found.sha256)
