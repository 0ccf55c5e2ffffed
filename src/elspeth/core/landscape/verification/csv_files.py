"""Reads a directory of CSV files as the records they were written from, in order of emission.

Three steps, each holding one line per file: `read_csv_lines` splits canonical lines into texts,
`CsvTable` rebuilds typed records from the texts of one file, and `read_csv` merges the files on the
ids of parents.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO

import rfc8785

from elspeth.core.landscape.verification.defects import (
    MAX_LINE_BYTES,
    Defect,
    ParsedLine,
    Reason,
    Record,
)
from elspeth.core.landscape.verification.record_order import ORDER_RULES, OrderRule, rules_inside
from elspeth.core.landscape.verification.record_shapes import (
    INTEGER,
    MANIFEST,
    NUMBER,
    SHAPES,
    SIGNATURE,
    TEXT,
    Field,
    RecordShape,
)

SPREADSHEET_MARKER = "THIS-COPY-DOES-NOT-VERIFY.txt"
"""The file that distinguishes a copy made for spreadsheets from an export."""

FILE_NAMES = frozenset(f"{name}.csv" for name in SHAPES)
"""The names of all files that an export may consist of."""

_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')


@dataclass(frozen=True, slots=True)
class CsvLine:
    """One line, which may hold line breaks in quotes: where it begins and the texts in it."""

    number: int
    texts: tuple[str, ...] = ()
    defect: Defect | None = None


def read_csv_lines(file: IO[bytes]) -> Iterator[CsvLine]:
    """Yield the lines of a file as `csv.writer` writes them, or what is wrong with a line.

    Holds one line at a time. A line that is too long ends the file, because its end cannot be
    found. Raises OSError.
    """
    number = 1
    while line := _next_line(file):
        if len(line) > MAX_LINE_BYTES:
            message = f"longer than {MAX_LINE_BYTES:,} bytes, or a quote that is never closed"
            yield CsvLine(number, defect=Defect(Reason.TOO_LONG, message))
            return
        yield _split(number, line)
        number += line.count(b"\n")


def _next_line(file: IO[bytes]) -> bytes:
    """Read up to a line break outside quotes, that is after an even number of quotes."""
    # csv.writer doubles a quote inside a text, so an even number means that all are closed.
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
        torn = Defect(Reason.TORN_TAIL, "the line has no CR LF at its end")
        return CsvLine(number, defect=torn)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return CsvLine(number, defect=Defect(Reason.CORRUPT_CSV, f"not UTF-8: {error.reason}"))
    texts = _texts(text)
    # The pattern accepts more than exports contain; writing the texts again is the exact check.
    if texts is None or _written(texts) != text:
        defect = Defect(Reason.NOT_CANONICAL, "is quoted or ended otherwise than exports are")
        return CsvLine(number, defect=defect)
    return CsvLine(number, texts)


def _texts(text: str) -> tuple[str, ...] | None:
    """Split a line into its texts; None when it is malformed."""
    # Not csv.reader: it limits the length of a text by a setting of the whole process.
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


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One line of a table: the line as parsed, and its texts by column, if it is readable."""

    line: ParsedLine
    texts: Mapping[str, str]


