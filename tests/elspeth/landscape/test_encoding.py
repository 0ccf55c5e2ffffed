"""Tests of the encoder: the bytes of rfc8785 for every number and character."""

import math
import os
import random
import struct
from collections.abc import Callable, Iterator

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import fewer_examples
from sqlalchemy import Float

from elspeth.core.landscape.export.encoding import (
    AFTER_SIGNATURE,
    BEFORE_SIGNATURE,
    encode_halves,
    encode_line,
    encode_record,
    record_encoder,
)
from elspeth.core.landscape.export.record_types import CALL, EDGE, RECORD_TYPES, Record, RecordType

UNTIMED = settings(deadline=None)

RFC_8785_NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
"""RFC 8785, appendix B: a double's bits, and how it is written."""

BORDERS = (1e-7, 1e-6, 1e-5, 1e-4, 1.0, 1e15, 1e16, 2.0**52, 2.0**53, 2.0**63, 1e20, 1e21, 1e22)
SCALAR_VALUES = (range(0xD800), range(0xE000, 0x110000))
CHARACTERS_AT_ONCE = 0x1000

NUMBERS = 400_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 20_000
"""Of each kind: the nightly profile takes its time."""
A_CALL = ("call", "state", 0, "llm", "success", "hash", None)
"""What stands before the latency in a row of the calls table."""


def double(bits: int) -> float:
    number: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return number


def bits_at_random(rng: random.Random) -> float:
    return double(rng.getrandbits(64))


def magnitude_at_random(rng: random.Random) -> float:
    """Any size from far below 1e-7 to far above 2^63, where spellings change."""
    return rng.choice((1, -1)) * 10 ** rng.uniform(-9, 23)


def milliseconds_at_random(rng: random.Random) -> float:
    """What durations look like: few decimals, often none."""
    return round(rng.uniform(0, 10 ** rng.randint(0, 9)), rng.randint(0, 6))


def exact_at_random(rng: random.Random) -> float:
    """An integer, on both sides of the last that every smaller one is exact up to."""
    return float(rng.choice((1, -1)) * rng.getrandbits(rng.randint(1, 70)))


@pytest.mark.parametrize("bits", RFC_8785_NUMBERS)
def test_numbers_are_written_as_the_rfc_says(bits: str) -> None:
    number = double(int(bits, 16))
    assert encode_record({"latency_ms": number}) == (
        f'{{"latency_ms":{RFC_8785_NUMBERS[bits]}}}'.encode()
    )


@pytest.mark.parametrize(
    "draw", [bits_at_random, magnitude_at_random, milliseconds_at_random, exact_at_random]
)
def test_random_numbers_are_written_as_rfc8785_does(draw: Callable[[random.Random], float]) -> None:
    """More than a million of them in the nightly profile, counting all four kinds."""
    rng = random.Random(0)
    encode = record_encoder(CALL, "r1")
    for number in filter(math.isfinite, (draw(rng) for _ in range(NUMBERS))):
        expected = b'"latency_ms":%b' % rfc8785.dumps(number)
        ((head, _),) = encode([(*A_CALL, number)])  # one alone: an odd one slows its whole chunk
        assert expected + b"," in head, number.hex()
        assert encode_record({"latency_ms": number}) == b"{%b}" % expected, number.hex()


def test_numbers_around_every_border_are_written_as_rfc8785_does() -> None:
    for border in BORDERS:
        for number in (*neighbours(border), *neighbours(-border)):
            record = {"latency_ms": number}
            assert encode_record(record) == rfc8785.dumps(record), number.hex()


def neighbours(number: float) -> Iterator[float]:
    """The number, and the hundred doubles next to it on either side."""
    for direction in (math.inf, -math.inf):
        near = number
        for _ in range(100):
            yield near
            near = math.nextafter(near, direction)


@pytest.mark.parametrize("value", [None, 0.0, -0.0, 5.0, 1e300, -5e-324])
def test_a_number_may_be_missing_or_extreme(value: float | None) -> None:
    record: Record = {"duration_ms": value, "state_id": "s", "attempt": 2**53 - 1}
    assert encode_record(record) == rfc8785.dumps(record)


def test_encoding_leaves_the_record_as_it_was() -> None:
    record: Record = {"latency_ms": 5.0}
    encode_record(record)
    assert isinstance(record["latency_ms"], float)


def test_every_unicode_scalar_value_is_written_as_rfc8785_does() -> None:
    texts = [
        "".join(map(chr, range(first, min(first + CHARACTERS_AT_ONCE, scalars.stop))))
        for scalars in SCALAR_VALUES
        for first in range(scalars.start, scalars.stop, CHARACTERS_AT_ONCE)
    ]
    halves = record_encoder(EDGE, "r1")([("e", "from", "to", text, "move") for text in texts])
    for text, (head, _) in zip(texts, halves, strict=True):
        expected = b'"label":' + rfc8785.dumps(text)
        assert expected + b"," in head, f"from U+{ord(text[0]):04X}"
        assert encode_record({"label": text}) == b"{%b}" % expected


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda each: each.name)
@fewer_examples(1 / 5)
@given(values=st.data())
def test_any_record_is_written_as_rfc8785_does(
    record_type: RecordType, values: st.DataObject
) -> None:
    texts = st.text(st.characters(exclude_categories=["Cs"]))
    integers = st.integers(-(2**53) + 1, 2**53 - 1)
    floats = st.floats(allow_nan=False, allow_infinity=False)
    numbers = record_type.names_of(Float)
    record = {
        name: values.draw(floats if name in numbers else st.none() | texts | integers, label=name)
        for name in record_type.keys
    }
    assert encode_record(record) == rfc8785.dumps(record)


@UNTIMED
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.just(',"signature":""'))
def test_a_record_is_cut_where_its_signature_goes(text: str) -> None:
    unsigned: Record = {"artifact_id": text, "record_type": text, "size_bytes": 1}
    head, tail = encode_halves(unsigned)
    assert head + tail == rfc8785.dumps(unsigned)
    signed = {**unsigned, "signature": "5" * 64}
    spliced = head + BEFORE_SIGNATURE + b"5" * 64 + AFTER_SIGNATURE + tail
    assert spliced == rfc8785.dumps(signed)


def test_a_signature_may_be_the_last_key() -> None:
    assert encode_halves({"record_type": "token"}) == (b'{"record_type":"token"', b"}")


def test_a_line_of_any_record_is_canonical() -> None:
    record = {"b": 5.0, "a": "é\n", "\ue000": 1, "\U00010000": 2}
    assert encode_line(record) == rfc8785.dumps(record) + b"\n"
