"""Tests of canonical JSON: golden hashes, normalisation, the rules of RFC 8785, and refusals."""

import hashlib
import hmac
import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import elspeth.core
from elspeth.contracts import RunStatus
from elspeth.core.canonical import (
    CANONICAL_VERSION,
    _normalize_for_canonical,
    _normalize_value,
    canonical_bytes,
    canonical_json,
    stable_hash,
)

MAX_INTEGER = 2**53 - 1

EMPTY_OBJECT_HASH = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
FIVE_HASH = "ef2d127de37b942baad06145e54b0c619a1f22327b2ebbcfbec78f5564afe39d"
GOLDEN_HASHES = [
    ({}, EMPTY_OBJECT_HASH),
    ([], "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"),
    (None, "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"),
    (
        {"a": 1, "b": [2, 3]},
        "efbd0040190fb0871831e606c581f8a66db79d8e2bb836745a70051306956070",
    ),
    (5, FIVE_HASH),
    (5.0, FIVE_HASH),
    ("é", "f2886017e9c7abacf804b54d64787dce2b611c9544ba21f3affdd126a6e50086"),
    (
        {
            "string": "hello",
            "int": 42,
            "float": 3.14,
            "bool": True,
            "null": None,
            "list": [1, 2, 3],
            "nested": {"a": 1},
        },
        "aed53055632a45e17618f46527c07dba463b2ae719e2f6832b2735308a3bf2e1",
    ),
]

RUN_RECORD = {
    "record_type": "run",
    "run_id": "r1",
    "status": RunStatus.COMPLETED,
    "started_at": "2026-01-01T00:00:00",
    "completed_at": "2026-01-01T00:00:01.500000",
    "canonical_version": "sha256-rfc8785-v1",
    "config_hash": EMPTY_OBJECT_HASH,
    "reproducibility_grade": None,
}
NODE_STATE_RECORD = {
    "record_type": "node_state",
    "run_id": "r1",
    "state_id": "s1",
    "token_id": "t1",
    "node_id": "n1",
    "step_index": 0,
    "attempt": 0,
    "status": "completed",
    "input_hash": "a",
    "output_hash": "b",
    "duration_ms": 5.0,
    "started_at": "2026-01-01T00:00:00",
    "completed_at": "2026-01-01T00:00:00.250000",
}
RUN_SIGNATURE = "c1f334448bc95b05e73c6eea46251df7ece9906caf9cd934f2e76d23176a5d7b"
NODE_STATE_SIGNATURE = "c6414e3bd16a3beecee560336d869c5b29032fde4d7d5d5ebac3aeff7ea4f857"
FINAL_HASH = "fc89d800512a00b4d9cd92dbd3b1e66232ddc0a3c711737c71dd69ab819e5a26"
MANIFEST = {
    "record_type": "manifest",
    "run_id": "r1",
    "record_count": 2,
    "final_hash": FINAL_HASH,
    "hash_algorithm": "sha256",
    "signature_algorithm": "hmac-sha256",
    "exported_at": "2026-01-02T00:00:00+00:00",
}
MANIFEST_SIGNATURE = "07be56565ae9fd3121ed418fb3c02b2eb8d8225ac8817fd1e0ad33d4f654bb83"


@pytest.mark.parametrize(("value", "expected"), GOLDEN_HASHES, ids=repr)
def test_a_golden_value_has_its_golden_hash(value: object, expected: str) -> None:
    assert stable_hash(value) == expected


@pytest.mark.parametrize(
    ("record", "signature"),
    [
        (RUN_RECORD, RUN_SIGNATURE),
        (NODE_STATE_RECORD, NODE_STATE_SIGNATURE),
        (MANIFEST, MANIFEST_SIGNATURE),
    ],
    ids=["run", "node_state", "manifest"],
)
def test_the_canonical_bytes_of_a_golden_record_carry_its_golden_signature(
    record: dict[str, object], signature: str
) -> None:
    assert hmac.new(b"k", canonical_bytes(record), hashlib.sha256).hexdigest() == signature


def test_the_golden_manifest_has_its_golden_text() -> None:
    assert canonical_json(MANIFEST) == (
        f'{{"exported_at":"2026-01-02T00:00:00+00:00","final_hash":"{FINAL_HASH}",'
        '"hash_algorithm":"sha256","record_count":2,"record_type":"manifest","run_id":"r1",'
        '"signature_algorithm":"hmac-sha256"}'
    )


