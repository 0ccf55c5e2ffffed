"""The fast path accepts only lines whose layout was checked before, and judges them the same."""

from io import BytesIO

import pytest
import rfc8785
from sample_run import KEY
from signed_exports import Record, signed

from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES, ParsedLine
from elspeth.core.landscape.verification.jsonl import FastPath, read_jsonl
from elspeth.core.landscape.verification.record_shapes import SHAPES
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, SignatureVerifier

CALL = {
    "record_type": "call",
    "run_id": "run",
    "call_id": "c1",
    "state_id": "s1",
    "call_index": 0,
    "call_type": "llm",
    "status": "success",
    "request_hash": "h",
    "response_hash": None,
    "latency_ms": 12.5,
}


def call(**changes: object) -> bytes:
    """The signed line of a call."""
    record: Record = CALL | changes
    return signed(record)


def read_after(line: bytes, another: bytes) -> ParsedLine:
    """Read a line after a sound line with the same layout."""
    _, reading = read_jsonl(BytesIO(another + line))
    return reading


def read_first(line: bytes) -> ParsedLine:
    """Read a line with the exact reader: no layout is known yet."""
    (reading,) = read_jsonl(BytesIO(line))
    return reading


def learned(line: bytes) -> FastPath:
    """The fast path after one line."""
    fast_path = FastPath()
    fast_path.learn(SHAPES["call"], read_first(line))
    return fast_path


@pytest.mark.parametrize(
    "change",
    [
        {"call_id": "c2"},
        {"call_index": 2**53 - 1},
        {"latency_ms": 0.25},
        {"latency_ms": 1e-5},
        {"latency_ms": -1e-5},
        {"request_hash": '","signature":"'},
        {"request_hash": "é \U0001d11e \x7f"},
    ],
)
def test_a_valid_line_of_a_known_layout_takes_the_fast_path_unchanged(change: Record) -> None:
    line = call(**change)
    fast = learned(call()).read(2, line)
    assert fast is not None
    exact = read_first(line)
    assert (fast.record_type, fast.signature, list(fast.messages)) == (
        exact.record_type,
        exact.signature,
        list(exact.messages),
    )
    assert SignatureVerifier(AcceptedSignatures((KEY,))).check(fast) is None
    assert fast.number == 2


@pytest.mark.parametrize(
    "change",
    [
        {"latency_ms": 3},
        {"latency_ms": None},
        {"status": "error"},
        {"call_type": "http"},
        {"response_hash": "h"},
    ],
)
def test_a_line_of_another_layout_is_left_to_the_exact_reader(change: Record) -> None:
    line = call(**change)
    assert learned(call()).read(2, line) is None
    assert not read_after(line, call()).defects


@pytest.mark.parametrize(
    "written",
    [b"5.0", b"-5.0", b"0.0", b"-0.0", b"1e-6", b"-1e-6", b"9.99e-6", b"-9.99e-6", b"1e+16"],
)
def test_a_number_that_only_orjson_writes_so_is_not_canonical_in_a_known_layout(
    written: bytes,
) -> None:
    line = call().replace(b"12.5", written)
    assert learned(call()).read(2, line) is None
    assert [each.reason.value for each in read_after(line, call()).defects] == ["NOT_CANONICAL"]


@pytest.mark.parametrize("field", ["status", "call_type", "record_type"])
def test_a_member_that_does_not_exist_is_found_in_a_known_layout(field: str) -> None:
    line = call(**{field: "splendid"})
    (problem,) = read_after(line, call()).defects
    assert problem.reason.value == ("UNKNOWN_TYPE" if field == "record_type" else "VALUE")


def test_members_of_two_records_are_not_mixed_into_a_third() -> None:
    fast_path = learned(call(status="success", call_type="llm"))
    fast_path.learn(SHAPES["call"], read_first(call(status="error", call_type="http")))
    assert fast_path.read(3, call(status="error", call_type="http")) is not None
    assert fast_path.read(3, call(status="error", call_type="llm")) is None


def test_an_unsigned_line_adds_the_layout_of_unsigned_lines_only() -> None:
    unsigned = rfc8785.dumps(CALL) + b"\n"
    fast_path = FastPath()
    fast_path.learn(SHAPES["call"], read_first(unsigned))
    fast = fast_path.read(2, unsigned)
    assert fast is not None
    assert (fast.signature, fast.messages) == (None, (unsigned[:-1],))
    assert fast_path.read(2, call()) is None
    assert learned(call()).read(2, unsigned) is None


@pytest.mark.parametrize("content", [b"", b"[]\n", b"12.5\n", b"{}\n", b"{\n", b"\xff\n"])
def test_content_without_a_record_is_left_to_the_exact_reader(content: bytes) -> None:
    assert learned(call()).read(2, content) is None


def test_a_line_that_is_too_long_does_not_take_the_fast_path() -> None:
    short = call(request_hash="")
    fitting = call(request_hash="x" * (MAX_LINE_BYTES - len(short)))
    assert len(fitting) == MAX_LINE_BYTES
    assert learned(call()).read(2, fitting) is not None
    longer = call(request_hash="x" * (MAX_LINE_BYTES - len(short) + 1))
    assert learned(call()).read(2, longer) is None
