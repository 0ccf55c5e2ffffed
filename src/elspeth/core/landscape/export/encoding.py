"""Record -> canonical JSON bytes, through a fast encoder where it is exact and rfc8785 elsewhere.

orjson writes the bytes of RFC 8785 for a flat record whose keys are ASCII and come sorted, and
whose values are text, null, integers within 2^53 - 1 and finite floats, with two exceptions that
are handled here: integral floats (12.0 is `12`, by ECMA-262 Number::toString, to which section
3.2.2.3 of the RFC refers) and floats below 1e-5, whose exponents the two spell differently.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from math import isfinite
from typing import Any, TypeAlias

import orjson
from sqlalchemy import Float

from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.canonical import canonical_bytes
from elspeth.core.landscape.export.columns import RecordBuilder, Values
from elspeth.core.landscape.export.record_types import FetchedRow, RecordType

Halves: TypeAlias = tuple[bytes, bytes]
"""A record's canonical JSON, cut where its signature goes: joined, they are the unsigned record."""

BEFORE_SIGNATURE, AFTER_SIGNATURE = b',"signature":"', b'"'
"""What stands between a record's head, its signature and its tail."""

_SMALLEST_ALIKE = 1e-5


def record_encoder(
    record_type: RecordType, run_id: str
) -> Callable[[Sequence[FetchedRow]], Iterable[Halves]]:
    """Return the function that turns chunks of fetched rows into encoded records.

    Values are encoded column by column, a thousand in one call, and put into a template.
    """
    builder = RecordBuilder(record_type, run_id)
    before, behind = _templates(record_type, run_id)
    floats = [record_type.position(name) for name in record_type.names_of(Float)]

    def encode(rows: Sequence[FetchedRow]) -> Iterable[Halves]:
        columns = builder.plain_columns(rows)
        if columns is None or not all(_make_canonical(columns, position) for position in floats):
            return map(encode_halves, map(builder.build_one, rows))
        encoded = dict(zip(record_type.fields, map(_encode_column, columns), strict=True))
        return zip(before.filled(encoded), behind.filled(encoded), strict=False)

    return encode


def encode_halves(record: Mapping[str, Any]) -> Halves:
    """Return the canonical JSON of any unsigned record, cut where its signature goes.

    The slot cannot occur inside a text value, where every quote is escaped, and is never the
    first key: `record_type` sorts before it.
    """
    head, _, tail = encode_record({**record, "signature": ""}).partition(
        BEFORE_SIGNATURE + AFTER_SIGNATURE
    )
    return head, tail


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of any record, or raise what `canonical_bytes` raises for it."""
    plain: dict[str, str | int | float | None] = {}
    for key, value in record.items():
        if type(key) is not str or not key.isascii():
            return canonical_bytes(record)
        kind = type(value)
        if value is None or kind in (str, bool) or (kind is int and abs(value) <= MAX_INTEGER):
            plain[key] = value
        elif kind is float and (alike := _alike(value)) is not None:
            plain[key] = alike
        else:
            return canonical_bytes(record)
    try:
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # text that is no Unicode: the exact encoder says so in full
        return canonical_bytes(record)


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Return a line of a JSON Lines export: canonical JSON and a newline. For any record."""
    return encode_record(record) + b"\n"


@dataclass(frozen=True)
class _Template:
    """Part of a record's text, with a place for the encoded value of every field named."""

    text: bytes
    names: tuple[str, ...]

    def filled(self, encoded: Mapping[str, Sequence[bytes]]) -> Iterable[bytes]:
        """The text of this part, record by record; for ever, if no field is in it."""
        if not self.names:
            return repeat(self.text % ())
        return map(self.text.__mod__, zip(*(encoded[name] for name in self.names), strict=True))


def _templates(record_type: RecordType, run_id: str) -> tuple[_Template, _Template]:
    """What stands before a record's signature, and what behind, in the order of the keys."""
    constant = {"record_type": record_type.name, "run_id": run_id}
    texts = {name: canonical_bytes(value).replace(b"%", b"%%") for name, value in constant.items()}

    def part(names: Sequence[str]) -> _Template:
        values = (b'"%b":%b' % (name.encode(), texts.get(name, b"%b")) for name in names)
        return _Template(b",".join(values), tuple(name for name in names if name not in constant))

    keys = sorted(record_type.keys)
    before = part([key for key in keys if key < "signature"])
    behind = part([key for key in keys if key > "signature"])
    opening = replace(before, text=b"{" + before.text)
    closing = replace(behind, text=(b"," if behind.text else b"") + behind.text + b"}")
    return opening, closing


def _encode_column(column: Values) -> Sequence[bytes]:
    """Encode every value of a column; text with a comma in it takes a call for each value."""
    encoded = orjson.dumps(column)
    if encoded.count(b",") == len(column) - 1:
        return encoded[1:-1].split(b",")
    return [orjson.dumps(value) for value in column]


def _make_canonical(columns: list[Values], position: int) -> bool:
    """Turn a column of floats into what orjson writes canonically; False where it cannot."""
    column = columns[position]
    alike = [None if value is None else _alike(value) for value in column]
    columns[position] = alike
    return alike.count(None) == column.count(None)


def _alike(value: float) -> float | int | None:
    """The number that orjson writes as RFC 8785 writes `value`, or None where there is none."""
    if value.is_integer():
        return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else None
    return value if abs(value) >= _SMALLEST_ALIKE and isfinite(value) else None