def test_the_version_argument_changes_no_hash() -> None:
    assert CANONICAL_VERSION == "sha256-rfc8785-v1"
    assert stable_hash({}, version="another") == stable_hash({}, CANONICAL_VERSION)


def test_the_core_package_offers_the_public_functions() -> None:
    assert elspeth.core.canonical_json is canonical_json
    assert elspeth.core.stable_hash is stable_hash
    assert elspeth.core.CANONICAL_VERSION == CANONICAL_VERSION


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5.0, "5"),
        (-0.0, "0"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (MAX_INTEGER, "9007199254740991"),
        (-MAX_INTEGER, "-9007199254740991"),
        (True, "true"),
        ('\x07\n"\\/é\u2028', '"\\u0007\\n\\"\\\\/é\u2028"'),
        ({"b": [], "a": {}}, '{"a":{},"b":[]}'),
        ((1, (2,)), "[1,[2]]"),
        (RunStatus.FAILED, '"failed"'),
        (Decimal("1.50"), '"1.50"'),
        (b"\x00\xff", '{"__bytes__":"AP8="}'),
        ({"deep": [b""]}, '{"deep":[{"__bytes__":""}]}'),
    ],
    ids=repr,
)
def test_a_value_has_its_one_canonical_text(value: object, expected: str) -> None:
    assert canonical_json(value) == expected
    assert canonical_bytes(value) == expected.encode()


def test_keys_are_sorted_by_their_utf_16_code_units() -> None:
    # U+1F600 is written with the code unit D83D, which comes before FB33 (RFC 8785, 3.2.3).
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2, "\r": 3}) == (
        '{"\\r":3,"\U0001f600":2,"\ufb33":1}'
    )


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 1, 1, 12), "2026-01-01T12:00:00+00:00"),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01T12:00:00+00:00"),
        (
            datetime(2026, 1, 1, 5, 0, 0, 250, tzinfo=timezone(timedelta(hours=11))),
            "2025-12-31T18:00:00.000250+00:00",
        ),
    ],
    ids=["naive", "in UTC", "elsewhere"],
)
def test_a_datetime_is_written_in_utc_and_a_naive_one_is_taken_as_utc(
    moment: datetime, expected: str
) -> None:
    assert _normalize_value(moment) == expected
    assert canonical_json([moment]) == f'["{expected}"]'


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
    ],
    ids=str,
)
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(value: object) -> None:
    for place in (value, [value], {"deep": ({"er": value},)}):
        with pytest.raises(ValueError, match="non-finite"):
            canonical_json(place)


@pytest.mark.parametrize(
    "value",
    [
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        {1: "key"},
        {None: "key"},
        {1, 2},
        date(2026, 1, 1),
        timedelta(seconds=1),
        bytearray(b"bytes"),
        MappingProxyType({}),
        object(),
        "\ud800",
        {"\udfff": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_canonical_form_is_refused(value: object) -> None:
    for place in (value, [value]):
        with pytest.raises(ValueError, match=r"."):
            canonical_json(place)


def test_normalising_reaches_into_dicts_lists_and_tuples_and_leaves_the_original_alone() -> None:
    original = {"a": (Decimal(1), [b""]), b"key": None}

    assert _normalize_for_canonical(original) == {"a": ["1", [{"__bytes__": ""}]], b"key": None}
    assert original == {"a": (Decimal(1), [b""]), b"key": None}


def parsed(text: str) -> object:
    """Read JSON as RFC 8785 means it: every number is a double, with or without a point."""
    return json.loads(text, parse_int=float)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_canonical_text_parses_back_to_an_equal_value(value: object) -> None:
    assert parsed(canonical_json(value)) == value


@given(json_values)
def test_canonical_text_is_a_fixed_point(value: object) -> None:
    text = canonical_json(value)

    assert canonical_json(parsed(text)) == text


@given(st.dictionaries(st.text(), st.integers(0, 9), max_size=8), st.randoms())
def test_the_order_in_which_keys_were_inserted_does_not_matter(value, random) -> None:
    items = list(value.items())
    random.shuffle(items)

    assert canonical_bytes(dict(items)) == canonical_bytes(value)
