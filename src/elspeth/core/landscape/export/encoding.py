"""Encode records as canonical JSON (RFC 8785), with orjson where it gives the bytes of rfc8785."""

# orjson writes the bytes of RFC 8785 for a flat record whose keys are ASCII and sorted, and whose
# values are text, null, integers up to 2^53 - 1 and finite floats, with two exceptions that are
# handled here. Integral floats: 12.0 is `12` by ECMA-262 Number::toString, to which section 3.2.2.3
# of the RFC refers. Floats below 1e-5: the two write exponents differently. A property test
# compares the results with rfc8785.

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from math import isfinite
from typing import Any, TypeAlias, cast

import orjson
import rfc8785
from sqlalchemy import Float

from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.landscape.export.columns import RecordBuilder, Values
from elspeth.core.landscape.export.record_types import FetchedRow, RecordType

Halves: TypeAlias = tuple[bytes, bytes]
"""A record's canonical JSON, split at the place of the signature. Joined: the unsigned record."""

BEFORE_SIGNATURE, AFTER_SIGNATURE = b',"signature":"', b'"'
"""What stands between the two halves around the signature."""

# From here on orjson writes a float as RFC 8785 does.
_SMALLEST_SAME_SPELLING = 1e-5


def record_encoder(
    record_type: RecordType, run_id: str
) -> Callable[[Sequence[FetchedRow]], Iterable[Halves]]:
    """Return a function that encodes a chunk of fetched rows as records.

    Args:
        record_type: The type of the records; rows hold the values of its columns.
        run_id: The exported run.
    """
    # The hot path, 28 % of an export's time together with the checks: a column is encoded in one
    # call and its values are put into a template. A record costs a few calls into C, and no call of
    # a Python function.
    builder = RecordBuilder(record_type, run_id)
    head, tail = _templates(record_type, run_id)
    floats = [record_type.position(name) for name in record_type.names_of(Float)]

    def encode(rows: Sequence[FetchedRow]) -> Iterable[Halves]:
        columns = builder.plain_columns(rows)
        if columns is None or not all(_replace_floats(columns, position) for position in floats):
            return map(encode_halves, map(builder.build_one, rows))
        encoded = dict(zip(record_type.fields, map(_encode_column, columns), strict=True))
        return zip(head.fill(encoded), tail.fill(encoded), strict=False)

    return encode


def encode_halves(record: Mapping[str, Any]) -> Halves:
    """Return the canonical JSON of an unsigned record, split at the place of the signature.

    Raises:
        ValueError: The record has no canonical JSON, as `encode_record` says.
    """
    # An empty signature marks the place. The marker cannot occur in a text value, in which every
    # quote is escaped. It is never the first key, since `record_type` sorts before it.
    marker = BEFORE_SIGNATURE + AFTER_SIGNATURE
    head, _, tail = encode_record({**record, "signature": ""}).partition(marker)
    return head, tail


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a record, signed or not, with any keys and values.

    Raises:
        ValueError: A value or a key has no canonical JSON; the error is rfc8785's own.
    """
    plain: dict[str, str | int | float | None] = {}
    # RFC 8785 sorts keys by UTF-16 code units, orjson by UTF-8 bytes: equal for ASCII. `type() is`
    # excludes subclasses such as enums, which orjson would write by rules of its own.
    for key, value in record.items():
        if type(key) is not str or not key.isascii():
            return _encode_exactly(record)
        kind = type(value)
        if value is None or kind in (str, bool) or (kind is int and abs(value) <= MAX_INTEGER):
            plain[key] = value
        elif kind is float and (number := _same_spelling(value)) is not None:
            plain[key] = number
        else:
            return _encode_exactly(record)
    try:
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # a lone surrogate: rfc8785 words the error
        return _encode_exactly(record)


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Return a line of a JSON Lines export: canonical JSON and a newline.

    Raises:
        ValueError: The record has no canonical JSON.
    """
    return encode_record(record) + b"\n"


def _encode_exactly(record: Mapping[str, Any]) -> bytes:
    return rfc8785.dumps(cast("Any", dict(record)))


@dataclass(frozen=True)
class _Template:
    """A part of a record's text, with `%b` for the encoded value of every named field."""

    text: bytes
    names: tuple[str, ...]

    def fill(self, encoded: Mapping[str, Sequence[bytes]]) -> Iterable[bytes]:
        """Yield the text of this part for one record after another, endlessly without a field."""
        if not self.names:
            return repeat(self.text % ())
        return map(self.text.__mod__, zip(*(encoded[name] for name in self.names), strict=True))


def _templates(record_type: RecordType, run_id: str) -> tuple[_Template, _Template]:
    """Return the parts before and after the signature, with their keys in sorted order."""
    # `record_type` and `run_id` are the same in all records of a type: they are encoded once, here.
    constant = {"record_type": record_type.name, "run_id": run_id}
    texts = {name: rfc8785.dumps(value).replace(b"%", b"%%") for name, value in constant.items()}

    def part(names: Sequence[str]) -> _Template:
        values = (b'"%b":%b' % (name.encode(), texts.get(name, b"%b")) for name in names)
        return _Template(b",".join(values), tuple(name for name in names if name not in constant))

    keys = sorted(record_type.keys)
    head = part([key for key in keys if key < "signature"])
    tail = part([key for key in keys if key > "signature"])
    separator = b"," if tail.text else b""
    return replace(head, text=b"{" + head.text), replace(tail, text=separator + tail.text + b"}")


def _encode_column(column: Values) -> Sequence[bytes]:
    # One call encodes the column as a JSON array, which is split at its commas. When a text holds
    # a comma itself, the counts differ and every value takes its own call.
    encoded = orjson.dumps(column)
    if encoded.count(b",") == len(column) - 1:
        return encoded[1:-1].split(b",")
    return [orjson.dumps(value) for value in column]


def _replace_floats(columns: list[Values], position: int) -> bool:
    """Replace a column of floats by numbers that orjson writes canonically; False if impossible."""
    column = columns[position]
    numbers = [None if value is None else _same_spelling(value) for value in column]
    columns[position] = numbers
    return numbers.count(None) == column.count(None)


def _same_spelling(value: float) -> float | int | None:
    """Return the number that orjson writes as RFC 8785 writes `value`, or None if there is none."""
    if value.is_integer():
        return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else None
    return value if abs(value) >= _SMALLEST_SAME_SPELLING and isfinite(value) else None
