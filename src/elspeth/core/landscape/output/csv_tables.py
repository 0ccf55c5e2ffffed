"""The CSV files of an export while they are written: one for each record type met so far."""

import csv
import io
from collections.abc import Container, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from elspeth.core.landscape.output.atomic import create_owner_only, flush_to_disk


class CsvTables:
    """The open CSV files of all record types met so far."""

    # All open at once, so that one pass over the records is enough: there are thirteen at most.

    def __init__(self, directory: Path, names: Container[str], long_line_bytes: int) -> None:
        """Begin without a file.

        Args:
            directory: The folder of the files.
            names: The file names that an export may have.
            long_line_bytes: The length above which the longest line is told.
        """
        self._directory = directory
        self._names = names
        self._long_line_bytes = long_line_bytes
        self._tables: dict[str, _CsvTable] = {}

    @property
    def longest_line(self) -> int:
        """The length in bytes of the longest line that may be over 64 MiB; otherwise 0."""
        return max((each.longest_line for each in self._tables.values()), default=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # All files are closed, also when closing one of them fails on a full disk.
        with ExitStack() as on_exit:
            for table in self._tables.values():
                on_exit.callback(table.close, durable=kind is None)

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a record. Raises ValueError for a type without a file, OSError if that fails."""
        name = record["record_type"]
        table = self._tables.get(name)
        if table is None:
            # Checked before it becomes a path, because an exporter on trial can yield any text
            # here.
            if f"{name}.csv" not in self._names:
                raise ValueError(f"Unknown record type {name!r}: a CSV export has no file for it")
            table = self._tables[name] = _CsvTable(
                self._directory / f"{name}.csv", record, self._long_line_bytes
            )
        table.write(record)


class _CsvTable:
    """The CSV file of one record type, with a column for every key met so far."""

    def __init__(self, path: Path, first: Mapping[str, Any], long_line_bytes: int) -> None:
        self._path = path
        self._long_line_bytes = long_line_bytes
        self._columns = first.keys()
        self.longest_line = 0
        self._open()

    def write(self, record: Mapping[str, Any]) -> None:
        if not record.keys() <= self._columns:
            self._add_columns(record)
        characters = self._writer.writerow(map(record.get, self._names))
        # UTF-8 takes four bytes at most for a character.
        if characters * 4 > self._long_line_bytes:
            self.longest_line = max(self.longest_line, self._bytes_of_line(record))

    def _bytes_of_line(self, record: Mapping[str, Any]) -> int:
        line = io.StringIO(newline="")
        csv.writer(line).writerow(map(record.get, self._names))
        return len(line.getvalue().encode())

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

    def _add_columns(self, record: Mapping[str, Any]) -> None:
        """Write the file again with columns for this record's keys, empty in earlier rows."""
        # The exporters here never need it: all records of a type have the same keys. An exporter on
        # trial can yield records with other keys.
        self.close()
        narrow = self._path.rename(self._path.with_suffix(".narrow"))
        self._columns = dict.fromkeys((*self._columns, *record)).keys()
        self._open()
        with narrow.open(encoding="utf-8", newline="") as file:
            for earlier in csv.DictReader(file):
                self._writer.writerow(map(earlier.get, self._names))
        narrow.unlink()