class CsvTable:
    """The records of one file; `head` is the next one.

    CSV holds only text, so the columns of the type say how to read it. An empty field may be null
    or empty text: null is tried first, then text, and the signature decides.
    """

    def __init__(self, name: str, file: IO[bytes], shape: RecordShape) -> None:
        self._name = name
        self._shape = shape
        self._records = self._read(read_csv_lines(file))
        self.head = next(self._records, None)

    def advance(self) -> None:
        """Go on to the next record; at the end `head` is None."""
        self.head = next(self._records, None)

    def _read(self, lines: Iterator[CsvLine]) -> Iterator[CsvRecord]:
        header = next(lines, None)
        columns = () if header is None else header.texts
        if columns not in (self._shape.columns(signed=True), self._shape.columns(signed=False)):
            yield self._unreadable(1, self._wrong_header(header))
            return
        is_empty = True
        for line in lines:
            is_empty = False
            yield self._record(line, columns)
        if is_empty:
            message = "holds no record: an export writes no such file"
            yield self._unreadable(1, Defect(Reason.NOT_CANONICAL, message))

    def _wrong_header(self, header: CsvLine | None) -> Defect:
        if header is not None and header.defect is not None:
            return header.defect
        return Defect(Reason.FIELDS, f"the columns are not those of {self._shape.name} records")

    def _record(self, line: CsvLine, columns: tuple[str, ...]) -> CsvRecord:
        if line.defect is not None:
            return self._unreadable(line.number, line.defect)
        if len(line.texts) != len(columns):
            message = f"{len(line.texts)} fields under {len(columns)} columns"
            return self._unreadable(line.number, Defect(Reason.FIELDS, message))
        texts = dict(zip(columns, line.texts, strict=True))
        return CsvRecord(self._rebuilt(line.number, texts), texts)

    def _unreadable(self, number: int, defect: Defect) -> CsvRecord:
        return CsvRecord(ParsedLine(number, (defect,), file=self._name), {})

    def _rebuilt(self, number: int, texts: Mapping[str, str]) -> ParsedLine:
        variants = self._variants(texts)
        record = next(variants)
        defect = self._shape.defect(record)
        while defect is not None and (another := next(variants, None)) is not None:
            record, defect = another, self._shape.defect(another)
        if defect is not None:
            return ParsedLine(number, (defect,), file=self._name)
        signature = texts.get(SIGNATURE) or None
        messages = self._messages(record, variants)
        return ParsedLine(number, (), self._shape.name, record, messages, signature, self._name)

    def _variants(self, texts: Mapping[str, str]) -> Iterator[Record]:
        """Yield every record that could have been written as these texts, the likeliest first."""
        fields = self._shape.fields
        record = {name: _value(field, texts[name]) for name, field in fields.items()}
        yield record
        ambiguous = [
            name for name, field in fields.items() if record[name] is None and field.types is TEXT
        ]
        choices = product((None, ""), repeat=len(ambiguous))
        next(choices)  # All null: the record above.
        for chosen in choices:
            yield {**record, **dict(zip(ambiguous, chosen, strict=True))}

    def _messages(self, record: Record, variants: Iterator[Record]) -> Iterator[bytes]:
        # Lazy: a sound record fits with its first message, and encoding is the largest cost here.
        yield rfc8785.dumps(record)
        yield from (rfc8785.dumps(each) for each in variants if self._shape.defect(each) is None)


def _value(field: Field, text: str) -> str | int | float | None:
    """Return the value that is written as this text; the text itself when there is none."""
    if text == "" and field.nullable:
        return None
    if field.types is INTEGER:
        return _exactly(int, str, text)
    return _exactly(float, repr, text) if field.types is NUMBER else text


def _exactly(
    parse: Callable[[str], int | float], write: Callable[[int | float], str], text: str
) -> str | int | float:
    # int() and float() also accept blanks, underscores, leading zeros and digits of other scripts.
    try:
        value = parse(text)
    except ValueError:
        return text
    return value if write(value) == text else text


def read_csv(directory: Path) -> Iterator[ParsedLine]:
    """Yield every line of the files, merged on the ids of parents.

    A record whose parent is missing comes before the manifest, out of place. Holds one line of
    each file at a time. Raises OSError.
    """
    with ExitStack() as files:
        tables = {}
        for name, shape in SHAPES.items():
            path = directory / f"{name}.csv"
            if path.exists():
                tables[name] = CsvTable(path.name, files.enter_context(path.open("rb")), shape)
        merge = _Merge(tables)
        yield from merge.inside(None, None)
        yield from merge.without_parent()
        if MANIFEST in tables:
            yield from merge.all_of(MANIFEST)


class _Merge:
    """The tables of an export, each in order of emission, read in step."""

    def __init__(self, tables: Mapping[str, CsvTable]) -> None:
        self._tables = tables

    def inside(self, parent: str | None, parent_id: str | None) -> Iterator[ParsedLine]:
        """Yield the records inside a parent: those next in their tables that name it."""
        for rule in rules_inside(parent):
            if rule.record_type in self._tables:
                yield from self._children(rule, parent_id)

    def without_parent(self) -> Iterator[ParsedLine]:
        """Yield the records whose parent was not found, each followed by those inside it."""
        for rule in ORDER_RULES:
            table = self._tables.get(rule.record_type)
            while table is not None and table.head is not None:
                yield from self._children(rule, table.head.texts.get(rule.parent_field))

    def all_of(self, record_type: str) -> Iterator[ParsedLine]:
        """Yield the rest of one table, as it comes."""
        table = self._tables[record_type]
        while (record := table.head) is not None:
            table.advance()
            yield record.line

    def _children(self, rule: OrderRule, parent_id: str | None) -> Iterator[ParsedLine]:
        table = self._tables[rule.record_type]
        # A record that names another run stays in its place: WRONG_RUN says what is wrong with it.
        is_inside_run = rule.parent in (None, "run")
        while (record := table.head) is not None:
            texts = record.texts
            if texts and not is_inside_run and texts[rule.parent_field] != parent_id:
                return
            table.advance()
            yield record.line
            if texts:
                yield from self.inside(rule.record_type, texts[rule.key_field])
