"""Reads a directory of CSV files and rebuilds its records in the order of a JSON Lines export.

In three steps, which hold one line per file: `read_csv_lines` splits canonical lines into texts,
`CsvTable` rebuilds typed records from the texts of one file, and `read_csv` merges the files on the
ids of parents.
"""

import csv
import errno
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
    too_long,
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
"""The file that marks a directory as a copy for spreadsheets."""

FILE_NAMES = frozenset(f"{name}.csv" for name in SHAPES)
"""The names of the files that an export may hold."""

_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')


@dataclass(frozen=True, slots=True)
class CsvLine:
    """One line, which may hold line breaks in quotes: its number and its texts."""

    number: int
    texts: tuple[str, ...] = ()
    defect: Defect | None = None


def read_csv_lines(file: IO[bytes], max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[CsvLine]:
    """Yield the lines of a file, with a defect where a line is not as `csv.writer` writes it.

    Holds one line at a time. Raises OSError.
    """
    number = 1
    while line := _next_line(file, max_line_bytes):
        if len(line) > max_line_bytes:
            defect = too_long(max_line_bytes, ", or a quote that is never closed")
            yield CsvLine(number, defect=defect)
            # The end of this line is unknown, so the next one cannot be found.
            return
        yield _split(number, line)
        number += line.count(b"\n")


def _next_line(file: IO[bytes], max_line_bytes: int) -> bytes:
    """Read up to a line break outside quotes."""
    # csv.writer doubles a quote inside a text, so after an even number of quotes all are closed.
    parts: list[bytes] = []
    size = quotes = 0
    while part := file.readline(max_line_bytes + 1 - size):
        parts.append(part)
        size += len(part)
        quotes += part.count(b'"')
        if size > max_line_bytes or (quotes % 2 == 0 and part.endswith(b"\n")):
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
    # The pattern accepts more than exports contain. Writing the texts again is the exact check.
    if texts is None or _written(texts) != text:
        defect = Defect(Reason.NOT_CANONICAL, "its quotes or line end are not those of an export")
        return CsvLine(number, defect=defect)
    return CsvLine(number, texts)


def _texts(text: str) -> tuple[str, ...] | None:
    """Split a line into its texts; None when it is malformed."""
    # Not csv.reader: its limit on the length of a text is a setting of the whole process.
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
    """Return the line of an export (RFC 4180, quotes only where they are needed)."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(texts)
    return line.getvalue()


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One line of a table, and its texts by column; no texts if it is unreadable."""

    line: ParsedLine
    texts: Mapping[str, str]


class CsvTable:
    """The records of one file; `head` is the next one."""

    # CSV holds only text, so the columns of the type decide how to read it. An empty field may be
    # null or empty text: null is tried first, then text, and the signature decides.

    def __init__(
        self,
        name: str,
        file: IO[bytes],
        shape: RecordShape,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self._name = name
        self._shape = shape
        self._records = self._read(read_csv_lines(file, max_line_bytes))
        self.head = next(self._records, None)

    def advance(self) -> None:
        """Move `head` to the next record; None at the end."""
        self.head = next(self._records, None)

    def _read(self, lines: Iterator[CsvLine]) -> Iterator[CsvRecord]:
        header = next(lines, None)
        columns = () if header is None else header.texts
        known = self._shape.all_fields(columns)
        if columns not in (tuple(sorted((*known, SIGNATURE))), tuple(sorted(known))):
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
        return CsvRecord(self._rebuild(line.number, texts), texts)

    def _unreadable(self, number: int, defect: Defect) -> CsvRecord:
        return CsvRecord(ParsedLine(number, (defect,), file=self._name), {})

    def _rebuild(self, number: int, texts: Mapping[str, str]) -> ParsedLine:
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
        """Yield every record that an export would write as these texts, the likeliest first."""
        fields = self._shape.all_fields(texts)
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
        # Lazy: a valid record fits its first message, and encoding is the largest cost here.
        yield rfc8785.dumps(record)
        yield from (rfc8785.dumps(other) for other in variants if self._shape.defect(other) is None)


def _value(field: Field, text: str) -> str | int | float | None:
    """Return the value that an export writes as this text; the text if there is no such value."""
    if text == "" and field.nullable:
        return None
    if field.types is INTEGER:
        return _exactly(int, str, text)
    return _exactly(float, repr, text) if field.types is NUMBER else text


def _exactly(
    parse: Callable[[str], int | float], write: Callable[[int | float], str], text: str
) -> str | int | float:
    # int() and float() also accept blanks, underscores, leading zeros and digits of other scripts,
    # so the value has to give the same text again.
    try:
        value = parse(text)
    except ValueError:
        return text
    return value if write(value) == text else text


def read_csv(directory: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[ParsedLine]:
    """Yield every line of the files, merged on the ids of parents.

    Holds one line per file. Raises OSError.
    """
    with ExitStack() as files:
        tables = {}
        for name, shape in SHAPES.items():
            path = directory / f"{name}.csv"
            if path.exists():
                # Opening a pipe would wait for a writer, and a device has no end.
                if not path.is_file():
                    raise OSError(errno.EINVAL, "is not a regular file", str(path))
                file = files.enter_context(path.open("rb"))
                tables[name] = CsvTable(path.name, file, shape, max_line_bytes)
        merge = _Merge(tables)
        yield from merge.inside(None, None)
        # Records whose parent is missing come before the manifest, where `RecordOrder` reports them
        # as misplaced. Left out, they would be unsigned content that no check sees.
        yield from merge.without_parent()
        if MANIFEST in tables:
            yield from merge.all_of(MANIFEST)


class _Merge:
    """The tables of an export, read side by side; a table is in order of emission already."""

    def __init__(self, tables: Mapping[str, CsvTable]) -> None:
        self._tables = tables

    def inside(self, parent: str | None, parent_id: str | None) -> Iterator[ParsedLine]:
        """Yield the records inside a parent: the next ones of their tables that name it."""
        for rule in rules_inside(parent):
            if rule.record_type in self._tables:
                yield from self._children(rule, parent_id)

    def without_parent(self) -> Iterator[ParsedLine]:
        """Yield the records whose parent was not found, and after a record those inside it."""
        for rule in ORDER_RULES:
            table = self._tables.get(rule.record_type)
            while table is not None and table.head is not None:
                yield from self._children(rule, table.head.texts.get(rule.parent_field))

    def all_of(self, record_type: str) -> Iterator[ParsedLine]:
        """Yield the rest of one table."""
        table = self._tables[record_type]
        while (record := table.head) is not None:
            table.advance()
            yield record.line

    def _children(self, rule: OrderRule, parent_id: str | None) -> Iterator[ParsedLine]:
        table = self._tables[rule.record_type]
        # A record that names another run stays in its place, because WRONG_RUN is its only defect.
        is_inside_run = rule.parent in (None, "run")
        while (record := table.head) is not None:
            texts = record.texts
            if texts and not is_inside_run and texts[rule.parent_field] != parent_id:
                return
            table.advance()
            yield record.line
            if texts:
                yield from self.inside(rule.record_type, texts[rule.key_field])
