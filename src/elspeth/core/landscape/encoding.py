"""Record -> canonical JSON bytes, through a fast encoder where it is exact and rfc8785 elsewhere.

orjson writes the bytes of RFC 8785 for a flat record whose keys are ASCII and come sorted, and
whose values are text, null, integers within 2^53 - 1 and finite floats, with two exceptions that
are handled here: integral floats (12.0 is `12`, by ECMA-262 Number::toString, to which section
3.2.2.3 of the RFC refers) and floats below 1e-5, whose exponents the two spell differently.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from math import isfinite
from typing import Any

import orjson
from sqlalchemy import Float

from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.canonical import canonical_bytes
from elspeth.core.landscape.building import RecordBuilder, Values
from elspeth.core.landscape.records import FetchedRow, RecordType

_SMALLEST_ALIKE = 1e-5
_SIGNATURE_SLOT = b',"signature":""'


def record_encoder(
    record_type: RecordType, run_id: str, *, signature_slot: bool
) -> Callable[[Sequence[FetchedRow]], Iterable[bytes]]:
    """Return the function that turns chunks of fetched rows into encoded records.

    With `signature_slot` each holds an empty signature in its sorted place, to be split there.
    """
    builder = RecordBuilder(record_type, run_id)
    extra = {"signature": ""} if signature_slot else {}
    keys = sorted((*record_type.keys, *extra))
    floats = [record_type.position(name) for name in record_type.names_of(Float)]

    def encode(rows: Sequence[FetchedRow]) -> Iterable[bytes]:
        columns = builder.plain_columns(rows)
        if columns is None or not all(_make_canonical(columns, position) for position in floats):
            return (canonical_bytes(builder.build_one(row) | extra) for row in rows)
        by_key: dict[str, Iterable[Any]] = dict(zip(record_type.fields, columns, strict=True))
        by_key |= {"record_type": repeat(record_type.name), "run_id": repeat(run_id)}
        by_key |= {name: repeat(value) for name, value in extra.items()}
        values = zip(*(by_key[key] for key in keys), strict=False)
        return map(orjson.dumps, map(dict, map(zip, repeat(keys), values)))

    return encode


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


def split_at_signature(encoded: bytes) -> tuple[bytes, bytes]:
    """Split a record encoded with an empty signature into what stands before and behind that.

    The two parts joined are the canonical JSON of the record without its signature. The slot
    cannot occur inside a text value, where every quote is escaped, and is never the first key:
    `record_type` sorts before it.
    """
    head, _, tail = encoded.partition(_SIGNATURE_SLOT)
    return head, tail


def signed_line(head: bytes, signature: str, tail: bytes) -> bytes:
    """Return the line of a record with its signature put into its sorted place."""
    return b'%b,"signature":"%b"%b\n' % (head, signature.encode("ascii"), tail)


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
