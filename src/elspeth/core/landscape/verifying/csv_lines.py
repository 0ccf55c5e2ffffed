"""Reads one CSV file of an export as bytes: canonical lines, each split into its texts."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from elspeth.core.landscape.verifying.findings import Problem, Reason
from elspeth.core.landscape.verifying.reading import MAX_LINE_BYTES

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
