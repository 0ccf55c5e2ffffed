"""Spreadsheet copies: count the formulas in a CSV export and write a copy that has none."""

# A spreadsheet runs a text that begins with `=` as a program (OWASP, "CSV Injection"), and the
# texts of an export come from names and paths of a pipeline. The export itself keeps every byte,
# because the bytes are signed. The copy has an apostrophe before such a text, and every cell in
# quotes.

import csv
import errno
import io
import mmap
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Float, Integer

from elspeth.core.landscape.output.atomic import (
    ExportTargetError,
    create_owner_only,
    flush_to_disk,
    new_directory,
    recover_directory,
    refuse_unusable,
)
from elspeth.core.landscape.output.publish import CSV_NAMES
from elspeth.core.landscape.schema import EXPORTED_TABLES
from elspeth.core.landscape.verification.csv_files import SPREADSHEET_MARKER, read_csv_lines

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - some spreadsheets run the wide forms too
"""The first characters of texts that a spreadsheet may run as a formula."""

_APOSTROPHE = "'"
_SUFFIX = ".spreadsheet"
_MARKER_TEXT = """\
These files are a copy for spreadsheets, made with --spreadsheet-safe: texts that a spreadsheet
would run begin with an apostrophe, and every cell is in quotes. Signatures are those of the export
that was copied, so the copy does not verify. Evidence is the export, not this.
"""
# The separator before such a text, and its first character. The first text of a file is the name of
# a column, so a text always has a separator before it.
_CANDIDATE = re.compile(rb'[,\n](?:"?[=+\-@\t]|"[\r\n]|"?\xef\xbc[\x8b\x8d\x9d\xa0])')
# The columns that hold numbers: a sign before a number is harmless.
_NUMBERS = frozenset(
    column.name
    for table in EXPORTED_TABLES
    for column in table.columns
    if isinstance(column.type, Integer | Float)
) | {"record_count"}


def formula_cells(export: Path) -> Mapping[str, int]:
    """Count the texts of a CSV export that a spreadsheet would run as formulas.

    Returns:
        The count by file name, without files that hold none.

    Raises:
        OSError: The export cannot be read.
    """
    counts = {path.name: _count(path) for path in _files(export)}
    return {name: count for name, count in counts.items() if count}


def spreadsheet_copy_of(export: Path) -> Path:
    """Return the path of the spreadsheet copy of a CSV export.

    Raises:
        ExportTargetError: Something else is at that path.
    """
    target = export.with_name(export.name + _SUFFIX)
    refuse_unusable(target)
    recover_directory(target)
    _refuse_other_than_copy(target)
    return target


def _refuse_other_than_copy(target: Path) -> None:
    if not target.exists() and not target.is_symlink():
        return
    is_copy = False
    if target.is_dir() and not target.is_symlink():
        names = {entry.name for entry in target.iterdir()}
        # Without the marker it is an export whose name ends like that of a copy.
        is_copy = not names or SPREADSHEET_MARKER in names <= {*CSV_NAMES, SPREADSHEET_MARKER}
    if not is_copy:
        raise ExportTargetError(f"{target} is not a copy of an export; move it away")


def write_spreadsheet_copy(export: Path) -> Path:
    """Write the spreadsheet copy of a CSV export beside it, and return its path.

    Raises:
        ExportTargetError: Something else is at that path.
        OSError: Reading or writing fails.
    """
    target = spreadsheet_copy_of(export)
    with new_directory(target, refuse=_refuse_other_than_copy) as unfinished:
        # The verifier recognises a copy by this file and refuses it.
        with create_owner_only(unfinished / SPREADSHEET_MARKER) as marker:
            marker.write(_MARKER_TEXT.encode())
            flush_to_disk(marker)
        for path in _files(export):
            _copy(path, unfinished / path.name)
    return target


def _files(export: Path) -> Sequence[Path]:
    return sorted(path for path in export.iterdir() if path.name in CSV_NAMES)


def _count(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # A search in the bytes takes a fraction of the time of parsing, and rules out most files.
        if _CANDIDATE.search(content) is None:
            return 0
    lines = _lines(path)
    is_text = [name not in _NUMBERS for name in next(lines, ())]
    return sum(
        text.startswith(FORMULA_STARTS)
        for texts in lines
        for text, matters in zip(texts, is_text, strict=True)
        if matters
    )


def _copy(source: Path, target: Path) -> None:
    lines = _lines(source)
    columns = next(lines, ())
    is_text = [name not in _NUMBERS for name in columns]
    with (
        create_owner_only(target) as binary,
        io.TextIOWrapper(binary, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for texts in lines:
            writer.writerow(
                _APOSTROPHE + cell if matters and cell.startswith(FORMULA_STARTS) else cell
                for cell, matters in zip(texts, is_text, strict=True)
            )
        text.flush()
        flush_to_disk(binary)


def _lines(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the texts of every line; the first line holds the names of the columns."""
    with path.open("rb") as file:
        for line in read_csv_lines(file, sys.maxsize - 1):
            if line.defect is not None:
                raise OSError(errno.EIO, f"line {line.number}: {line.defect.message}", str(path))
            yield line.texts
