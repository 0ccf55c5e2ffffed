"""Tests of signing: the standard library's hmac, the running hash and the manifest."""

import hashlib
import hmac

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_run import EXPORTED_AT, fixed_clock

from elspeth.core.landscape.export.encoding import encode_record
from elspeth.core.landscape.export.signed_lines import RunningHash, Signer

UNTIMED = settings(deadline=None)


@UNTIMED
@given(key=st.binary(max_size=200), message=st.binary())
@example(key=b"", message=b"")
@example(key=b"k" * 64, message=b"m")
@example(key=b"k" * 65, message=b"m")
@example(key=bytes(range(256)), message=bytes(range(256)))
def test_a_signature_is_what_hmac_gives(key: bytes, message: bytes) -> None:
    assert Signer(key).sign(message) == hmac.new(key, message, hashlib.sha256).hexdigest()


@UNTIMED
@given(messages=st.lists(st.binary(), min_size=2))
def test_a_signer_remembers_nothing_of_earlier_messages(messages: list[bytes]) -> None:
    signer = Signer(b"key")
    signed = [signer.sign(message) for message in messages]
    assert signed == [Signer(b"key").sign(message) for message in messages]
    assert signer.sign_all(messages) == list(map(str.encode, signed))
    assert signer.sign_all([]) == []


def test_a_records_signature_is_of_its_canonical_json() -> None:
    record = {"b": 5.0, "a": "é", "c": None}
    expected = hmac.new(b"key", rfc8785.dumps(record), hashlib.sha256).hexdigest()
    assert Signer(b"key").sign(encode_record(record)) == expected


@UNTIMED
@given(signatures=st.lists(st.binary().map(Signer(b"key").sign)))
def test_the_running_hash_is_over_the_signatures_in_their_order(signatures: list[str]) -> None:
    running = RunningHash()
    for signature in signatures:
        running.add(signature)
    at_once = RunningHash()
    at_once.add_all("".join(signatures).encode())
    assert at_once.manifest("run-1", fixed_clock) == running.manifest("run-1", fixed_clock)
    manifest = running.manifest("run-1", fixed_clock)
    assert manifest["record_count"] == len(signatures)
    assert manifest["final_hash"] == hashlib.sha256("".join(signatures).encode()).hexdigest()


def test_signatures_taken_in_by_the_block_add_up() -> None:
    signatures = [Signer(b"key").sign(bytes([n])) for n in range(5)]
    running = RunningHash()
    running.add_all("".join(signatures[:2]).encode())
    running.add_all(b"")
    running.add_all("".join(signatures[2:]).encode())
    assert running.record_count == 5
    assert type(running.record_count) is int
    expected = hashlib.sha256("".join(signatures).encode()).hexdigest()
    assert running.manifest("run-1", fixed_clock)["final_hash"] == expected


def test_a_signature_of_any_length_counts_as_one_record() -> None:
    running = RunningHash()
    for signature in ("short", "", "x" * 128):
        running.add(signature)
    assert running.manifest("run-1", fixed_clock)["record_count"] == 3


def test_a_manifest_names_its_run_time_and_algorithms() -> None:
    manifest = RunningHash().manifest("run-1", fixed_clock)
    assert list(manifest) == [
        "record_type",
        "run_id",
        "record_count",
        "final_hash",
        "hash_algorithm",
        "signature_algorithm",
        "exported_at",
    ]
    assert manifest["exported_at"] == EXPORTED_AT.isoformat() == "2026-01-02T00:00:00+00:00"
    assert (manifest["hash_algorithm"], manifest["signature_algorithm"]) == (
        "sha256",
        "hmac-sha256",
    )


def test_a_record_that_cannot_be_canonical_is_not_signed() -> None:
    with pytest.raises(ValueError, match="not representable"):
        Signer(b"key").sign(encode_record({"duration_ms": float("inf")}))
