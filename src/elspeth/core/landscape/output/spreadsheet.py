"""Cells that a spreadsheet would run as formulas: counted in a CSV export, defused in a copy.

The export keeps every byte, for they are signed. Its texts come from a pipeline's names and paths,
and one that begins with `=` is a program to whoever opens the file in a spreadsheet (OWASP, "CSV
Injection"). The copy has an apostrophe before each such text, and every cell in quotes.
"""

import csv
import errno
import io
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Float, Integer

from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.export.signed_lines import MANIFEST
from elspeth.core.landscape.output.atomic import (
    ExportTargetError,
    create_owner_only,
    flush_to_disk,
    new_directory,
    refuse_unusable,
    settle_directory,
)
from elspeth.core.landscape.output.publish import CSV_NAMES
from elspeth.core.landscape.verification.csv_files import SPREADSHEET_MARKER, read_csv_lines

STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - the wide forms, which some spreadsheets read alike
"""What a text begins with that a spreadsheet may run."""

_DEFUSED = "'"
_SUFFIX = ".spreadsheet"
_MARKER_TEXT = """\
These files are a copy for spreadsheets, made with --spreadsheet-safe: texts that a spreadsheet
would run begin with an apostrophe, and every cell is in quotes. Signatures are those of the export
that was copied, so the copy does not verify. Evidence is the export, not this.
"""
_MAY_BE_THERE = re.compile(rb'[,\n](?:"?[=+\-@\t]|"[\r\n]|"?\xef\xbc[\x8b\x8d\x9d\xa0])')
"""What stands before such a text; the first of a file is the name of a column."""
_NUMBERS: Mapping[str, frozenset[str]] = {
    MANIFEST: frozenset({"record_count"}),
    **{
        kind.name: frozenset((*kind.names_of(Integer), *kind.names_of(Float)))
        for kind in RECORD_TYPES
    },
}
"""By record type, the columns that hold no text: a sign before a number is harmless."""


def formula_cells(export: Path) -> Mapping[str, int]:
    """Count the texts of a CSV export that a spreadsheet would run, by file; none where none.

    Raises OSError.
    """
    counts = {path.name: _count(path) for path in _files(export)}
    return {name: count for name, count in counts.items() if count}


def spreadsheet_copy_of(export: Path) -> Path:
    """Return where the copy of a CSV export belongs.

    Raises ExportTargetError when something else is there.
    """
    target = export.with_name(export.name + _SUFFIX)
    refuse_unusable(target)
    settle_directory(target)
    is_copy = target.is_dir() and not target.is_symlink()
    if (target.exists() or target.is_symlink()) and not (
        is_copy and {each.name for each in target.iterdir()} <= {*CSV_NAMES, SPREADSHEET_MARKER}
    ):
        raise ExportTargetError(f"{target} is no copy of an export; move it away")
    return target


def write_spreadsheet_copy(export: Path) -> Path:
    """Write a copy of a CSV export that a spreadsheet may open, beside it; return where.

    Raises ExportTargetError when something else is there, and OSError.
    """
    target = spreadsheet_copy_of(export)
    with new_directory(target) as unfinished:
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
        # A scan of the bytes, a fraction of the time of reading them as CSV, rules most files out.
        if _MAY_BE_THERE.search(content) is None:
            return 0
    lines = _lines(path)
    is_text = _text_columns(path, next(lines, ()))
    return sum(
        text.startswith(STARTS)
        for texts in lines
        for text, matters in zip(texts, is_text, strict=True)
        if matters
    )


def _copy(source: Path, target: Path) -> None:
    lines = _lines(source)
    columns = next(lines, ())
    is_text = _text_columns(source, columns)
    with (
        create_owner_only(target) as binary,
        io.TextIOWrapper(binary, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for texts in lines:
            writer.writerow(
                _DEFUSED + each if matters and each.startswith(STARTS) else each
                for each, matters in zip(texts, is_text, strict=True)
            )
        text.flush()
        flush_to_disk(binary)


def _lines(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the texts of each line, the columns' names first."""
    with path.open("rb") as file:
        for line in read_csv_lines(file):
            if line.defect is not None:
                raise OSError(errno.EIO, f"line {line.number}: {line.defect.message}", str(path))
            yield line.texts


def _text_columns(path: Path, columns: Sequence[str]) -> Sequence[bool]:
    numbers = _NUMBERS.get(path.stem, frozenset())
    return [column not in numbers for column in columns]
