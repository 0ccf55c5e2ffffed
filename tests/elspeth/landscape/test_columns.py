"""Tests of record building: a chunk built by columns equals one built row by row."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, DateTime, Float, Integer

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape.export.columns import RecordBuilder
from elspeth.core.landscape.export.encoding import AFTER_SIGNATURE, BEFORE_SIGNATURE, record_encoder
from elspeth.core.landscape.export.record_types import BATCH, NODE_STATE, RECORD_TYPES, RecordType

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIMESTAMPS = st.datetimes().map(lambda moment: moment.isoformat(" ", "microseconds"))
ODDITIES = st.one_of(
    st.none(),
    st.just("2026-01-01 00:00:00+11:00"),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([5e-6, -0.0, 1e300, 5e-324, float("nan"), float("inf")]),
    st.sampled_from([2**53, -(2**53), True, b"bytes", "no member"]),
)


def plain_values(record_type: RecordType, column: Column[Any]) -> st.SearchStrategy[Any]:
    if column.name in record_type.enums:
        return st.sampled_from([member.value for member in record_type.enums[column.name]])
    match column.type:
        case Integer():
            values: st.SearchStrategy[Any] = st.integers(-(2**53) + 1, 2**53 - 1)
        case Float():
            values = st.floats(allow_nan=False, allow_infinity=False)
        case DateTime():
            values = TIMESTAMPS
        case _:
            values = TEXTS
    return st.none() | values if column.nullable else values


@st.composite
def chunks(draw: st.DrawFn) -> tuple[RecordType, list[tuple[Any, ...]]]:
    """A few rows of one type, now and then with a value that is odd in its place."""
    record_type = draw(st.sampled_from(RECORD_TYPES))
    plain = [plain_values(record_type, column) for column in record_type.columns]
    rows = draw(st.lists(st.tuples(*plain), min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 2))):
        at, field = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(plain) - 1))
        row = list(rows[at])
        row[field] = draw(ODDITIES)
        rows[at] = tuple(row)
    return record_type, rows


def outcome(results: Iterable[Any]) -> tuple[list[Any], str]:
    """What came out before the end, and the error that ended it."""
    seen = []
    try:
        for result in results:
            seen.append(result)
    except CorruptAuditDataError as error:
        return seen, str(error)
    return seen, ""


@given(chunk=chunks())
def test_a_chunk_is_built_as_its_rows_are_one_by_one(
    chunk: tuple[RecordType, list[tuple[Any, ...]]],
) -> None:
    record_type, rows = chunk
    builder = RecordBuilder(record_type, "r1")
    together, one_by_one = outcome(builder.build(rows)), outcome(map(builder.build_one, rows))
    assert repr(together) == repr(one_by_one)  # by text, which tells 5 from 5.0 and True from 1


@given(chunk=chunks(), run_id=st.sampled_from(["r1", '100 % "%b" \\ é']))
def test_a_chunk_is_encoded_as_rfc8785_writes_its_records(
    chunk: tuple[RecordType, list[tuple[Any, ...]]], run_id: str
) -> None:
    record_type, rows = chunk
    builder = RecordBuilder(record_type, run_id)
    expected = outcome(rfc8785.dumps(builder.build_one(row)) for row in rows)
    assert outcome(map(b"".join, record_encoder(record_type, run_id)(rows))) == expected


@given(chunk=chunks())
def test_a_chunk_is_cut_where_its_signatures_go(
    chunk: tuple[RecordType, list[tuple[Any, ...]]],
) -> None:
    record_type, rows = chunk
    builder = RecordBuilder(record_type, "r1")
    signature = "5" * 64
    expected = outcome(
        rfc8785.dumps({**builder.build_one(row), "signature": signature}) for row in rows
    )
    encoded = outcome(
        head + BEFORE_SIGNATURE + signature.encode() + AFTER_SIGNATURE + tail
        for head, tail in record_encoder(record_type, "r1")(rows)
    )
    assert encoded == expected


@given(moments=st.lists(st.none() | st.datetimes(), min_size=1, max_size=4), zeros=st.booleans())
def test_stored_timestamps_are_rewritten_as_isoformat_does(
    moments: list[datetime | None], zeros: bool
) -> None:
    if zeros:
        moments = [moment and moment.replace(microsecond=0) for moment in moments]
    stored = [moment and moment.isoformat(" ", "microseconds") for moment in moments]
    rows = [("b", "n", 0, "draft", None, "2026-01-01 00:00:00.000001", each) for each in stored]
    columns = RecordBuilder(BATCH, "r1").plain_columns(rows)
    assert columns is not None
    assert columns[-1] == [moment and moment.isoformat() for moment in moments]


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30 00:00:00.000001",
        "2026-W01-1 00:00:00.000001",
        "2026-01-01 25:00:00.000001",
        "\uff12026-01-01 00:00:00.000001",
        "2026-01-01T00:00:00.000001",
        "2026-01-01 00:00:00,000001",
        "20260101 000000.000001    ",
    ],
)
def test_a_timestamp_of_another_form_is_what_the_exact_rules_make_of_it(text: str) -> None:
    row = ("s", "t", "n", 0, 0, "completed", "in", "out", 1.0, text, text)
    builder = RecordBuilder(NODE_STATE, "r1")
    one_by_one = outcome(map(builder.build_one, [row]))
    assert outcome(builder.build([row])) == one_by_one


@pytest.mark.parametrize("status", ["open", "completed", "failed"])
def test_an_ordinary_chunk_of_states_takes_the_fast_way(status: str) -> None:
    ended = (None, None) if status == "open" else ("hash", 12.5)
    moment = "2026-01-01 00:00:00.500000"
    row = ("s", "t", "n", 0, 0, status, "in", *ended, moment, ended[0] and moment)
    columns = RecordBuilder(NODE_STATE, "r1").plain_columns([row, row])
    assert columns is not None
    assert columns[9] == ["2026-01-01T00:00:00.500000"] * 2


def test_a_driver_s_own_timestamps_take_the_fast_way_too() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    row = ("s", "t", "n", 0, 0, "completed", "in", "out", 1.0, moment, moment)
    assert RecordBuilder(NODE_STATE, "r1").plain_columns([row]) is not None
