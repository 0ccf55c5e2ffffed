"""Reads a directory of CSV files as the records they were, in the order of emission."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO

from elspeth.core.landscape.export.encoding import encode_record
from elspeth.core.landscape.export.record_types import RUN, Record, RecordType
from elspeth.core.landscape.export.signed_lines import MANIFEST
from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES, Problem, Reading, Reason
from elspeth.core.landscape.verification.record_order import PLACES, Place, places_inside
from elspeth.core.landscape.verification.record_shapes import (
    INTEGER,
    NUMBER,
    SIGNATURE,
    TEXT,
    Field,
    Shape,
)

# Reads one CSV file of an export as bytes: canonical lines, each split into its texts.


_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')


@dataclass(frozen=True, slots=True)
class CsvLine:
    """One line, which may hold line breaks in quotes: where it begins and the texts in it."""

    number: int
    texts: tuple[str, ...] = ()
    problem: Problem | None = None


def read_csv_lines(file: IO[bytes]) -> Iterator[CsvLine]:
    """Yield the lines of a file that is what `csv.writer` writes, or what is wrong with each.

    Holds one line at a time. Nothing follows a line that is too long: there is no telling where
    it ends. Raises OSError.
    """
    number = 1
    while line := _next_line(file):
        if len(line) > MAX_LINE_BYTES:
            what = f"longer than {MAX_LINE_BYTES:,} bytes, or a quote that is never closed"
            yield CsvLine(number, problem=Problem(Reason.TOO_LONG, what))
            return
        yield _split(number, line)
        number += line.count(b"\n")


def _next_line(file: IO[bytes]) -> bytes:
    """Read up to a line break outside quotes: in what csv.writer writes, after an even number."""
    parts: list[bytes] = []
    size = quotes = 0
    while part := file.readline(MAX_LINE_BYTES + 1 - size):
        parts.append(part)
        size += len(part)
        quotes += part.count(b'"')
        if size > MAX_LINE_BYTES or (quotes % 2 == 0 and part.endswith(b"\n")):
            break
    return b"".join(parts)


def _split(number: int, line: bytes) -> CsvLine:
    if not line.endswith(b"\r\n"):
        torn = Problem(Reason.TORN_TAIL, "the line has no CR LF at its end")
        return CsvLine(number, problem=torn)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return CsvLine(number, problem=Problem(Reason.CORRUPT_CSV, f"not UTF-8: {error.reason}"))
    texts = _texts(text)
    if texts is None or _written(texts) != text:
        problem = Problem(Reason.NOT_CANONICAL, "is quoted or ended otherwise than exports are")
        return CsvLine(number, problem=problem)
    return CsvLine(number, texts)


def _texts(text: str) -> tuple[str, ...] | None:
    """Split a line; csv.reader would bound each text by a limit of the whole process."""
    texts = []
    at = 0
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None:
            return None
        quoted, plain, _ = found.groups()
        texts.append(plain if quoted is None else quoted.replace('""', '"'))
        at = found.end()
    return tuple(texts)


def _written(texts: tuple[str, ...]) -> str:
    """Write the texts as an export does (RFC 4180, quotes only where they are needed)."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(texts)
    return line.getvalue()


# Reads one CSV file of an export as typed records.
#
# CSV knows text alone, so a record is rebuilt from the known columns of its type. An empty field
# that may be null or empty text is tried as null first, then as text: the signature decides.


@dataclass(frozen=True, slots=True)
class TableLine:
    """One line of a table: its reading, and its texts by column; none if they cannot be told."""

    reading: Reading
    texts: Mapping[str, str]


