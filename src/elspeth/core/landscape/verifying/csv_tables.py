"""Reads one CSV file of an export as typed records.

CSV knows text alone, so a record is rebuilt from the known columns of its type. An empty field
that may be null or empty text is tried as null first, then as text: the signature decides.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import IO

from elspeth.core.landscape.encoding import encode_record
from elspeth.core.landscape.records import Record
from elspeth.core.landscape.verifying.csv_lines import CsvLine, read_csv_lines
from elspeth.core.landscape.verifying.fields import INTEGER, NUMBER, SIGNATURE, TEXT, Field, Shape
from elspeth.core.landscape.verifying.findings import Problem, Reason
from elspeth.core.landscape.verifying.reading import Reading


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
