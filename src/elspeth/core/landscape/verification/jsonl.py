"""Reads a JSON Lines export: one parsed line per record, with the defects of its form.

The exact reader follows the definitions: `json` parses a line, `rfc8785` gives the canonical form
of its record, and `record_shapes` the fields and values that it may have. The fast path gives the
same answer for most lines and leaves all others to the exact reader. `line_patterns` is faster
still, for blocks of lines of which none is unusual.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol

import orjson
import rfc8785

from elspeth.contracts import errors
from elspeth.core.landscape.verification.defects import (
    MAX_LINE_BYTES,
    Defect,
    ParsedLine,
    Reason,
    Record,
    short_repr,
    too_long,
)
from elspeth.core.landscape.verification.record_shapes import SHAPES, SIGNATURE, RecordShape

# `signature` is never the first key, since `record_type` and `run_id` sort before it, so a comma
# precedes it.
_BEFORE_SIGNATURE = b',"signature":"'
_SIGNATURE_AND_QUOTE = 64 + len(b'"')
# About 150 lines: large enough to make the calls for a block cheap, and small enough for a block
# that is read line by line because one of them is unusual. The first block shows run and key.
_BLOCK_BYTES = 2**16
_FIRST_BLOCK_BYTES = 2**12
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_STRICT_INTEGER
# orjson writes smaller fractions with another exponent than RFC 8785: 1e-6, not 0.000001.
_SMALLEST_SAME_EXPONENT = 1e-5


class FastPath:
    """Accepts lines whose key and type layout already passed the exact check.

    A line must also equal, byte for byte, the output of orjson for the parsed record.
    """

    # For text, null, integers up to 2^53 - 1, and fractions from 1e-5 up, under sorted ASCII keys,
    # orjson writes canonical JSON (RFC 8785), and no other values are admitted. So an accepted line
    # is canonical, whether or not orjson's parser is exact.

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        # Of finite size, because only layouts that passed the exact check of a type are added.
        self._layouts: dict[tuple[str | type, ...], _Layout] = {}

    def read(self, number: int, line: bytes) -> ParsedLine | None:
        """Return a line that is certainly valid and canonical; None for the exact reader."""
        if len(line) > self._max_line_bytes:
            return None
        try:
            record = orjson.loads(line)
            layout = self._layout_of(record)
            if layout is None or orjson.dumps(record, option=_OPTIONS) != line:
                return None
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return None
        signature = record.get(SIGNATURE)
        message = line[:-1]
        if signature is not None:
            # Removing the signature from the bytes saves a second encoding of the record. Quotes
            # inside texts are escaped, so these bytes occur only at the key. A signature that does
            # not have 64 characters is wrong under any message, so a wrong cut does no harm.
            head, _, rest = message.partition(_BEFORE_SIGNATURE)
            message = head + rest[_SIGNATURE_AND_QUOTE:]
        return ParsedLine(number, (), layout.record_type, record, (message,), signature)

    def _layout_of(self, record: object) -> "_Layout | None":
        """Return the known layout of a record if orjson writes its fractions canonically."""
        if type(record) is not dict:
            return None
        layout = self._layouts.get((*record, *map(type, record.values())))
        # The types alone do not show an unknown enum member, nor a value that its status forbids.
        if layout is None or layout.members_of(record) not in layout.members:
            return None
        for name in layout.fractions:
            # RFC 8785 writes 5.0 as 5, orjson as 5.0.
            number = record[name]
            if number.is_integer() or -_SMALLEST_SAME_EXPONENT < number < _SMALLEST_SAME_EXPONENT:
                return None
        return layout

    def learn(self, shape: RecordShape, line: ParsedLine) -> None:
        """Remember the layout of a line in which the exact reader found no defect."""
        record = line.record
        if line.signature is not None:
            record = {**record, SIGNATURE: line.signature}
        record = {key: record[key] for key in sorted(record)}
        types = tuple(map(type, record.values()))
        layout = self._layouts.setdefault((*record, *types), _new_layout(shape, record))
        layout.members.add(layout.members_of(record))


@dataclass(slots=True)
class _Layout:
    """One layout of a record type, and the enum members that were seen together in it."""

    record_type: str
    members_of: Callable[[Record], tuple[str, ...]]
    fractions: tuple[str, ...]
    """The fields that hold a float."""
    members: set[tuple[str, ...]] = field(default_factory=set)


def _new_layout(shape: RecordShape, record: Record) -> _Layout:
    names = [name for name, each in shape.fields.items() if each.members is not None]
    return _Layout(
        shape.name,
        # One name more than needed, so that itemgetter returns a tuple even for a single name.
        itemgetter(*names, names[0]),
        tuple(name for name, value in record.items() if type(value) is float),
    )


TORN = Defect(Reason.TORN_TAIL, "the last line has no newline: its end is missing")
_NOT_CANONICAL = Defect(
    Reason.NOT_CANONICAL, "differs from the canonical form of what it says (RFC 8785)"
)


class ReadableLines(Protocol):
    """A file, or a part of one."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes; none at the end."""

    def readline(self, size: int, /) -> bytes:
        """Read to the end of a line, but at most so many bytes."""