class CsvTable:
    """The lines of one file, of which the `head` is looked at before it is taken."""

    def __init__(self, name: str, file: IO[bytes], shape: Shape) -> None:
        self._name = name
        self._shape = shape
        self._lines = self._read(read_csv_lines(file))
        self.head = next(self._lines, None)

    def advance(self) -> None:
        """Go on to the next line; at the end the head is None."""
        self.head = next(self._lines, None)

    def _read(self, lines: Iterator[CsvLine]) -> Iterator[TableLine]:
        header = next(lines, None)
        columns = () if header is None else header.texts
        if columns not in (self._shape.columns(signed=True), self._shape.columns(signed=False)):
            yield self._unread(1, self._wrong_header(header))
            return
        is_empty = True
        for line in lines:
            is_empty = False
            yield self._line(line, columns)
        if is_empty:
            what = "holds no record: an export writes no such file"
            yield self._unread(1, Problem(Reason.NOT_CANONICAL, what))

    def _wrong_header(self, header: CsvLine | None) -> Problem:
        if header is not None and header.problem is not None:
            return header.problem
        return Problem(Reason.FIELDS, f"the columns are not those of {self._shape.name} records")

    def _line(self, line: CsvLine, columns: tuple[str, ...]) -> TableLine:
        if line.problem is not None:
            return self._unread(line.number, line.problem)
        if len(line.texts) != len(columns):
            what = f"{len(line.texts)} fields under {len(columns)} columns"
            return self._unread(line.number, Problem(Reason.FIELDS, what))
        texts = dict(zip(columns, line.texts, strict=True))
        return TableLine(self._rebuilt(line.number, texts), texts)

    def _unread(self, number: int, problem: Problem) -> TableLine:
        return TableLine(Reading(number, (problem,), file=self._name), {})

    def _rebuilt(self, number: int, texts: Mapping[str, str]) -> Reading:
        variants = self._variants(texts)
        record = next(variants)
        problem = self._shape.problem(record)
        while problem is not None and (another := next(variants, None)) is not None:
            record, problem = another, self._shape.problem(another)
        if problem is not None:
            return Reading(number, (problem,), file=self._name)
        signature = texts.get(SIGNATURE) or None
        messages = self._messages(record, variants)
        return Reading(number, (), self._shape.name, record, messages, signature, self._name)

    def _variants(self, texts: Mapping[str, str]) -> Iterator[Record]:
        """Every record that could have been written as these texts, the likeliest first."""
        fields = self._shape.fields
        record = {name: _value(field, texts[name]) for name, field in fields.items()}
        yield record
        doubtful = [
            name for name, field in fields.items() if record[name] is None and field.classes is TEXT
        ]
        choices = product((None, ""), repeat=len(doubtful))
        next(choices)
        for chosen in choices:
            yield {**record, **dict(zip(doubtful, chosen, strict=True))}

    def _messages(self, record: Record, variants: Iterator[Record]) -> Iterator[bytes]:
        yield encode_record(record)
        yield from (encode_record(each) for each in variants if self._shape.problem(each) is None)


def _value(field: Field, text: str) -> str | int | float | None:
    """The value that is written as this text; the text itself when there is none."""
    if text == "" and field.nullable:
        return None
    if field.classes is INTEGER:
        return _exactly(int, str, text)
    return _exactly(float, repr, text) if field.classes is NUMBER else text


def _exactly(
    parse: Callable[[str], int | float], write: Callable[[int | float], str], text: str
) -> str | int | float:
    try:
        value = parse(text)
    except ValueError:
        return text
    return value if write(value) == text else text


SPREADSHEET_MARKER = "THIS-COPY-DOES-NOT-VERIFY.txt"
"""The file that tells a copy made for spreadsheets from an export."""


def csv_file_names(shapes: Mapping[str, Shape]) -> frozenset[str]:
    """Return the names of all files that an export may consist of."""
    return frozenset(f"{name}.csv" for name in shapes)


def read_csv(directory: Path, shapes: Mapping[str, Shape]) -> Iterator[Reading]:
    """Yield what each line of the files says, merged on the ids of parents.

    A record whose parent is not found comes before the manifest, out of place. Holds one line of
    each file at a time. Raises OSError.
    """
    with ExitStack() as files:
        tables = {}
        for name, shape in shapes.items():
            path = directory / f"{name}.csv"
            if path.exists():
                tables[name] = CsvTable(path.name, files.enter_context(path.open("rb")), shape)
        merge = _Merge(tables)
        yield from merge.inside(None, None)
        yield from merge.left_over()
        if MANIFEST in tables:
            yield from merge.all_of(MANIFEST)


class _Merge:
    """The tables of an export, each in order of emission, read in step."""

    def __init__(self, tables: Mapping[str, CsvTable]) -> None:
        self._tables = tables

    def inside(self, parent: RecordType | None, parent_id: str | None) -> Iterator[Reading]:
        """Yield the records that stand inside a parent: next in their tables, and naming it."""
        for place in places_inside(parent):
            if place.record_type.name in self._tables:
                yield from self._children(place, parent_id)

    def left_over(self) -> Iterator[Reading]:
        """Yield the records that were found under no parent, each with those inside it."""
        for place in PLACES:
            table = self._tables.get(place.record_type.name)
            while table is not None and table.head is not None:
                yield from self._children(place, table.head.texts.get(place.parent_field))

    def all_of(self, kind: str) -> Iterator[Reading]:
        """Yield what is left in one table, as it comes."""
        table = self._tables[kind]
        while (line := table.head) is not None:
            table.advance()
            yield line.reading

    def _children(self, place: Place, parent_id: str | None) -> Iterator[Reading]:
        table = self._tables[place.record_type.name]
        is_of_run = place.parent in (None, RUN)
        while (line := table.head) is not None:
            texts = line.texts
            if texts and not is_of_run and texts[place.parent_field] != parent_id:
                return
            table.advance()
            yield line.reading
            if texts:
                yield from self.inside(place.record_type, texts[place.key_field])
