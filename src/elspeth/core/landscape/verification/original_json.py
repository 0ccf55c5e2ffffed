"""Reads a JSON export of the original exporter: one array of records, or a record on every line.

The original writes JSON with blanks, in the order of its fields, so the bytes are not compared with
a canonical form. Everything else is checked: fields, values, signatures, order and the manifest.
"""

import codecs
import io
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import IO, Any

from elspeth.core.landscape.verification.defects import (
    MAX_LINE_BYTES,
    ParsedLine,
    Reason,
    too_long,
)
from elspeth.core.landscape.verification.jsonl import (
    TORN,
    UnreadableLineError,
    parse_record,
    plain_record,
    record_decoder,
    signed_line,
)

_READ_BYTES = 2**20
_BLANKS = re.compile(r"[ \t\n\r]*")
# The blank is that of json.dumps by default, which the original uses. Canonical JSON has none, and
# its first record begins with another key.
_FIRST_LINE = re.compile(rb'\{"record_type": "')
_FIRST_BYTES = 256


class Form(StrEnum):
    """How the records of an export are written, in the words of a report."""

    CANONICAL = "JSON Lines in canonical form"
    ARRAY = "a JSON array"
    LINES = "JSON Lines"
    CSV = "CSV files"

    @property
    def is_original(self) -> bool:
        """Whether only the original exporter writes this form."""
        return self in (Form.ARRAY, Form.LINES)


def form_of(file: io.BufferedReader) -> Form:
    """Return the form of a file by its first bytes, which are left unread. Raises OSError."""
    # A pipe cannot go back to its start.
    first = file.peek(_FIRST_BYTES)
    if first.lstrip().startswith(b"["):
        return Form.ARRAY
    return Form.LINES if _FIRST_LINE.match(first) else Form.CANONICAL


def read_original(
    file: IO[bytes], form: Form, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[ParsedLine]:
    """Yield every record of an export of the original exporter. Raises OSError.

    Args:
        file: the export.
        form: ARRAY or LINES. An array is read record by record and never held as a whole.
        max_line_bytes: the length of the longest line or record that is read.
    """
    read = _read_array if form is Form.ARRAY else _read_lines
    return read(file, max_line_bytes)


def _read_lines(file: IO[bytes], max_line_bytes: int) -> Iterator[ParsedLine]:
    decoder = record_decoder(refuses_repeats=True)
    number = 0
    while line := file.readline(max_line_bytes + 1):
        number += 1
        if len(line) > max_line_bytes:
            yield ParsedLine(number, (too_long(max_line_bytes),))
            return
        try:
            yield signed_line(number, parse_record(line, decoder))
        except UnreadableLineError as error:
            # A whole object needs no newline: lines may have been joined without a last one.
            is_torn = not line.endswith(b"\n")
            yield ParsedLine(number, (TORN if is_torn else error.defect,))


def _read_array(file: IO[bytes], max_line_bytes: int) -> Iterator[ParsedLine]:
    """Yield the records of an array; the first one that cannot be read is the last."""
    number = 1
    elements = _elements(_Text(file, max_line_bytes))
    while True:
        try:
            record = next(elements, None)
            if record is None:
                return
            line = signed_line(number, record)
        except UnreadableLineError as error:
            line = ParsedLine(number, (error.defect,))
        line.unit = "record"
        yield line
        number += 1


class _Text:
    """The text of a file, of which the part from `at` is held."""

    def __init__(self, file: IO[bytes], max_line_bytes: int) -> None:
        self._file = file
        self._max_line_bytes = max_line_bytes
        # Not a TextIOWrapper, which would close a file that another part of the code opened.
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.buffer = ""
        self.at = 0

    def fill(self) -> bool:
        """Read on; return whether there was more."""
        # As much again as is held, so that the time to decode a long value is in proportion to it.
        size = max(_READ_BYTES, len(self.buffer) - self.at)
        try:
            content = self._file.read(size)
            more = self._decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            raise UnreadableLineError(
                Reason.CORRUPT_JSON, f"not JSON: not UTF-8: {error.reason}"
            ) from None
        self.buffer = self.buffer[self.at :] + more
        self.at = 0
        return bool(content)

    def peek(self) -> str:
        """Return the next character that is not blank, without taking it; empty at the end."""
        while True:
            self.at = _BLANKS.match(self.buffer, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.fill():
                return ""

    def take(self) -> str:
        """Take the next character that is not blank."""
        character = self.peek()
        self.at += len(character)
        return character

    def decode(self, decoder: json.JSONDecoder) -> Any:
        """Take the next value."""
        while True:
            try:
                value, self.at = decoder.raw_decode(self.buffer, self.at)
                return value
            except RecursionError:
                raise UnreadableLineError(Reason.CORRUPT_JSON, "nested too deep") from None
            except ValueError as error:
                # The value may only be cut off by the end of the buffer.
                held = len(self.buffer) - self.at
                if held > self._max_line_bytes:
                    defect = too_long(self._max_line_bytes)
                    raise UnreadableLineError(defect.reason, defect.message) from None
                if not self.fill():
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                    message = f"not JSON, or its end is missing: {reason}"
                    raise UnreadableLineError(Reason.CORRUPT_JSON, message) from None


def _elements(text: _Text) -> Iterator[dict[str, Any]]:
    decoder = record_decoder(refuses_repeats=True)
    text.take()
    if text.peek() == "]":
        text.take()
    else:
        while True:
            if text.peek() == "":
                raise UnreadableLineError(Reason.TORN_TAIL, "the array has no end")
            if text.peek() != "{":
                raise UnreadableLineError(Reason.CORRUPT_JSON, "not a JSON object")
            yield plain_record(text.decode(decoder))
            separator = text.take()
            if separator == "]":
                break
            if separator == "":
                raise UnreadableLineError(Reason.TORN_TAIL, "the array has no end")
            if separator != ",":
                raise UnreadableLineError(Reason.CORRUPT_JSON, "not JSON: no comma between records")
    if text.peek():
        raise UnreadableLineError(Reason.TRAILING_DATA, "there is more after the array")


def note_of(form: Form, *, is_signed: bool) -> str:
    """Return what was checked in an export of a form, and what was not; empty when all was.

    Args:
        form: how the records are written.
        is_signed: whether the export has signatures, and with them a manifest.
    """
    if not form.is_original:
        return ""
    signed = ", signatures, manifest" if is_signed else ""
    unsigned = "" if is_signed else "; it has no signatures and no manifest to check"
    return (
        f"{form} in the form of the original exporter: fields, values{signed} and order were "
        "checked; not checked: the spelling of the JSON, and the order of batches and of the "
        f"attempts of a step{unsigned}"
    )