def read_blocks(file: ReadableLines, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """Yield whole lines in blocks of about 64 KiB, after a small one. Raises OSError.

    A line that is too long is yielded without its end, as the last line of its block. So is a last
    line without a newline.
    """
    rest = b""
    size = _FIRST_BLOCK_BYTES
    # As much again as is held, so that the time to read a long line is in proportion to it.
    while content := file.read(max(size, len(rest))):
        size = _BLOCK_BYTES
        rest += content
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        if len(rest) > max_line_bytes:
            yield rest[: max_line_bytes + 1]
            rest = b""
            while (part := file.readline(_BLOCK_BYTES)) and not part.endswith(b"\n"):
                pass
    if rest:
        yield rest


def read_lines(
    block: bytes, first_number: int, fast_path: FastPath, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[ParsedLine]:
    """Yield every line of a block, and let the fast path learn from the valid ones.

    Args:
        block: lines, as `read_blocks` yields them.
        first_number: the number of the first line, from 1.
        fast_path: reads the lines of layouts that it knows.
        max_line_bytes: the length of the longest line that is read.
    """
    for number, line in enumerate(io.BytesIO(block), start=first_number):
        parsed = fast_path.read(number, line)
        if parsed is None:
            parsed = _read_exactly(number, line, max_line_bytes)
            if parsed.record_type is not None and not parsed.defects:
                fast_path.learn(SHAPES[parsed.record_type], parsed)
        yield parsed


def read_jsonl(file: ReadableLines, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[ParsedLine]:
    """Yield every line of an export, one by one. Raises OSError."""
    fast_path = FastPath(max_line_bytes)
    number = 1
    for block in read_blocks(file, max_line_bytes):
        for line in read_lines(block, number, fast_path, max_line_bytes):
            yield line
            number = line.number + 1


def _read_exactly(number: int, line: bytes, max_line_bytes: int) -> ParsedLine:
    """Read a line by the definitions: `json`, `rfc8785` and the fields of its type."""
    if len(line) > max_line_bytes:
        return ParsedLine(number, (too_long(max_line_bytes),))
    if not line.endswith(b"\n"):
        return ParsedLine(number, (TORN,))
    try:
        record = parse_record(line, _DECODER)
        canonical = rfc8785.dumps(record)
    except UnreadableLineError as error:
        return ParsedLine(number, (error.defect,))
    except rfc8785.CanonicalizationError as error:
        return ParsedLine(number, (_no_canonical_form(str(error)),))
    except UnicodeEncodeError as error:
        # A lone surrogate in a key: rfc8785 refuses it with its own error only in values.
        return ParsedLine(number, (_no_canonical_form(error.reason),))
    parsed = signed_line(number, record)
    if canonical != line[:-1]:
        parsed.defects = (_NOT_CANONICAL, *parsed.defects)
    return parsed


def signed_line(number: int, record: Record) -> ParsedLine:
    """Return a record as a line, with the defects of its fields, and its signature set apart.

    The signature is removed from `record`.

    Args:
        number: the number of the line, from 1.
        record: the parsed record, of plain values.
    """
    unsound = _shape_defect(record)
    if unsound is not None:
        return ParsedLine(number, (unsound,))
    signature = record.pop(SIGNATURE, None)
    try:
        message = rfc8785.dumps(record)
    except rfc8785.CanonicalizationError as error:
        return ParsedLine(number, (_no_canonical_form(str(error)),))
    return ParsedLine(
        number,
        (),
        record["record_type"],
        record,
        (message,),
        signature if isinstance(signature, str) else None,
    )


def _no_canonical_form(reason: str) -> Defect:
    return Defect(Reason.NOT_CANONICAL, f"has no canonical form: {reason}")


class UnreadableLineError(ValueError):
    """A line that is not a JSON object of plain values."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.defect = Defect(reason, message)


def parse_record(line: bytes, decoder: json.JSONDecoder) -> Record:
    """Return a line of JSON as a record.

    Raises:
        UnreadableLineError: it is not a JSON object of plain values.
    """
    try:
        return plain_record(decoder.decode(line.decode()))
    except RecursionError:
        raise UnreadableLineError(Reason.CORRUPT_JSON, "nested too deep") from None
    except UnreadableLineError:
        raise
    except ValueError as error:
        raise UnreadableLineError(Reason.CORRUPT_JSON, f"not JSON: {error}") from None


def plain_record(value: object) -> Record:
    """Return a decoded value, which must be an object of plain values.

    Raises:
        UnreadableLineError: it is anything else.
    """
    if not isinstance(value, dict):
        raise UnreadableLineError(Reason.CORRUPT_JSON, "not a JSON object")
    for name, each in value.items():
        if isinstance(each, dict | list):
            message = f"{short_repr(name)} holds an object or a list; every field is a plain value"
            raise UnreadableLineError(Reason.VALUE, message)
    return value


def record_decoder(*, refuses_repeats: bool) -> json.JSONDecoder:
    """Return a decoder of JSON that keeps numbers exact.

    Args:
        refuses_repeats: refuse an object with a repeated key, of which json takes the last and
            another reader may take the first. Not needed where the canonical form is compared.
    """
    # Without the other hooks json reads 1e2 and NaN as floats.
    return json.JSONDecoder(
        parse_int=_number,
        parse_float=_number,
        parse_constant=_refuse_constant,
        object_pairs_hook=_without_repeats if refuses_repeats else None,
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key is given twice")
    return record


def _number(digits: str) -> int | float:
    """Read a number as the double that it denotes (RFC 8785, section 3.2.2.3)."""
    # A duration of 1e16 is written 10000000000000000, which as an integer would be out of range.
    number = float(digits)
    is_integer = number.is_integer() and abs(number) <= errors.MAX_INTEGER
    return int(number) if is_integer else number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


_DECODER = record_decoder(refuses_repeats=False)


def _shape_defect(record: Record) -> Defect | None:
    """Return what is wrong with a record's type, fields or values."""
    record_type = record.get("record_type")
    shape = SHAPES.get(record_type) if isinstance(record_type, str) else None
    if shape is None:
        return Defect(Reason.UNKNOWN_TYPE, f"unknown record type {short_repr(record_type)}")
    return shape.defect(record)
